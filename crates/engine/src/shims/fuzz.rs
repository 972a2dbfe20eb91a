//! Fuzz target: what a shim, or something in its place, may say to the daemon.

use std::time::Duration;

use cradle_shim::protocol::Request;
use cradle_sys::seqpacket;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::link::Link;
use crate::ports::{ShimEvent, ShimLink};

/// Messages of one input at most: what the socket's buffer holds.
const PACKETS_MAX: usize = 64;

/// Each request has its answer or its failure by then, whatever the shim says before it leaves.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// Two requests are waiting while packets come, each of them after two bytes with its length; then the shim leaves.
pub fn shim(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(speak(data)));
}

async fn speak(mut script: &[u8]) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let (sender, mut events) = mpsc::channel(1);
    let link = Link::start_unknown(ours, sender).unwrap();
    let said = async {
        for _ in 0..PACKETS_MAX {
            let Some(([high, low], rest)) = script.split_first_chunk() else { break };
            let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
            script = rest;
            // What is empty cannot be sent; a link that has ended takes nothing.
            let _ = seqpacket::send(&theirs, packet, &[]);
            tokio::task::yield_now().await;
        }
        drop(theirs);
    };
    let lost = async {
        let mut lost = 0;
        while let Some(event) = events.recv().await {
            lost += usize::from(matches!(event, ShimEvent::Lost));
        }
        lost
    };
    let asked = async {
        let hello = link.call("fuzz", Request::Hello { version: 1 }, Vec::new());
        let dial = link.call("fuzz", Request::Dial { port: 1 }, Vec::new());
        let answers = tokio::join!(hello, dial);
        for failure in [answers.0.err(), answers.1.err()].into_iter().flatten() {
            assert!(!failure.to_string().is_empty());
        }
    };
    let (_, lost, ()) = tokio::time::timeout(ENDS_WITHIN, async { tokio::join!(asked, lost, said) }).await.unwrap();
    assert_eq!(lost, 1, "the end of a connection is told once");
    assert!(link.is_lost());
}

#[cfg(test)]
mod tests {
    use cradle_domain::{Class, ContainerId, Timestamp};
    use cradle_shim::protocol::{Event, Exit, Frame, Refusal, Reply};
    use cradle_shim::wire::{self, Message};
    use cradle_testkit::fuzz::Replay;

    fn part(packet: &[u8]) -> Vec<u8> {
        [&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet].concat()
    }

    fn packets() -> Vec<Vec<u8>> {
        let container = ContainerId::from_random([2; 32]);
        let exit = Exit { code: 1, at: Timestamp(5), oom_killed: false, timed_out: false };
        let refusal = Refusal::new(Class::NotFound, "no such container").with_hint("create it");
        let frames = [
            Frame::Reply { sequence: 1, body: Ok(Reply::PodReady) },
            Frame::Reply { sequence: 2, body: Err(refusal) },
            Frame::Reply { sequence: 9, body: Ok(Reply::Started { pid: 7, at: Timestamp(3) }) },
            Frame::Event(Event::ContainerExited { container: container.clone(), exit }),
            Frame::Event(Event::LogLost { container, lost_bytes: 9, error: "full".into() }),
            Frame::InMemfd { length: 10 },
            Frame::Request { sequence: 1, request_id: "x".into(), body: super::Request::Shutdown },
        ];
        frames.into_iter().map(packet_of).collect()
    }

    fn packet_of(frame: Frame) -> Vec<u8> {
        let flags = super::SocketFlags::CLOEXEC;
        let (a, b) = super::socketpair(super::AddressFamily::UNIX, super::SocketType::SEQPACKET, flags, None).unwrap();
        wire::send(&a, &wire::encode(Message::bare(frame)).unwrap()).unwrap();
        let mut buffer = [0; 512];
        let received = super::seqpacket::receive(&b, &mut buffer).unwrap();
        buffer[..received.length].to_vec()
    }

    #[test]
    fn what_a_shim_says_does_no_harm() {
        let each = packets().into_iter().map(|packet| part(&packet));
        let all = packets().iter().take(5).flat_map(|packet| part(packet)).collect();
        Replay::new("shim_replies").run(each.chain([all]), super::shim);
    }
}
