//! The daemon's threads: who works, and who runs first.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::{Builder, Runtime};
use tracing::info;

use crate::limits::{
    BLOCKING_THREAD_IDLE, BLOCKING_THREADS_MAX, EVENT_INTERVAL, SERVE_NICENESS, THREAD_STACK_BYTES, WORK_THREADS_MAX,
};

/// The runtime of all that changes something.
pub fn work_runtime() -> io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.clamp(2, WORK_THREADS_MAX);
    // The runtime starts its workers first; what it starts later are threads for work that takes long.
    let without_slices = AtomicUsize::new(workers);
    let is_worker = move || without_slices.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
    Builder::new_multi_thread()
        .worker_threads(workers)
        .on_thread_start(move || {
            if is_worker() {
                run_soon();
            }
        })
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .thread_stack_size(THREAD_STACK_BYTES)
        .event_interval(EVENT_INTERVAL)
        .thread_name("work")
        .enable_all()
        .build()
}

/// Lets this thread go first when all processors are busy: what it does is short, and clients wait for it. Threads and
/// processes that others start are not concerned (setpriority(2): on Linux a priority is a thread's).
pub fn prefer_this_thread() {
    if let Err(error) = rustix::process::setpriority_process(None, SERVE_NICENESS) {
        info!(%error, "the socket is served at the priority of everything else");
    }
    run_soon();
}

/// Lets this thread run as soon as it is woken. A container that has just been started would hold it up otherwise, for
/// half a millisecond and more, which is as long as its whole start takes.
fn run_soon() {
    if let Err(error) = cradle_sys::scheduling::prefer_short_slices() {
        info!(%error, "a thread waits for its turn as any other");
    }
}
