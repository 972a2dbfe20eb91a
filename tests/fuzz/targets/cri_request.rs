//! Fuzzes a message of the CRI.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_cri::fuzz::request(data));
