//! What pods and containers use, read from the kernel when it is asked for.
//!
//! One that ends while it is looked at is left out: it must not fail a list of others.

use std::path::Path;
use std::sync::Arc;

use cradle_domain::{Class, Failure};
use cradle_executor::cgroup::{Cgroup, Layout};
use tokio::task::{JoinSet, spawn_blocking};

pub use cradle_executor::cgroup::{CpuStats, MemoryStats, PidStats, Pressure, PressureLine, Stats, SwapStats};

use crate::engine::Core;
use crate::ports::ImageUsage;
use crate::view::{ContainerView, PodView};

/// What a container uses.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    pub container: Arc<ContainerView>,
    /// None: it has no control group, since it does not run.
    pub group: Option<Stats>,
    pub writable: Option<ImageUsage>,
}

/// What a pod uses as a whole, and each of its containers.
#[derive(Debug, Clone)]
pub struct PodUsage {
    pub pod: Arc<PodView>,
    pub group: Stats,
    /// The links of its own network namespace, the loopback left out; none on the host's network.
    pub links: Vec<LinkUsage>,
    pub containers: Vec<ContainerUsage>,
}

/// What has passed a link, in the pod's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkUsage {
    pub name: String,
    pub received_bytes: u64,
    pub received_errors: u64,
    pub sent_bytes: u64,
    pub sent_errors: u64,
}

pub(crate) async fn containers(core: &Core, views: Vec<Arc<ContainerView>>) -> Result<Vec<ContainerUsage>, Failure> {
    let mut measuring = JoinSet::new();
    for (at, view) in views.iter().enumerate() {
        let (images, id) = (core.ports.images.clone(), view.id.clone());
        measuring.spawn(async move { (at, images.writable_usage(&id).await) });
    }
    let layout = core.settings.facts.layout.clone();
    let groups = {
        let paths: Vec<_> = views.iter().map(|view| view.cgroup.clone()).collect();
        spawn_blocking(move || paths.iter().map(|path| read_group(path, &layout)).collect::<Vec<_>>()).await
    };
    let groups = groups.map_err(did_not_end)?;
    let mut usages: Vec<_> = std::iter::zip(views, groups)
        .map(|(container, group)| ContainerUsage { container, group, writable: None })
        .collect();
    while let Some(measured) = measuring.join_next().await {
        let (at, writable) = measured.map_err(did_not_end)?;
        // Not measured is not known: the rest is worth telling.
        usages[at].writable = writable.ok().flatten();
    }
    Ok(usages)
}

pub(crate) async fn pods(core: &Core, views: Vec<Arc<PodView>>) -> Result<Vec<PodUsage>, Failure> {
    let all = views.iter().flat_map(|pod| pod.containers.iter().filter(|container| container.pid.is_some()));
    let mut of_containers = containers(core, all.cloned().collect()).await?;
    let layout = core.settings.facts.layout.clone();
    let read = move || {
        let read = |pod: Arc<PodView>| Some((read_group(&pod.cgroup, &layout)?, read_links(&pod), pod));
        views.into_iter().filter_map(read).collect::<Vec<_>>()
    };
    let pods = spawn_blocking(read).await.map_err(did_not_end)?;
    let usage = |(group, links, pod): (Stats, Vec<LinkUsage>, Arc<PodView>)| {
        let containers = of_containers.extract_if(.., |usage| usage.container.pod == pod.id).collect();
        PodUsage { pod, group, links, containers }
    };
    Ok(pods.into_iter().map(usage).collect())
}

fn did_not_end(error: tokio::task::JoinError) -> Failure {
    Failure::new(Class::Bug, format!("reading what pods use did not end: {error}"))
}

/// None: the group is gone, or cannot be read, which the log says.
fn read_group(path: &str, layout: &Layout) -> Option<Stats> {
    let read = || -> Result<Stats, Failure> { Ok(Cgroup::open(path, layout)?.stats()?) };
    match read() {
        Ok(stats) => Some(stats),
        Err(failure) if failure.class() == Class::NotFound => None,
        Err(failure) => {
            tracing::warn!(group = path, %failure, "the usage of a control group is unknown");
            None
        }
    }
}

/// The links of the shim's network namespace, which is the pod's unless that is the host's.
fn read_links(pod: &PodView) -> Vec<LinkUsage> {
    let Some(pid) = pod.shim_pid.filter(|_| pod.spec.namespaces.network != crate::spec::NamespaceMode::Node) else {
        return Vec::new();
    };
    let path = Path::new("/proc").join(pid.to_string()).join("net/dev");
    std::fs::read_to_string(path).map(|text| parse_links(&text)).unwrap_or_default()
}

/// Two lines of headings, then `name: ` and sixteen numbers a link: eight received, eight sent, each beginning with
/// bytes, packets and errors (net/core/net-procfs.c).
fn parse_links(text: &str) -> Vec<LinkUsage> {
    let link = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
        Some(LinkUsage {
            name: name.trim().to_owned(),
            received_bytes: *numbers.first()?,
            received_errors: *numbers.get(2)?,
            sent_bytes: *numbers.get(8)?,
            sent_errors: *numbers.get(10)?,
        })
    };
    text.lines().skip(2).filter_map(link).filter(|link| link.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_the_kernels_table_without_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
               lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
             eth0: 2000 20 3 0 0 0 0 0 4000 40 5 0 0 0 0 0\n";
        let expected = LinkUsage {
            name: "eth0".to_owned(),
            received_bytes: 2000,
            received_errors: 3,
            sent_bytes: 4000,
            sent_errors: 5,
        };
        assert_eq!(parse_links(text), [expected]);
        assert_eq!(parse_links(""), []);
    }

    #[test]
    fn a_group_that_is_gone_is_no_error() {
        let Ok(layout) = Layout::detect() else { return };
        assert_eq!(read_group("/cradle-usage-test/no-such-group", &layout), None);
    }
}
