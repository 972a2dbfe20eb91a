//! Artifacts: files that are pulled as images are, and mounted rather than run.

use std::os::unix::fs::PermissionsExt;

use super::*;

const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";
const UNPACK: &str = "io.deis.oras.content.unpack";

/// Pushes an artifact of layers with a media type, a content and annotations; answers with the manifest's digest.
fn push(world: &World, repository: &str, layers: &[(&str, &[u8], Value)]) -> Digest {
    let describe = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest_of(bytes).to_string(), "size": bytes.len()});
    let layer = |(media_type, content, annotations): &(&str, &[u8], Value)| {
        world.registry.put_blob(content.to_vec());
        let mut layer = describe(media_type, content);
        layer["annotations"] = annotations.clone();
        layer
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.model",
        "config": describe(EMPTY_CONFIG, b"{}"), "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    world.registry.put_manifest(repository, "v1", OCI_MANIFEST, manifest.to_string().into_bytes())
}

fn titled(name: &str) -> Value {
    json!({ TITLE: name })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifacts_files_are_mounted_under_their_names() {
    let mut world = World::new();
    let weights = vec![7; 400_000];
    let folder = TestLayer::of([Made::folder("docs/"), Made::file("docs/readme", "read me")]);
    let digest = push(
        &world,
        "model",
        &[
            ("application/octet-stream", &weights, titled("weights/a.bin")),
            ("application/octet-stream", &weights, titled("copy.bin")),
            ("text/plain", b"", titled("empty")),
            (GZIP_LAYER, &folder.blob, json!({ TITLE: "docs", UNPACK: "true" })),
        ],
    );
    let view = world.pull("model:v1").await.unwrap();
    // Configurations of artifacts are all the same.
    assert_eq!(view.id, digest);
    assert!(view.digests[0].ends_with(digest.as_str()) && view.tags.len() == 1);
    world.open();
    let view = world.store().find(view.id.as_str()).unwrap();
    let lower = world.store().lend(&container(1), &view.id, None).await.unwrap();
    let file = |name: &str| lower.iter().map(|layer| layer.join(name)).find(|path| path.exists()).unwrap();
    assert_eq!(std::fs::read(file("weights/a.bin")).unwrap(), weights);
    assert_eq!(std::fs::read(file("copy.bin")).unwrap(), weights);
    assert_eq!(std::fs::metadata(file("empty")).unwrap().len(), 0);
    assert_eq!(std::fs::read(file("docs/readme")).unwrap(), b"read me");
    assert_eq!(std::fs::metadata(file("copy.bin")).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(std::fs::metadata(file("weights")).unwrap().permissions().mode() & 0o7777, 0o755);
    let blobs = world.blob_requests();
    assert_eq!(world.pull("model:v1").await.unwrap().id, digest);
    assert_eq!(world.blob_requests(), blobs);

    let details = world.store().describe(digest.as_str()).await.unwrap().unwrap();
    assert_eq!((details.manifest, details.layers.len(), details.config.as_slice()), (digest.clone(), 4, &b"{}"[..]));
    world.store().discard(&container(1)).await.unwrap();
    world.store().remove(digest.as_str()).await.unwrap();
    wait_until("its layers are gone", || world.layer_folders() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_from_an_artifact_and_nobody_saves_one() {
    let world = World::with(|config| config.keep_blobs = true);
    let digest = push(&world, "model", &[("text/plain", b"a", titled("a"))]);
    world.pull("model:v1").await.unwrap();
    let failure = world.store().prepare(&container(1), &digest, None).await.unwrap_err();
    assert_eq!(failure.class(), Class::Invalid);
    assert!(failure.to_string().contains("artifact") && failure.to_string().contains("volume"), "{failure}");
    assert!(world.store().owners().await.unwrap().is_empty());
    let saved = world.store().save(vec![digest.to_string()]).await.err().unwrap();
    assert!(saved.to_string().contains("artifact"), "{saved}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_names_no_places_for_its_files_is_refused() {
    let world = World::new();
    for (at, (layers, words)) in [
        (vec![], "no files"),
        (vec![("text/plain", &b"a"[..], json!({}))], "no name"),
        (vec![("text/plain", b"a", titled("../../etc/passwd"))], "../../etc/passwd"),
        (vec![("text/plain", b"a", titled("/etc/passwd"))], "/etc/passwd"),
        (vec![("text/plain", b"a", titled("a/.wh.b"))], ".wh.b"),
        (vec![("text/plain", b"a", titled("a")), ("text/plain", b"b", titled("a"))], "two of its files"),
        (vec![("text/plain", b"a", json!({ TITLE: "a", UNPACK: "true" }))], "no archive"),
    ]
    .into_iter()
    .enumerate()
    {
        push(&world, &format!("bad{at}"), &layers);
        let failure = world.pull(&format!("bad{at}:v1")).await.unwrap_err();
        assert_eq!(failure.class(), Class::Invalid, "{failure}");
        assert!(failure.to_string().contains(words) && failure.to_string().contains("artifact"), "{failure}");
    }
    assert!(world.store().list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_an_artifact_is_what_its_digest_says() {
    let world = World::new();
    push(&world, "model", &[("text/plain", b"content", titled("a"))]);
    world.registry.misbehave(&digest_of(b"content").to_string(), Behaviour::Bytes(b"CONTENT".to_vec()));
    let failure = world.pull("model:v1").await.unwrap_err();
    assert_eq!(failure.class(), Class::Corrupt, "{failure}");
    assert!(world.store().list().is_empty());
    world.wait_for_empty_trash();
    assert_eq!(world.layer_folders(), 0);
    // A folder may climb as little as a layer.
    let climbing = TestLayer::of([Made::file("../../x", "x")]);
    push(&world, "folder", &[(GZIP_LAYER, &climbing.blob, json!({ TITLE: "x", UNPACK: "true" }))]);
    assert_eq!(world.pull("folder:v1").await.unwrap_err().class(), Class::Invalid);
}
