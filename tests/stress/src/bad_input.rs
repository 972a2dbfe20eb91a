//! Requests that cannot be fulfilled: each gets one error with the right code that names the thing and the reason, and
//! nothing of what was begun for it stays.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use cradle_cri_api::v1;
use tonic::{Code, Status};

use crate::client::{Answer, Client, code, said};
use crate::look::{self, Look};
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;

/// Links are removed a moment after the answer.
const UNDONE: Duration = Duration::from_secs(10);

/// What must stand in a message: the thing, the reason.
type Words = &'static [&'static str];

pub async fn all(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    pulls(suite, client).await;
    let before = Look::take(node)?;
    pods(suite, node, client).await;
    let undone = look::unchanged(node, &before, UNDONE).await;
    // What is left was printed; the rest of the suite tells more.
    let _ = suite.pass("nothing_is_left_of_refused_pods", undone);
    host_ports(suite, node, client).await?;
    let config = specs::pod(node, "refusals");
    // The pod's own control groups come with its first container.
    let pod = Running::begin_in(client, &config, &specs::container("c", BUSYBOX, &OBEDIENT)).await?.pod;
    let before = Look::take(node)?;
    creations(suite, client, &pod, &config).await;
    starts(suite, client, &pod, &config).await;
    let undone = look::unchanged(node, &before, UNDONE).await;
    let _ = suite.pass("nothing_is_left_of_refused_containers", undone);
    requests(suite, client, &pod, &config).await?;
    client.remove_pod(&pod).await?;
    Ok(())
}

/// Prints whether the answer is the refusal that it should be.
fn refused<T: std::fmt::Debug>(suite: &Suite, name: &str, answer: &Answer<T>, wanted: Code, words: Words) {
    let message = answer.as_ref().err().map_or("", Status::message);
    let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
    let right = code(answer) == wanted && missing.is_empty();
    suite.holds(name, right, format!("wanted {wanted:?} with {words:?}, got {}", said(answer)));
}

async fn pulls(suite: &Suite, client: &Client) {
    let cases: [(&str, &str, Code, Words); 4] = [
        ("an_unknown_image", "docker.io/library/no-such-image:1", Code::NotFound, &["no-such-image"]),
        ("an_unknown_tag", "docker.io/library/busybox:no-such-tag", Code::NotFound, &["no-such-tag"]),
        ("a_reference_that_is_none", "Not A Reference", Code::InvalidArgument, &["Not A Reference"]),
        ("no_reference", "", Code::InvalidArgument, &["image"]),
    ];
    for (name, image, wanted, words) in cases {
        refused(suite, &format!("pull_of_{name}"), &client.pull(image).await, wanted, words);
    }
}

