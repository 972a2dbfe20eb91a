//! Registries and images that lie: one clear error, and nothing left behind.

use cradle_testkit::registry::{Behaviour, Guard};

use super::*;

/// Pulls what must fail, and looks that nothing is left of it.
async fn refused(world: &World, name: &str) -> Failure {
    let failure = world.pull(name).await.map(|view| view.id.clone()).expect_err(name);
    assert!(failure.to_string().contains(&world.registry.host()), "{failure}");
    assert!(world.store().list().is_empty(), "{name}");
    failure
}

fn expect(failure: &Failure, class: Class, words: &[&str]) {
    let text = failure.to_string();
    assert_eq!(failure.class(), class, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lying_documents_are_refused() {
    let world = World::new();
    let push = |name: &str, change: &dyn Fn(&mut TestImage)| {
        let mut image = image_with(&["a"]);
        change(&mut image);
        image.push(&world.registry, name, "v1");
    };
    push("artifact", &|image| image.manifest["config"]["mediaType"] = json!("application/vnd.wasm.config.v0+json"));
    push("ambiguous", &|image| image.manifest["manifests"] = json!([]));
    push("platform", &|image| {
        image.config["architecture"] = json!("riscv64");
        image.describe();
    });
    push("count", &|image| {
        image.config["rootfs"]["diff_ids"] = json!([]);
        image.describe();
    });
    push("diff-id", &|image| {
        image.config["rootfs"]["diff_ids"] = json!([digest_of(b"another").to_string()]);
        image.describe();
    });
    push("config-size", &|image| image.manifest["config"]["size"] = json!(5));
    push("layer-size", &|image| image.manifest["layers"][0]["size"] = json!(5));
    push("layer-size-more", &|image| image.manifest["layers"][0]["size"] = json!(5000));
    push("missing-blob", &|image| image.manifest["layers"][0]["digest"] = json!(digest_of(b"nowhere").to_string()));
    push("media-type", &|image| {
        image.manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+zstd")
    });
    for (name, class, words) in [
        ("artifact", Class::Invalid, &["artifact", "wasm"][..]),
        ("ambiguous", Class::Invalid, &["ambiguous"]),
        ("platform", Class::Invalid, &["linux/riscv64", "linux/amd64"]),
        ("count", Class::Invalid, &["1 layers", "has 0"]),
        ("diff-id", Class::Corrupt, &["unpacked it has the digest"]),
        ("config-size", Class::Corrupt, &[]),
        ("layer-size", Class::Corrupt, &[]),
        ("layer-size-more", Class::Corrupt, &["5000"]),
        ("missing-blob", Class::NotFound, &[]),
        ("media-type", Class::Invalid, &["Zstd", "Gzip"]),
    ] {
        expect(&refused(&world, &format!("{name}:v1")).await, class, words);
    }
    world.wait_for_empty_trash();
    assert_eq!(world.layer_folders(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_transfers_are_told_from_damaged_images() {
    let world = World::new();
    let image = image_with(&["a"]);
    image.push(&world.registry, "app", "v1");
    let blob = image.layers[0].blob.clone();
    let digest = digest_of(&blob).to_string();
    let mut flipped = blob.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    world.registry.misbehave(&digest, Behaviour::Bytes(flipped));
    expect(&refused(&world, "app:v1").await, Class::Corrupt, &["have the digest", &digest]);
    world.registry.behave();
    world.registry.misbehave(&digest, Behaviour::Endless);
    expect(&refused(&world, "app:v1").await, Class::Corrupt, &[&digest]);
    world.registry.behave();

    // The registry serves what the manifest says, but that is no gzip.
    let mut bad = image_with(&["b"]);
    bad.layers[0].blob.truncate(60);
    bad.describe();
    bad.push(&world.registry, "bad", "v1");
    expect(&refused(&world, "bad:v1").await, Class::Corrupt, &["decompress"]);
    // An honest pull afterwards finds nothing in its way.
    world.pull("app:v1").await.unwrap();
}

/// An image whose one layer is long, and cannot be compressed.
fn noisy_image() -> TestImage {
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    TestImage::of([TestLayer::of([Made::file("noise", noise.take(400_000).collect::<Vec<u8>>())])])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_limps_arrives_whole() {
    let image = noisy_image();
    let blob = digest_of(&image.layers[0].blob).to_string();
    for (pattern, behaviour, times) in [
        (blob.as_str(), Behaviour::CloseAfter(64 << 10), u32::MAX),
        (&blob, Behaviour::ResetAfter(200_000), 1),
        (&blob, Behaviour::Chunked { surplus: 0 }, u32::MAX),
        (&blob, Behaviour::status(500), 2),
        ("/manifests/", Behaviour::status(503), 2),
        ("/manifests/", Behaviour::Chunked { surplus: 0 }, u32::MAX),
        ("/manifests/", Behaviour::header("Docker-Content-Digest", ""), u32::MAX),
        ("HEAD", Behaviour::status(405), u32::MAX),
    ] {
        let world = World::new();
        let about = format!("{pattern} {behaviour:?}");
        // So that the tag is asked for by HEAD first.
        image_with(&["earlier"]).push(&world.registry, "app", "v0");
        world.pull("app:v0").await.unwrap();
        let digest = image.push(&world.registry, "app", "v1");
        world.registry.misbehave_times(pattern, behaviour, times);
        let view = world.pull("app:v1").await.unwrap_or_else(|failure| panic!("{about}: {failure}"));
        assert!(view.digests[0].ends_with(digest.as_str()), "{about}");
        assert_eq!(view.id, image.id(), "{about}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_arrives_is_given_up_and_said_why() {
    let image = noisy_image();
    let blob = digest_of(&image.layers[0].blob).to_string();
    for (behaviour, class, word) in [
        (Behaviour::redirect(&format!("/v2/app/blobs/{blob}")), Class::Unavailable, "redirected more than"),
        (Behaviour::Length(399_999), Class::Corrupt, "399999 bytes"),
        (Behaviour::Chunked { surplus: 1 }, Class::Corrupt, "more than"),
        (Behaviour::CloseAfter(100), Class::Unavailable, "the connection broke"),
        (Behaviour::Drip(Duration::from_millis(50)), Class::Deadline, "no progress"),
        (Behaviour::status_with(401, "WWW-Authenticate", "Basic realm=\"x\""), Class::Denied, "401"),
    ] {
        let world = World::new();
        image.push(&world.registry, "app", "v1");
        world.registry.misbehave(&blob, behaviour);
        expect(&refused(&world, "app:v1").await, class, &[word, &blob]);
        world.wait_for_empty_trash();
        assert_eq!(world.layer_folders(), 0);
        world.registry.behave();
        world.pull("app:v1").await.unwrap();
    }
    let world = World::new();
    image.push(&world.registry, "app", "v1");
    world.registry.guard(Guard::Bearer { realm: "http://127.0.0.1:1/token".into(), token: "t".into() });
    expect(&refused(&world, "app:v1").await, Class::Unavailable, &["token server http://127.0.0.1:1/token"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_climbs_is_refused_with_layer_and_entry() {
    if !is_root() {
        return;
    }
    let world = World::new();
    for (name, entries) in [
        ("dots", vec![Made::file("../../../../escaped", "x")]),
        ("symlink", vec![Made::symlink("up", "../../.."), Made::file("up/escaped", "x")]),
        ("hard-link", vec![Made::hard_link("h", "../../../store.redb")]),
        ("device", vec![Made::character_device("../null", 1, 3)]),
    ] {
        let image = TestImage::of([TestLayer::of(entries)]);
        image.push(&world.registry, name, "v1");
        let digest = digest_of(&image.layers[0].blob).to_string();
        expect(&refused(&world, &format!("{name}:v1")).await, Class::Invalid, &[&digest, "would leave the layer"]);
        assert!(!world.folder.path().join("escaped").exists() && !world.path("escaped").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_is_stopped_and_its_space_given_back() {
    let world = World::with(|config| config.max_unpacked_bytes = 1 << 20);
    TestImage::of([TestLayer::of([Made::file("zeros", vec![0; 8 << 20])])]).push(&world.registry, "bomb", "v1");
    expect(&refused(&world, "bomb:v1").await, Class::Invalid, &["1048576 bytes"]);
    world.wait_for_empty_trash();
    assert_eq!(world.layer_folders(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_given_up_keeps_what_was_finished() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    image.push(&world.registry, "app", "v1");
    world.give_up_after_one_layer(&image, "app:v1").await;
    // The unfinished layer goes, the finished one stays.
    wait_until("the unfinished layer is gone", || world.layer_folders() == 1);
    wait_until("nothing is under way", || world.store().inner.layers.is_idle());
    world.registry.behave();
    let first = digest_of(&image.layers[0].blob).to_string();
    world.pull("app:v1").await.unwrap();
    let fetched = world.registry.requests().iter().filter(|seen| seen.target.contains(&first)).count();
    assert_eq!(fetched, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_fails_is_told_with_its_class() {
    let world = World::new();
    for (status, class) in [(401, Class::Denied), (404, Class::NotFound), (500, Class::Unavailable)] {
        world.registry.behave();
        world.registry.misbehave("/v2/", Behaviour::status(status));
        expect(&refused(&world, "app:v1").await, class, &["app:v1"]);
    }
}
