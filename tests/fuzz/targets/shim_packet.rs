//! Fuzzes one packet on a shim's socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_shim::fuzz::packet(data));
