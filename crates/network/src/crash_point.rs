//! Lets a test end an act at any of its effects, as kill -9 would: each effect passes here first, and the one whose turn
//! it is unwinds the thread without a word. Nothing in this crate undoes anything while it unwinds.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static EFFECTS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Crash;

/// Called before each effect on the kernel or the disk.
pub fn pass() {
    EFFECTS_LEFT.with(|left| match left.get() {
        None => {}
        Some(0) => resume_unwind(Box::new(Crash)),
        Some(some) => left.set(Some(some - 1)),
    });
}

/// Runs `act` on this thread until it has had `effects` effects; `None` if it crashed before its end.
pub fn crash_after<T>(effects: usize, act: impl FnOnce() -> T) -> Option<T> {
    EFFECTS_LEFT.with(|left| left.set(Some(effects)));
    let result = catch_unwind(AssertUnwindSafe(act));
    EFFECTS_LEFT.with(|left| left.set(None));
    match result {
        Ok(value) => Some(value),
        Err(panic) if panic.is::<Crash>() => None,
        Err(panic) => resume_unwind(panic),
    }
}
