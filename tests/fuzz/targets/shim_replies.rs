//! Fuzzes what a shim says to the daemon.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_engine::shims::fuzz::shim(data));
