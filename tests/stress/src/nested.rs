//! A pod's life in a PID namespace whose session is outside, as in many CI systems: getsid(2) gives 0 there. Once with a
//! /proc of its own, once with that of the machine, where processes have other numbers.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT};
use crate::suite::Suite;

/// Says to this program that it is inside, and whose /proc there is.
const INSIDE: &str = "STRESS_INSIDE";

pub async fn run(suite: &Suite) -> Result<()> {
    if let Ok(whose) = std::env::var(INSIDE) {
        return inside(suite, &whose).await;
    }
    for (whose, flags) in [("its_own", &["--mount-proc"][..]), ("the_machines", &[])] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).args(flags).arg(std::env::current_exe()?);
        command.args(std::env::args().skip(1)).env(INSIDE, whose);
        let status = command.status().context("running unshare")?;
        suite.holds(&format!("a_pod_lives_in_a_pid_namespace_with_{whose}_proc"), status.success(), status);
    }
    Ok(())
}

async fn inside(suite: &Suite, whose: &str) -> Result<()> {
    let named = |what: &str| format!("{what}_with_{whose}_proc");
    let first = rustix::process::getpid().as_raw_nonzero().get() == 1;
    suite.holds(&named("this_is_a_pid_namespace_of_its_own"), first, rustix::process::getpid().as_raw_nonzero());
    let mut node = suite.node("n")?;
    let (client, before) = suite.pass(&named("the_daemon_starts"), suite.ready(&mut node).await)?;
    let config = specs::pod(&node, "nested");
    let pod = suite.pass(&named("a_pod_starts"), client.run_pod(&config).await)?;
    let container = client.create(&pod, &specs::container("c", BUSYBOX, &OBEDIENT), &config).await?;
    suite.pass(&named("a_container_starts"), client.start(&container).await)?;
    node.kill()?;
    suite.pass(&named("the_daemon_finds_it_again"), node.start().await)?;
    let said = client.exec(&container, &["echo", "here"], 20).await?;
    ensure!(said.stdout == b"here\n", "{said:?}");
    Running::is_ready(&node, "nested", "c").await?;
    suite.pass(&named("a_container_stops"), client.stop(&container, 20).await)?;
    client.stop_pod(&pod).await?;
    client.remove_pod(&pod).await?;
    suite.nothing_is_left(&named("nothing_is_left"), &node, &before).await;
    Ok(())
}
