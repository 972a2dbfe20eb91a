//! Ways to a registry: sockets of this machine and proxies.

use std::sync::mpsc::sync_channel;

use cradle_registry::Proxy;
use cradle_testkit::registry::{CertificateAuthority, Registry, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{Setup, put_image, registry};

#[tokio::test]
async fn a_mirror_can_be_a_unix_socket() {
    let setup = Setup::new("");
    let path = setup.folder.path().join("mirror.sock");
    let mirror = Registry::start_unix(&path);
    put_image(&mirror);
    setup.file("certs.d/r.example/hosts.toml", &format!("[host.\"unix://{}\"]\n", path.display()));
    setup.resolve().await.unwrap();
    let seen = &mirror.requests()[0];
    assert_eq!(seen.target, "/v2/team/app/manifests/1?ns=r.example");
    assert_eq!(seen.header("host"), Some("localhost"));
}

#[tokio::test]
async fn a_proxy_for_plain_http_is_asked_for_whole_urls() {
    // To the client, a registry that takes whole URLs looks like a proxy.
    let proxy = registry();
    let address = proxy.host();
    let text = format!("server = \"http://r.example:1234\"\nproxy = \"http://user:pass@{address}\"\n");
    let _ = Setup::new(&text).resolve().await;
    let seen = &proxy.requests()[0];
    assert_eq!(seen.target, "http://r.example:1234/v2/team/app/manifests/1?ns=r.example");
    assert_eq!(seen.header("host"), Some("r.example:1234"));
    assert!(seen.header("proxy-authorization").unwrap().starts_with("Basic "));
}

/// A proxy that makes one tunnel to `to` if `answer` allows it; the first line that it was told comes out of the channel.
async fn tunnel(to: String, answer: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = sync_channel(1);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        told.send(String::from_utf8(head).unwrap()).unwrap();
        client.write_all(format!("{answer}\r\nX: y\r\n\r\n").as_bytes()).await.unwrap();
        if answer.contains("200") {
            let mut server = TcpStream::connect(to).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_registry_with_tls_is_reached_through_a_tunnel() {
    let authority = CertificateAuthority::new("Test");
    let registry = Registry::start_tls(&authority.issue(&["r.example"], Validity::Present), None);
    put_image(&registry);
    let (proxy, heard) = tunnel(registry.host(), "HTTP/1.1 200 Connection established").await;
    let setup = Setup::new(&format!("ca = \"ca.pem\"\nproxy = \"http://user:pass@{proxy}\"\n"));
    setup.file("certs.d/r.example/ca.pem", &authority.pem());
    setup.resolve().await.unwrap();
    let head = heard.recv().unwrap();
    assert!(head.starts_with("CONNECT r.example:443 HTTP/1.1\r\nHost: r.example:443\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic "), "{head}");
    assert_eq!(registry.requests()[0].header("proxy-authorization"), None);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_what_it_said() {
    let (proxy, _heard) = tunnel(String::new(), "HTTP/1.1 403 Forbidden by policy").await;
    let error = Setup::new(&format!("proxy = \"http://{proxy}\"\n")).resolve().await.unwrap_err().to_string();
    assert!(error.contains(&proxy) && error.contains("403 Forbidden by policy"), "{error}");
}

#[test]
fn only_http_proxies_are_taken() {
    assert!(Proxy::parse("https://proxy:1").is_err());
    assert!(Proxy::parse("http://proxy:1").is_ok());
}
