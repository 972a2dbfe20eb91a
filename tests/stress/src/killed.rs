//! A daemon that is killed all the time, while many clients lead full lives of pods and take back many of their requests:
//! every life must complete, and nothing of any may be left.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::lives::{Effort, Liver, Patience};
use crate::node::{Home, Node};
use crate::specs::HTTPD;
use crate::suite::Suite;

/// The form of the test: it goes on until the time is over and the lives are led.
struct Form {
    clients: usize,
    time: Duration,
    lives: usize,
    deaths: usize,
}

const SHORT: Form = Form { clients: 16, time: Duration::from_secs(25), lives: 16, deaths: 10 };
const LONG: Form = Form { clients: 50, time: Duration::from_secs(600), lives: 2000, deaths: 300 };
/// Between a start of the daemon and its next death, in ms.
const KILL_AFTER_MS: std::ops::Range<u64> = 300..1300;
const PATIENCE: Patience = Patience { first_ms: (50, 500), hopeless_once_in: 16, cancelled_once_in: 16 };

pub async fn run(suite: &Suite) -> Result<()> {
    let form = if suite.long { LONG } else { SHORT };
    let mut node = suite.node("n")?;
    let (_, before) = suite.ready(&mut node).await?;
    let lived = Rc::new(Cell::new(0));
    let stop = Rc::new(Cell::new(false));
    let home = Rc::new(node.home().clone());
    let mut lives = JoinSet::new();
    for number in 0..form.clients {
        let (home, lived, stop, random) = (home.clone(), lived.clone(), stop.clone(), suite.random());
        let mut liver = Liver::new(home.client(), random, PATIENCE);
        lives.spawn_local(async move { one_after_another(&mut liver, &home, number, (&lived, &stop)).await });
    }
    let images = {
        let (stop, mut liver) = (stop.clone(), Liver::new(home.client(), suite.random(), PATIENCE));
        tokio::task::spawn_local(async move { images(&mut liver, &stop).await })
    };
    let deaths = kill(suite, &mut node, &form, &lived).await;
    stop.set(true);
    let deaths = suite.pass("the_daemon_comes_back_every_time", deaths)?;
    let mut effort = Effort::default();
    let mut broken = Vec::new();
    while let Some(ended) = lives.join_next().await {
        match ended? {
            Ok(spent) => effort.add(spent),
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    let lived = lived.get();
    println!("# {lived} lives of pods with {} clients, {effort}, {deaths} deaths of the daemon", form.clients);
    let seen = format!("{} clients gave up: {}", broken.len(), broken.join("; "));
    suite.holds("every_life_completes_while_the_daemon_is_killed", broken.is_empty(), seen);
    let enough = lived >= form.lives && deaths >= form.deaths && effort.cancelled > 0;
    suite.holds("lives_were_led_and_daemons_killed", enough, format!("{lived} and {deaths}, {effort}"));
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
    (lived, stop): (&Cell<usize>, &Cell<bool>),
) -> Result<Effort> {
    let mut effort = Effort::default();
    for count in 0.. {
        if stop.get() {
            break;
        }
        effort.add(liver.live(home, &format!("killed-{number}-{count}")).await?);
        lived.set(lived.get() + 1);
    }
    Ok(effort)
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

/// Kills and starts the daemon until the form is fulfilled, or cannot be; tells how often.
async fn kill(suite: &Suite, node: &mut Node, form: &Form, lived: &Cell<usize>) -> Result<usize> {
    let mut random = suite.random();
    let begun = Instant::now();
    let mut deaths = 0;
    while begun.elapsed() < form.time || (lived.get() < form.lives && begun.elapsed() < form.time * 2) {
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
