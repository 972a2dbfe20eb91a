//! One pod with nginx, from the pull to the removal, with all that a node asks of it meanwhile; then every bad input.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cradle_cri_api::v1;
use tonic::Code;

use crate::client::{Client, code, said};
use crate::look::Look;
use crate::node::Node;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, NGINX, OBEDIENT};
use crate::suite::Suite;
use crate::until::until;
use crate::{bad_input, http};

const SOON: Duration = Duration::from_secs(10);

/// Lines are split here unless the configuration says otherwise.
const LINE_BYTES: usize = 16 * 1024;

pub async fn run(suite: &Suite) -> Result<()> {
    let mut node = suite.node("n")?;
    let (client, _) = suite.ready(&mut node).await?;
    suite.pass("nginx_is_pulled", client.pull(NGINX).await)?;
    let before = Look::take(&node)?;
    nginx(suite, &node, &client).await?;
    logs(suite, &node, &client).await?;
    repeated(suite, &node, &client).await?;
    unknown(suite, &client).await;
    execs(suite, &node, &client).await?;
    bad_input::all(suite, &node, &client).await?;
    suite.nothing_is_left("nothing_is_left_after_lives_and_bad_input", &node, &before).await;
    Ok(())
}

/// A pod with one running container of busybox.
async fn busybox(node: &Node, client: &Client, name: &str, command: &[&str]) -> Result<Running> {
    Ok(Running::begin(node, client, name, &specs::container("c", BUSYBOX, command)).await?)
}

async fn nginx(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let config = specs::pod(node, "web");
    let pod = suite.pass("a_pod_starts", client.run_pod(&config).await)?;
    let address = client.address(&pod).await?;
    suite.holds("the_pod_has_an_address", address.parse::<std::net::Ipv4Addr>().is_ok(), &address);
    let nginx = specs::container("nginx", NGINX, &[]);
    let container = suite.pass("a_container_is_created", client.create(&pod, &nginx, &config).await)?;
    let state = client.container_status(&container).await?.state();
    suite.holds("it_is_created_and_does_not_run", state == v1::ContainerState::ContainerCreated, state.as_str_name());
    suite.pass("it_starts", client.start(&container).await)?;
    let answer = until(SOON, "an answer of nginx", async || http::get(&address, 80).await).await;
    let answer = suite.pass("nginx_answers_the_host", answer)?;
    suite.holds("it_is_nginx", answer.to_lowercase().contains("server: nginx"), answer.replace('\n', " "));
    let log = node.logs().join("web/nginx.log");
    let logged = until(SOON, "the request in the log", async || {
        let log = fs::read_to_string(&log)?;
        log.lines().find(|line| line.contains("\"GET / HTTP/1.0\" 200")).map(str::to_owned).context(log)
    });
    let line = suite.pass("the_request_is_in_the_log", logged.await)?;
    suite.holds("its_line_is_of_the_cri", is_log_line(&line), &line);
    status(suite, client, &pod, &container).await?;
    figures(suite, client, &pod, &container).await?;
    let reopened = reopen(node, client, &container, &address).await;
    suite.pass("after_a_rotation_the_log_is_a_new_file", reopened)?;
    suite.pass("nginx_ends_by_its_own_signal", client.stop(&container, 20).await)?;
    let status = client.container_status(&container).await?;
    let seen = format!("{} {} {}", status.state().as_str_name(), status.exit_code, status.reason);
    suite.holds("it_exited_with_success", seen == "CONTAINER_EXITED 0 Completed", seen);
    suite.pass("the_container_is_removed", client.remove(&container).await)?;
    suite.pass("the_pod_is_stopped", client.stop_pod(&pod).await)?;
    let state = client.pod_status(&pod).await?.state();
    suite.holds("a_stopped_pod_is_not_ready", state == v1::PodSandboxState::SandboxNotready, state.as_str_name());
    suite.pass("the_pod_is_removed", client.remove_pod(&pod).await)?;
    let gone = client.pod_status(&pod).await;
    suite.holds("a_removed_pod_is_not_found", code(&gone) == Code::NotFound, said(&gone));
    Ok(())
}

/// `TIME STREAM TAG TEXT`
fn is_log_line(line: &str) -> bool {
    let fields: Vec<&str> = line.splitn(4, ' ').collect();
    let [time, stream, tag, _] = fields[..] else { return false };
    let time = time.len() >= 20 && time.as_bytes()[10] == b'T';
    time && matches!(stream, "stdout" | "stderr") && matches!(tag, "P" | "F")
}

async fn status(suite: &Suite, client: &Client, pod: &str, container: &str) -> Result<()> {
    let listed = client.containers().await?;
    let found = listed.iter().find(|each| each.id == container).cloned().unwrap_or_default();
    let images = client.images().await?;
    let known = images.iter().any(|image| image.id == found.image_id);
    suite.holds("the_list_names_pod_and_image", found.pod_sandbox_id == pod && known, format!("{found:?}"));
    let status = client.container_status(container).await?;
    let times = status.created_at > 0 && status.started_at >= status.created_at && status.finished_at == 0;
    suite.holds("its_times_are_in_order", times, format!("{status:?}"));
    suite.holds("its_log_path_is_absolute", status.log_path.ends_with("/web/nginx.log"), status.log_path);
    Ok(())
}

