//! What containers get of the store, and when it goes.

use cradle_engine::spec::{IdMapping, UserNamespace};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_gets_its_layers_and_gives_them_back() {
    let world = World::new();
    let view = {
        image_with(&["a", "b"]).push(&world.registry, "app", "v1");
        world.pull("app:v1").await.unwrap()
    };
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    assert!(rootfs.lower[0].join("b").exists() && rootfs.lower[1].join("a").exists());
    assert!(rootfs.upper.is_dir() && rootfs.work.is_dir());
    assert_eq!(rootfs.upper, world.store().writable_path(&container(1)));
    // Repeated, it answers the same; for another image it does not.
    std::fs::write(rootfs.upper.join("written"), "x").unwrap();
    assert_eq!(world.store().prepare(&container(1), &view.id, None).await.unwrap(), rootfs);
    assert!(rootfs.upper.join("written").exists());
    image_with(&["c"]).push(&world.registry, "other", "v1");
    let other = world.pull("other:v1").await.unwrap();
    let failure = world.store().prepare(&container(1), &other.id, None).await.unwrap_err();
    assert_eq!(failure.class(), Class::Conflict);
    assert_eq!(world.store().lend(&container(1), &other.id, None).await.unwrap().len(), 1);

    assert_eq!(world.store().owners().await.unwrap(), [container(1)]);
    for _ in 0..2 {
        world.store().discard(&container(1)).await.unwrap();
    }
    assert!(!rootfs.upper.exists());
    assert!(world.store().owners().await.unwrap().is_empty());
    world.wait_for_empty_trash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_user_namespace_the_root_belongs_to_whom_its_owner_is_mapped() {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    image_with(&["a"]).push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let range = |host_id| vec![IdMapping { host_id, container_id: 0, length: 10 }];
    let user = UserNamespace { uids: range(3000), gids: range(4000) };
    for _ in 0..2 {
        let rootfs = world.store().prepare(&container(1), &view.id, Some(&user)).await.unwrap();
        let metadata = std::fs::metadata(&rootfs.upper).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (3000, 4000, 0o755));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_image_is_said_so() {
    let world = World::new();
    let failure = world.store().prepare(&container(1), &digest_of(b"nothing"), None).await.unwrap_err();
    assert_eq!(failure.class(), Class::NotFound);
    assert!(world.store().owners().await.unwrap().is_empty());
    world.store().remove("nothing:v1").await.unwrap();
    world.store().remove(digest_of(b"nothing").as_str()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_image_is_gone_at_once_and_its_layers_when_nothing_has_them() {
    let mut world = World::new();
    image_with(&["shared", "only"]).push(&world.registry, "one", "v1");
    image_with(&["shared", "lent"]).push(&world.registry, "two", "v1");
    let one = world.pull("one:v1").await.unwrap();
    let two = world.pull("two:v1").await.unwrap();
    world.pull(&format!("one@{}", one.digests[0].split_once('@').unwrap().1)).await.unwrap();
    world.store().lend(&container(1), &two.id, None).await.unwrap();
    let before = world.store().usage().await.unwrap().images;

    world.store().remove(one.id.hex()).await.unwrap();
    assert!(world.store().find(&one.tags[0].to_string()).is_none() && world.store().find(&one.digests[0]).is_none());
    // The pull that answered last may still be letting go of it.
    wait_until("its own layer is gone", || world.layer_folders() == 2);
    let after = world.store().usage().await.unwrap().images;
    assert!(after.bytes < before.bytes && after.inodes < before.inodes);
    // By any name, with the container's layers staying, also over a restart.
    world.store().remove(&two.tags[0].to_string()).await.unwrap();
    assert!(world.store().list().is_empty());
    assert_eq!(world.layer_folders(), 2);
    world.open();
    assert_eq!(world.layer_folders(), 2);
    world.store().discard(&container(1)).await.unwrap();
    wait_until("the lent layers are gone", || world.layer_folders() == 0);
    world.wait_for_empty_trash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_folder_is_the_one_of_the_image() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let base = TestLayer::of([Made::folder("./").mode(0o775).owner(7, 8)]);
    TestImage::of([base, TestLayer::of([Made::file("a", "a")])]).push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let upper = world.store().prepare(&container(1), &view.id, None).await.unwrap().upper;
    let stat = std::fs::metadata(upper).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o775, 7, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_counts_layers_and_writable_layers() {
    let world = World::new();
    TestImage::of([TestLayer::of((0..40).map(|at| Made::file(&format!("f{at}"), vec![1; 10_000])))]).push(
        &world.registry,
        "app",
        "v1",
    );
    let view = world.pull("app:v1").await.unwrap();
    let usage = world.store().usage().await.unwrap();
    let measured = crate::tree::measure(std::fs::File::open(world.path("layers")).unwrap()).unwrap();
    let database = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(world.path("store.redb")).unwrap()) * 512;
    let difference = (measured.bytes + database).abs_diff(usage.images.bytes);
    assert!(difference <= 3 * 4096, "{usage:?} {measured:?}");
    assert!(measured.inodes.abs_diff(usage.images.inodes) <= 3);

    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    std::fs::write(rootfs.upper.join("file"), vec![1; 100_000]).unwrap();
    let writable = world.store().writable_usage(&container(1)).await.unwrap().unwrap();
    assert!(writable.bytes >= 100_000 && writable.inodes == 2, "{writable:?}");
    assert!(world.store().writable_usage(&container(2)).await.unwrap().is_none());
    assert_eq!(world.store().usage().await.unwrap().containers.inodes, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_an_image_are_read_without_a_mount() {
    let world = World::new();
    let base = TestLayer::of([Made::file("etc/passwd", "root"), Made::file("etc/group", "wheel")]);
    let top = TestLayer::of([Made::folder("etc"), Made::file("etc/passwd", "nobody")]);
    TestImage::of([base, top]).push(&world.registry, "app", "v1");
    let id = world.pull("app:v1").await.unwrap().id.clone();
    for _ in 0..2 {
        let read = |path: &'static str, max| world.store().read_file(&id, path, max);
        assert_eq!(read("/etc/passwd", 100).await.unwrap().as_deref(), Some(&b"nobody"[..]));
        assert_eq!(read("/etc/group", 100).await.unwrap().as_deref(), Some(&b"wheel"[..]));
        assert_eq!(read("/etc/shadow", 100).await.unwrap(), None);
        assert_eq!(read("/etc/passwd", 3).await.unwrap_err().class(), Class::Invalid);
    }
}
