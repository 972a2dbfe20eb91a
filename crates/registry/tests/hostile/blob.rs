//! Transfers that break, lie and drip.

use std::time::Duration;

use cradle_domain::{Class, Classified, Digest};
use cradle_registry::{Client, FetchError, Source};
use cradle_testkit::registry::{Behaviour, Registry};

use super::{Setup, fetch, image, noise, put_image, registry};

const SIZE: usize = 300_000;

/// A registry with a blob, and a client that has resolved its image.
struct Blob {
    registry: Registry,
    setup: Setup,
    client: Client,
    source: Source,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Blob {
    async fn new() -> Self {
        Blob::with_timeout(Duration::from_secs(10)).await
    }

    async fn with_timeout(progress_timeout: Duration) -> Self {
        let registry = registry();
        let bytes = noise(SIZE);
        let digest = registry.put_blob(bytes.clone());
        let mut setup = Setup::with_server(&registry);
        setup.config.progress_timeout = progress_timeout;
        let client = setup.client();
        let source = client.resolve(&image(), None).await.unwrap().source;
        Blob { registry, setup, client, source, bytes, digest }
    }

    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        fetch(&self.client, &self.source, &self.digest, SIZE as u64).await
    }

    fn ranges(&self) -> Vec<Option<String>> {
        let seen = self.registry.requests();
        let blobs = seen.iter().filter(|seen| seen.target.contains("/blobs/"));
        blobs.map(|seen| seen.header("range").map(str::to_owned)).collect()
    }
}

