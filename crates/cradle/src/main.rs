//! `cradle`: pods and containers for people who know docker; a client of the daemon's socket. Everything but the
//! progress of pulls, archives, what images are made of and the explanations is asked for in the CRI's words, so that it
//! works with other runtimes too.

mod arguments;
mod attach;
mod client;
mod cri_log;
mod error;
mod exec;
mod explain;
mod history;
mod image_inspect;
mod images;
mod inspect;
mod interrupts;
mod load;
mod logs;
mod output;
mod port_forward;
mod ps;
mod pull;
mod rm;
mod run;
mod save;
mod stats;
mod stop;
mod streams;
mod table;
mod time;
mod version;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Image, Registry};
use error::Error;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // `run` and `exec` pass on the program's status; docker keeps this one for failures of its own.
    let on_failure = if matches!(arguments.command, Command::Run(_) | Command::Exec(_)) { 125 } else { 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(arguments)),
        Err(error) => Err(Error::Local(format!("cannot start: {error}"))),
    };
    ran.unwrap_or_else(|error| {
        if !error.is_silent() {
            output::note(format_args!("cradle: {error}"));
        }
        ExitCode::from(error.exit_code(on_failure))
    })
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode, Error> {
    let mut client = client::Client::connect(&arguments.socket).await?;
    let client = &mut client;
    match arguments.command {
        Command::Version => version::version(client).await,
        Command::Pull(pull) => pull::pull(client, &pull).await,
        Command::Images(images) => images::images(client, &images).await,
        Command::Rmi(rmi) => images::remove(client, &rmi).await,
        Command::History(history) => history::history(client, &history).await,
        Command::Load(load) => load::load(client, &load).await,
        Command::Save(save) => save::save(client, &save).await,
        Command::Image(command) => of_images(client, command).await,
        Command::Run(run) => run::run(client, &run).await,
        Command::Ps(ps) => ps::ps(client, &ps).await,
        Command::Logs(logs) => logs::logs(client, &logs).await,
        Command::Exec(exec) => exec::exec(client, &exec).await,
        Command::Attach(attach) => attach::attach(client, &attach).await,
        Command::PortForward(asked) => port_forward::port_forward(client, &asked).await,
        Command::Stop(stop) => stop::stop(client, &stop).await,
        Command::Rm(rm) => rm::remove(client, &rm).await,
        Command::Inspect { names } => inspect::inspect(client, &names).await,
        Command::Stats => stats::stats(client).await,
        Command::Explain { container } => explain::container(client, &container).await,
        Command::Registry(Registry::Explain { image, login }) => explain::reference(client, &image, &login).await,
    }
}

async fn of_images(client: &mut client::Client, command: Image) -> Result<ExitCode, Error> {
    match command {
        Image::Inspect { images } => image_inspect::inspect(client, &images).await,
        Image::Ls(images) => images::images(client, &images).await,
        Image::Rm(rmi) => images::remove(client, &rmi).await,
        Image::Prune(prune) => images::prune(client, &prune).await,
        Image::Pull(pull) => pull::pull(client, &pull).await,
        Image::History(history) => history::history(client, &history).await,
        Image::Load(load) => load::load(client, &load).await,
        Image::Save(save) => save::save(client, &save).await,
    }
}
