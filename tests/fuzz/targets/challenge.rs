//! Fuzzes a WWW-Authenticate header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_registry::fuzz::challenge(data));
