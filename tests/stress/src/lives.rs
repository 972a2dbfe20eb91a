//! Full lives of pods, as an impatient client leads them: short deadlines, and every request again until it succeeds.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cradle_cri_api::v1;
use tonic::{Code, Status};
use v1::ContainerState;

use crate::client::{Answer, Client};
use crate::node::Home;
use crate::random::Random;
use crate::running::Running;
use crate::specs::{self, BUSYBOX, OBEDIENT, STUBBORN};

/// No request is asked again for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// How impatient a client is: the bounds of its first deadline, in ms. Each further try has twice the one before.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub first_ms: (u64, u64),
    /// How often a request is first sent with a deadline that cannot be kept: once in so many.
    pub hopeless_once_in: u64,
    /// How often a request is first sent and then cancelled: once in so many.
    pub cancelled_once_in: u64,
}

/// Until a request is cancelled, in ms: most of them are under way then, some are done.
const CANCELLED_AFTER_MS: std::ops::Range<u64> = 0..30;

/// What one life took.
#[derive(Debug, Default, Clone, Copy)]
pub struct Effort {
    pub requests: usize,
    pub retries: usize,
    /// Requests that the client took back before their answer.
    pub cancelled: usize,
}

impl Effort {
    pub fn add(&mut self, other: Effort) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.cancelled += other.cancelled;
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} cancelled, {} retries", self.requests, self.cancelled, self.retries)
    }
}

/// One client.
pub struct Liver {
    client: Client,
    random: Random,
    patience: Patience,
    effort: Effort,
}

/// The ways a container may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By SIGTERM.
    Obeys,
    /// By SIGKILL.
    Killed,
    /// By itself, with this code.
    Exits(i32),
    /// With its pod.
    WithPod,
}

impl Liver {
    pub fn new(client: Client, random: Random, patience: Patience) -> Self {
        Liver { client, random, patience, effort: Effort::default() }
    }

    /// A whole life of the pod with this name.
    pub async fn live(&mut self, home: &Home, name: &str) -> Result<Effort> {
        self.effort = Effort::default();
        let lived = self.live_as(home, name).await;
        lived.with_context(|| format!("life of {name}"))?;
        Ok(self.effort)
    }

    /// An image comes and goes.
    pub async fn pull_and_remove(&mut self, image: &str) -> Result<Effort> {
        self.effort = Effort::default();
        let id = self.again("PullImage", async |client| client.pull(image).await).await?;
        let images = self.again("ListImages", async |client| client.images().await).await?;
        if !images.iter().any(|image| image.id == id) {
            bail!("after PullImage {id} is not there");
        }
        self.again("RemoveImage", async |client| client.remove_image(image).await).await?;
        Ok(self.effort)
    }

    async fn live_as(&mut self, home: &Home, name: &str) -> Result<()> {
        let mut config = if self.random.once_in(2) { specs::pod(home, name) } else { specs::host_pod(home, name) };
        let shared = self.random.once_in(4);
        if shared {
            specs::namespaces(&mut config).pid = v1::NamespaceMode::Pod.into();
        }
        let end = match self.random.of(0..4) {
            0 => End::Obeys,
            1 => End::Killed,
            2 => End::Exits(i32::try_from(self.random.of(0..100))?),
            _ => End::WithPod,
        };
        let pod = self.again("RunPodSandbox", async |client| client.run_pod(&config).await).await?;
        let mut container = container(end);
        if shared {
            specs::share_processes(&mut container);
        }
        let id = self.again("CreateContainer", async |client| client.create(&pod, &container, &config).await).await?;
        let same = self.again("CreateContainer", async |client| client.create(&pod, &container, &config).await).await?;
        if same != id {
            bail!("the same container again is {same} and not {id}");
        }
        self.start(&id).await?;
        match end {
            End::Exits(wanted) => self.exits(&id, wanted).await?,
            End::Obeys | End::Killed | End::WithPod => self.execs(&id).await?,
        }
        if end == End::Obeys {
            Running::is_ready(home, name, "c").await?;
        }
        if end != End::WithPod {
            let grace = if end == End::Obeys { 30 } else { 0 };
            self.again("StopContainer", async |client| client.stop(&id, grace).await).await?;
            self.has_exited(&id).await?;
            self.again("RemoveContainer", async |client| client.remove(&id).await).await?;
        }
        self.again("StopPodSandbox", async |client| client.stop_pod(&pod).await).await?;
        self.again("RemovePodSandbox", async |client| client.remove_pod(&pod).await).await?;
        self.is_gone(&pod).await
    }

    /// Sends a request until it succeeds. Only errors that say "again" may come before.
    async fn again<T>(&mut self, what: &str, ask: impl AsyncFn(&Client) -> Answer<T>) -> Result<T> {
        self.again_unless(what, ask, |_| false).await?.map_err(|status| anyhow::anyhow!("{what}: {status}"))
    }

