//! What every suite has: its places, its random numbers, and the lines it prints.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Error, Result};

use crate::client::Client;
use crate::look::{self, Look};
use crate::node::{Node, Places};
use crate::random::Random;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};

/// How long what is left behind an answer may take to go: links and bridges are removed after a pause.
const UNTIL_CLEAN: Duration = Duration::from_secs(15);

/// One run of one suite.
pub struct Suite {
    pub places: Places,
    /// Whether the long form was asked for.
    pub long: bool,
    random: RefCell<Random>,
    failed: Cell<usize>,
}

impl Suite {
    pub fn new(places: Places, long: bool, seed: Option<u64>) -> Self {
        let random = Random::new(seed);
        println!("# --seed {}", random.seed());
        Suite { places, long, random: RefCell::new(random), failed: Cell::new(0) }
    }

    /// A daemon of this suite's own, not started yet.
    pub fn node(&self, name: &str) -> Result<Node> {
        Node::new(&self.places, name)
    }

    /// Starts the daemon, with busybox; the look is that of before any pod.
    pub async fn ready(&self, node: &mut Node) -> Result<(Client, Look)> {
        node.start().await?;
        let client = node.client();
        client.pull(BUSYBOX).await.context("pulling busybox")?;
        let before = Look::take(node)?;
        // The daemon keeps some descriptors that it needed once.
        let first = Running::begin(node, &client, "first", &specs::container("c", BUSYBOX, &OBEDIENT)).await?;
        client.exec(&first.container, &["true"], 20).await?;
        client.remove_pod(&first.pod).await?;
        Ok((client, before.with_descriptors_of(node)?))
    }

    /// Random numbers for one task.
    pub fn random(&self) -> Random {
        self.random.borrow_mut().fork()
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
        self.failed.set(self.failed.get() + 1);
        println!("FAIL {name}: {}", format!("{error:#}").replace('\n', " "));
    }

    /// Prints whether the machine is as it was at `before`.
    pub async fn nothing_is_left(&self, name: &str, node: &Node, before: &Look) {
        // What is left has been printed; the suite goes on.
        let _ = self.pass(name, look::unchanged(node, before, UNTIL_CLEAN).await);
    }

    /// The end: a suite that ended early for a reason that nobody printed has failed as well.
    pub fn verdict(&self, name: &str, ran: Result<()>) -> ExitCode {
        if let (Err(error), 0) = (ran, self.failed.get()) {
            self.fail(name, &error);
        }
        if self.failed.get() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
