//! No room: addresses, space, inodes, processes, descriptors. What needs some is refused and says so, what runs goes on,
//! and with room everything works again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tonic::{Code, Status};

use crate::client::{Answer, Client, code, said};
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, HTTPD, OBEDIENT};
use crate::suite::Suite;

pub async fn run(suite: &Suite) -> Result<()> {
    addresses(suite).await?;
    space(suite, "space", "size=48m").await?;
    space(suite, "inodes", "size=48m,nr_inodes=3000").await?;
    processes(suite).await?;
    descriptors(suite).await
}

/// A pod with a running container.
async fn begin(node: &Node, client: &Client, name: &str) -> Answer<Running> {
    Running::begin(node, client, name, &specs::container("c", BUSYBOX, &OBEDIENT)).await
}

/// Shows that what runs goes on.
async fn goes_on(suite: &Suite, client: &Client, running: &Running, name: &str) {
    let said_it = client.exec(&running.container, &["echo", "here"], 20).await;
    let right = said_it.as_ref().is_ok_and(|it| it.stdout == b"here\n");
    suite.holds(&format!("without_{name}_what_runs_goes_on"), right, said(&said_it));
    let listed = client.containers().await;
    let right = listed.as_ref().is_ok_and(|listed| listed.iter().any(|each| each.id == running.container));
    suite.holds(&format!("without_{name}_lists_are_answered"), right, said(&listed));
}

fn refused<T: std::fmt::Debug>(suite: &Suite, name: &str, answer: &Answer<T>, words: &[&str]) {
    let message = answer.as_ref().err().map_or("", Status::message);
    let right = code(answer) == Code::ResourceExhausted && words.iter().all(|word| message.contains(word));
    suite.holds(name, right, format!("wanted ResourceExhausted with {words:?}, got {}", said(answer)));
}

async fn works_again(suite: &Suite, node: &Node, client: &Client, name: &str) -> Result<()> {
    let again = begin(node, client, "again").await;
    let again = suite.pass(&format!("with_{name}_everything_works_again"), again)?;
    client.remove_pod(&again.pod).await?;
    Ok(())
}

async fn addresses(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let subnet = suite.places.subnet.split_once('/').context("the subnet has no prefix")?.0.to_owned() + "/29";
    node.set("network.subnets", &subnet);
    let (client, before) = suite.ready(&mut node).await?;
    let running = begin(&node, &client, "running").await?;
    let mut pods = Vec::new();
    let refusal = loop {
        match client.run_pod(&specs::pod(&node, &format!("pod-{}", pods.len()))).await {
            Ok(pod) if pods.len() < 8 => pods.push(pod),
            answer => break answer,
        }
    };
    refused(suite, "without_addresses_a_pod_is_refused", &refusal, &[&subnet]);
    suite.holds("all_addresses_were_used", pods.len() == 4, pods.len());
    goes_on(suite, &client, &running, "addresses").await;
    let host = client.run_pod(&specs::host_pod(&node, "host")).await;
    let host = suite.pass("without_addresses_a_pod_of_the_host_runs", host)?;
    client.remove_pod(&host).await?;
    let last = pods.pop().context("no pod got an address")?;
    client.remove_pod(&last).await?;
    works_again(suite, &node, &client, "addresses").await?;
    for pod in pods.iter().chain([&running.pod]) {
        client.remove_pod(pod).await?;
    }
    suite.nothing_is_left("nothing_is_left_after_addresses", &node, &before).await;
    Ok(())
}

/// A small file system of its own, removed with this value.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, options: &str) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let options = std::ffi::CString::new(options)?;
        mount("small", &path, "tmpfs", MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("mounting a tmpfs at {}", path.display()))?;
        Ok(Small(path))
    }

    /// Fills it to the last byte and the last inode.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.0.join("ballast"))?;
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            while ballast.write_all(&piece).is_ok() {}
        }
        fs::create_dir_all(self.0.join("ballasts")).ok();
        let mut number = 0;
        while File::create(self.0.join("ballasts").join(number.to_string())).is_ok() && number < 100_000 {
            number += 1;
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        fs::remove_file(self.0.join("ballast"))?;
        if self.0.join("ballasts").exists() {
            fs::remove_dir_all(self.0.join("ballasts"))?;
        }
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            println!("# unmounting {}: {error}", self.0.display());
        }
    }
}

