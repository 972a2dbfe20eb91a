//! Connections into a pod, as clients have them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::clients::{BINARY, CLOSE, Spdy, WebSocket, message};
use super::{Place, soon};
use crate::limits::FORWARDS_MAX;
use crate::spdy::testing::{self, Client, Heard, Listener};

const VERSION: &str = "portforward.k8s.io";

/// Gives back what it gets, and ends each connection when its client does.
async fn echo() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = tcp.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    };
    (port, tokio::spawn(serve))
}

/// A port that nobody listens on.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn connections_are_apart_and_each_half_closes_by_itself() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), VERSION).await;
    let (first, first_error) = client.forward(port, "0").await;
    let (second, _) = client.forward(port, "1").await;
    client.say(first, b"one", false).await;
    client.say(second, b"two", true).await;
    client.listen(|client| client.ended.contains(&second) && client.said(first) == "one").await;
    assert_eq!((client.said(second), client.ended.contains(&first)), ("two".to_owned(), false));
    client.say(first, b" and more", true).await;
    client.listen(|client| client.ended.contains(&first_error)).await;
    assert_eq!((client.said(first), client.said(first_error)), ("one and more".to_owned(), String::new()));
    drop(client);
    place.empty().await;
}

#[tokio::test]
async fn a_refused_connection_costs_no_other() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), VERSION).await;
    let (refused, error) = client.forward(closed_port().await, "0").await;
    client.listen(|client| client.reset.contains(&refused)).await;
    assert!(client.said(error).contains("refused"), "{}", client.said(error));
    let (data, _) = client.forward(port, "1").await;
    client.say(data, b"still here", true).await;
    client.listen(|client| client.ended.contains(&data)).await;
    assert_eq!(client.said(data), "still here");
}

#[tokio::test]
async fn much_goes_through_in_both_directions() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), VERSION).await;
    let (data, _) = client.forward(port, "0").await;
    let chunk = vec![b'x'; 100_000];
    for _ in 0..50 {
        let heard = client.said.get(&data).map_or(0, Vec::len);
        client.say(data, &chunk, false).await;
        client.listen(|client| client.said.get(&data).map_or(0, Vec::len) >= heard + chunk.len()).await;
    }
    client.say(data, b"", true).await;
    client.listen(|client| client.ended.contains(&data)).await;
    assert_eq!(client.said[&data].len(), 50 * chunk.len());
}

#[tokio::test]
async fn a_stream_that_the_client_gives_up_ends_its_connection() {
    let place = Place::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), VERSION).await;
    let (data, error) = client.forward(listener.local_addr().unwrap().port(), "0").await;
    let (mut pod, _) = soon(listener.accept()).await.unwrap();
    client.send(&testing::reset(data)).await;
    assert_eq!(soon(pod.read(&mut [0; 1])).await.unwrap(), 0);
    client.listen(|client| client.ended.contains(&error)).await;
}

#[tokio::test]
async fn a_connection_that_takes_nothing_holds_up_no_other_at_first() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), VERSION).await;
    let (stuck, _) = client.forward(silent.local_addr().unwrap().port(), "0").await;
    let (_pod, _) = soon(silent.accept()).await.unwrap();
    client.say(stuck, &vec![0; 100_000], false).await;
    let (data, _) = client.forward(port, "1").await;
    client.say(data, b"passes", true).await;
    client.listen(|client| client.ended.contains(&data)).await;
    assert_eq!(client.said(data), "passes");
}

#[tokio::test]
async fn there_are_only_so_many_connections_and_those_that_end_make_room() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let mut client = Spdy::new(place.address, &place.port_forward(&[]), VERSION).await;
    let mut first = None;
    for number in 0..FORWARDS_MAX {
        let (data, error) = client.forward(port, &number.to_string()).await;
        first.get_or_insert((data, error));
    }
    let (beyond, beyond_error) = client.forward(port, "beyond").await;
    client.listen(|client| client.reset.len() == 2).await;
    assert_eq!(client.reset, [beyond_error, beyond]);
    let (data, error) = first.unwrap();
    client.say(data, b"", true).await;
    client.listen(|client| client.ended.contains(&error) && client.ended.contains(&data)).await;
    // Its end is noticed with the next stream, or the one after.
    let mut served = false;
    for number in 0..20 {
        let (data, _) = client.forward(port, &format!("again {number}")).await;
        client.say(data, b"", true).await;
        client.listen(|client| client.ended.contains(&data) || client.reset.contains(&data)).await;
        served |= client.ended.contains(&data);
    }
    assert!(served);
    drop(client);
    place.empty().await;
}

#[tokio::test]
async fn spdy_within_websocket_is_the_same() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let path = place.port_forward(&[]);
    let mut socket = WebSocket::new(place.address, &path, "SPDY/3.1+portforward.k8s.io").await;
    let (mut client, mut listener) = (Client::new(), Listener::new());
    let port = port.to_string();
    let mut frames = Vec::new();
    for (stream, kind) in [(1, "error"), (3, "data")] {
        frames.extend(client.open(stream, &[("streamtype", kind), ("port", &port), ("requestid", "0")]));
    }
    frames.extend(testing::data(3, b"through the tunnel", true));
    // Messages begin and end anywhere in frames.
    let messages: Vec<u8> = frames.chunks(7).flat_map(|piece| message(BINARY, piece)).collect();
    socket.tcp.write_all(&messages).await.unwrap();
    let mut said = Vec::new();
    for _ in 0..100 {
        let heard = socket.heard.len();
        socket.listen(|socket| socket.heard.len() > heard).await;
        for heard in
            listener.hear(&socket.heard[heard..].iter().flat_map(|(_, payload)| payload.clone()).collect::<Vec<_>>())
        {
            match heard {
                Heard::Said(3, bytes) => said.extend(bytes),
                Heard::Ended(3) => {
                    assert_eq!(said, b"through the tunnel");
                    socket.send(CLOSE, &[3, 0xe8]).await;
                    return place.empty().await;
                }
                _ => {}
            }
        }
    }
    panic!("the stream did not end");
}

#[tokio::test]
async fn channels_have_a_connection_for_each_port_of_the_request() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let closed = closed_port().await;
    let path = place.port_forward(&[port, closed]);
    let mut client = WebSocket::new(place.address, &path, "v4.channel.k8s.io").await;
    client.send(BINARY, b"\0hello").await;
    client.listen(|client| client.heard.iter().any(|(_, payload)| payload == b"\0hello")).await;
    client.listen(|client| client.heard.iter().any(|(_, payload)| payload[0] == 3 && payload.len() > 3)).await;
    for (channel, port) in [(0, port), (1, port), (2, closed), (3, closed)] {
        let first = client.heard.iter().find(|(_, payload)| payload[0] == channel);
        let [low, high] = port.to_le_bytes();
        assert_eq!(first, Some(&(BINARY, vec![channel, low, high])));
    }
    drop(client);
    place.empty().await;
}

#[tokio::test]
async fn channels_with_a_close_signal_close_by_halves() {
    let place = Place::new().await;
    let (port, _serving) = echo().await;
    let mut client = WebSocket::new(place.address, &place.port_forward(&[port]), "v5.channel.k8s.io").await;
    client.send(BINARY, b"\0all of it").await;
    client.send(BINARY, &[255, 0]).await;
    client.listen(|client| client.heard.iter().any(|(opcode, _)| *opcode == CLOSE)).await;
    let said: Vec<_> = client.heard.iter().map(|(_, payload)| payload.as_slice()).skip(2).take(3).collect();
    assert_eq!(said, [b"\0all of it".as_slice(), &[255, 0], &[255, 1]]);
}
