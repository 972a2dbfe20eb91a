//! Commands and attaching, as clients have them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::clients::{self, BINARY, CLOSE, PING, PONG, Spdy, TEXT, WebSocket};
use super::{BOTH, OUTPUT, Place, soon};
use crate::request::Wanted;
use crate::spdy::testing;

const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;

#[tokio::test]
async fn a_command_gets_its_stdin_to_the_end_and_gives_its_output_and_status() {
    let place = Place::new().await;
    let path = place.exec(&["cat"], BOTH);
    let mut client = Spdy::command(place.address, &path, "v4.channel.k8s.io", &["error", "stdin", "stdout"]).await;
    let long = "0123456789".repeat(50_000);
    client.say(3, b"first ", false).await;
    let (mut read, mut write) = client.tcp.into_split();
    let sent = testing::data(3, long.as_bytes(), true);
    // Both directions at once: the command gives back what it gets.
    let sending = tokio::spawn(async move { write.write_all(&sent).await.map(|()| write) });
    let mut answer = Vec::new();
    let all = 6 + long.len();
    soon(async {
        while answer.len() < all {
            assert_ne!(read.read_buf(&mut answer).await.unwrap(), 0);
        }
    })
    .await;
    let write = sending.await.unwrap().unwrap();
    soon(read.read_to_end(&mut answer)).await.unwrap();
    drop(write);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("first "), "{}", text.len());
    assert!(text.contains(SUCCESS));
    place.empty().await;
}

