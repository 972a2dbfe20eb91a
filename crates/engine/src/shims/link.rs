//! One connection to one shim: requests are numbered and answered in any order; what is told unasked goes to the pod.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cradle_domain::{Class, Failure};
use cradle_shim::protocol::{Frame, Refusal, Reply, Request};
use cradle_shim::wire::{self, Message, RECEIVE_BUFFER_BYTES, ReceiveMessageError};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::limits;
use crate::ports::{Act, ShimEvent, ShimLink};

type Answer = Result<(Reply, Vec<OwnedFd>), Refusal>;

/// A connection to a shim, and its process: none of the two outlives the other's end.
pub(super) struct Link {
    socket: AsyncFd<OwnedFd>,
    process: OnceLock<Process>,
    sequence: AtomicU64,
    /// Requests that await their answer; none once the connection has ended.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
}

/// A shim's process, by a descriptor that never names another one.
struct Process {
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    fn kill(&self) {
        // An error means that it is dead.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
    }

    /// Waits until it has ended, and reaps it. False: this runtime ends before it does.
    async fn ended(&self) -> bool {
        let ended = self.pidfd.readable().await.is_ok();
        if ended {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // An error means that it is reaped already, or was started by an earlier daemon and is no child of this one.
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options);
        }
        ended
    }
}

impl Link {
    /// Speaks to the shim with this process id.
    pub fn start(socket: OwnedFd, pid: i32, pidfd: OwnedFd, events: mpsc::Sender<ShimEvent>) -> io::Result<Arc<Self>> {
        let link = Self::start_unknown(socket, events)?;
        link.identify(pid, pidfd)?;
        Ok(link)
    }

