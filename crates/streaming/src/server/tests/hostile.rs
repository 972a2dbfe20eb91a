//! Clients that do what they should not, and clients that die: what they cost ends within its limit.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clients::{self, Spdy, WebSocket, refused, spdy_headers, websocket_headers};
use super::{BOTH, Config, OUTPUT, Place, soon, until};
use crate::limits::{HALF_OPEN_MAX, SESSIONS_MAX};
use crate::spdy::testing;

const V4: &str = "v4.channel.k8s.io";
const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_token_that_is_not_good_is_told_nothing() {
    let place = Place::new().await;
    let used = place.exec(&["exit", "0"], OUTPUT);
    drop(Spdy::new(place.address, &used, V4).await);
    let attach = place.attach();
    let wrong_kind = attach.replace("/attach/", "/exec/");
    for path in ["/", "/exec/", "/exec/AAAAAAAAAAAAAAAAAAAAAA", &used, &wrong_kind, &attach, "/exec/../etc/passwd", "*"]
    {
        for headers in [spdy_headers(V4), websocket_headers("v5.channel.k8s.io")] {
            let (status, _, body) = refused(place.address, path, &headers).await;
            assert_eq!((status, body.as_str()), (404, "not found\n"), "{path}");
        }
    }
    place.empty().await;
}

#[tokio::test]
async fn a_client_of_unknown_versions_is_told_those_that_are_spoken() {
    let place = Place::new().await;
    let (status, head, _) =
        refused(place.address, &place.exec(&["cat"], BOTH), &spdy_headers("v9.channel.k8s.io")).await;
    assert_eq!(status, 403);
    assert!(head.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io\r\n"), "{head}");
    let path = place.exec(&["cat"], BOTH);
    assert_eq!(refused(place.address, &path, "Upgrade: h2c").await.0, 400);
    // Its one use is over.
    assert_eq!(refused(place.address, &path, &spdy_headers(V4)).await.0, 404);
}

#[tokio::test]
async fn a_request_that_does_not_come_is_waited_for_no_longer_than_its_limit() {
    let place = Place::with(Config { handshake_timeout: SHORT, ..Config::default() }).await;
    for begin in ["", "GET /exec/x HTTP/1.1\r\nHost:"] {
        let mut tcp = TcpStream::connect(place.address).await.unwrap();
        tcp.write_all(begin.as_bytes()).await.unwrap();
        // An answer 408 or none: then the end.
        soon(tcp.read_to_end(&mut Vec::new())).await.unwrap();
    }
}

#[tokio::test]
async fn connections_that_stall_keep_nobody_out() {
    let place = Place::with(Config { handshake_timeout: super::SOON * 6, ..Config::default() }).await;
    let mut stalled = Vec::new();
    for number in 0..3 * HALF_OPEN_MAX {
        let mut tcp = TcpStream::connect(place.address).await.unwrap();
        if number % 2 == 0 {
            // It may have given way already.
            let _ = tcp.write_all(b"GET /exec/").await;
        }
        stalled.push(tcp);
    }
    let path = place.exec(&["exit", "0"], OUTPUT);
    let mut client = Spdy::command(place.address, &path, V4, &["error", "stdout"]).await;
    client.listen_to_the_end().await;
    assert!(client.said(1).contains("Success"), "{}", client.said(1));
    // The first have been closed, the last wait for their limit.
    soon(stalled[1].read_to_end(&mut Vec::new())).await.unwrap_or_default();
    let waiting = tokio::time::timeout(SHORT, stalled[3 * HALF_OPEN_MAX - 1].read_to_end(&mut Vec::new())).await;
    assert!(waiting.is_err(), "{waiting:?}");
    place.empty().await;
}

#[tokio::test]
async fn a_request_with_endless_headers_is_refused() {
    let place = Place::new().await;
    let mut tcp = TcpStream::connect(place.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let line = format!("X-Long: {}\r\n", "x".repeat(1000));
    let mut sent = 0;
    while sent < 1 << 20 && tcp.write_all(line.as_bytes()).await.is_ok() {
        sent += line.len();
    }
    assert!(sent < 1 << 20);
}

#[tokio::test]
async fn streams_that_are_not_opened_end_the_session() {
    let place = Place::with(Config { stream_creation_timeout: SHORT, ..Config::default() }).await;
    for kinds in [&[][..], &["error"][..]] {
        let path = place.exec(&["cat"], BOTH);
        let mut client = Spdy::command(place.address, &path, V4, kinds).await;
        client.listen_to_the_end().await;
    }
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), "portforward.k8s.io").await;
    let stream = client.open(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]).await;
    client.listen(|client| client.reset == [stream]).await;
    drop(client);
    place.empty().await;
}

#[tokio::test]
async fn a_session_in_which_nothing_moves_is_ended() {
    let place = Place::with(Config { idle_timeout: SHORT, ..Config::default() }).await;
    let path = place.exec(&["wait"], OUTPUT);
    let mut client = Spdy::command(place.address, &path, V4, &["error", "stdout"]).await;
    client.listen_to_the_end().await;
    assert!(client.said(1).contains("nothing has moved"), "{}", client.said(1));
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), "portforward.k8s.io").await;
    client.listen_to_the_end().await;
    assert_eq!(client.goodbye, Some(0));
    place.empty().await;
    until("the command is hung up", || place.world.signalled() == [1]).await;
}

