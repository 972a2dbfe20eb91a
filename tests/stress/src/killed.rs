//! A daemon that is killed all the time, while clients lead full lives of pods: every life must complete, and nothing of
//! any may be left.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::lives::{Effort, Liver, Patience};
use crate::node::{Home, Node};
use crate::specs::HTTPD;
use crate::suite::Suite;

const CLIENTS: usize = 16;
const SHORT: Duration = Duration::from_secs(25);
const LONG: Duration = Duration::from_secs(600);
/// Between a start of the daemon and its next death, in ms.
const KILL_AFTER_MS: std::ops::Range<u64> = 300..1300;
const PATIENCE: Patience = Patience { first_ms: (50, 500), hopeless_once_in: 8 };

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (_, before) = suite.ready(&mut node).await?;
    let stop = Rc::new(Cell::new(false));
    let home = Rc::new(node.home().clone());
    let mut lives = JoinSet::new();
    for number in 0..CLIENTS {
        let (home, stop, random) = (home.clone(), stop.clone(), suite.random());
        let mut liver = Liver::new(home.client(), random, PATIENCE);
        lives.spawn_local(async move { one_after_another(&mut liver, &home, number, &stop).await });
    }
    let images = {
        let (stop, mut liver) = (stop.clone(), Liver::new(home.client(), suite.random(), PATIENCE));
        tokio::task::spawn_local(async move { images(&mut liver, &stop).await })
    };
    let deaths = kill(suite, &mut node).await;
    stop.set(true);
    let deaths = suite.pass("the_daemon_comes_back_every_time", deaths)?;
    let (mut lived, mut effort) = (0, Effort::default());
    let mut broken = Vec::new();
    while let Some(ended) = lives.join_next().await {
        match ended? {
            Ok((count, spent)) => {
                lived += count;
                effort.requests += spent.requests;
                effort.retries += spent.retries;
            }
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    println!(
        "# {lived} lives of pods with {} requests and {} retries, {deaths} deaths of the daemon",
        effort.requests, effort.retries
    );
    let seen = format!("{} clients gave up: {}", broken.len(), broken.join("; "));
    suite.holds("every_life_completes_while_the_daemon_is_killed", broken.is_empty(), seen);
    suite.holds("lives_were_led_and_daemons_killed", lived >= CLIENTS && deaths > 10, format!("{lived} and {deaths}"));
    let images = suite.pass("an_image_comes_and_goes_while_the_daemon_is_killed", images.await?)?;
    println!("# {images} pulls and removals of an image");
    let client = node.client();
    let left = (client.pods().await?.len(), client.containers().await?.len());
    suite.holds("no_pod_is_left", left == (0, 0), format!("{left:?}"));
    // The daemon of the look before was another one, with the same needs.
    suite.nothing_is_left("nothing_is_left_after_all_deaths", &node, &before).await;
    Ok(())
}

async fn one_after_another(
    liver: &mut Liver,
    home: &Home,
    number: usize,
    stop: &Cell<bool>,
) -> Result<(usize, Effort)> {
    let (mut count, mut effort) = (0, Effort::default());
    while !stop.get() {
        let spent = liver.live(home, &format!("killed-{number}-{count}")).await?;
        effort.requests += spent.requests;
        effort.retries += spent.retries;
        count += 1;
    }
    Ok((count, effort))
}

async fn images(liver: &mut Liver, stop: &Cell<bool>) -> Result<usize> {
    let mut count = 0;
    while !stop.get() {
        liver.pull_and_remove(HTTPD).await?;
        count += 1;
    }
    // A layer whose image was removed just before a death is kept for a while, for the next try of a pull.
    liver.pull_and_remove(HTTPD).await?;
    Ok(count)
}

/// Kills and starts the daemon until the time is over; tells how often.
async fn kill(suite: &Suite, node: &mut Node) -> Result<usize> {
    let mut random = suite.random();
    let end = Instant::now() + if suite.long { LONG } else { SHORT };
    let mut deaths = 0;
    while Instant::now() < end {
        tokio::time::sleep(random.milliseconds(KILL_AFTER_MS)).await;
        node.kill()?;
        deaths += 1;
        // A start that is cut short is a death like any other.
        if random.once_in(4) {
            node.spawn()?;
            tokio::time::sleep(random.milliseconds(1..80)).await;
            node.kill()?;
            deaths += 1;
        }
        node.start().await?;
    }
    Ok(deaths)
}
