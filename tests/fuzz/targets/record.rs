//! Fuzzes a record of a pod or container.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_records::fuzz::record(data));
