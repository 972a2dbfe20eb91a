//! One request: what it asks for, and its answer.

use std::os::fd::OwnedFd;

use crate::connection::Waiter;
use crate::container::Container;
use crate::protocol::{Greeting, Refusal, Reply, Request, VERSION};
use crate::shim::{Namespaces, Shim};

use super::attach::Wanted;

impl Shim {
    /// Does what a request asks for. Its answer is sent now, or when it is done.
    pub(crate) fn request(&mut self, waiter: Waiter, request: Request, descriptors: Vec<OwnedFd>) {
        let done = match request {
            Request::Hello { version: _ } => {
                let greeting = self.greeting();
                return self.answer(&waiter, Reply::Greeting(Box::new(greeting)), Vec::new());
            }
            Request::SetUpPod(plan) => return self.set_up_pod(&waiter, &plan),
            Request::StartContainer(request) => return self.start_container(waiter, request),
            Request::StartExec(request) => return self.start_exec(waiter, request, descriptors),
            Request::Dial { port } => return self.dial(waiter, port),
            Request::Shutdown => return self.shut_down(waiter),
            Request::KillContainer { container } => match self.kill_container(waiter.clone(), &container) {
                Ok(()) => return,
                refused => refused,
            },
            // Once it is killed, nothing of it is left.
            Request::RemoveContainer { container } if self.is_being_started(&container) => {
                match self.kill_container(waiter.clone(), &container) {
                    Ok(()) => return,
                    refused => refused,
                }
            }
            Request::Attach { container, stdin, stdout, stderr } => {
                match self.attach(&waiter, &container, Wanted { stdin, stdout, stderr }) {
                    Ok(()) => return,
                    refused => refused,
                }
            }
            Request::Signal { target, signal, scope } => self.signal(&target, signal, scope),
            Request::RemoveContainer { container } => self.remove_container(&container),
            Request::ReopenLog { container } => self.reopen_log(&container),
            Request::Resize { target, columns, rows } => self.resize(&target, columns, rows),
        };
        self.finish(&waiter, done);
    }

    fn finish(&mut self, waiter: &Waiter, done: Result<(), Refusal>) {
        match done {
            Ok(()) => self.answer(waiter, Reply::Done, Vec::new()),
            Err(refusal) => self.refuse(waiter, refusal),
        }
    }

    fn greeting(&self) -> Greeting {
        Greeting {
            version: VERSION,
            pod: self.pod.clone(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            set_up: matches!(self.namespaces, Namespaces::Made(_)),
            containers: self.containers.iter().map(Container::report).collect(),
        }
    }
}
