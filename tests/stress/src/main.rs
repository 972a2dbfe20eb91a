//! `stress`: whole-node tests of the real daemon, each a suite that starts and kills daemons of its own, speaks the CRI
//! with them and looks at the machine afterwards. It knows the daemon by its socket, its files and its processes only.
//!
//! One line for each thing shown, `PASS name` or `FAIL name: why`; figures on lines that begin with `#`.
#![allow(clippy::disallowed_methods, reason = "a test starts programs, and is no daemon")]

mod bad_input;
mod client;
mod crowd;
mod figures;
mod full;
mod fuse;
mod hostile;
mod http;
mod http2;
mod joined;
mod killed;
mod life;
mod lives;
mod load;
mod look;
mod nested;
mod node;
mod processes;
mod random;
mod reads;
mod restart;
mod running;
mod shims;
mod specs;
mod speed;
mod stuck;
mod suite;
mod until;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokio::task::LocalSet;

use crate::node::Places;
use crate::suite::Suite;

/// What is shown.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// One pod's whole life, and every bad input
    Life,
    /// Deaths of daemon and shim, damaged records, a lost state folder
    Restart,
    /// 100 pods at once, and what they cost
    Crowd,
    /// The same request from many clients, in any order
    Joined,
    /// A daemon that is killed all the time, under many clients
    Killed,
    /// Many clients for a long time
    Load,
    /// Lists while pods come and go
    Reads,
    /// A file system that never answers
    Stuck,
    /// How long each request takes
    Speed,
    /// No space, processes, addresses or descriptors
    Full,
    /// A pod's life in a PID namespace
    Nested,
    /// Clients that stall, break the protocol or may not be there
    Hostile,
    /// Shims that hang up, are silent or listen to somebody else
    Shims,
}

#[derive(Debug, Parser)]
#[command(about = "Whole-node tests of cradled")]
struct Arguments {
    #[arg(value_enum)]
    suite: Name,
    #[command(flatten)]
    places: Places,
    /// The long form
    #[arg(long)]
    long: bool,
    /// Makes the same random choices again
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Everything that a killed daemon or shim leaves becomes this process's child, and so is found.
    if let Err(error) = processes::adopt_orphans() {
        println!("FAIL stress: cannot adopt orphans: {error}");
        return ExitCode::FAILURE;
    }
    // One thread: what is tested has the other processors.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("FAIL stress: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let suite = Suite::new(arguments.places, arguments.long, arguments.seed);
    let ran = LocalSet::new().block_on(&runtime, run(arguments.suite, &suite));
    suite.verdict(&format!("{:?}", arguments.suite).to_lowercase(), ran)
}

async fn run(name: Name, suite: &Suite) -> anyhow::Result<()> {
    match name {
        Name::Life => life::run(suite).await,
        Name::Restart => restart::run(suite).await,
        Name::Crowd => crowd::run(suite).await,
        Name::Joined => joined::run(suite).await,
        Name::Killed => killed::run(suite).await,
        Name::Load => load::run(suite).await,
        Name::Reads => reads::run(suite).await,
        Name::Stuck => stuck::run(suite).await,
        Name::Speed => speed::run(suite).await,
        Name::Full => full::run(suite).await,
        Name::Nested => nested::run(suite).await,
        Name::Hostile => hostile::run(suite).await,
        Name::Shims => shims::run(suite).await,
    }
}
