//! Fuzzes a client of WebSocket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_streaming::fuzz::websocket(data));