#[tokio::test]
async fn a_blob_comes_whole_on_the_connection_of_its_manifest() {
    let blob = Blob::new().await;
    assert!(blob.fetch().await.unwrap() == blob.bytes);
    assert_eq!(blob.registry.connections(), 1);
    assert!(blob.setup.folder.path().exists());
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let blob = Blob::new().await;
    let digest = blob.registry.put_blob(Vec::new());
    assert!(fetch(&blob.client, &blob.source, &digest, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reset_in_the_middle_is_resumed_where_it_stopped() {
    let blob = Blob::new().await;
    blob.registry.misbehave_times("blobs", Behaviour::ResetAfter(100_000), 1);
    assert!(blob.fetch().await.unwrap() == blob.bytes);
    let ranges = blob.ranges();
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[0], None);
    assert!(ranges[1].as_ref().unwrap().starts_with("bytes="), "{ranges:?}");
}

#[tokio::test]
async fn a_reset_at_every_64_kib_only_costs_time() {
    let blob = Blob::new().await;
    blob.registry.misbehave("blobs", Behaviour::CloseAfter(64 << 10));
    assert!(blob.fetch().await.unwrap() == blob.bytes);
    assert_eq!(blob.ranges().len(), SIZE.div_ceil(64 << 10));
}

#[tokio::test]
async fn a_transfer_that_brings_nothing_any_more_ends() {
    let blob = Blob::new().await;
    blob.registry.misbehave("blobs", Behaviour::CloseAfter(100));
    let error = blob.fetch().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert_eq!(blob.ranges().len(), 4);
    assert!(error.to_string().contains(blob.digest.as_str()), "{error}");
}

#[tokio::test]
async fn a_server_without_ranges_is_read_again_from_the_start() {
    let blob = Blob::new().await;
    blob.registry.misbehave_times("blobs", Behaviour::CloseAfter(100_000), 1);
    blob.registry.misbehave("blobs", Behaviour::IgnoreRange);
    assert!(blob.fetch().await.unwrap() == blob.bytes);
    assert_eq!(blob.ranges(), [None, Some("bytes=100000-".to_owned())]);
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_refused() {
    let blob = Blob::new().await;
    blob.registry.misbehave_times("blobs", Behaviour::CloseAfter(100_000), 1);
    blob.registry.misbehave("blobs", Behaviour::WrongRange);
    let error = blob.fetch().await.unwrap_err();
    assert_eq!(error.class(), Class::Corrupt);
    assert!(error.to_string().contains("bytes 0-299999/300000"), "{error}");
}

#[tokio::test]
async fn a_wrong_length_is_refused_before_a_byte_is_read() {
    for (length, said) in [(SIZE as u64 - 1, "299999"), (SIZE as u64 + 1, "300001")] {
        let blob = Blob::new().await;
        blob.registry.misbehave("blobs", Behaviour::Length(length));
        let error = blob.client.blob(&blob.source, &blob.digest, SIZE as u64).await.unwrap_err();
        assert_eq!(error.class(), Class::Corrupt);
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn chunks_without_length_are_counted() {
    let blob = Blob::new().await;
    blob.registry.misbehave_times("blobs", Behaviour::Chunked { surplus: 0 }, 1);
    assert!(blob.fetch().await.unwrap() == blob.bytes);
    blob.registry.misbehave("blobs", Behaviour::Chunked { surplus: 1 });
    let error = blob.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Wrong { .. }), "{error}");
    assert_eq!(error.class(), Class::Corrupt);
}

#[tokio::test]
async fn an_endless_body_ends_at_the_size() {
    let blob = Blob::new().await;
    blob.registry.misbehave("blobs", Behaviour::Endless);
    let mut stream = blob.client.blob(&blob.source, &blob.digest, SIZE as u64).await.unwrap();
    let mut got = 0;
    let error = loop {
        match stream.chunk().await {
            Ok(Some(bytes)) => got += bytes.len(),
            Ok(None) => panic!("an endless body is not whole"),
            Err(error) => break error,
        }
    };
    assert!(got <= SIZE);
    assert_eq!(error.class(), Class::Corrupt);
    assert!(stream.other_source().is_none(), "there is no other host");
}

#[tokio::test]
async fn a_drip_is_given_up() {
    let blob = Blob::with_timeout(Duration::from_millis(200)).await;
    blob.registry.misbehave("blobs", Behaviour::Drip(Duration::from_millis(20)));
    let error = blob.fetch().await.unwrap_err();
    assert_eq!(error.class(), Class::Deadline);
    assert!(error.to_string().contains("made no progress for 200ms"), "{error}");
    assert_eq!(blob.ranges().len(), 2, "one more try, as the path may have been the fault");
}

#[tokio::test]
async fn a_blob_that_is_never_answered_is_given_up() {
    let blob = Blob::with_timeout(Duration::from_millis(100)).await;
    blob.registry.misbehave("blobs", Behaviour::Silence);
    assert_eq!(blob.fetch().await.unwrap_err().class(), Class::Deadline);
}

#[tokio::test]
async fn a_reader_that_takes_its_time_does_not_make_the_host_slow() {
    let blob = Blob::with_timeout(Duration::from_millis(100)).await;
    let mut stream = blob.client.blob(&blob.source, &blob.digest, SIZE as u64).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
        // Not a wait for a condition: the time that passes is what is tested.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!(bytes == blob.bytes);
}

#[tokio::test]
async fn a_missing_blob_is_looked_for_at_the_next_host() {
    let (mirror, server) = (registry(), Registry::start());
    put_image(&server);
    let bytes = noise(SIZE);
    let digest = server.put_blob(bytes.clone());
    let setup = Setup::new(&format!("server = {:?}\n[host.{:?}]\n", server.url(), mirror.url()));
    let client = setup.client();
    let source = client.resolve(&image(), None).await.unwrap().source;
    assert_eq!(source.host().unwrap().to_string(), mirror.url());
    assert!(fetch(&client, &source, &digest, SIZE as u64).await.unwrap() == bytes);
    let unknown = Digest::from_sha256([9; 32]);
    assert_eq!(fetch(&client, &source, &unknown, 1).await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test]
async fn a_transfer_goes_on_at_another_host_when_its_own_dies() {
    let (mirror, server) = (registry(), registry());
    let bytes = noise(SIZE);
    mirror.put_blob(bytes.clone());
    let digest = server.put_blob(bytes.clone());
    let setup = Setup::new(&format!("server = {:?}\n[host.{:?}]\n", server.url(), mirror.url()));
    let client = setup.client();
    let source = client.resolve(&image(), None).await.unwrap().source;
    mirror.misbehave_times("blobs", Behaviour::CloseAfter(100_000), 1);
    mirror.misbehave("blobs", Behaviour::status(503));
    assert!(fetch(&client, &source, &digest, SIZE as u64).await.unwrap() == bytes);
    assert_eq!(server.requests().last().unwrap().header("range"), Some("bytes=100000-"));
}

#[tokio::test]
async fn a_host_that_served_wrong_bytes_can_be_avoided() {
    let (liar, honest) = (registry(), registry());
    let bytes = noise(SIZE);
    let digest = honest.put_blob(bytes.clone());
    liar.put_blob(bytes.clone());
    liar.misbehave("blobs", Behaviour::Bytes(noise(SIZE + 1)[1..].to_vec()));
    let setup = Setup::new(&format!("server = {:?}\n[host.{:?}]\n", honest.url(), liar.url()));
    let client = setup.client();
    let source = client.resolve(&image(), None).await.unwrap().source;
    let mut stream = client.blob(&source, &digest, SIZE as u64).await.unwrap();
    while stream.chunk().await.unwrap().is_some() {}
    assert_eq!(stream.host().unwrap().to_string(), liar.url());
    let other = stream.other_source().unwrap();
    assert!(fetch(&client, &other, &digest, SIZE as u64).await.unwrap() == bytes);
}

#[tokio::test]
async fn redirects_end() {
    let blob = Blob::new().await;
    blob.registry.misbehave("blobs", Behaviour::redirect("/v2/team/app/blobs/again"));
    let error = blob.fetch().await.unwrap_err();
    assert!(error.to_string().contains("redirected more than 10 times"), "{error}");
    assert_eq!(blob.ranges().len(), 11);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_told() {
    let blob = Blob::new().await;
    for location in ["unix:///run/docker.sock", "ftp://x/", "https://user:secret@x/"] {
        blob.registry.behave();
        blob.registry.misbehave("blobs", Behaviour::redirect(location));
        assert!(blob.fetch().await.unwrap_err().to_string().contains("redirects to nowhere"));
    }
}
