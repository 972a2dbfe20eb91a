//! How long a start and an exec take: printed, and only held against a bound that a hang would break.

use std::time::{Duration, Instant};

use cradle_executor::run;

use crate::world::{World, finish, pipes};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![speed: starts_and_execs_are_measured];

const ROUNDS: usize = 20;
/// Far above what is expected (docs/budgets.md), far below what a wait for something would take.
const BOUND: Duration = Duration::from_millis(500);

fn starts_and_execs_are_measured() {
    let world = World::new();
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let plan = world.plan(&world.spec("true", |_| {}));
        let (stdio, pipes) = pipes();
        let began = Instant::now();
        let started = run::start(&plan, &world.pod, stdio, &world.single).unwrap();
        starts.push(began.elapsed());
        finish(started, pipes);
    }
    let running = world.start(|_| {});
    let plan = running.exec_plan(&world, "true", |_| {});
    let mut execs = Vec::new();
    for number in 0..ROUNDS {
        let (stdio, pipes) = pipes();
        let began = Instant::now();
        let started = run::exec(&plan, running.container(), &format!("e{number}"), stdio, &world.single).unwrap();
        execs.push(began.elapsed());
        finish(started, pipes);
    }
    running.stop();
    for (what, times) in [("start", &mut starts), ("exec", &mut execs)] {
        times.sort();
        println!("       {what}: median {:?}, best {:?}, worst {:?}", times[ROUNDS / 2], times[0], times[ROUNDS - 1]);
        assert!(times[ROUNDS / 2] < BOUND, "{what}");
    }
}