#[tokio::test]
async fn every_version_over_spdy_tells_the_end_in_its_form() {
    let place = Place::new().await;
    for (version, json) in [
        ("v4.channel.k8s.io", true),
        ("v3.channel.k8s.io", false),
        ("v2.channel.k8s.io", false),
        ("channel.k8s.io", false),
    ] {
        let path = place.exec(&["exit", "3"], OUTPUT);
        let mut client = Spdy::command(place.address, &path, version, &["error", "stdout"]).await;
        client.listen_to_the_end().await;
        let status = client.said(1);
        assert_eq!(status.contains(r#""reason":"ExitCode""#), json, "{status}");
        assert!(status.contains("exit status 3"), "{status}");
        client.ended.sort_unstable();
        assert_eq!((&client.ended[..], client.goodbye), (&[1, 3][..], Some(0)));
    }
    place.empty().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_told_as_its_status() {
    let place = Place::new().await;
    place.world.fail("exec", 1);
    let path = place.exec(&["cat"], OUTPUT);
    let mut client = Spdy::command(place.address, &path, "v4.channel.k8s.io", &["error", "stdout"]).await;
    client.listen_to_the_end().await;
    assert!(client.said(1).contains("InternalError"), "{}", client.said(1));
    assert!(client.said(1).contains("exec fails as the test wants"), "{}", client.said(1));
    place.empty().await;
}

#[tokio::test]
async fn streams_may_come_in_any_order_and_input_before_the_last() {
    let place = Place::new().await;
    let path = place.exec(&["cat"], BOTH);
    let mut client = Spdy::command(place.address, &path, "v4.channel.k8s.io", &["stdin"]).await;
    client.say(1, b"early", true).await;
    client.open(&[("streamtype", "stdout")]).await;
    let refused = client.open(&[("streamtype", "stdin")]).await;
    let unknown = client.open(&[("streamtype", "video")]).await;
    client.open(&[("streamtype", "error")]).await;
    client.listen_to_the_end().await;
    assert_eq!((client.said(3), client.said(9)), ("early".to_owned(), SUCCESS.to_owned()));
    assert_eq!(client.reset, [refused, unknown]);
    place.empty().await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_keep_its_session() {
    let place = Place::new().await;
    let path = place.exec(&["leave"], OUTPUT);
    let mut client = Spdy::command(place.address, &path, "v4.channel.k8s.io", &["error", "stdout"]).await;
    client.listen_to_the_end().await;
    assert_eq!(client.said(1), SUCCESS);
    place.empty().await;
}

#[tokio::test]
async fn a_command_over_websocket_reads_its_end_by_the_close_signal() {
    let place = Place::new().await;
    let path = place.exec(&["cat"], BOTH);
    let mut client = WebSocket::new(place.address, &path, "v5.channel.k8s.io").await;
    client.send(PING, b"still there?").await;
    client.send(BINARY, b"\0hello").await;
    client.send(BINARY, &[255, 0]).await;
    client.listen(|client| client.heard.iter().any(|(opcode, _)| *opcode == CLOSE)).await;
    assert_eq!((client.said(1), client.said(3)), ("hello".to_owned(), SUCCESS.to_owned()));
    assert!(client.heard.contains(&(PONG, b"still there?".to_vec())));
    assert_eq!(client.heard.last(), Some(&(CLOSE, vec![3, 0xe8])));
    // The goodbye is answered, as the standard wants it.
    client.send(CLOSE, &[3, 0xe8]).await;
    place.empty().await;
}

#[tokio::test]
async fn websocket_without_a_close_signal_and_in_base64_is_spoken_too() {
    let place = Place::new().await;
    for (subprotocol, json) in [("v4.base64.channel.k8s.io", true), ("base64.channel.k8s.io", false)] {
        let path = place.exec(&["cat"], BOTH);
        let mut client = WebSocket::new(place.address, &path, subprotocol).await;
        client.send(TEXT, b"0aGVsbG8=").await;
        client.listen(|client| client.said(b'1').contains("aGVsbG8=")).await;
        assert_eq!(client.heard[0], (TEXT, b"1".to_vec()));
        drop(client);
        let path = place.exec(&["exit", "2"], OUTPUT);
        let mut client = WebSocket::new(place.address, &path, subprotocol).await;
        client.listen(|client| client.heard.iter().any(|(opcode, _)| *opcode == CLOSE)).await;
        // "{"meta" or "command".
        assert!(client.said(b'3').starts_with(if json { "eyJ" } else { "Y29tbWFuZ" }), "{}", client.said(b'3'));
    }
    for subprotocol in ["v4.channel.k8s.io", "channel.k8s.io"] {
        let path = place.exec(&["cat"], BOTH);
        let mut client = WebSocket::new(place.address, &path, subprotocol).await;
        client.send(BINARY, b"\0hello").await;
        client.listen(|client| client.said(1) == "hello").await;
        client.send(CLOSE, &[]).await;
    }
    place.empty().await;
}

#[tokio::test]
async fn a_websocket_client_that_offers_nothing_gets_plain_channels() {
    let place = Place::new().await;
    let path = place.exec(&["cat"], BOTH);
    let headers = clients::websocket_headers("");
    let headers = headers.split("\r\nSec-WebSocket-Protocol").next().unwrap();
    let (mut tcp, head, mut heard) = clients::ask(place.address, &path, headers).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("protocol"), "{head}");
    tcp.write_all(&clients::message(BINARY, b"\0hello")).await.unwrap();
    soon(async {
        while !heard.ends_with(b"\x01hello") {
            assert_ne!(tcp.read_buf(&mut heard).await.unwrap(), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn all_who_are_attached_see_the_same_and_leave_the_container_running() {
    let place = Place::new().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let kinds = ["error", "stdin", "stdout"];
        clients.push(Spdy::command(place.address, &place.attach(), "v4.channel.k8s.io", &kinds).await);
    }
    super::until("all are attached", || place.world.print(&place.container, b".") == 3).await;
    drop(clients.pop());
    super::until("one has left", || place.shared.sessions.available_permits() == crate::limits::SESSIONS_MAX - 2).await;
    place.world.print(&place.container, b"to all");
    place.world.end_container(&place.container, 1);
    for client in &mut clients {
        client.listen_to_the_end().await;
        assert!(client.said(5).ends_with("to all"), "{}", client.said(5));
        assert_eq!(client.said(1), SUCCESS);
    }
    assert!(place.world.signalled().is_empty());
    place.empty().await;
}

#[tokio::test]
async fn a_daemon_that_stops_tells_its_clients_and_hangs_their_commands_up() {
    let place = Place::new().await;
    let path = place.exec(&["cat"], Wanted { stderr: true, ..BOTH });
    let kinds = ["error", "stdin", "stdout", "stderr"];
    let mut client = Spdy::command(place.address, &path, "v4.channel.k8s.io", &kinds).await;
    client.say(3, b"runs", false).await;
    client.listen(|client| client.said(5) == "runs").await;
    place.stop.send(true).unwrap();
    client.listen_to_the_end().await;
    assert!(client.said(1).contains("the daemon of the container runtime stops"), "{}", client.said(1));
    soon(place.serving).await.unwrap();
}