async fn space(suite: &Suite, name: &str, options: &str) -> Result<()> {
    let mut node = suite.node("s")?;
    let root = Small::mount(node.root(), options)?;
    let state = Small::mount(node.state(), "size=4m,nr_inodes=2000")?;
    let (client, before) = suite.ready(&mut node).await?;
    let running = begin(&node, &client, "running").await?;
    let config = specs::pod(&node, "running");
    root.fill()?;
    let created = client.create(&running.pod, &specs::container("no-room", BUSYBOX, &OBEDIENT), &config).await;
    refused(suite, &format!("without_{name}_in_root_a_container_is_refused"), &created, &["no-room"]);
    let pulled = client.pull(HTTPD).await;
    refused(suite, &format!("without_{name}_in_root_a_pull_is_refused"), &pulled, &["httpd"]);
    goes_on(suite, &client, &running, &format!("{name}_in_root")).await;
    node.kill()?;
    suite.pass(&format!("without_{name}_in_root_a_daemon_starts"), node.start().await)?;
    goes_on(suite, &client, &running, &format!("{name}_in_root_after_a_restart")).await;
    root.clear()?;
    let pulled = client.pull(HTTPD).await;
    suite.holds(&format!("with_{name}_in_root_a_pull_succeeds"), pulled.is_ok(), said(&pulled));
    client.remove_image(HTTPD).await?;
    works_again(suite, &node, &client, &format!("{name}_in_root")).await?;
    state.fill()?;
    let refusal = client.run_pod(&specs::pod(&node, "no-room")).await;
    refused(suite, &format!("without_{name}_in_state_a_pod_is_refused"), &refusal, &["no-room"]);
    goes_on(suite, &client, &running, &format!("{name}_in_state")).await;
    node.kill()?;
    let started = node.start().await;
    suite.pass(&format!("without_{name}_in_state_a_daemon_starts"), started)?;
    goes_on(suite, &client, &running, &format!("{name}_in_state_after_a_restart")).await;
    let stopped = client.stop(&running.container, 20).await;
    suite.holds(&format!("without_{name}_in_state_a_container_stops"), stopped.is_ok(), said(&stopped));
    let removed = client.remove_pod(&running.pod).await;
    suite.holds(&format!("without_{name}_in_state_a_pod_is_removed"), removed.is_ok(), said(&removed));
    state.clear()?;
    works_again(suite, &node, &client, &format!("{name}_in_state")).await?;
    suite.nothing_is_left(&format!("nothing_is_left_after_{name}"), &node, &before).await;
    let (ended, _) = node.terminate().await?;
    suite.holds(&format!("the_daemon_ends_after_{name}"), ended.success(), ended);
    Ok(())
}

/// A group that limits the daemon's processes, removed with this value.
struct Group(PathBuf);

impl Group {
    fn make(name: &str) -> Result<Self> {
        let root = [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup")];
        let root = root
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists())
            .context("no control group for processes")?;
        let path = root.join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Group(path))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, value).with_context(|| format!("writing {}", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            println!("# removing {}: {error}", self.0.display());
        }
    }
}

async fn processes(suite: &Suite) -> Result<()> {
    let group = match Group::make(&format!("{}-limited", suite.places.bridge)) {
        Ok(group) => group,
        Err(error) => {
            suite.skip("processes", &format!("{error:#}"));
            return Ok(());
        }
    };
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let running = begin(&node, &client, "running").await?;
    group.write("cgroup.procs", &node.pid()?.to_string())?;
    // Threads count: as many as there are now.
    group.write("pids.max", fs::read_to_string(group.0.join("pids.current"))?.trim())?;
    let refusal = client.run_pod(&specs::pod(&node, "no-process")).await;
    refused(suite, "without_processes_a_pod_is_refused", &refusal, &["no-process"]);
    goes_on(suite, &client, &running, "processes").await;
    let stopped = client.stop(&running.container, 20).await;
    suite.holds("without_processes_a_container_stops", stopped.is_ok(), said(&stopped));
    group.write("pids.max", "max")?;
    works_again(suite, &node, &client, "processes").await?;
    client.remove_pod(&running.pod).await?;
    suite.nothing_is_left("nothing_is_left_after_processes", &node, &before).await;
    drop(node);
    Ok(())
}

/// The first descriptors of the daemon are open for good: with this limit, none can be added.
const DESCRIPTORS: u64 = 4;

async fn descriptors(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, before) = suite.ready(&mut node).await?;
    let running = begin(&node, &client, "running").await?;
    let daemon = Pid::from_raw(i32::try_from(node.pid()?)?).context("no process id")?;
    // The daemon's is this process's own, which started it.
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limited = Rlimit { current: Some(DESCRIPTORS), maximum: hard };
    let limit = prlimit(Some(daemon), Resource::Nofile, limited).context("limiting the daemon's descriptors")?;
    let refusal = client.run_pod(&specs::pod(&node, "no-descriptor")).await;
    refused(suite, "without_descriptors_a_pod_is_refused", &refusal, &["no-descriptor"]);
    let exec = client.exec(&running.container, &["true"], 20).await;
    refused(suite, "without_descriptors_a_command_is_refused", &exec, &["descriptors"]);
    let listed = client.containers().await;
    suite.holds("without_descriptors_lists_are_answered", listed.is_ok(), said(&listed));
    let stopped = client.stop(&running.container, 20).await;
    suite.holds("without_descriptors_a_container_stops", stopped.is_ok(), said(&stopped));
    prlimit(Some(daemon), Resource::Nofile, limit).context("taking the limit away")?;
    works_again(suite, &node, &client, "descriptors").await?;
    client.remove_pod(&running.pod).await?;
    suite.nothing_is_left("nothing_is_left_after_descriptors", &node, &before).await;
    Ok(())
}
