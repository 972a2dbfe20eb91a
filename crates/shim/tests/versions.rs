//! Messages of every version of the protocol, kept for ever: a daemon drives shims of the versions before its own.
//!
//! `v1/messages.txt` has one message a line, its name and its bytes. Each must still be read, and written again as the
//! same bytes. A new version adds a file; the old one never changes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use cradle_domain::{ContainerId, PodId, Timestamp};
use cradle_executor::cgroup::Layout;
use cradle_executor::plan::{self, ContainerPlan, Facts, ImageOwners, PlanContext, Rootfs};
use cradle_executor::pod::PodPlan;
use cradle_shim::protocol::{
    ContainerIo, ContainerReport, Event, ExecId, ExecIo, Exit, Frame, Greeting, Refusal, Reply, Request, Scope,
    StartContainer, StartExec, Target,
};

const V1: &str = include_str!("v1/messages.txt");

#[test]
fn messages_of_version_1_are_read_and_written_as_they_were() {
    let mut count = 0;
    for line in V1.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let frame: Frame = postcard::from_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(postcard::to_allocvec(&frame).unwrap(), bytes, "{name}");
        count += 1;
    }
    assert!(count >= 30, "only {count} messages are kept");
}

/// Writes the messages of the present version to `$WRITE_MESSAGES`, once for each version.
#[test]
fn every_message_can_be_written() {
    let mut text = String::from("# One message a line: its name and its bytes.\n");
    for (name, frame) in frames() {
        let bytes = postcard::to_allocvec(&frame).unwrap();
        writeln!(text, "{name} {}", cradle_domain::id::hex(&bytes)).unwrap();
    }
    assert!(text.lines().count() > 30);
    if let Some(path) = std::env::var_os("WRITE_MESSAGES") {
        std::fs::write(path, text).unwrap();
    }
}

fn frames() -> Vec<(String, Frame)> {
    let request = |body| Frame::Request { sequence: 7, request_id: "id".into(), body };
    let mut frames = Vec::new();
    for (at, body) in requests().into_iter().enumerate() {
        frames.push((format!("request-{at}"), request(body)));
    }
    for (at, body) in replies().into_iter().enumerate() {
        frames.push((format!("reply-{at}"), Frame::Reply { sequence: 7, body }));
    }
    for (at, event) in events().into_iter().enumerate() {
        frames.push((format!("event-{at}"), Frame::Event(event)));
    }
    frames.push(("in-memfd".into(), Frame::InMemfd { length: 1 << 20 }));
    for (name, plan) in plans() {
        let start = StartContainer { plan: plan.clone(), io: io() };
        frames.push((format!("start-{name}"), request(Request::StartContainer(Box::new(start)))));
    }
    frames
}

fn container() -> ContainerId {
    ContainerId::from_random([2; 32])
}

fn exit() -> Exit {
    Exit { code: 137, at: Timestamp(3), oom_killed: true, timed_out: false }
}

fn io() -> ContainerIo {
    ContainerIo {
        log_path: Some("/var/log/pods/web/0.log".into()),
        log_line_max_bytes: 16384,
        terminal: false,
        stdin: true,
        stdin_once: true,
    }
}

fn requests() -> Vec<Request> {
    let target = || Target::Container(container());
    let exec = StartExec {
        container: container(),
        exec: ExecId(9),
        plan: plan::ExecPlan { steps: Vec::new() },
        io: ExecIo::Pipes { stdin: true, stdout: true, stderr: true },
        timeout: Some(Duration::from_secs(1)),
    };
    vec![
        Request::Hello { version: 1 },
        Request::SetUpPod(Box::new(PodPlan { hostname: "web".into(), ..PodPlan::default() })),
        Request::StartExec(Box::new(exec)),
        Request::Signal { target: target(), signal: 15, scope: Scope::Leader },
        Request::Signal { target: Target::Exec(container(), ExecId(9)), signal: 9, scope: Scope::Group },
        Request::KillContainer { container: container() },
        Request::RemoveContainer { container: container() },
        Request::ReopenLog { container: container() },
        Request::Resize { target: target(), columns: 80, rows: 24 },
        Request::Attach { container: container(), stdin: true, stdout: true, stderr: false },
        Request::Dial { port: 80 },
        Request::Shutdown,
    ]
}

fn replies() -> Vec<Result<Reply, Refusal>> {
    let report = ContainerReport { container: container(), pid: 5, started_at: Timestamp(1), exit: Some(exit()) };
    let greeting =
        Greeting { version: 1, pod: PodId::from_random([1; 32]), pid: 4, set_up: true, containers: vec![report] };
    let refusal =
        Refusal { class: cradle_domain::Class::Busy, message: "what".into(), hint: Some("what to do".into()) };
    vec![
        Ok(Reply::Greeting(Box::new(greeting))),
        Ok(Reply::PodReady),
        Ok(Reply::Started { pid: 5, at: Timestamp(1) }),
        Ok(Reply::Attached { stdin: true, stdout: true, stderr: false, terminal: false }),
        Ok(Reply::Done),
        Err(refusal),
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::ContainerExited { container: container(), exit: exit() },
        Event::ExecExited { container: container(), exec: ExecId(9), exit: exit() },
        Event::LogLost { container: container(), lost_bytes: 5, error: "no space".into() },
    ]
}

/// The plans of the executor's golden specifications: every step that there is.
fn plans() -> Vec<(String, ContainerPlan)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../executor/tests/golden");
    let mut facts = Facts::read().unwrap();
    facts.layout = Layout::v2(Path::new("/sys/fs/cgroup"), &["cpu", "cpuset", "memory", "pids", "hugetlb", "io"]);
    let mut plans = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".json").filter(|name| !name.contains(".exec") && !name.starts_with("v1-"))
        else {
            continue;
        };
        let rootfs = Rootfs::Overlay { lower: vec!["/l/1".into()], upper: "/u".into(), work: "/w".into() };
        let context = PlanContext { id: container(), rootfs, owners: ImageOwners::Original, facts: &facts };
        let spec = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if let Ok(plan) = plan::container(&spec, &context) {
            plans.push((name.to_owned(), plan));
        }
    }
    plans.sort_by(|left, right| left.0.cmp(&right.0));
    plans
}