type PodCase = (&'static str, fn(&mut v1::PodSandboxConfig), Code, Words);

async fn pods(suite: &Suite, node: &Node, client: &Client) {
    fn linux(config: &mut v1::PodSandboxConfig) -> &mut v1::LinuxPodSandboxConfig {
        config.linux.get_or_insert_default()
    }
    let cases: [PodCase; 9] = [
        ("without_metadata", |pod| pod.metadata = None, Code::InvalidArgument, &["metadata"]),
        ("without_a_name", |pod| pod.metadata.get_or_insert_default().name.clear(), Code::InvalidArgument, &["name"]),
        ("with_a_long_host_name", |pod| pod.hostname = "x".repeat(65), Code::InvalidArgument, &["hostname", "64"]),
        (
            "with_a_relative_log_directory",
            |pod| pod.log_directory = "a/b".into(),
            Code::InvalidArgument,
            &["log_directory"],
        ),
        (
            "with_a_sysctl_that_is_none",
            |pod| drop(linux(pod).sysctls.insert("kernel.no_such_thing".into(), "1".into())),
            Code::InvalidArgument,
            &["kernel.no_such_thing"],
        ),
        (
            "with_a_sysctl_of_a_wrong_value",
            |pod| drop(linux(pod).sysctls.insert("net.ipv4.ip_forward".into(), "yes".into())),
            Code::InvalidArgument,
            &["net.ipv4.ip_forward", "yes"],
        ),
        (
            "with_a_control_group_that_climbs",
            |pod| linux(pod).cgroup_parent = "/a/../../b".into(),
            Code::InvalidArgument,
            &["cgroup_parent", ".."],
        ),
        (
            "with_a_group_and_no_user",
            |pod| linux(pod).security_context.get_or_insert_default().run_as_group = Some(v1::Int64Value { value: 5 }),
            Code::InvalidArgument,
            &["run_as_group"],
        ),
        (
            "with_a_port_beyond_all",
            |pod| {
                pod.port_mappings.push(v1::PortMapping { container_port: 80, host_port: 70000, ..Default::default() })
            },
            Code::InvalidArgument,
            &["host_port", "70000"],
        ),
    ];
    for (name, change, wanted, words) in cases {
        let mut config = specs::pod(node, "refused");
        change(&mut config);
        refused(suite, &format!("a_pod_{name}_is_refused"), &client.run_pod(&config).await, wanted, words);
    }
    let answer = client.run_pod_with(&specs::pod(node, "refused"), "no-such-handler").await;
    refused(suite, "an_unknown_handler_is_refused", &answer, Code::InvalidArgument, &["no-such-handler"]);
    let listed = client.pods().await;
    suite.holds("refused_pods_are_not_listed", listed.as_ref().is_ok_and(Vec::is_empty), said(&listed));
}

/// A host port belongs to the first who asked for it.
async fn host_ports(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let asking = |name| {
        let mut config = specs::pod(node, name);
        config.port_mappings.push(v1::PortMapping { container_port: 80, host_port: 28_641, ..Default::default() });
        config
    };
    let first = client.run_pod(&asking("first")).await?;
    let second = client.run_pod(&asking("second")).await;
    refused(suite, "a_host_port_of_another_is_refused", &second, Code::AlreadyExists, &["28641"]);
    client.remove_pod(&first).await?;
    let second = suite.pass("and_free_after_its_removal", client.run_pod(&asking("second")).await)?;
    client.remove_pod(&second).await?;
    Ok(())
}

type ContainerCase = (&'static str, fn(&mut v1::ContainerConfig), Code, Words);

fn user(name: &str) -> impl Fn(&mut v1::ContainerConfig) {
    let name = name.to_owned();
    move |config| specs::security(config).run_as_username.clone_from(&name)
}

/// Containers that CreateContainer refuses.
async fn creations(suite: &Suite, client: &Client, pod: &str, pod_config: &v1::PodSandboxConfig) {
    let cases: [ContainerCase; 17] = [
        (
            "of_an_unknown_image",
            |c| c.image.get_or_insert_default().image = "docker.io/library/none:1".into(),
            Code::NotFound,
            &["docker.io/library/none:1", "pull"],
        ),
        ("without_an_image", |c| c.image = None, Code::InvalidArgument, &["image"]),
        ("without_metadata", |c| c.metadata = None, Code::InvalidArgument, &["metadata"]),
        ("without_a_name", |c| c.metadata.get_or_insert_default().name.clear(), Code::InvalidArgument, &["name"]),
        ("of_an_unknown_user", |c| user("nobody-at-all")(c), Code::InvalidArgument, &["nobody-at-all", "/etc/passwd"]),
        (
            "of_a_group_without_a_user",
            |c| specs::security(c).run_as_group = Some(v1::Int64Value { value: 5 }),
            Code::InvalidArgument,
            &["run_as_group"],
        ),
        (
            "of_a_negative_user",
            |c| specs::security(c).run_as_user = Some(v1::Int64Value { value: -1 }),
            Code::InvalidArgument,
            &["run_as_user", "-1"],
        ),
        ("with_negative_shares", |c| specs::limits(c).cpu_shares = -5, Code::InvalidArgument, &["cpu_shares", "-5"]),
        (
            "with_a_score_beyond_all",
            |c| specs::limits(c).oom_score_adj = 5000,
            Code::InvalidArgument,
            &["oom_score_adj", "5000"],
        ),
        (
            "with_processors_that_are_no_list",
            |c| specs::limits(c).cpuset_cpus = "one".into(),
            Code::InvalidArgument,
            &["cpuset_cpus", "one"],
        ),
        (
            "with_an_unknown_capability",
            |c| specs::security(c).capabilities.get_or_insert_default().add_capabilities.push("FLY".into()),
            Code::InvalidArgument,
            &["FLY"],
        ),
        (
            "with_a_relative_mount",
            |c| specs::mount(c, "relative".as_ref(), "/mnt"),
            Code::InvalidArgument,
            &["host_path", "relative"],
        ),
        (
            "with_a_missing_device",
            |c| {
                c.devices.push(v1::Device {
                    host_path: "/dev/no-such".into(),
                    container_path: "/dev/x".into(),
                    permissions: "rw".into(),
                })
            },
            Code::InvalidArgument,
            &["/dev/no-such"],
        ),
        (
            "with_a_missing_seccomp_profile",
            |c| {
                specs::security(c).seccomp = Some(v1::SecurityProfile {
                    profile_type: v1::security_profile::ProfileType::Localhost.into(),
                    localhost_ref: "/no/such.json".into(),
                })
            },
            Code::InvalidArgument,
            &["/no/such.json"],
        ),
        ("with_a_log_that_climbs", |c| c.log_path = "../../x.log".into(), Code::InvalidArgument, &["../../x.log"]),
        ("with_a_zero_in_an_argument", |c| c.args.push("a\0b".into()), Code::InvalidArgument, &["args"]),
        (
            "with_an_unknown_cdi_device",
            |c| c.cdi_devices.push(v1::CdiDevice { name: "vendor.example/class=none".into() }),
            Code::Unimplemented,
            &["vendor.example/class=none"],
        ),
    ];
    for (name, change, wanted, words) in cases {
        let mut config = specs::container("refused", BUSYBOX, &OBEDIENT);
        change(&mut config);
        let created = client.create(pod, &config, pod_config).await;
        refused(suite, &format!("a_container_{name}_is_refused"), &created, wanted, words);
        if let Ok(id) = created {
            // It should not be there; it must not disturb what follows.
            let _ = client.remove(&id).await;
        }
    }
    let id = "0123456789abcdef".repeat(4);
    let answer = client.create(&id, &specs::container("c", BUSYBOX, &OBEDIENT), pod_config).await;
    refused(suite, "a_container_in_an_unknown_pod_is_refused", &answer, Code::NotFound, &["0123456789abcdef"]);
}

/// Containers that turn out to be impossible when they are made or started; either of the two may tell.
async fn starts(suite: &Suite, client: &Client, pod: &str, pod_config: &v1::PodSandboxConfig) {
    let cases: [ContainerCase; 11] = [
        (
            "an_unknown_command",
            |c| c.command = vec!["/no/such/program".into()],
            Code::InvalidArgument,
            &["/no/such/program"],
        ),
        (
            "a_command_that_is_not_in_the_path",
            |c| c.command = vec!["no-such-program".into()],
            Code::InvalidArgument,
            &["no-such-program", "PATH"],
        ),
        (
            "a_command_that_is_a_folder",
            |c| c.command = vec!["/etc".into()],
            Code::InvalidArgument,
            &["/etc", "directory"],
        ),
        (
            "a_command_that_is_no_program",
            |c| c.command = vec!["/etc/passwd".into()],
            Code::InvalidArgument,
            &["/etc/passwd", "permission denied"],
        ),
        (
            "a_missing_mount_source",
            |c| specs::mount(c, "/no/such/source".as_ref(), "/mnt"),
            Code::InvalidArgument,
            &["/no/such/source"],
        ),
        (
            "a_folder_on_a_file",
            |c| specs::mount(c, "/etc".as_ref(), "/etc/passwd"),
            Code::InvalidArgument,
            &["/etc/passwd"],
        ),
        (
            "processors_that_are_not_there",
            |c| specs::limits(c).cpuset_cpus = "900-901".into(),
            Code::InvalidArgument,
            &["cpuset", "900-901"],
        ),
        (
            "a_quota_that_is_too_small",
            |c| (specs::limits(c).cpu_quota, specs::limits(c).cpu_period) = (1, 100_000),
            Code::InvalidArgument,
            &["cpu", "1"],
        ),
        (
            "a_period_that_is_too_long",
            |c| specs::limits(c).cpu_period = 90_000_000,
            Code::InvalidArgument,
            &["90000000"],
        ),
        (
            "swap_below_memory",
            |c| {
                (specs::limits(c).memory_limit_in_bytes, specs::limits(c).memory_swap_limit_in_bytes) =
                    (64 << 20, 32 << 20)
            },
            Code::InvalidArgument,
            &["swap"],
        ),
        (
            "a_working_directory_that_is_a_file",
            |c| c.working_dir = "/etc/passwd".into(),
            Code::InvalidArgument,
            &["/etc/passwd"],
        ),
    ];
    for (name, change, wanted, words) in cases {
        let mut config = specs::container("impossible", BUSYBOX, &OBEDIENT);
        change(&mut config);
        let created = client.create(pod, &config, pod_config).await;
        let Ok(id) = created else {
            refused(suite, &format!("{name}_is_refused"), &created, wanted, words);
            continue;
        };
        let started = client.start(&id).await;
        refused(suite, &format!("{name}_is_refused"), &started, wanted, words);
        let status = client.container_status(&id).await.unwrap_or_default();
        let told = status.state() == v1::ContainerState::ContainerExited && status.exit_code != 0;
        let seen =
            format!("{} {} {:?} {:?}", status.state().as_str_name(), status.exit_code, status.reason, status.message);
        let told = told && words.iter().all(|word| status.message.contains(word)) && !status.reason.is_empty();
        suite.holds(&format!("{name}_is_told_by_its_status"), told, seen);
        let removed = client.remove(&id).await;
        suite.holds(&format!("{name}_can_be_removed"), removed.is_ok(), said(&removed));
    }
}

/// Requests that are wrong for the container they name.
async fn requests(suite: &Suite, client: &Client, pod: &str, pod_config: &v1::PodSandboxConfig) -> Result<()> {
    let created = client.create(pod, &specs::container("created", BUSYBOX, &OBEDIENT), pod_config).await?;
    let early = client.exec(&created, &["true"], 5).await;
    refused(suite, "exec_before_the_start_is_refused", &early, Code::FailedPrecondition, &["not running"]);
    let early = client.reopen_log(&created).await;
    refused(suite, "reopening_before_the_start_is_refused", &early, Code::FailedPrecondition, &["not running"]);
    client.start(&created).await?;
    let empty = client.exec(&created, &[], 5).await;
    refused(suite, "exec_of_nothing_is_refused", &empty, Code::InvalidArgument, &["cmd"]);
    let negative = client.exec(&created, &["true"], -1).await;
    refused(suite, "a_negative_timeout_is_refused", &negative, Code::InvalidArgument, &["timeout", "-1"]);
    let limits = v1::LinuxContainerResources { cpuset_cpus: "900".into(), cpu_shares: 512, ..Default::default() };
    let before = client.container_status(&created).await?.resources;
    let impossible = client.update(&created, limits).await;
    refused(suite, "impossible_limits_are_refused", &impossible, Code::InvalidArgument, &["cpuset", "900"]);
    let after = client.container_status(&created).await?.resources;
    suite.holds("and_the_limits_are_as_before", before == after, format!("{after:?}"));
    let unified = BTreeMap::from([("cgroup.procs".to_owned(), "1".to_owned())]);
    let stranger = client.update(&created, v1::LinuxContainerResources { unified, ..Default::default() }).await;
    refused(suite, "files_of_the_group_itself_are_refused", &stranger, Code::InvalidArgument, &["cgroup.procs"]);
    Ok(())
}
