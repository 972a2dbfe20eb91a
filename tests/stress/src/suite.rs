//! What every suite has: its places, its random numbers, and the lines it prints.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Error, Result};

use crate::look::{self, Look};
use crate::node::{Node, Places};
use crate::random::Random;

/// How long what is left behind an answer may take to go: links and bridges are removed after a pause.
const UNTIL_CLEAN: Duration = Duration::from_secs(15);

/// One run of one suite.
pub struct Suite {
    pub places: Places,
    /// Whether the long form was asked for.
    pub long: bool,
    random: Mutex<Random>,
    failed: AtomicUsize,
}

impl Suite {
    pub fn new(places: Places, long: bool, seed: Option<u64>) -> Self {
        let random = Random::new(seed);
        println!("# --seed {}", random.seed());
        Suite { places, long, random: Mutex::new(random), failed: AtomicUsize::new(0) }
    }

    /// A daemon of this suite's own, not started yet.
    pub fn node(&self, name: &str) -> Result<Node> {
        Node::new(&self.places, name)
    }

    /// Random numbers for one task.
    pub fn random(&self) -> Random {
        self.random.lock().unwrap().fork()
    }

    /// Prints whether this is as it should be, and gives it back.
    pub fn pass<T, E: Into<Error>>(&self, name: &str, result: Result<T, E>) -> Result<T> {
        result.map_err(Into::into).inspect(|_| println!("PASS {name}")).inspect_err(|error| self.fail(name, error))
    }

    /// Prints whether this holds, and what was seen if not.
    pub fn holds(&self, name: &str, holds: bool, seen: impl Display) {
        if holds {
            println!("PASS {name}");
        } else {
            self.fail(name, &Error::msg(seen.to_string()));
        }
    }

    pub fn skip(&self, name: &str, why: &str) {
        println!("SKIP {name}: {why}");
    }

    fn fail(&self, name: &str, error: &Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        println!("FAIL {name}: {}", format!("{error:#}").replace('\n', " "));
    }

    /// Prints whether the machine is as it was at `before`.
    pub async fn nothing_is_left(&self, name: &str, node: &Node, before: &Look) {
        // What is left has been printed; the suite goes on.
        let _ = self.pass(name, look::unchanged(node, before, UNTIL_CLEAN).await);
    }

    /// The end: a suite that ended early for a reason that nobody printed has failed as well.
    pub fn verdict(&self, name: &str, ran: Result<()>) -> ExitCode {
        if let (Err(error), 0) = (ran, self.failed.load(Ordering::Relaxed)) {
            self.fail(name, &error);
        }
        if self.failed.load(Ordering::Relaxed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