    /// Speaks to a shim whose process is not known before its greeting.
    pub fn start_unknown(socket: OwnedFd, events: mpsc::Sender<ShimEvent>) -> io::Result<Arc<Self>> {
        let link = Arc::new(Link {
            socket: super::watched(socket)?,
            process: OnceLock::new(),
            sequence: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        tokio::spawn(Reader { link: link.clone(), events }.run());
        Ok(link)
    }

    /// Enters the shim's process, whose death ends the connection.
    pub fn identify(self: &Arc<Self>, pid: i32, pidfd: OwnedFd) -> io::Result<()> {
        // The first one stays: a link has one shim.
        if self.process.set(Process { pid, pidfd: super::watched(pidfd)? }).is_ok() {
            tokio::spawn(end_with_process(self.clone()));
        }
        Ok(())
    }

    /// Sends a request and waits for its answer, at most for `bound`.
    pub async fn call_within(
        &self,
        bound: Duration,
        request_id: &str,
        body: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.expect(sequence, sender)?;
        let frame = Frame::Request { sequence, request_id: request_id.to_owned(), body };
        let answered = async {
            self.send(Message { frame, descriptors }).await?;
            receiver.await.map_err(|_| lost())
        };
        let answered = tokio::time::timeout(bound, answered).await;
        if !matches!(answered, Ok(Ok(_))) {
            self.waiting().as_mut().and_then(|waiting| waiting.remove(&sequence));
        }
        answered.map_err(|_| silent(self.pid(), bound))??.map_err(refused)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There will be no more answers: those who wait are told by the end of their channel.
    fn end(&self) {
        self.waiting().take();
    }

    fn expect(&self, sequence: u64, sender: oneshot::Sender<Answer>) -> Result<(), Failure> {
        let mut waiting = self.waiting();
        let waiting = waiting.as_mut().ok_or_else(lost)?;
        if waiting.len() >= limits::SHIM_REQUESTS_IN_FLIGHT {
            let text = format!("the shim already has {} requests to answer", limits::SHIM_REQUESTS_IN_FLIGHT);
            return Err(Failure::new(Class::Busy, text));
        }
        waiting.insert(sequence, sender);
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), Failure> {
        let encoded = wire::encode(message).map_err(|error| {
            Failure::new(Class::Invalid, cradle_domain::failure::Chain(&error).to_string()).context("asking the shim")
        })?;
        loop {
            match wire::send(self.socket.get_ref(), &encoded) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut ready = self.socket.writable().await.map_err(|_| lost())?;
                    ready.clear_ready();
                }
                Err(_) => {
                    self.end();
                    return Err(lost());
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}

impl ShimLink for Link {
    fn call<'a>(
        &'a self,
        request_id: &'a str,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Act<'a, (Reply, Vec<OwnedFd>)> {
        let bound = match &request {
            Request::StartContainer(_) | Request::StartExec(_) | Request::SetUpPod(_) => limits::SHIM_START,
            Request::Shutdown => limits::SHIM_SHUTDOWN,
            Request::KillContainer { .. } => limits::KILL,
            Request::Hello { .. }
            | Request::Signal { .. }
            | Request::RemoveContainer { .. }
            | Request::ReopenLog { .. }
            | Request::Resize { .. }
            | Request::Attach { .. }
            | Request::Dial { .. } => limits::SHIM_ANSWER,
        };
        Box::pin(self.call_within(bound, request_id, request, descriptors))
    }

    fn pid(&self) -> i32 {
        self.process.get().map_or(0, |process| process.pid)
    }

    fn kill(&self) {
        if let Some(process) = self.process.get() {
            process.kill();
        }
    }

    fn is_lost(&self) -> bool {
        self.waiting().is_none()
    }
}

/// Waits for the shim's death. Its end of the socket may live on in a child of it that was stuck on the way to its
/// program: what was sent is still received, and then the connection ends all the same.
async fn end_with_process(link: Arc<Link>) {
    let Some(process) = link.process.get() else { return };
    if process.ended().await {
        // An error means that the connection has ended.
        let _ = rustix::net::shutdown(link.socket.get_ref(), rustix::net::Shutdown::Both);
    }
}

/// Takes what arrives until the connection ends.
struct Reader {
    link: Arc<Link>,
    events: mpsc::Sender<ShimEvent>,
}

impl Reader {
    /// Invariant: a shim that hangs up and lives is killed, and its end is told when its process has ended.
    async fn run(self) {
        let ended = self.receive_all().await;
        self.link.end();
        if ended == Ended::HereOnly {
            return;
        }
        if let Some(process) = self.link.process.get() {
            process.kill();
            if !process.ended().await {
                return;
            }
        }
        // The pod may be gone.
        let _ = self.events.send(ShimEvent::Lost).await;
    }

    async fn receive_all(&self) -> Ended {
        // Only as large as what arrives makes it: most messages are answers of a few bytes.
        while let Ok(mut ready) = self.link.socket.readable().await {
            let taken = match receive(&self.link.socket) {
                Ok(message) => self.take(message).await,
                Err(error) if error.is_would_block() => {
                    ready.clear_ready();
                    Ok(())
                }
                Err(ReceiveMessageError::DescriptorsLost { reply: Some(sequence), .. }) => {
                    self.answer(sequence, Err(no_descriptors()), Vec::new());
                    Ok(())
                }
                Err(error) => {
                    if !error.is_closed() {
                        let error = cradle_domain::failure::Chain(&error);
                        tracing::warn!(shim = self.link.pid(), %error, "the connection to a shim is given up");
                    }
                    Err(Ended::ByShim)
                }
            };
            if let Err(ended) = taken {
                return ended;
            }
        }
        Ended::HereOnly
    }

    async fn take(&self, message: Message) -> Result<(), Ended> {
        match message.frame {
            Frame::Reply { sequence, body } => {
                self.answer(sequence, body, message.descriptors);
                Ok(())
            }
            Frame::Event(event) => self.events.send(ShimEvent::Told(event)).await.map_err(|_| Ended::HereOnly),
            Frame::Request { .. } | Frame::InMemfd { .. } => Err(Ended::ByShim),
        }
    }

    fn answer(&self, sequence: u64, body: Result<Reply, Refusal>, descriptors: Vec<OwnedFd>) {
        let sender = self.link.waiting().as_mut().and_then(|waiting| waiting.remove(&sequence));
        if let Some(sender) = sender {
            // The asker may have given up.
            let _ = sender.send(body.map(|reply| (reply, descriptors)));
        }
    }
}

/// Why no more is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The shim hung up, or says what no shim says.
    ByShim,
    /// The pod, or this daemon, does not listen any more; the shim may go on.
    HereOnly,
}

thread_local! {
    /// One buffer a thread, not one a pod.
    static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; RECEIVE_BUFFER_BYTES]);
}

fn receive(socket: &AsyncFd<OwnedFd>) -> Result<Message, ReceiveMessageError> {
    BUFFER.with_borrow_mut(|buffer| wire::receive(socket.get_ref(), buffer))
}

fn no_descriptors() -> Refusal {
    Refusal::new(Class::Exhausted, "the descriptors of the shim's answer were lost")
        .with_hint("the daemon is out of descriptors")
}

fn lost() -> Failure {
    Failure::new(Class::Unavailable, "the pod's shim is gone")
        .with_hint("the pod is not ready; the kubelet stops and recreates it")
}

fn silent(pid: i32, bound: Duration) -> Failure {
    Failure::new(Class::Deadline, format!("the shim (process {pid}) did not answer within {} s", bound.as_secs()))
        .with_hint("it may wait for a hung file system: see its stack in /proc")
}

fn refused(refusal: Refusal) -> Failure {
    let said = !refusal.message.is_empty();
    let message = if said { refusal.message } else { "the shim refuses, and does not say why".to_owned() };
    let failure = Failure::new(refusal.class, message);
    match refusal.hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use cradle_domain::ContainerId;
    use cradle_shim::protocol::Event;
    use cradle_sys::spawn::{Program, spawn};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[tokio::test]
    async fn the_death_of_the_process_ends_the_connection_although_another_has_its_end() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let program = Program { path: c"/bin/true", arguments: &[c"true".into()], environment: &[], descriptors: &[] };
        let pid = spawn(&program).unwrap();
        let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        let event =
            Event::LogLost { container: ContainerId::from_random([7; 32]), lost_bytes: 1, error: String::new() };
        let said = wire::encode(Message { frame: Frame::Event(event), descriptors: Vec::new() }).unwrap();
        wire::send(&theirs, &said).unwrap();
        let (sender, mut events) = mpsc::channel(4);
        let link = Link::start(ours, pid, pidfd, sender).unwrap();
        let told = async { (events.recv().await, events.recv().await) };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
        assert!(matches!(told, (Some(ShimEvent::Told(Event::LogLost { .. })), Some(ShimEvent::Lost))), "{told:?}");
        assert!(link.is_lost());
        let asked = link.call("-", Request::Shutdown, Vec::new()).await;
        assert_eq!(asked.map(|_| ()).unwrap_err().class(), Class::Unavailable);
        drop(theirs);
    }

    #[tokio::test]
    async fn a_shim_that_hangs_up_and_lives_is_killed_and_reaped_before_its_end_is_told() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let arguments = [c"sleep".into(), c"3333".into()];
        let program = Program { path: c"/bin/sleep", arguments: &arguments, environment: &[], descriptors: &[] };
        let pid = Pid::from_raw(spawn(&program).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let (sender, mut events) = mpsc::channel(4);
        let link = Link::start(ours, pid.as_raw_pid(), pidfd, sender).unwrap();
        assert_eq!(rustix::process::test_kill_process(pid), Ok(()), "it lives while its connection does");
        drop(theirs);
        let told = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap();
        assert!(matches!(told, Some(ShimEvent::Lost)), "{told:?}");
        assert!(link.is_lost());
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH), "nothing of it is left");
    }

    #[tokio::test]
    async fn a_shim_whose_daemon_does_not_listen_any_more_goes_on() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let arguments = [c"sleep".into(), c"3333".into()];
        let program = Program { path: c"/bin/sleep", arguments: &arguments, environment: &[], descriptors: &[] };
        let pid = Pid::from_raw(spawn(&program).unwrap()).unwrap();
        let (sender, events) = mpsc::channel(4);
        let link = Link::start(ours, pid.as_raw_pid(), pidfd_open(pid, PidfdFlags::empty()).unwrap(), sender).unwrap();
        drop(events);
        let event =
            Event::LogLost { container: ContainerId::from_random([7; 32]), lost_bytes: 1, error: String::new() };
        let said = wire::encode(Message { frame: Frame::Event(event), descriptors: Vec::new() }).unwrap();
        wire::send(&theirs, &said).unwrap();
        tokio::time::timeout(Duration::from_secs(10), async {
            while !link.is_lost() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG).unwrap();
        assert!(ended.is_none(), "it was killed");
        link.kill();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    }
}
