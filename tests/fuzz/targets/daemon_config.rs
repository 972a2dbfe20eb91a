//! Fuzzes the daemon's file of configuration. The daemon is a program, not a library: its module is taken in here.
#![no_main]

#[path = "../../../crates/cradled/src"]
mod cradled {
    #[allow(dead_code, reason = "the program uses more of it")]
    pub mod config;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradled::config::fuzz::file(data));
