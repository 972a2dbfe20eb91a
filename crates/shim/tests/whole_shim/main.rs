//! The real program, as root: containers from a folder, with everything that a daemon may ask for. Each test asserts that
//! nothing is left of its shim.

mod connections;
mod containers;
mod execs;
mod output;
#[path = "../support/mod.rs"]
mod support;
mod user_namespaces;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cradle_domain::Class;
use cradle_executor::pod::{PidShare, PodPlan};
use cradle_shim::protocol::{Event, ExecIo, ExitRecord, Reply, Request, Scope, Target};
use support::{Client, HungMount, SmallDisk, TestShim, eventually, is_root, script};

fn pipe() -> (std::fs::File, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer)
}

fn text(mut pipe: impl Read) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

const SILENT: ExecIo = ExecIo::Pipes { stdin: false, stdout: false, stderr: false };

fn exit_record(shim: &TestShim, id: &cradle_domain::ContainerId) -> Option<ExitRecord> {
    let bytes = std::fs::read(shim.path("pod/exits").join(id.as_str())).ok()?;
    Some(postcard::from_bytes(&bytes).unwrap())
}
