//! Many clients lead lives of pods for a long time, and give up on many of their requests. The daemon's memory and
//! descriptors at the end are those of the beginning: here it lives all the time, [`crate::killed`] kills it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::figures::{self, Times};
use crate::lives::{Effort, Liver, Patience};
use crate::look;
use crate::suite::Suite;

/// The form of the test.
struct Form {
    clients: usize,
    time: Duration,
    lives: usize,
}

const SHORT: Form = Form { clients: 16, time: Duration::from_secs(15), lives: 50 };
const LONG: Form = Form { clients: 50, time: Duration::from_secs(600), lives: 2000 };

const PATIENCE: Patience = Patience { first_ms: (500, 5000), hopeless_once_in: 20, cancelled_once_in: 20 };

/// Growth of the daemon's memory from the first tenth of the time to the last that is no leak: caches fill.
const GROWTH_KIB: u64 = 1536;

/// One look at the daemon.
struct Sample {
    at: Duration,
    memory_kib: u64,
    descriptors: usize,
}

pub async fn run(suite: &Suite) -> Result<()> {
    let form = if suite.long { LONG } else { SHORT };
    let mut node = suite.node("n")?;
    let (_, before) = suite.ready(&mut node).await?;
    let begun = Instant::now();
    let lived = Rc::new(Cell::new(0));
    let mut clients = JoinSet::new();
    for number in 0..form.clients {
        let (home, lived) = (node.home().clone(), lived.clone());
        let mut liver = Liver::new(home.client(), suite.random(), PATIENCE);
        clients.spawn_local(async move {
            let (mut times, mut effort) = (Times::default(), Effort::default());
            while begun.elapsed() < form.time || lived.get() < form.lives {
                let at = Instant::now();
                effort.add(liver.live(&home, &format!("load-{number}-{}", times.count())).await?);
                lived.set(lived.get() + 1);
                times.add(at.elapsed());
            }
            Ok::<_, anyhow::Error>((times, effort))
        });
    }
    let (mut samples, mut times, mut effort) = (Vec::new(), Times::default(), Effort::default());
    let mut broken = Vec::new();
    let mut ticks = tokio::time::interval(form.time / 100);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                None => break,
                Some(ended) => match ended? {
                    Ok((led, spent)) => { times.extend(led); effort.add(spent); }
                    Err(error) => broken.push(format!("{error:#}")),
                },
            },
            _ = ticks.tick() => samples.push(sample(node.pid()?, begun)?),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("# {} lives in {seconds:.0} s with {} clients, {effort}: {times}", times.count(), form.clients);
    let seen = format!("{} clients gave up: {}", broken.len(), broken.join("; "));
    suite.holds("every_life_completes_under_load", broken.is_empty(), seen);
    suite.holds("enough_lives_were_led", times.count() >= form.lives, times.count());
    flat(suite, &samples)?;
    suite.nothing_is_left("nothing_is_left_after_load", &node, &before).await;
    Ok(())
}

fn sample(daemon: u32, begun: Instant) -> Result<Sample> {
    Ok(Sample {
        at: begun.elapsed(),
        memory_kib: figures::memory(daemon)?.resident_kib,
        descriptors: look::descriptors(daemon)?.values().sum(),
    })
}

/// The last tenth against the first, which begins when all clients have: after a tenth of the time.
fn flat(suite: &Suite, samples: &[Sample]) -> Result<()> {
    let end = samples.last().context("nobody looked at the daemon")?.at;
    let mean = |from: u32, of: fn(&Sample) -> u64| {
        let within = |sample: &&Sample| sample.at >= end * from / 10 && sample.at <= end * (from + 1) / 10;
        let chosen: Vec<u64> = samples.iter().filter(within).map(of).collect();
        chosen.iter().sum::<u64>() / (chosen.len() as u64).max(1)
    };
    let memory = |sample: &Sample| sample.memory_kib;
    let descriptors = |sample: &Sample| sample.descriptors as u64;
    let seen = format!(
        "memory {} KiB then {} KiB, descriptors {} then {}",
        mean(1, memory),
        mean(9, memory),
        mean(1, descriptors),
        mean(9, descriptors)
    );
    let tenths: Vec<String> = (0..10).map(|tenth| mean(tenth, memory).to_string()).collect();
    println!("# the daemon's memory in each tenth of the time: {} KiB", tenths.join(", "));
    suite.holds("memory_is_flat", mean(9, memory) <= mean(1, memory) + GROWTH_KIB, &seen);
    let open = (mean(1, descriptors), mean(9, descriptors));
    suite.holds("descriptors_are_flat", open.1 <= open.0 + open.0 / 2, &seen);
    Ok(())
}