async fn figures(suite: &Suite, client: &Client, pod: &str, container: &str) -> Result<()> {
    let stats = client.container_stats(container).await;
    if code(&stats) == Code::Unimplemented {
        suite.skip("figures", "ContainerStats is not implemented");
        return Ok(());
    }
    let stats = suite.pass("a_container_has_figures", stats)?;
    let cpu = stats.cpu.unwrap_or_default().usage_core_nano_seconds.unwrap_or_default().value;
    let memory = stats.memory.unwrap_or_default().working_set_bytes.unwrap_or_default().value;
    suite.holds("they_count_processor_and_memory", cpu > 0 && memory > 0, format!("{cpu} ns, {memory} bytes"));
    let linux = client.pod_stats(pod).await?.linux.unwrap_or_default();
    let received = linux.network.and_then(|network| network.default_interface).unwrap_or_default().rx_bytes;
    let received = received.unwrap_or_default().value;
    let seen = format!("{} containers, {received} bytes", linux.containers.len());
    suite.holds("a_pods_figures_have_containers_and_network", linux.containers.len() == 1 && received > 0, seen);
    let all = (client.all_container_stats().await?.len(), client.all_pod_stats().await?.len());
    suite.holds("lists_of_figures_have_all", all == (1, 1), format!("{all:?}"));
    Ok(())
}

async fn reopen(node: &Node, client: &Client, container: &str, address: &str) -> Result<()> {
    let log = node.logs().join("web/nginx.log");
    let rotated = node.logs().join("web/nginx.log.1");
    fs::rename(&log, &rotated)?;
    client.reopen_log(container).await?;
    ensure!(log.exists(), "there is no new file after the answer");
    let old = fs::read_to_string(&rotated)?;
    http::get(address, 80).await?;
    until(SOON, "a line in the new file", async || {
        ensure!(fs::read_to_string(&log)?.contains("GET /"), "it is empty");
        Ok(())
    })
    .await?;
    ensure!(fs::read_to_string(&rotated)? == old, "the old file was written to");
    Ok(())
}

/// Long lines in pieces, both streams in the order of their writing.
async fn logs(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    // Two pipes have an order only as far as they are read between two writes.
    let script = "i=0; while [ $i -lt 20 ]; do echo out $i; usleep 2000; echo err $i >&2; usleep 2000; i=$((i+1)); done; \
                  head -c 40000 /dev/zero | tr '\\0' x; echo; printf end; exit 3";
    let Running { pod, container } = busybox(node, client, "logs", &["sh", "-c", script]).await?;
    let exited = until(SOON, "the exit", async || {
        let status = client.container_status(&container).await?;
        ensure!(status.state() == v1::ContainerState::ContainerExited, "it runs");
        Ok(status)
    });
    let status = suite.pass("a_container_that_ends_is_reported", exited.await)?;
    let seen = (status.exit_code, status.reason.as_str());
    suite.holds("its_code_is_its_own", seen == (3, "Error"), format!("{seen:?}"));
    let log = fs::read_to_string(node.logs().join("logs/c.log"))?;
    let lines: Vec<(&str, &str, &str)> = log
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.splitn(4, ' ').collect();
            if let [_, stream, tag, text] = fields[..] { Some((stream, tag, text)) } else { None }
        })
        .collect();
    suite.holds("every_line_is_of_the_cri", lines.len() == log.lines().count(), log.len());
    let texts: Vec<&str> = lines.iter().map(|line| line.2).collect();
    let wanted: Vec<String> = (0..20).flat_map(|i| [format!("out {i}"), format!("err {i}")]).collect();
    let ordered = texts.len() > wanted.len() && texts[..wanted.len()] == wanted;
    suite.holds("both_streams_are_in_the_order_of_writing", ordered, format!("{:?}", &texts[..texts.len().min(6)]));
    let long: Vec<(&str, usize)> = lines.iter().skip(wanted.len()).map(|line| (line.1, line.2.len())).collect();
    let pieces = long.len() == 4 && long[..3] == [("P", LINE_BYTES), ("P", LINE_BYTES), ("F", 40000 - 2 * LINE_BYTES)];
    suite.holds("a_long_line_comes_in_pieces", pieces, format!("{long:?}"));
    suite.holds("the_unfinished_end_is_there", long.last().is_some_and(|line| line.1 == 3), format!("{long:?}"));
    client.remove_pod(&pod).await?;
    Ok(())
}

