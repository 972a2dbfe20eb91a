//! Fuzzes a config.json of docker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle_registry::fuzz::docker_config(data));
