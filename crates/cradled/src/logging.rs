//! The daemon's own log, on stderr: text for people or JSON for programs, each line with the id of its request.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Format, Log, LogFilter};

/// Changes what is logged while the daemon runs.
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
}

/// Starts logging; panics are logged as well.
pub fn start(config: &Log) -> LogControl {
    let (filter, handle) = reload::Layer::new(config.level.targets());
    let lines = fmt::layer().with_writer(stderr);
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
        Format::Text => Box::new(lines.with_ansi(stderr().is_terminal())),
        Format::Json => Box::new(lines.json().with_span_list(false)),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task has panicked; the daemon goes on")));
    LogControl { filter: handle }
}

impl LogControl {
    /// Logs by `filter` from now on.
    pub fn set(&self, filter: &LogFilter) {
        if let Err(error) = self.filter.reload(filter.targets()) {
            tracing::error!(%error, "cannot change the log level");
        }
    }
}
