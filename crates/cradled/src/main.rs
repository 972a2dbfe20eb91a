//! `cradled`, the daemon: reads its configuration, takes its folders, puts the crates together and serves the CRI.
//!
//! Two runtimes share the work: one thread of its own answers the socket, so that a read never waits for a thread; a
//! few others do what changes something.

mod arguments;
mod clients;
mod config;
mod folder;
mod limits;
mod listen;
mod logging;
mod metrics;
mod notify;
mod reload;
mod serve;
mod threads;
mod wiring;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::JoinHandle;

use cradle_cri::{CriService, Edge};
use cradle_domain::{Class, Failure};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::info;

use crate::arguments::{Action, Arguments};
use crate::config::Config;
use crate::limits::{CLOSE_NETWORK, DRAIN_WORK, THREAD_STACK_BYTES};
use crate::wiring::Wired;

/// The code for a configuration that cannot be used, as for a mistake on the command line.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    // It returns only where it is done or cannot be done, which costs memory and nothing else.
    let _ = cradle_sys::heap::restart_without_thread_caches();
    cradle_sys::heap::keep_small();
    cradle_sys::heap::share_arenas();
    let arguments = Arguments::read();
    let config = match Config::load(arguments.file.as_deref(), &arguments.flags) {
        Ok(config) => config,
        Err(error) => return complain(&error.into(), ExitCode::from(BAD_CONFIGURATION)),
    };
    let done = match arguments.action {
        Action::PrintConfig => print_config(&config),
        Action::Serve => run(&arguments, config),
    };
    done.map_or_else(|failure| complain(&failure, ExitCode::FAILURE), |()| ExitCode::SUCCESS)
}

/// Tells whoever started the daemon; the log may be elsewhere, or not begun.
fn complain(failure: &Failure, code: ExitCode) -> ExitCode {
    // There is nobody to tell if this fails.
    let _ = writeln!(io::stderr(), "cradled: {failure}");
    code
}

/// A failure of the machine that has no error type of its own.
fn cannot(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(Class::Unavailable, error.to_string()).context(format!("cannot {what}"))
}

fn print_config(config: &Config) -> Result<(), Failure> {
    io::stdout().write_all(config.to_toml().as_bytes()).map_err(cannot("print the configuration"))
}

/// Is the daemon, until a signal or a failure ends it. Pods never notice either.
fn run(arguments: &Arguments, mut config: Config) -> Result<(), Failure> {
    let log = logging::start(&config.log);
    let _state = folder::hold(&config.state)?;
    let _root = folder::hold(&config.root)?;
    let socket = config.socket.clone();
    let listener = listen::listen(&socket)?;
    let runtime = threads::work_runtime().map_err(cannot("start threads"))?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen().map_err(cannot("listen for signals"))?
    };
    let Wired { edge, streaming, metrics, bridge } =
        runtime.block_on(wiring::wire(&config, runtime.handle().clone()))?;
    let (stop, stopped) = watch::channel(false);
    let streaming = runtime.spawn(streaming.serve(stopped.clone()));
    if let Some(metrics) = metrics {
        runtime.spawn(metrics.serve(stopped.clone()));
    }
    let (ended, serving) = oneshot::channel();
    let server = serve_on_own_thread(listener, edge, stopped, ended).map_err(cannot("serve the socket"))?;
    info!(version = env!("CARGO_PKG_VERSION"), socket = %socket.display(), "ready");
    notify::notify("READY=1");
    // What the start needed is not needed again; if it stays, that costs memory only.
    let _ = cradle_sys::text::release();
    let outcome = runtime.block_on(until_stopped(&mut signals, serving, || {
        reload::reload(arguments, &mut config, &log);
    }));
    notify::notify("STOPPING=1");
    // The receiver is gone only if the server is, and then there is nothing to stop.
    let _ = stop.send(true);
    let joined = server.join();
    // It bounds itself; a panic in it was reported.
    let _ = runtime.block_on(streaming);
    runtime.block_on(async { tokio::time::timeout(CLOSE_NETWORK, bridge.close()).await.ok() });
    runtime.shutdown_timeout(DRAIN_WORK);
    // A later daemon has replaced the socket by its own only if it could take the folders, which are still ours.
    let removed = std::fs::remove_file(&socket);
    info!(?removed, "stopped; pods go on");
    outcome?;
    joined.map_err(|_| Failure::new(Class::Bug, "the thread that serves the socket has panicked"))
}

/// Serves the socket until `stop` is set. `ended` is dropped when that is over.
fn serve_on_own_thread(
    listener: std::os::unix::net::UnixListener,
    edge: Edge,
    stop: watch::Receiver<bool>,
    ended: oneshot::Sender<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _context = runtime.enter();
        tokio::net::UnixListener::from_std(listener)?
    };
    std::thread::Builder::new().name("serve".to_owned()).stack_size(THREAD_STACK_BYTES).spawn(move || {
        let _ended = ended;
        threads::prefer_this_thread();
        runtime.block_on(serve::serve(listener, CriService::new(edge), stop));
    })
}

/// The signals that mean something to the daemon. From their making on, none of them kills it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for the signal to end, or for the server's death; reloads in between.
async fn until_stopped(
    signals: &mut Signals,
    mut serving: oneshot::Receiver<()>,
    mut reload: impl FnMut(),
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hangup.recv() => reload(),
            _ = &mut serving => return Err(Failure::new(Class::Bug, "the socket is no longer served")),
        }
    }
}
