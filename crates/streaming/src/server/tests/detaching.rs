//! Clients that leave a command on purpose, and those that do not.

use super::clients::{CLOSE, DETACH, GOING_AWAY, NORMAL, WebSocket};
use super::{BOTH, OUTPUT, Place, soon, until};
use crate::limits::DETACHED_MAX;
use crate::request::Wanted;

const V5: &str = "v5.channel.k8s.io";
const TERMINAL: Wanted = Wanted { stdin: true, stdout: true, stderr: false, terminal: true };

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Says(&'static [u8]),
    Cut,
}

/// A client that leaves a command which has begun; true: it got an answer to its goodbye.
async fn leave(place: &Place, command: &[&str], wanted: Wanted, leaves: Leaves) -> bool {
    let mut client = WebSocket::new(place.address, &place.exec(command, wanted), V5).await;
    until("the command runs", || place.world.commands() > 0).await;
    let Leaves::Says(goodbye) = leaves else { return false };
    client.send(CLOSE, goodbye).await;
    client.listen(|client| client.heard.iter().any(|(opcode, _)| *opcode == CLOSE)).await;
    client.heard.iter().any(|(opcode, payload)| *opcode == CLOSE && payload == goodbye)
}

fn detached(place: &Place) -> usize {
    DETACHED_MAX - place.shared.detached.available_permits()
}

#[tokio::test]
async fn a_command_that_is_detached_from_runs_on_until_the_daemon_stops() {
    for wanted in [OUTPUT, BOTH, TERMINAL] {
        let place = Place::new().await;
        assert!(leave(&place, &["wait"], wanted, Leaves::Says(DETACH)).await);
        assert_eq!((detached(&place), place.world.signalled()), (1, Vec::new()), "{wanted:?}");
        place.stop.send(true).unwrap();
        soon(place.serving).await.unwrap();
        until("it is hung up", || place.world.signalled() == [1]).await;
        assert_eq!(place.shared.detached.available_permits(), DETACHED_MAX);
    }
}

#[tokio::test]
async fn a_command_whose_client_leaves_in_any_other_way_is_hung_up() {
    for wanted in [OUTPUT, BOTH, TERMINAL] {
        for leaves in [Leaves::Says(NORMAL), Leaves::Says(GOING_AWAY), Leaves::Says(&[]), Leaves::Cut] {
            let place = Place::new().await;
            leave(&place, &["wait"], wanted, leaves).await;
            until("it is hung up", || place.world.signalled() == [1]).await;
            assert_eq!(detached(&place), 0, "{wanted:?} {leaves:?}");
            place.empty().await;
        }
    }
}

#[tokio::test]
async fn what_is_detached_from_reads_the_end_of_its_input() {
    let place = Place::new().await;
    assert!(leave(&place, &["cat"], BOTH, Leaves::Says(DETACH)).await);
    place.empty().await;
    assert_eq!((detached(&place), place.world.signalled()), (0, Vec::new()));
}

#[tokio::test]
async fn the_terminal_of_what_is_detached_from_stays_open() {
    let place = Place::new().await;
    assert!(leave(&place, &["cat"], TERMINAL, Leaves::Says(DETACH)).await);
    // Meanwhile another command lives from its start to its end.
    let mut other = WebSocket::new(place.address, &place.exec(&["exit", "0"], OUTPUT), V5).await;
    other.listen(|other| other.heard.iter().any(|(opcode, _)| *opcode == CLOSE)).await;
    assert_eq!((detached(&place), place.world.signalled()), (1, Vec::new()));
}

#[tokio::test]
async fn the_output_of_what_is_detached_from_is_taken_to_its_end() {
    for wanted in [OUTPUT, TERMINAL] {
        let place = Place::new().await;
        // 64 MiB: more than all the buffers on the way hold.
        assert!(leave(&place, &["print", "16384"], wanted, Leaves::Says(DETACH)).await);
        place.empty().await;
        assert_eq!((detached(&place), place.world.signalled()), (0, Vec::new()), "{wanted:?}");
    }
}

#[tokio::test]
async fn a_command_too_many_is_hung_up_and_its_client_gets_no_answer() {
    let place = Place::new().await;
    let others = place.shared.detached.try_acquire_many(u32::try_from(DETACHED_MAX).unwrap()).unwrap();
    assert!(!leave(&place, &["wait"], BOTH, Leaves::Says(DETACH)).await);
    until("it is hung up", || place.world.signalled() == [1]).await;
    place.empty().await;
    drop(others);
}

#[tokio::test]
async fn who_detaches_from_a_container_takes_no_place() {
    let place = Place::new().await;
    let mut client = WebSocket::new(place.address, &place.attach(), V5).await;
    until("it is attached", || place.world.print(&place.container, b".") == 1).await;
    client.send(CLOSE, DETACH).await;
    client.listen(|client| client.heard.contains(&(CLOSE, DETACH.to_vec()))).await;
    place.empty().await;
    assert_eq!((detached(&place), place.world.signalled()), (0, Vec::new()));
}
