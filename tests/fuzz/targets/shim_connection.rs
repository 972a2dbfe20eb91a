//! Fuzzes a connection to a shim.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_shim::fuzz::connection(data));