    /// As [`Self::again`], but errors that are `wanted` are given back.
    async fn again_unless<T>(
        &mut self,
        what: &str,
        ask: impl AsyncFn(&Client) -> Answer<T>,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Answer<T>> {
        let begun = Instant::now();
        let (least, most) = self.patience.first_ms;
        let mut deadline = self.random.milliseconds(least..most);
        if self.random.once_in(self.patience.hopeless_once_in) {
            deadline = self.random.milliseconds(1..4);
        }
        let mut cancelled = self.random.once_in(self.patience.cancelled_once_in);
        loop {
            self.effort.requests += 1;
            let answer = if std::mem::take(&mut cancelled) {
                let after = self.random.milliseconds(CANCELLED_AFTER_MS);
                let asked = tokio::time::timeout(after, ask(&self.client.within(PATIENCE))).await;
                self.effort.cancelled += usize::from(asked.is_err());
                asked.unwrap_or_else(|_| Err(Status::cancelled("by this client")))
            } else {
                ask(&self.client.within(deadline)).await
            };
            let status = match answer {
                Ok(answer) => return Ok(Ok(answer)),
                Err(status) if wanted(&status) => return Ok(Err(status)),
                Err(status) => status,
            };
            if !says_again(&status) {
                bail!("{what}: {:?}: {}", status.code(), status.message());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{what}: not within {PATIENCE:?}; last: {:?}: {}", status.code(), status.message());
            }
            self.effort.retries += 1;
            deadline = (deadline * 2).min(PATIENCE);
            let pause = self.random.milliseconds(1..20);
            tokio::time::sleep(pause).await;
        }
    }

    /// Starts a container. That it was started already is known only if an answer before was lost.
    async fn start(&mut self, id: &str) -> Result<()> {
        let started = |status: &Status| status.code() == Code::FailedPrecondition;
        let answer = self.again_unless("StartContainer", async |client| client.start(id).await, started).await?;
        let Err(refusal) = answer else { return Ok(()) };
        let status = self.again("ContainerStatus", async |client| client.container_status(id).await).await?;
        match status.state() {
            ContainerState::ContainerRunning => Ok(()),
            ContainerState::ContainerExited if status.reason != "StartError" => Ok(()),
            state => bail!("StartContainer: {}, and it is {}: {status:?}", refusal.message(), state.as_str_name()),
        }
    }

    async fn execs(&mut self, id: &str) -> Result<()> {
        let said = self.again("ExecSync", async |client| client.exec(id, &["echo", "here"], 30).await).await?;
        if (said.exit_code, &said.stdout[..]) != (0, b"here\n") {
            bail!("ExecSync: {said:?}");
        }
        Ok(())
    }

    /// Waits for the exit that the container makes by itself.
    async fn exits(&mut self, id: &str, wanted: i32) -> Result<()> {
        let begun = Instant::now();
        loop {
            let status = self.again("ContainerStatus", async |client| client.container_status(id).await).await?;
            match status.state() {
                ContainerState::ContainerExited if status.exit_code == wanted => return Ok(()),
                ContainerState::ContainerExited => bail!("it should have exited with {wanted}: {status:?}"),
                _ if begun.elapsed() > PATIENCE => bail!("it does not exit: {status:?}"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn has_exited(&mut self, id: &str) -> Result<()> {
        let status = self.again("ContainerStatus", async |client| client.container_status(id).await).await?;
        if status.state() != ContainerState::ContainerExited {
            bail!("after StopContainer it is {}", status.state().as_str_name());
        }
        Ok(())
    }

    async fn is_gone(&mut self, pod: &str) -> Result<()> {
        let gone = |status: &Status| status.code() == Code::NotFound;
        let answer = self.again_unless("PodSandboxStatus", async |client| client.pod_status(pod).await, gone).await?;
        if let Ok(status) = answer {
            bail!("after RemovePodSandbox it is there: {status:?}");
        }
        Ok(())
    }
}

fn container(end: End) -> v1::ContainerConfig {
    match end {
        End::Obeys | End::WithPod => specs::container("c", BUSYBOX, &OBEDIENT),
        End::Killed => specs::container("c", BUSYBOX, &STUBBORN),
        End::Exits(code) => specs::script("c", &format!("exit {code}")),
    }
}

/// Whether the same request may succeed later: the deadline passed, the daemon is dead or was killed meanwhile, or
/// something else has the thing at the moment.
fn says_again(status: &Status) -> bool {
    // A broken connection is reported by the client's transport as Unknown or, amid an answer, as Internal or Unknown.
    let is_broken = |words| status.message().contains(words);
    let broken = matches!(status.code(), Code::Unknown | Code::Internal)
        && (is_broken("transport error") || is_broken("h2 protocol error"));
    let codes = [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable, Code::Aborted];
    broken || codes.contains(&status.code())
}
