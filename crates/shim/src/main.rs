//! `cradle-shim --pod POD-ID --dir FOLDER`: the process that keeps one pod. See the library half for its parts.
//!
//! `cradle-shim --probe FOLDER`: what the daemon, with its many threads, cannot try itself.

use std::process::ExitCode;

use cradle_domain::failure::Chain;
use cradle_shim::shim::Shim;
use cradle_shim::startup::{Arguments, Pod, StartupError, prepare, probe};

fn main() -> ExitCode {
    let ran = Arguments::parse(std::env::args_os().skip(1)).and_then(|arguments| match arguments {
        Arguments::Keep(pod) => keep(pod),
        Arguments::Probe(store) => probe(&store).map(|said| println!("{said}")),
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads this once the shim is in its place, but those who start it by hand.
            eprintln!("cradle-shim: {}", Chain(&error));
            match error {
                StartupError::Usage(_) => ExitCode::from(2),
                StartupError::Kernel { .. } => ExitCode::FAILURE,
            }
        }
    }
}

fn keep(pod: Pod) -> Result<(), StartupError> {
    let failed =
        |source: rustix::io::Errno| StartupError::Kernel { doing: "waiting for events", source: source.into() };
    let parts = prepare(pod)?;
    Shim::new(parts).and_then(|mut shim| shim.run()).map_err(failed)
}
