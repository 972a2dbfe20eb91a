//! References and manifests.

use std::time::{Duration, Instant};

use cradle_domain::{Class, Classified, Digest, Reference};
use cradle_testkit::registry::{Behaviour, Registry, digest_of};

use super::{IMAGE, MANIFEST, OCI_MANIFEST, REPOSITORY, Setup, image, put_image, registry};

#[tokio::test]
async fn a_tag_and_a_digest_are_resolved() {
    let registry = registry();
    let setup = Setup::with_server(&registry);
    let resolved = setup.resolve().await.unwrap();
    assert_eq!(resolved.bytes, MANIFEST);
    assert_eq!(resolved.digest, digest_of(MANIFEST));
    assert_eq!(resolved.media_type.as_deref(), Some(OCI_MANIFEST));
    let by_digest = Reference::parse(&format!("r.example/team/app:other@{}", resolved.digest)).unwrap();
    assert_eq!(setup.client().resolve(&by_digest, None).await.unwrap().bytes, MANIFEST);
    let seen = registry.requests();
    assert!(seen.iter().all(|request| request.method == "GET" && request.header("authorization").is_none()));
    assert!(seen[0].target.starts_with("/v2/team/app/manifests/1"), "{}", seen[0].target);
    assert!(seen[0].header("accept").unwrap().contains(OCI_MANIFEST));
    assert!(seen[0].header("user-agent").unwrap().starts_with("cradle/"));
}

#[tokio::test]
async fn the_digest_of_a_tag_can_be_asked_for_alone() {
    let registry = registry();
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    assert_eq!(client.current_digest(&image(), None).await, Some(digest_of(MANIFEST)));
    assert_eq!(client.current_digest(&image(), None).await, Some(digest_of(MANIFEST)));
    assert_eq!(registry.requests()[0].method, "HEAD");
    assert_eq!(registry.connections(), 1);
    registry.misbehave("HEAD", Behaviour::status(405));
    assert_eq!(setup.client().current_digest(&image(), None).await, None);
    assert!(setup.resolve().await.is_ok(), "a registry without HEAD still serves");
}

