//! Fuzzes a layer's archive, and the tree that grows from it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_images::fuzz::layer(data));
