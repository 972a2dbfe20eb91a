//! Fuzzes an image's configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_images::fuzz::config(data));
