//! A pod's life in a PID namespace whose session is outside, as in many CI systems: getsid(2) gives 0 there.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;

/// Says to this program that it is inside.
const INSIDE: &str = "STRESS_INSIDE";

pub async fn run(suite: &Suite) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return inside(suite).await;
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(std::env::current_exe()?);
    command.args(std::env::args().skip(1)).env(INSIDE, "1");
    let status = command.status().context("running unshare")?;
    suite.holds("a_pod_lives_in_a_pid_namespace", status.success(), status);
    Ok(())
}

async fn inside(suite: &Suite) -> Result<()> {
    let first = rustix::process::getpid().as_raw_nonzero().get() == 1;
    suite.holds("this_is_a_pid_namespace_of_its_own", first, rustix::process::getpid().as_raw_nonzero());
    let mut node = suite.node("n")?;
    let (client, before) = suite.pass("the_daemon_starts_in_a_pid_namespace", suite.ready(&mut node).await)?;
    let config = specs::pod(&node, "nested");
    let pod = suite.pass("a_pod_starts_in_a_pid_namespace", client.run_pod(&config).await)?;
    let container = client.create(&pod, &specs::container("c", BUSYBOX, &OBEDIENT), &config).await?;
    suite.pass("a_container_starts_in_a_pid_namespace", client.start(&container).await)?;
    node.kill()?;
    suite.pass("the_daemon_finds_it_again_in_a_pid_namespace", node.start().await)?;
    let said = client.exec(&container, &["echo", "here"], 20).await?;
    ensure!(said.stdout == b"here\n", "{said:?}");
    Running::is_ready(&node, "nested", "c").await?;
    suite.pass("a_container_stops_in_a_pid_namespace", client.stop(&container, 20).await)?;
    client.stop_pod(&pod).await?;
    client.remove_pod(&pod).await?;
    suite.nothing_is_left("nothing_is_left_in_a_pid_namespace", &node, &before).await;
    Ok(())
}