#[tokio::test]
async fn what_is_no_spdy_ends_the_session_with_a_goodbye() {
    let place = Place::new().await;
    let bomb = testing::Client::new().compress(&vec![0; 8 << 20]);
    for bytes in [testing::data(0, b"x", false), vec![0xff; 100], testing::open(1, &bomb)] {
        let mut client = Spdy::new(place.address, &place.exec(&["wait"], OUTPUT), V4).await;
        client.send(&bytes).await;
        client.listen_to_the_end().await;
        assert_eq!(client.goodbye, Some(1));
    }
    place.empty().await;
}

#[tokio::test]
async fn what_is_no_websocket_ends_the_session() {
    let place = Place::new().await;
    for bytes in
        [vec![0xff; 100], clients::message(clients::BINARY, &[255, 0, 0]), vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]]
    {
        let mut client = WebSocket::new(place.address, &place.exec(&["wait"], OUTPUT), "v5.channel.k8s.io").await;
        client.tcp.write_all(&bytes).await.unwrap();
        client.listen(|_| false).await;
        place.empty().await;
    }
}

#[tokio::test]
async fn a_client_that_never_reads_holds_little_and_goes_when_it_goes() {
    let place = Place::new().await;
    let path = place.exec(&["flood"], OUTPUT);
    let client = Spdy::command(place.address, &path, V4, &["error", "stdout"]).await;
    let websocket = WebSocket::new(place.address, &place.exec(&["flood"], OUTPUT), "v5.channel.k8s.io").await;
    until("both are served", || place.shared.sessions.available_permits() == SESSIONS_MAX - 2).await;
    // Long enough for them to be stuck.
    tokio::time::sleep(SHORT).await;
    assert!(place.shared.buffers.kept() < 8);
    drop((client, websocket));
    place.empty().await;
    until("both are hung up or have noticed", || place.world.signalled().iter().all(|signal| *signal == 1)).await;
}

#[tokio::test]
async fn a_client_that_asks_for_answers_and_takes_none_is_not_listened_to() {
    let place = Place::new().await;
    let mut client = WebSocket::new(place.address, &place.exec(&["wait"], OUTPUT), "v5.channel.k8s.io").await;
    let pings = clients::message(clients::PING, &[0; 100]).repeat(1000);
    let mut sent = 0;
    // It can send until both sockets' buffers are full of answers and of pings that nobody reads.
    while tokio::time::timeout(SHORT * 4, client.tcp.write_all(&pings)).await.is_ok() {
        sent += pings.len();
        assert!(sent < 100 << 20, "pings are read although their answers are not");
    }
    drop(client);
    place.empty().await;
}

#[tokio::test]
async fn a_client_that_dies_in_any_phase_leaves_nothing() {
    let place = Place::new().await;
    // Connected; amid its request.
    drop(TcpStream::connect(place.address).await.unwrap());
    let mut tcp = TcpStream::connect(place.address).await.unwrap();
    tcp.write_all(b"GET /exec/").await.unwrap();
    drop(tcp);
    let kinds = ["error", "stdin", "stdout"];
    for opened in 0..=3 {
        // Upgraded; amid the opening of its streams; with all of them.
        let path = place.exec(&["wait"], BOTH);
        drop(Spdy::command(place.address, &path, V4, &kinds[..opened]).await);
        place.empty().await;
    }
    // Amid a frame; amid a large one; with output under way; with input that nobody takes.
    for bytes in [&testing::data(3, b"xy", false)[..9], &testing::data(3, &[0; 9000], false)[..2000]] {
        let mut client = Spdy::command(place.address, &place.exec(&["cat"], BOTH), V4, &kinds).await;
        client.send(bytes).await;
        drop(client);
        place.empty().await;
    }
    let mut client = Spdy::command(place.address, &place.exec(&["flood"], OUTPUT), V4, &["error", "stdout"]).await;
    client.listen(|client| client.said.get(&3).is_some_and(|said| said.len() > 100_000)).await;
    drop(client);
    place.empty().await;
    let client = WebSocket::new(place.address, &place.exec(&["wait"], BOTH), "v5.channel.k8s.io").await;
    drop(client);
    place.empty().await;
    until("the commands are hung up", || place.world.signalled().contains(&1)).await;
}

#[tokio::test]
async fn a_client_that_dies_while_its_input_waits_leaves_nothing() {
    let place = Place::new().await;
    let kinds = ["error", "stdin", "stdout"];
    let mut client = Spdy::command(place.address, &place.exec(&["wait"], BOTH), V4, &kinds).await;
    let input = testing::data(3, &vec![0; 1 << 20], false);
    // Until nobody takes more.
    while tokio::time::timeout(SHORT * 2, client.tcp.write_all(&input)).await.is_ok() {}
    // As a machine that is gone: no goodbye, and what comes for it is answered with a reset.
    rustix::net::sockopt::set_socket_linger(&client.tcp, Some(Duration::ZERO)).unwrap();
    drop(client);
    place.empty().await;
    until("the command is hung up", || place.world.signalled() == [1]).await;
}

#[tokio::test]
async fn a_session_too_many_is_refused() {
    let place = Place::new().await;
    let _all = place.shared.sessions.clone().acquire_many_owned(SESSIONS_MAX as u32).await.unwrap();
    let (status, _, _) = refused(place.address, &place.exec(&["cat"], BOTH), &spdy_headers(V4)).await;
    assert_eq!(status, 503);
}
