//! The command line: what to do, where the configuration is, and any key of it as a flag.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use crate::config::{DEFAULT_FILE, KEYS, Key};

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Be the daemon.
    Serve,
    /// Print the effective configuration.
    PrintConfig,
}

/// The command line, read.
pub struct Arguments {
    pub action: Action,
    pub file: Option<PathBuf>,
    pub flags: Vec<(&'static Key, String)>,
}

impl Arguments {
    /// Reads the command line; help, version and mistakes end the program here (a mistake with code 2).
    pub fn read() -> Self {
        Self::from_matches(&command().get_matches())
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let action = if matches.subcommand_name() == Some("config") { Action::PrintConfig } else { Action::Serve };
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let flags = KEYS.iter().filter_map(|key| text(key.name).map(|value| (key, value))).collect();
        Arguments { action, file: text("config").map(PathBuf::from), flags }
    }
}

fn command() -> Command {
    let config = Arg::new("config").long("config").value_name("FILE").global(true);
    let config = config.help("Configuration in TOML").long_help(format_help());
    let flag = |key: &'static Key| {
        let flag = Arg::new(key.name).long(key.name).value_name(key.placeholder).help(key.help);
        flag.global(true).help_heading("Configuration keys, each also in the file")
    };
    Command::new("cradled")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs Kubernetes pods: the daemon that kubelets and crictl talk to")
        .arg(config)
        .args(KEYS.iter().map(flag))
        .subcommand(Command::new("config").about("Print the effective configuration as TOML and end"))
}

/// The default is a constant of the configuration; the help repeats it.
fn format_help() -> String {
    format!("Configuration in TOML; {DEFAULT_FILE} is read, if it exists, when no file is named")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_names_of_keys_and_stand_before_or_after_the_command() {
        for line in [
            ["cradled", "--config", "/c.toml", "--network.bridge", "br1", "config"],
            ["cradled", "config", "--config", "/c.toml", "--network.bridge", "br1"],
        ] {
            let arguments = Arguments::from_matches(&command().try_get_matches_from(line).unwrap());
            assert_eq!(arguments.action, Action::PrintConfig);
            assert_eq!(arguments.file, Some(PathBuf::from("/c.toml")));
            let flags: Vec<_> = arguments.flags.iter().map(|(key, value)| (key.name, value.as_str())).collect();
            assert_eq!(flags, [("network.bridge", "br1")]);
        }
        assert!(command().try_get_matches_from(["cradled", "--netwrok.bridge", "x"]).is_err());
    }
}