#[tokio::test]
async fn an_unknown_tag_is_not_found_and_says_so() {
    let registry = Registry::start();
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    let text = error.to_string();
    for part in [IMAGE, &registry.url(), "404", "MANIFEST_UNKNOWN not here"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(error.hint().as_deref(), Some("check the image's name and tag"));
    assert_eq!(registry.requests().len(), 1, "a 404 does not get better");
}

#[tokio::test]
async fn a_server_error_passes_and_a_lasting_one_is_given_up() {
    let registry = registry();
    registry.misbehave_times("manifests", Behaviour::status(500), 2);
    assert!(Setup::with_server(&registry).resolve().await.is_ok());
    assert_eq!(registry.requests().len(), 3);
    registry.misbehave("manifests", Behaviour::status(503));
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert_eq!(registry.requests().len(), 3 + 4);
}

#[tokio::test]
async fn too_many_requests_are_repeated_after_the_named_time() {
    let registry = registry();
    registry.misbehave_times("manifests", Behaviour::status_with(429, "Retry-After", "1"), 1);
    let begun = Instant::now();
    assert!(Setup::with_server(&registry).resolve().await.is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_registry_that_wants_an_hour_is_left() {
    let registry = registry();
    registry.misbehave("manifests", Behaviour::status_with(429, "Retry-After", "3600"));
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(registry.requests().len(), 1);
    assert!(error.to_string().contains("429"), "{error}");
    assert!(error.hint().unwrap().contains("limits"), "{error}");
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    let registry = registry();
    registry.misbehave("manifests", Behaviour::Silence);
    let mut setup = Setup::with_server(&registry);
    setup.config.answer_timeout = Duration::from_millis(100);
    let error = setup.resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Deadline);
    assert!(error.to_string().contains("no answer within 100ms"), "{error}");
}

#[tokio::test]
async fn a_refused_connection_is_told_with_its_reason() {
    let port = Registry::start().port();
    let error = Setup::new(&format!("server = \"http://127.0.0.1:{port}\"")).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert!(error.to_string().contains("cannot connect to 127.0.0.1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_manifest_of_100_megabytes_is_refused_unread() {
    let registry = registry();
    registry.misbehave("manifests", Behaviour::Length(100 << 20));
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn an_endless_manifest_is_refused_at_the_limit() {
    let registry = registry();
    registry.misbehave("manifests", Behaviour::Endless);
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn a_manifest_in_chunks_without_length_and_digest_is_read() {
    let registry = registry();
    registry.misbehave_times("manifests", Behaviour::Chunked { surplus: 0 }, 1);
    let setup = Setup::with_server(&registry);
    assert_eq!(setup.resolve().await.unwrap().bytes, MANIFEST);
    registry.misbehave("manifests", Behaviour::header("Docker-Content-Digest", ""));
    assert_eq!(setup.resolve().await.unwrap().digest, digest_of(MANIFEST));
}

#[tokio::test]
async fn a_false_digest_is_noticed_by_tag_and_by_digest() {
    let registry = registry();
    let other = Digest::from_sha256([7; 32]);
    registry.misbehave_times("manifests", Behaviour::header("Docker-Content-Digest", other.as_str()), 1);
    let setup = Setup::with_server(&registry);
    let error = setup.resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Corrupt);
    assert!(error.to_string().contains(other.as_str()), "{error}");
    registry.misbehave("manifests", Behaviour::Bytes(b"{}".to_vec()));
    let by_digest = Reference::parse(&format!("r.example/team/app@{}", digest_of(MANIFEST))).unwrap();
    let error = setup.client().resolve(&by_digest, None).await.unwrap_err();
    assert_eq!(error.class(), Class::Corrupt);
}

#[tokio::test]
async fn schema_one_and_web_pages_are_no_manifests() {
    let registry = registry();
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    registry.misbehave_times("manifests", Behaviour::header("Content-Type", old), 1);
    let setup = Setup::with_server(&registry);
    let error = setup.resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.to_string().contains("schema 1"), "{error}");
    registry.misbehave("manifests", Behaviour::header("Content-Type", "text/html; charset=utf-8"));
    assert!(setup.resolve().await.unwrap_err().to_string().contains("text/html"));
}

#[tokio::test]
async fn the_next_mirror_is_asked_and_all_are_named_in_the_error() {
    let (first, second) = (Registry::start(), registry());
    let setup =
        Setup::new(&format!("server = \"http://127.0.0.1:1\"\n[host.{:?}]\n[host.{:?}]\n", first.url(), second.url()));
    let resolved = setup.resolve().await.unwrap();
    assert_eq!(resolved.source.host().unwrap().to_string(), second.url());
    assert_eq!(first.requests()[0].target, "/v2/team/app/manifests/1?ns=r.example");
    second.misbehave("manifests", Behaviour::status(404));
    let error = setup.resolve().await.unwrap_err().to_string();
    for part in [first.url(), second.url(), "http://127.0.0.1:1:".to_owned()] {
        assert!(error.contains(&part), "{error}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_the_server_is_asked_and_named_once() {
    let registry = Registry::start();
    let setup =
        Setup::new(&format!("server = {:?}\n[host.{:?}]\ncapabilities = [\"pull\"]\n", registry.url(), registry.url()));
    let text = setup.resolve().await.unwrap_err().to_string();
    assert_eq!((registry.requests().len(), text.matches(&registry.url()).count()), (1, 1), "{text}");
}

#[tokio::test]
async fn a_lying_mirror_is_passed_over() {
    let (liar, honest) = (registry(), registry());
    liar.misbehave("manifests", Behaviour::header("Docker-Content-Digest", Digest::from_sha256([7; 32]).as_str()));
    let setup = Setup::new(&format!("server = {:?}\n[host.{:?}]\n", honest.url(), liar.url()));
    assert_eq!(setup.resolve().await.unwrap().source.host().unwrap().to_string(), honest.url());
}

#[tokio::test]
async fn a_mirror_that_may_not_resolve_is_asked_for_content_only() {
    let (mirror, server) = (registry(), registry());
    let setup =
        Setup::new(&format!("server = {:?}\n[host.{:?}]\ncapabilities = [\"pull\"]\n", server.url(), mirror.url()));
    let resolved = setup.resolve().await.unwrap();
    assert_eq!(mirror.requests().len(), 0);
    let by_digest = Reference::parse(&format!("r.example/team/app@{}", resolved.digest)).unwrap();
    setup.client().resolve(&by_digest, None).await.unwrap();
    assert_eq!(mirror.requests().len(), 1);
}

#[tokio::test]
async fn hosts_files_are_read_anew_and_their_mistakes_are_told() {
    let registry = registry();
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    client.resolve(&image(), None).await.unwrap();
    setup.file("certs.d/r.example/hosts.toml", "\nservre = \"x\"\n");
    let error = client.resolve(&image(), None).await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    let text = cradle_domain::Failure::from(error).to_string();
    assert!(
        text.contains("certs.d/r.example/hosts.toml, line 2: unknown key \"servre\": did you mean \"server\"?"),
        "{text}"
    );
}

#[tokio::test]
async fn no_host_that_may_resolve_is_an_error_of_its_own() {
    let setup = Setup::new("server = \"http://127.0.0.1:1\"\ncapabilities = [\"pull\"]\n");
    let error = setup.resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.to_string().contains("no host of r.example may be asked for tags"), "{error}");
}

#[tokio::test]
async fn a_manifest_of_an_index_is_fetched_and_verified() {
    let registry = registry();
    let child = registry.put_manifest(REPOSITORY, "child", OCI_MANIFEST, *b"{\"a\":1}");
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    let source = client.resolve(&image(), None).await.unwrap().source;
    assert_eq!(client.manifest(&source, &child).await.unwrap().bytes, &b"{\"a\":1}"[..]);
    registry.misbehave("manifests/sha256", Behaviour::Bytes(b"{\"a\":2}".to_vec()));
    assert_eq!(client.manifest(&source, &child).await.unwrap_err().class(), Class::Corrupt);
}

#[tokio::test]
async fn connections_are_used_again_and_replaced_when_they_went_away() {
    let registry = Registry::start();
    put_image(&registry);
    let client = Setup::with_server(&registry);
    let (client, _folder) = (client.client(), client.folder);
    for _ in 0..5 {
        client.resolve(&image(), None).await.unwrap();
    }
    assert_eq!(registry.connections(), 1);
    // The answer comes whole, and the connection ends after it.
    registry.misbehave_times("manifests", Behaviour::CloseAfter(u64::MAX), 1);
    client.resolve(&image(), None).await.unwrap();
    client.resolve(&image(), None).await.unwrap();
    assert_eq!(registry.connections(), 2);
}

#[tokio::test]
async fn a_plan_is_explained() {
    let mut setup = Setup::new("[host.\"http://mirror:5000\"]\n[host.\"https://secure\"]\nskip_verify = true\n");
    setup.config.docker_config = None;
    let root = setup.folder.path().display().to_string();
    let text = setup.client().explain(&image(), Some(&super::password("u:p"))).await.unwrap().to_string();
    let expected = "\
r.example/team/app:1
1. http://mirror:5000 (mirror)
   because      ROOT/certs.d/r.example/hosts.toml line 1
   asked for    http://mirror:5000/v2/team/app/manifests/1?ns=r.example, manifests by digest and blobs
   trust        none: plain http
   credentials  no credentials: those of the request are for r.example
2. https://secure (mirror)
   because      ROOT/certs.d/r.example/hosts.toml line 2
   asked for    https://secure/v2/team/app/manifests/1?ns=r.example, manifests by digest and blobs
   trust        none: certificates are not verified
   credentials  no credentials: those of the request are for r.example
3. https://r.example (registry)
   because      the registry itself, as ROOT/certs.d/r.example/hosts.toml names no server
   asked for    https://r.example/v2/team/app/manifests/1, manifests by digest and blobs
   trust        the system's authorities
   credentials  a password from the request
";
    assert_eq!(text.replace(&root, "ROOT"), expected);
}
