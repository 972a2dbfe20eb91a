//! Fuzzes an image's manifest or index.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_images::fuzz::manifest(data));
