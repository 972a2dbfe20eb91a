//! Fuzzes a hosts.toml.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_registry::fuzz::hosts(data));