/// Repeats of what was done answer with success, and what they repeat stays as it is.
async fn repeated(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let config = specs::pod(node, "repeated");
    let Running { pod, container } = busybox(node, client, "repeated", &OBEDIENT).await?;
    let again = client.run_pod(&config).await;
    suite.holds("the_same_pod_again_is_the_same", again.as_ref().ok() == Some(&pod), said(&again));
    let again = client.create(&pod, &specs::container("c", BUSYBOX, &OBEDIENT), &config).await;
    suite.holds("the_same_container_again_is_the_same", again.as_ref().ok() == Some(&container), said(&again));
    let again = client.start(&container).await;
    suite.holds("a_running_container_cannot_be_started", code(&again) == Code::FailedPrecondition, said(&again));
    Running::is_ready(node, "repeated", "c").await?;
    for round in ["first", "second", "third"] {
        suite.pass(&format!("stop_of_a_container_{round}"), client.stop(&container, 10).await)?;
    }
    let again = client.start(&container).await;
    suite.holds("an_exited_container_cannot_be_started", code(&again) == Code::FailedPrecondition, said(&again));
    for round in ["first", "second", "third"] {
        suite.pass(&format!("removal_of_a_container_{round}"), client.remove(&container).await)?;
    }
    for round in ["first", "second", "third"] {
        suite.pass(&format!("stop_of_a_pod_{round}"), client.stop_pod(&pod).await)?;
    }
    let late = client.create(&pod, &specs::container("late", BUSYBOX, &OBEDIENT), &config).await;
    suite.holds("a_stopped_pod_takes_no_container", code(&late) == Code::FailedPrecondition, said(&late));
    for round in ["first", "second", "third"] {
        suite.pass(&format!("removal_of_a_pod_{round}"), client.remove_pod(&pod).await)?;
    }
    let Running { pod, .. } = busybox(node, client, "repeated", &OBEDIENT).await?;
    suite.pass("a_running_pod_can_be_removed", client.remove_pod(&pod).await)?;
    let left = (client.pods().await?.len(), client.containers().await?.len());
    suite.holds("and_its_containers_go_with_it", left == (0, 0), format!("{left:?}"));
    Ok(())
}

/// What is not there is stopped and removed already, and has no status.
async fn unknown(suite: &Suite, client: &Client) {
    let id = "0123456789abcdef".repeat(4);
    let done = [
        ("stop_of_an_unknown_pod", client.stop_pod(&id).await),
        ("removal_of_an_unknown_pod", client.remove_pod(&id).await),
        ("stop_of_an_unknown_container", client.stop(&id, 1).await),
        ("removal_of_an_unknown_container", client.remove(&id).await),
    ];
    for (name, answer) in done {
        suite.holds(name, answer.is_ok(), said(&answer));
    }
    let missing = [
        ("status_of_an_unknown_pod", client.pod_status(&id).await.map(drop)),
        ("status_of_an_unknown_container", client.container_status(&id).await.map(drop)),
        ("start_of_an_unknown_container", client.start(&id).await),
        ("exec_in_an_unknown_container", client.exec(&id, &["true"], 1).await.map(drop)),
        ("log_of_an_unknown_container", client.reopen_log(&id).await),
        ("limits_of_an_unknown_container", client.update(&id, v1::LinuxContainerResources::default()).await),
        ("figures_of_an_unknown_container", client.container_stats(&id).await.map(drop)),
        ("figures_of_an_unknown_pod", client.pod_stats(&id).await.map(drop)),
    ];
    for (name, answer) in missing {
        let names_it = answer.as_ref().err().is_some_and(|status| status.message().contains(&id));
        suite.holds(name, code(&answer) == Code::NotFound && names_it, said(&answer));
    }
}

async fn execs(suite: &Suite, node: &Node, client: &Client) -> Result<()> {
    let Running { pod, container } = busybox(node, client, "execs", &OBEDIENT).await?;
    let words = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let said_it = suite.pass("a_command_runs", client.exec(&container, &words, 10).await)?;
    let right = (&said_it.stdout[..], &said_it.stderr[..], said_it.exit_code) == (b"out\n", b"err\n", 7);
    suite.holds("its_streams_and_code_are_apart", right, format!("{said_it:?}"));
    let late = client.exec(&container, &["sh", "-c", "tail -f /dev/null & tail -f /dev/null"], 1).await;
    suite.holds("a_late_command_is_killed", code(&late) == Code::DeadlineExceeded, said(&late));
    let alive = client.exec(&container, &["pgrep", "tail"], 10).await?;
    suite.holds("with_all_it_started", alive.exit_code == 1, String::from_utf8_lossy(&alive.stdout));
    let behind = client.exec(&container, &["sh", "-c", "sleep 4321 & echo done"], 10).await;
    let right = behind.as_ref().is_ok_and(|said| said.stdout == b"done\n" && said.exit_code == 0);
    suite.holds("a_command_that_leaves_a_process_ends", right, said(&behind));
    let big = client.exec(&container, &["head", "-c", "20000000", "/dev/zero"], 30).await;
    let size = big.as_ref().map_or(0, |said| said.stdout.len());
    suite.holds("output_is_cut_at_16_mib_without_error", size > 15 << 20 && size < 16 << 20, size);
    let unknown = client.exec(&container, &["no-such-command"], 10).await;
    let seen = said(&unknown);
    suite.holds("an_unknown_command_is_named", unknown.is_err() && seen.contains("no-such-command"), seen);
    let still = client.exec(&container, &["true"], 10).await;
    suite.holds("the_container_runs_on", still.is_ok(), said(&still));
    client.remove_pod(&pod).await?;
    Ok(())
}
