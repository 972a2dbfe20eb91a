//! Honest pulls: names, sharing, progress, forms.

use std::sync::Mutex;

use cradle_engine::ports::{LayerProgress, LayerState};
use cradle_testkit::registry::{Behaviour, Guard};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_is_listed_under_exactly_the_names_that_were_pulled() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    let digest = image.push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    assert_eq!(view.id, image.id());
    assert_eq!(view.tags, [world.reference("app:v1")]);
    let by_digest = format!("{}/app@{digest}", world.registry.host());
    assert_eq!(view.digests, std::slice::from_ref(&by_digest));
    assert_eq!((view.layers.len(), view.config.cmd.as_slice()), (2, &["sh".to_owned()][..]));
    assert!(view.size_bytes > 8000);
    let tag = world.reference("app:v1").to_string();
    for name in [view.id.as_str(), view.id.hex(), &tag, &by_digest, &format!("{tag}@{digest}")] {
        assert_eq!(world.store().find(name).map(|found| found.id.clone()), Some(image.id()), "{name}");
    }
    assert!(world.store().find("nowhere").is_none() && world.store().find(&view.id.hex()[..12]).is_none());
    assert_eq!(world.store().list().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_by_digest_gives_no_tag_and_a_later_one_by_tag_adds_it() {
    let world = World::new();
    let digest = image_with(&["a"]).push(&world.registry, "app", "v1");
    let view = world.pull(&format!("app@{digest}")).await.unwrap();
    assert!(view.tags.is_empty());
    let view = world.pull(&format!("app:v9@{digest}")).await.unwrap();
    assert!(view.tags.is_empty());
    let view = world.pull("app:v1").await.unwrap();
    assert_eq!((view.tags.len(), view.digests.len()), (1, 1));
    assert_eq!(world.blob_requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moves_leaves_the_older_image_to_its_digest() {
    let world = World::new();
    let (old, new) = (image_with(&["a"]), image_with(&["a", "b"]));
    old.push(&world.registry, "app", "latest");
    world.pull("app").await.unwrap();
    new.push(&world.registry, "app", "latest");
    let view = world.pull("app").await.unwrap();
    assert_eq!(view.id, new.id());
    let older = world.store().find(old.id().as_str()).unwrap();
    assert_eq!((older.tags.len(), older.digests.len()), (0, 1));
    // The layer they share was fetched once.
    assert_eq!(world.blob_requests(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_is_not_fetched_again() {
    let mut world = World::new();
    let digest = image_with(&["a"]).push(&world.registry, "app", "v1");
    world.pull("app:v1").await.unwrap();
    world.open();
    assert_eq!(world.store().list().len(), 1);
    let before = world.registry.requests().len();
    world.pull(&format!("app@{digest}")).await.unwrap();
    assert_eq!(world.registry.requests().len(), before);
    world.pull("app:v1").await.unwrap();
    let later = world.registry.requests().split_off(before);
    assert!(later.iter().all(|seen| seen.method == "HEAD"), "{later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_wants_credentials_is_asked_each_time() {
    let world = World::new();
    let digest = image_with(&["a"]).push(&world.registry, "private", "v1");
    world.registry.guard(Guard::Basic("me:secret".into()));
    let mine = Credentials { username: "me".into(), password: "secret".into(), ..Credentials::default() };
    let name = format!("private@{digest}");
    world.pull_with(&name, Some(mine.clone())).await.unwrap();
    assert!(world.pull(&name).await.is_err());
    let wrong = Credentials { password: "wrong".into(), ..mine.clone() };
    assert!(world.pull_with(&name, Some(wrong)).await.is_err());
    world.pull_with(&name, Some(mine)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_clients_make_one_pull() {
    let world = Arc::new(World::new());
    image_with(&["a", "b", "c"]).push(&world.registry, "app", "v1");
    world.registry.misbehave_times("/manifests/", Behaviour::Drip(Duration::from_micros(100)), 1);
    let pulls: Vec<_> = (0..20)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.pull("app:v1").await.map(|view| view.id.clone()).unwrap() })
        })
        .collect();
    for pull in pulls {
        pull.await.unwrap();
    }
    assert_eq!(world.blob_requests(), 4);
    let manifests = world.registry.requests().iter().filter(|seen| seen.target.contains("/manifests/")).count();
    assert_eq!(manifests, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_goes_on_until_the_last_who_asked_has_gone() {
    let world = Arc::new(World::new());
    let image = image_with(&["a"]);
    image.push(&world.registry, "app", "v1");
    let blob = digest_of(&image.layers[0].blob).to_string();
    world.registry.misbehave(&blob, Behaviour::Silence);
    let asked = || world.registry.requests().iter().filter(|seen| seen.target.contains(&blob)).count();
    let ask = || {
        let world = world.clone();
        tokio::spawn(async move { world.pull("app:v1").await.map(|view| view.id.clone()) })
    };
    let (first, last) = (ask(), ask());
    wait_until("the layer is asked for", || asked() == 1);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(!world.store().inner.pulls.is_idle() && !world.store().inner.layers.is_idle());
    last.abort();
    assert!(last.await.unwrap_err().is_cancelled());
    wait_until("the pull is given up", || world.store().inner.pulls.is_idle() && world.store().inner.layers.is_idle());
    world.registry.behave();
    assert_eq!(ask().await.unwrap().unwrap(), image.id());
    assert_eq!(asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_wanted_by_several_images_is_fetched_once_and_kept_once() {
    let world = World::new();
    let shared = TestLayer::of([Made::folder("opt"), Made::file("opt/tool", "tool")]);
    let other = |name: &str| TestLayer::of([Made::file(name, name)]);
    TestImage::of([other("one"), shared.clone()]).push(&world.registry, "one", "v1");
    TestImage::of([shared.clone(), other("two")]).push(&world.registry, "two", "v1");
    let blob = digest_of(&shared.blob).to_string();
    world.registry.misbehave(&blob, Behaviour::Drip(Duration::from_millis(1)));
    let (one, two) = tokio::join!(world.pull("one:v1"), world.pull("two:v1"));
    let (one, two) = (one.unwrap(), two.unwrap());
    let fetched = world.registry.requests().iter().filter(|seen| seen.target.contains(&blob)).count();
    assert_eq!(fetched, 1);
    assert_eq!(world.layer_folders(), 3);
    let lower = |view: &ImageView, byte| world.store().prepare(&container(byte), &view.id, None);
    let (first, second) = (lower(&one, 1).await.unwrap(), lower(&two, 2).await.unwrap());
    assert_eq!(first.lower[0], second.lower[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_for_every_layer() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    image.push(&world.registry, "app", "v1");
    let told: Arc<Mutex<Vec<LayerProgress>>> = Arc::default();
    let sink: cradle_engine::ports::ProgressSink = {
        let told = told.clone();
        Arc::new(move |progress| told.lock().unwrap().push(progress))
    };
    let request = PullRequest { reference: world.reference("app:v1"), credentials: None, progress: Some(sink.clone()) };
    world.store().pull(request).await.unwrap();
    let first = std::mem::take(&mut *told.lock().unwrap());
    for layer in &image.layers {
        let digest = digest_of(&layer.blob);
        let states: Vec<LayerState> = first.iter().filter(|p| p.layer == digest).map(|p| p.state).collect();
        assert!(states.contains(&LayerState::Fetching) && states.last() == Some(&LayerState::Done), "{states:?}");
        let last = first.iter().rfind(|p| p.layer == digest).unwrap();
        assert_eq!((last.done_bytes, last.total_bytes), (layer.blob.len() as u64, layer.blob.len() as u64));
    }
    // Under another name nothing comes, and that is told too.
    image.push(&world.registry, "again", "v1");
    let request = PullRequest { reference: world.reference("again:v1"), credentials: None, progress: Some(sink) };
    world.store().pull(request).await.unwrap();
    let told = told.lock().unwrap();
    assert!(told.iter().all(|p| matches!(p.state, LayerState::Waiting | LayerState::Present)), "{told:?}");
    assert_eq!(told.iter().filter(|p| p.state == LayerState::Present).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_is_told_to_be_done_while_others_are_still_coming() {
    let world = World::new();
    // The first stands alone, the second takes its folder from the first.
    let quick = [
        TestLayer::of([Made::folder("opt"), Made::file("opt/tool", "tool")]),
        TestLayer::of([Made::file("opt/more", "more")]),
    ];
    let image = TestImage::of(quick.iter().cloned().chain([TestLayer::of([Made::file("slow", "slow")])]));
    image.push(&world.registry, "app", "v1");
    world.registry.misbehave(&digest_of(&image.layers[2].blob).to_string(), Behaviour::Silence);
    let done = Arc::new(Mutex::new(Vec::new()));
    let sink: cradle_engine::ports::ProgressSink = {
        let done = done.clone();
        Arc::new(move |progress| {
            if progress.state == LayerState::Done {
                done.lock().unwrap().push(progress.layer);
            }
        })
    };
    let request = PullRequest { reference: world.reference("app:v1"), credentials: None, progress: Some(sink) };
    let expected = quick.map(|layer| digest_of(&layer.blob));
    tokio::select! {
        _ = world.store().pull(request) => panic!("the registry is silent"),
        () = async {
            while done.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(done.lock().unwrap().as_slice(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_128_layers_can_be_used() {
    let world = World::new();
    let names: Vec<String> = (0..128).map(|at| format!("file-{at}")).collect();
    let image = image_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    image.push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    assert_eq!(rootfs.lower.len(), 128);
    for (folder, name) in rootfs.lower.iter().rev().zip(&names) {
        assert!(folder.join(name).exists(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_of_very_many_files_comes_and_goes_without_stopping_others() {
    let is_long = std::env::var("TEST_LONG").is_ok_and(|value| value == "1");
    let count = if is_long { 1_000_000 } else { 20_000 };
    let world = World::new();
    let files = (0..count).map(|at| Made::file(&format!("{}/{at}", at % 1000), "x"));
    let folders = (0..1000).map(|at| Made::folder(&at.to_string()));
    TestImage::of([TestLayer::of(folders.chain(files))]).push(&world.registry, "many", "v1");
    image_with(&["a"]).push(&world.registry, "app", "v1");
    let id = world.pull("many:v1").await.unwrap().id.clone();
    let layer = world.only_layer();
    assert_eq!(std::fs::read_dir(layer.join("999")).unwrap().count(), count / 1000);
    let begun = Instant::now();
    world.store().remove(id.as_str()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    world.pull("app:v1").await.unwrap();
    if is_long {
        assert!(std::fs::read_dir(world.path("trash")).unwrap().count() > 0, "the pull had to wait for the removal");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_is_chosen_through_nested_indexes() {
    let world = World::new();
    let image = image_with(&["a"]);
    let manifest = image.push(&world.registry, "app", "amd64");
    let size = image.manifest.to_string().len();
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let inner = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": digest_of(b"arm").to_string(), "size": 1, "platform": platform("arm64")},
        {"mediaType": OCI_MANIFEST, "digest": manifest.to_string(), "size": size, "platform": platform("amd64")},
    ]});
    let inner_digest = world.registry.put_manifest("app", "inner", OCI_INDEX, inner.to_string().into_bytes());
    let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_INDEX, "digest": inner_digest.to_string(), "size": inner.to_string().len()},
    ]});
    let digest = world.registry.put_manifest("app", "v1", OCI_INDEX, outer.to_string().into_bytes());
    let view = world.pull("app:v1").await.unwrap();
    assert_eq!(view.id, image.id());
    assert_eq!(view.digests, [format!("{}/app@{digest}", world.registry.host())]);
    // The index is known by its digest now.
    let before = world.registry.requests().len();
    world.pull(&format!("app@{digest}")).await.unwrap();
    assert_eq!(world.registry.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_without_layers_and_one_with_a_layer_twice_can_be_used() {
    let world = World::new();
    TestImage::of([]).push(&world.registry, "scratch", "v1");
    let layer = || TestLayer::of([Made::file("a", "a")]);
    TestImage::of([layer(), TestLayer::of([Made::file("b", "b")]), layer()]).push(&world.registry, "twice", "v1");
    let scratch = world.pull("scratch:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(1), &scratch.id, None).await.unwrap();
    assert_eq!(rootfs.lower, [world.path("layers/0")]);
    let twice = world.pull("twice:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(2), &twice.id, None).await.unwrap();
    assert_eq!((twice.layers.len(), rootfs.lower.len()), (3, 2));
    assert!(rootfs.lower[0].join("a").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_depends_on_those_below_is_kept_for_its_chain() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let base = |mode| TestLayer::of([Made::folder("tmp").mode(mode), Made::file("bin/tool", "tool")]);
    let top = TestLayer::of([Made::file("tmp/x", "x"), Made::hard_link("tool", "bin/tool")]);
    TestImage::of([base(0o1777), top.clone()]).push(&world.registry, "sticky", "v1");
    TestImage::of([base(0o700), top.clone()]).push(&world.registry, "closed", "v1");
    TestImage::of([base(0o700), top.clone()]).push(&world.registry, "closed-too", "v1");
    let pulls = tokio::join!(world.pull("sticky:v1"), world.pull("closed:v1"), world.pull("closed-too:v1"));
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o7777;
    for (view, byte, expected) in [(pulls.0, 1, 0o1777), (pulls.1, 2, 0o700), (pulls.2, 3, 0o700)] {
        let rootfs = world.store().prepare(&container(byte), &view.unwrap().id, None).await.unwrap();
        assert_eq!(mode(&rootfs.lower[0].join("tmp")), expected);
        assert_eq!(std::fs::read(rootfs.lower[0].join("tool")).unwrap(), b"tool");
    }
    // Two bases, and the top once on each.
    assert_eq!(world.layer_folders(), 4);
    // As a base it has nothing to take the link's file from.
    TestImage::of([top]).push(&world.registry, "orphan", "v1");
    let error = world.pull("orphan:v1").await.unwrap_err().to_string();
    assert!(error.contains("hard link") && error.contains("bin/tool"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pinned_images_are_marked() {
    let mut world = World::new();
    image_with(&["a"]).push(&world.registry, "app", "v1");
    world.config.pinned = vec!["*/app:*".into()];
    world.open();
    assert!(world.pull("app:v1").await.unwrap().pinned);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_are_kept_where_that_is_configured_and_used_instead_of_the_registry() {
    let mut world = World::with(|config| config.keep_blobs = true);
    let image = image_with(&["a"]);
    image.push(&world.registry, "app", "v1");
    let id = world.pull("app:v1").await.unwrap().id.clone();
    let kept = world.path("blobs").join(digest_of(&image.layers[0].blob).hex());
    assert_eq!(std::fs::read(&kept).unwrap(), image.layers[0].blob);
    std::fs::remove_dir_all(world.only_layer()).unwrap();
    world.open();
    let before = world.blob_requests();
    world.pull("app:v1").await.unwrap();
    assert_eq!(world.blob_requests(), before);
    // A damaged one is no obstacle.
    std::fs::remove_dir_all(world.only_layer()).unwrap();
    std::fs::write(&kept, vec![0; image.layers[0].blob.len()]).unwrap();
    world.open();
    world.pull("app:v1").await.unwrap();
    assert_eq!(world.blob_requests(), before + 1);
    world.store().remove(id.as_str()).await.unwrap();
    assert!(!kept.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_are_counted_by_how_they_end() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    image.push(&world.registry, "app", "v1");
    world.pull("app:v1").await.unwrap();
    world.pull("nosuch:v1").await.unwrap_err();
    let counters = world.store().status().pulls;
    let bytes = image.layers.iter().map(|layer| layer.blob.len()).sum::<usize>() + image.config.to_string().len();
    assert_eq!((counters.under_way, counters.done), (0, 1));
    assert_eq!(counters.failed, [(Class::NotFound, 1)].into());
    assert_eq!((counters.layers_fetched, counters.layers_present), (2, 0));
    assert_eq!(counters.durations.counts.iter().sum::<u64>(), 1);
    assert_eq!((counters.given_up, counters.fetched_bytes), (0, bytes as u64));
    image_with(&["a", "x"]).push(&world.registry, "app", "v3");
    world.pull("app:v3").await.unwrap();
    let counters = world.store().status().pulls;
    assert_eq!((counters.layers_fetched, counters.layers_present), (3, 1));
    let other = image_with(&["c", "d"]);
    other.push(&world.registry, "app", "v2");
    world.give_up_after_one_layer(&other, "app:v2").await;
    wait_until("the pull is given up", || world.store().status().pulls.given_up == 1);
    assert_eq!(world.store().status().pulls.under_way, 0);
}
