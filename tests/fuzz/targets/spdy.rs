//! Fuzzes a client of SPDY.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_streaming::fuzz::spdy(data));
