//! The command line. Flags are docker's where docker has them.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::streams::DetachKeys;

/// As docker has them.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

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
    Images(Images),
    /// Remove images
    Rmi(Rmi),
    /// Show the steps that made an image, the latest first
    History(History),
    /// Take in the images of an archive: of docker save, or an OCI image layout
    Load(Load),
    /// Write images to an archive that docker load reads as well
    Save(Save),
    /// Work with images
    #[command(subcommand)]
    Image(Image),
    /// Run a command in a new container, in a pod of its own
    Run(Run),
    /// List containers
    Ps(Ps),
    /// Show a container's output
    Logs(Logs),
    /// Run a command in a running container
    Exec(Exec),
    /// Connect with the input and output of a running container
    Attach(Attach),
    /// Lead ports of this machine into a pod, until Ctrl-C
    PortForward(PortForward),
    /// Stop containers
    Stop(Stop),
    /// Remove containers
    Rm(Rm),
    /// Show containers or images in full, as JSON
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show what running containers use
    Stats,
    /// Show the steps that start a container
    Explain { container: String },
    /// Look at what the daemon knows of registries
    #[command(subcommand)]
    Registry(Registry),
}

#[derive(Debug, Args)]
pub struct Pull {
    pub image: String,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub login: Login,
}

#[derive(Debug, Args)]
pub struct Login {
    /// For the registry, in place of what the daemon has
    #[arg(long = "creds", value_name = "USER:PASSWORD")]
    pub credentials: Option<String>,
}

#[derive(Debug, Args)]
pub struct Images {
    /// Print ids alone
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Rmi {
    /// Also those with other names, or that containers were made from
    #[arg(short, long)]
    pub force: bool,
    /// Names or ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct History {
    /// Print ids alone
    #[arg(short, long)]
    pub quiet: bool,
    /// Show all of each step
    #[arg(long)]
    pub no_trunc: bool,
    /// A name or an id
    pub image: String,
}

#[derive(Debug, Args)]
pub struct Load {
    /// Read the archive from a file [default: stdin]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Print nothing but the images' names
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Save {
    /// Write the archive to a file [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Names or ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Prune {
    /// Also those with a tag, if no container is made from them
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// The commands that concern images, as docker groups them.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Show what images are made of, as JSON
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// List images
    #[command(visible_alias = "list")]
    Ls(Images),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(Rmi),
    /// Remove images without a tag that no container is made from
    Prune(Prune),
    /// Fetch an image
    Pull(Pull),
    /// Show the steps that made an image, the latest first
    History(History),
    /// Take in the images of an archive: of docker save, or an OCI image layout
    Load(Load),
    /// Write images to an archive that docker load reads as well
    Save(Save),
}

#[derive(Debug, Args)]
#[command(override_usage = "cradle run [OPTIONS] IMAGE [COMMAND [ARGUMENT]...]")]
pub struct Run {
    /// Leave it running, and print its id
    #[arg(short, long, conflicts_with = "rm")]
    pub detach: bool,
    /// Remove it when it has ended
    #[arg(long)]
    pub rm: bool,
    /// Its name [default: one made from the image's]
    #[arg(long)]
    pub name: Option<String>,
    /// Set a variable, or pass on one of this shell
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Show a file or folder of this machine at a place in the container
    #[arg(short, long, value_name = "SOURCE:PLACE[:ro]")]
    pub volume: Vec<String>,
    /// Whose network: one of its own (pod), or this machine's (host)
    #[arg(long, value_name = "NETWORK", default_value = "pod")]
    pub network: String,
    /// Lead a port of this machine to the container
    #[arg(short, long, value_name = "[ADDRESS:]PORT:PORT[/udp]")]
    pub publish: Vec<String>,
    #[command(flatten)]
    pub terminal: Terminal,
    /// The image, then a command in place of the image's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Terminal {
    /// Give it what is typed
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
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
#[command(override_usage = "cradle exec [OPTIONS] CONTAINER COMMAND [ARGUMENT]...")]
pub struct Exec {
    /// Kill it after so many seconds; its output comes at its end
    #[arg(long, value_name = "SECONDS", default_value_t = 0, conflicts_with_all = ["interactive", "tty"])]
    pub timeout: u32,
    #[command(flatten)]
    pub terminal: Terminal,
    /// Keys that leave it running, with nobody to read its output
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS)]
    pub detach_keys: DetachKeys,
    /// The container, then the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Attach {
    /// Give it nothing of what is typed
    #[arg(long)]
    pub no_stdin: bool,
    /// Keys that leave it running
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS)]
    pub detach_keys: DetachKeys,
    pub container: String,
}

#[derive(Debug, Args)]
pub struct PortForward {
    /// Listen on this address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// A container in the pod, or the pod
    pub name: String,
    /// Ports of the pod, or this machine's and the pod's
    #[arg(required = true, value_name = "[PORT:]PORT")]
    pub ports: Vec<Forwarded>,
}

/// A port of this machine, and the one of a pod that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    pub local: u16,
    pub remote: u16,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// Seconds until it is killed
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub time: u32,
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

#[derive(Debug, Subcommand)]
pub enum Registry {
    /// Show which hosts would be asked for an image, in which order, and why; asks none of them
    Explain {
        image: String,
        #[command(flatten)]
        login: Login,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}")).command
    }

    #[test]
    fn what_comes_after_the_image_is_the_containers() {
        let Command::Run(run) = parse("cradle run -d -p 80:80 -e A=b nginx -d --rm -- x") else { panic!() };
        assert!(run.detach && !run.rm);
        assert_eq!(run.words, ["nginx", "-d", "--rm", "--", "x"]);
        let Command::Exec(exec) = parse("cradle exec -it web ls -l --socket") else { panic!() };
        assert!(exec.terminal.interactive && exec.terminal.tty);
        assert_eq!(exec.words, ["web", "ls", "-l", "--socket"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "run",
            "run --nonsense nginx",
            "run -d --rm nginx",
            "exec web",
            "rm",
            "logs",
            "registry",
            "attach",
            "port-forward x",
            "save",
            "save -o x",
            "history",
            "image",
            "image inspect",
            "exec -t --timeout 1 x y",
        ] {
            let words = ["cradle"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
