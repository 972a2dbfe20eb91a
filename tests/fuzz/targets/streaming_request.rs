//! Fuzzes a request to the streaming server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_streaming::fuzz::request(data));
