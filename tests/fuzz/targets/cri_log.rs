//! Fuzzes a container's log as `cradle logs` reads it. The command line is a program, not a library: its modules are taken
//! in here.
#![no_main]

#[path = "../../../crates/cradle/src"]
mod cradle {
    #[allow(dead_code, reason = "the program uses more of it")]
    pub mod cri_log;
    #[allow(dead_code, reason = "the program uses more of it")]
    pub mod error;
}

use cradle::error;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cradle::cri_log::fuzz::log(data));
