//! What connecting and disconnecting a pod takes here. `cargo test --release -p cradle-network -- --ignored --nocapture
//! times` prints it; nothing is asserted, as no machine is like another.

use std::time::{Duration, Instant};

use super::world::*;

const PODS: usize = 100;

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:<52} p50 {:.3} ms  p90 {:.3} ms  max {:.3} ms", at(50), at(90), at(100));
}

#[test]
#[ignore = "a measurement"]
fn times_of_attaching_and_detaching() {
    if !is_root() {
        return;
    }
    for (what, ports) in [("no host port", vec![]), ("a host port", vec![tcp(0, 0)])] {
        let world = World::new();
        let daemon = world.start();
        let network = daemon.network();
        let pods: Vec<Pod> = (0..PODS).map(|_| Pod::new()).collect();
        let (mut attached, mut detached, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        world.host.run(|| {
            for (host_port, pod) in (1000..).zip(&pods) {
                let ports: Vec<_> = ports.iter().map(|_| tcp(host_port, 80)).collect();
                let attachment = pod.attachment(&ports);
                let begun = Instant::now();
                let (_, deferred) = network.attach(attachment).unwrap();
                attached.push(begun.elapsed());
                deferred.finish();
            }
            for pod in &pods {
                let begun = Instant::now();
                let deferred = network.detach(&pod.id).unwrap();
                detached.push(begun.elapsed());
                deferred.finish();
                removed.push(begun.elapsed());
            }
        });
        print(&format!("first attach, with bridge and table, {what}"), vec![attached[0]]);
        print(&format!("attach, {what}"), attached.split_off(1));
        print(&format!("detach, {what}"), detached);
        print("what follows behind it", removed);
        let begun = Instant::now();
        daemon.close();
        print("removal of bridge and table", vec![begun.elapsed()]);
    }
}

#[test]
#[ignore = "a measurement"]
fn times_through_the_asynchronous_port_eight_at_once() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pods: Vec<Pod> = (0..PODS).map(|_| Pod::new()).collect();
    for pods in pods.chunks(8) {
        let attachments: Vec<_> = pods.iter().map(|pod| pod.attachment(&[])).collect();
        let begun = Instant::now();
        daemon.block_on(async {
            let tasks = attachments.into_iter().map(|attachment| {
                let bridge = daemon.bridge.clone();
                tokio::spawn(
                    async move { cradle_engine::ports::PodNetwork::attach(&bridge, attachment).await.unwrap() },
                )
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
        println!("eight at once: {:?}", begun.elapsed());
    }
}
