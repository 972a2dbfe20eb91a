//! SIGHUP: the configuration is read again, as a whole. One that cannot be used changes nothing.

use cradle_domain::failure::Chain;
use tracing::{error, info, warn};

use crate::arguments::Arguments;
use crate::config::Config;
use crate::logging::LogControl;

/// The keys that take effect at once.
const RELOADABLE: [&str; 1] = ["log.level"];

/// Reads the configuration again and applies what can be applied. `running` is what the daemon runs with.
pub fn reload(arguments: &Arguments, running: &mut Config, log: &LogControl) {
    let new = match Config::load(arguments.file.as_deref(), &arguments.flags) {
        Ok(new) => new,
        Err(error) => {
            error!(error = %Chain(&error), "SIGHUP: the configuration cannot be used; the daemon goes on with the old one");
            return;
        }
    };
    let (applied, waiting): (Vec<_>, Vec<_>) =
        running.differences(&new).into_iter().partition(|key| RELOADABLE.contains(key));
    if applied.contains(&"log.level") {
        log.set(&new.log.level);
        running.log.level = new.log.level;
    }
    info!(?applied, "SIGHUP: the configuration was read again");
    if !waiting.is_empty() {
        warn!(?waiting, "SIGHUP: these keys have changed and take effect when the daemon is started again");
    }
}
