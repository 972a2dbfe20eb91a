//! The server with a certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Config, OUTPUT, Place, clients, soon};
use crate::spdy::testing;
use crate::tls::CertificateFiles;

const SHORT: Duration = Duration::from_millis(150);

/// Writes a new certificate and its key into a folder.
fn certify(folder: &Path) -> (CertificateFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = CertificateFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

/// A connection of a client that trusts one certificate.
async fn connect(place: &Place, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(place.address).await.unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(place.address.ip().into(), tcp)).await
}

#[tokio::test]
async fn a_command_runs_over_tls_and_a_renewed_certificate_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = certify(folder.path());
    let place = Place::with(Config { certificate: Some(files), ..Config::default() }).await;
    for trusted in [first.clone(), certify(folder.path()).1] {
        // The first one was replaced before anybody has connected.
        if trusted == first {
            assert!(connect(&place, &trusted).await.is_err());
            continue;
        }
        let mut tls = connect(&place, &trusted).await.unwrap();
        let (path, mut client) = (place.exec(&["exit", "0"], OUTPUT), testing::Client::new());
        let headers = clients::spdy_headers("v4.channel.k8s.io");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{headers}\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        for (stream, kind) in [(1, "error"), (3, "stdout")] {
            tls.write_all(&client.open(stream, &[("streamtype", kind)])).await.unwrap();
        }
        let mut answer = Vec::new();
        // The server ends the connection without a goodbye of TLS.
        let _ = soon(tls.read_to_end(&mut answer)).await;
        assert!(String::from_utf8_lossy(&answer).contains("Success"), "{}", String::from_utf8_lossy(&answer));
    }
    place.empty().await;
}

#[tokio::test]
async fn a_client_that_stalls_or_dies_in_its_handshake_is_gone_within_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (files, trusted) = certify(folder.path());
    let config = Config { certificate: Some(files), handshake_timeout: SHORT, ..Config::default() };
    let place = Place::with(config).await;
    // The head of a record with a ClientHello that does not come; none; what is no TLS.
    for begin in [&[22, 3, 1, 2, 0, 1][..], &[], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut tcp = TcpStream::connect(place.address).await.unwrap();
        tcp.write_all(begin).await.unwrap();
        let _ = soon(tcp.read_to_end(&mut Vec::new())).await;
        let mut tcp = TcpStream::connect(place.address).await.unwrap();
        tcp.write_all(begin).await.unwrap();
    }
    // After the handshake: no request.
    let mut tls = connect(&place, &trusted).await.unwrap();
    let _ = soon(tls.read_to_end(&mut Vec::new())).await;
    place.empty().await;
}
