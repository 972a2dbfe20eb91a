//! `cradle run`: a pod with one container, named alike. In the foreground it shows the container's output, ends with its
//! status, and stops it on Ctrl-C.

mod config;

use std::path::Path;
use std::process::ExitCode;

use cradle_cri_api::v1;

use crate::arguments::Run;
use crate::client::Client;
use crate::cri_log::Printer;
use crate::error::Error;
use crate::exec::exit_code;
use crate::interrupts::Interrupts;
use crate::pull::{self, View};
use crate::{logs, output, rm};
use config::Config;

/// Where the logs of the containers that this program makes are, each in a folder of its own.
pub const LOGS: &str = "/var/log/cradle";

/// Seconds from the first Ctrl-C until the container is killed.
const STOP_SECONDS: i64 = 10;

pub async fn run(client: &mut Client, run: &Run) -> Result<ExitCode, Error> {
    if !run.detach && (run.terminal.interactive || run.terminal.tty) {
        return Err(Error::local("-i and -t go with --detach: then cradle attach connects with it"));
    }
    let mut config = Config::new(run)?;
    let mut interrupts = Interrupts::listen()?;
    let image = interrupts.unless(prepare(client, &config)).await?;
    config.container.image =
        Some(v1::ImageSpec { image, user_specified_image: config.image.clone(), ..Default::default() });
    // A signal meanwhile waits: what is half made could not be found again.
    let made = make(client, &config).await?;
    if run.detach {
        output::line(&made.container)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = watch(client, &made.container, &mut interrupts).await;
    if run.rm {
        rm::pod(client, &made.pod).await?;
        rm::remove_log(Path::new(&made.log));
    }
    let status = ended?;
    if status.reason == "OOMKilled" {
        output::note(format_args!("cradle: {} was killed: it is out of memory", config.name));
    }
    Ok(exit_code(status.exit_code))
}

/// Sees to it that the name is free and the image is here; gives the image's id.
async fn prepare(client: &mut Client, config: &Config) -> Result<String, Error> {
    let name = &config.name;
    if !client.pods_named(name).await?.is_empty() {
        let text = format!("the name {name:?} is taken: cradle rm --force {name}, or give another --name");
        return Err(Error::Local(text));
    }
    if let Some(image) = client.image(&config.image).await? {
        return Ok(image.id);
    }
    output::note(format_args!("{} is not here yet: pulling it", config.image));
    pull::fetch(client, &config.image, None, View::for_stderr()).await
}

/// What `make` has made.
struct Made {
    pod: String,
    container: String,
    log: String,
}

/// Makes pod and container, and starts it; after an error there is none of them.
async fn make(client: &mut Client, config: &Config) -> Result<Made, Error> {
    let request = v1::RunPodSandboxRequest { config: Some(config.pod.clone()), runtime_handler: String::new() };
    let pod = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let log = format!("{}/{}", config.pod.log_directory, config.container.log_path);
    match make_container(client, &pod, config).await {
        Ok(container) => Ok(Made { pod, container, log }),
        Err(error) => {
            if let Err(second) = rm::pod(client, &pod).await {
                output::note(format_args!(
                    "cradle: the pod {pod} is left, cradle rm {} removes it: {second}",
                    config.name
                ));
            }
            rm::remove_log(Path::new(&log));
            Err(error)
        }
    }
}

async fn make_container(client: &mut Client, pod: &str, config: &Config) -> Result<String, Error> {
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config.container.clone()),
        sandbox_config: Some(config.pod.clone()),
    };
    let id = client.runtime.create_container(request).await?.into_inner().container_id;
    let started = client.runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await;
    started.map_err(|status| Error::from(status).of_program())?;
    Ok(id)
}

/// Shows a container's output until it has ended. The first signal stops it, the second one kills it.
async fn watch(client: &mut Client, id: &str, interrupts: &mut Interrupts) -> Result<v1::ContainerStatus, Error> {
    let mut log = logs::open(client, id).await?;
    let mut printer = Printer::new(false);
    let stopper = client.clone();
    let mut following = std::pin::pin!(logs::follow(client, id, &mut log, &mut printer));
    let mut grace = STOP_SECONDS;
    loop {
        tokio::select! {
            ended = &mut following => return ended,
            _ = interrupts.next() => {
                tokio::spawn(stop(stopper.clone(), id.to_owned(), grace));
                grace = 0;
            }
        }
    }
}

async fn stop(mut client: Client, container_id: String, timeout: i64) {
    if let Err(status) = client.runtime.stop_container(v1::StopContainerRequest { container_id, timeout }).await {
        output::note(format_args!("cradle: cannot stop it: {}", Error::from(status)));
    }
}
