//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Run, look at and clean up pods and containers of the Cradle runtime.
#[derive(Debug, Parser)]
#[command(name = "cradle", version, disable_help_subcommand = true)]
pub struct Arguments {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/cradle/cradle.sock")]
    pub socket: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the versions of this program and of the daemon
    Version,
    /// Fetch an image
    Pull(Pull),
    /// List images
    Images,
    /// Remove images
    Rmi {
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Run a command in a new container, in a pod of its own
    Run(Run),
    /// List containers
    Ps(Ps),
    /// Show a container's output
    Logs(Logs),
    /// Run a command in a running container
    Exec(Exec),
    /// Stop containers
    Stop(Stop),
    /// Remove containers
    Rm(Rm),
}

#[derive(Debug, Args)]
pub struct Pull {
    pub image: String,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Leave it running, and print its id
    #[arg(short, long)]
    pub detach: bool,
    /// Remove it when it has ended
    #[arg(long)]
    pub rm: bool,
    /// Its name (default: one made from the image's)
    #[arg(long)]
    pub name: Option<String>,
    /// Set a variable, or pass on one of this shell
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Mount a file or folder of this machine
    #[arg(short, long, value_name = "SOURCE:PLACE[:ro]")]
    pub volume: Vec<String>,
    /// Use this machine's network
    #[arg(long, value_name = "host")]
    pub network: Option<String>,
    /// Lead a port of this machine to the container
    #[arg(short, long, value_name = "HOST:CONTAINER")]
    pub publish: Vec<String>,
    pub image: String,
    /// The command and its arguments (default: the image's)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// Print ids alone
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Go on with what it prints from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Begin so many lines before the end
    #[arg(short = 'n', long, value_name = "LINES")]
    pub tail: Option<usize>,
    /// Show when each line was printed
    #[arg(short, long)]
    pub timestamps: bool,
    pub container: String,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Kill it after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub timeout: i64,
    pub container: String,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// Seconds until it is killed
    #[arg(short, long, default_value_t = 10)]
    pub time: i64,
    #[arg(required = true)]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// Also those that run
    #[arg(short, long)]
    pub force: bool,
    #[arg(required = true)]
    pub containers: Vec<String>,
}
