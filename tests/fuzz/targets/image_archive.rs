//! Fuzzes an archive of images: an OCI image layout, or what docker save writes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_images::fuzz::image_archive(data));
