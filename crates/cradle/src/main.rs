//! `cradle`: pods and containers for people who know docker; a client of the daemon's CRI socket.

mod arguments;
mod client;
mod exec;
mod images;
mod log;
mod ps;
mod pull;
mod run;
mod stop;
mod table;
mod version;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(arguments)),
        Err(error) => Err(client::Error::Local(format!("starting: {error}"))),
    };
    ran.unwrap_or_else(|error| {
        eprintln!("cradle: {error}");
        ExitCode::FAILURE
    })
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode, client::Error> {
    let mut client = client::Client::connect(&arguments.socket).await?;
    match arguments.command {
        Command::Version => version::version(&mut client).await,
        Command::Pull(pull) => pull::pull(&mut client, &pull).await,
        Command::Images => images::images(&mut client).await,
        Command::Rmi { images } => images::remove(&mut client, &images).await,
        Command::Run(run) => run::run(&mut client, &run).await,
        Command::Ps(ps) => ps::ps(&mut client, &ps).await,
        Command::Logs(logs) => log::logs(&mut client, &logs).await,
        Command::Exec(exec) => exec::exec(&mut client, &exec).await,
        Command::Stop(stop) => stop::stop(&mut client, &stop).await,
        Command::Rm(rm) => stop::remove(&mut client, &rm).await,
    }
}
