//! A daemon with a place of its own: started, killed, ended, started again, and removed with all it left.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::client::Client;
use crate::processes::signal;
use crate::until::until;
use crate::{look, processes};

const START: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(10);

/// The first process of a PID namespace that a pod's containers share; it is made of the shim.
const POD_INIT: &str = "cradle-init";

/// Where a suite may put things, and under which names.
#[derive(Debug, Clone, clap::Args)]
pub struct Places {
    /// A folder that is the suite's own
    #[arg(long)]
    pub place: PathBuf,
    /// The folder of cradled and cradle-shim
    #[arg(long)]
    pub dist: PathBuf,
    /// The folder of hosts.toml files
    #[arg(long)]
    pub certs_d: PathBuf,
    /// The name of the daemons' bridge, and of their control group
    #[arg(long)]
    pub bridge: String,
    /// The subnet of the daemons' pods
    #[arg(long)]
    pub subnet: String,
}

/// The places of one daemon, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Home {
    folder: PathBuf,
    bridge: String,
}

impl Home {
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Pods' log directories are made in here.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// A new folder for containers to share with the test.
    pub fn shared(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join("mounts").join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("c.sock")
    }

    /// The name of its bridge, and of its control group in every hierarchy.
    pub fn name(&self) -> &str {
        &self.bridge
    }

    pub fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// The processes of its shims, by their pod's id.
    pub fn shims(&self) -> Result<Vec<(String, u32)>> {
        let mut found = Vec::new();
        let state = self.state().display().to_string();
        for process in processes::all()? {
            let words: Vec<&str> = process.command.split(' ').collect();
            if let ["cradle-shim", "--pod", pod, "--dir", folder, ..] = words[..]
                && folder.starts_with(&state)
                && process.name != POD_INIT
                && !process.is_dead()
            {
                found.push((pod.to_owned(), process.pid));
            }
        }
        Ok(found)
    }

    /// The shim of a pod.
    pub fn shim(&self, pod: &str) -> Result<u32> {
        let shims = self.shims()?;
        let found = shims.into_iter().find(|(id, _)| id == pod);
        Ok(found.with_context(|| format!("there is no shim of pod {pod}"))?.1)
    }
}

/// One daemon, running or not.
pub struct Node {
    home: Home,
    dist: PathBuf,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Deref for Node {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl Node {
    /// Prepares the folder `name` of the place; the daemon is not started.
    pub fn new(places: &Places, name: &str) -> Result<Self> {
        let home = Home { folder: places.place.join(name), bridge: places.bridge.clone() };
        for part in [home.root(), home.state(), home.logs()] {
            fs::create_dir_all(part).context("making the node's folders")?;
        }
        let flags = [
            ("config", "/dev/null".to_owned()),
            ("registry.config_path", places.certs_d.display().to_string()),
            ("network.bridge", places.bridge.clone()),
            ("network.subnets", places.subnet.clone()),
            ("cgroup.root", format!("/{}", places.bridge)),
            ("log.level", std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned())),
        ];
        let flags = flags.into_iter().flat_map(|(key, value)| [format!("--{key}"), value]).collect();
        Ok(Node { home, dist: places.dist.clone(), flags, process: None })
    }

    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Another value of a configuration key, for starts from now on.
    pub fn set(&mut self, key: &str, value: &str) {
        let flag = format!("--{key}");
        match self.flags.iter().position(|each| *each == flag) {
            Some(at) => self.flags[at + 1] = value.to_owned(),
            None => self.flags.extend([flag, value.to_owned()]),
        }
    }

    /// The daemon's process in /proc, if it was started.
    pub fn pid(&self) -> Result<u32> {
        processes::child(self.process.as_ref().context("the daemon is not running")?.id())
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&mut self) -> Result<()> {
        let log = self.home.folder.join("daemon.log");
        let log = File::options().append(true).create(true).open(log).context("opening the daemon's log")?;
        let mut command = Command::new(self.dist.join("cradled"));
        command.arg("--root").arg(self.root()).arg("--state").arg(self.state()).arg("--socket").arg(self.socket());
        command.args(&self.flags).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting cradled")?;
        processes::own(child.id());
        self.process = Some(child);
        Ok(())
    }

    /// Starts the daemon; tells how long it took until it answered.
    pub async fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.spawn()?;
        self.answers().await?;
        Ok(begun.elapsed())
    }

    /// Waits until the daemon answers.
    pub async fn answers(&mut self) -> Result<()> {
        let client = self.client();
        let process = self.process.as_mut().context("the daemon is not running")?;
        let log = self.home.folder.join("daemon.log");
        until(START, "an answer of the daemon", async || {
            if let Some(status) = process.try_wait()? {
                // Longer waiting helps nobody; the reason stands in its log.
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Ok(Err(format!("{status}: {}", log.lines().last().unwrap_or_default())));
            }
            client.version().await?;
            Ok(Ok(()))
        })
        .await?
        .map_err(|ended| anyhow::anyhow!("the daemon ended: {ended}"))
    }

    /// As a crash.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon is not running")?;
        process.kill().context("killing the daemon")?;
        process.wait().context("waiting for the daemon")?;
        processes::disown(process.id());
        Ok(())
    }

    /// Asks the daemon to end; tells how, and how long it took.
    pub async fn terminate(&mut self) -> Result<(ExitStatus, Duration)> {
        let mut process = self.process.take().context("the daemon is not running")?;
        let begun = Instant::now();
        signal(processes::child(process.id())?, Signal::TERM)?;
        let ended = until(END, "the end of the daemon", async || process.try_wait()?.context("it runs"));
        let status = ended.await;
        if status.is_err() {
            process.kill()?;
            process.wait()?;
        }
        processes::disown(process.id());
        Ok((status?, begun.elapsed()))
    }

    fn clean_up(&mut self) -> Result<()> {
        if self.process.is_some() {
            self.kill()?;
        }
        let deadline = Instant::now() + END;
        loop {
            let left = processes::descendants()?;
            for process in left.iter().filter(|process| !process.is_dead()) {
                // It may have ended meanwhile.
                let _ = signal(process.pid, Signal::KILL);
            }
            processes::reap_adopted()?;
            match left.first() {
                None => break,
                Some(first) if Instant::now() > deadline => bail!("cannot end {first:?}"),
                Some(_) => std::thread::yield_now(),
            }
        }
        Ok(())
    }
}

/// Whatever way a suite ends, nothing of it goes on; files are removed by the script that made the place.
impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.clean_up() {
            println!("# cleaning up: {error:#}");
        }
        look::remove_cgroups(self.name());
        look::remove_network(self.name());
    }
}
