//! Where no overlay can be mounted: layers in the plain form, and containers with copies of their images.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use cradle_engine::spec::{IdMapping, UserNamespace};

use super::*;

fn plain() -> World {
    World::with(|config| config.overlays = Overlays::Never)
}

/// Two layers, of which the upper one hides and replaces what the lower one has.
fn image() -> TestImage {
    let base = TestLayer::of([
        Made::folder("./").mode(0o711),
        Made::folder("etc/"),
        Made::file("etc/passwd", "old"),
        Made::file("etc/gone", "x"),
        Made::folder("opaque/"),
        Made::file("opaque/below", "x"),
        Made::folder("again/"),
        Made::file("again/below", "x"),
        Made::file("tool", "tool").mode(0o4755),
        Made::hard_link("twin", "tool"),
        Made::symlink("link", "etc/passwd"),
        Made::fifo("pipe").mode(0o640),
        Made::file("both", "a file"),
    ]);
    let top = TestLayer::of([
        Made::file("etc/passwd", "new"),
        Made::file("etc/.wh.gone", ""),
        Made::folder("opaque/").mode(0o700),
        Made::file("opaque/.wh..wh..opq", ""),
        Made::file("opaque/above", "x"),
        Made::file(".wh.again", ""),
        Made::folder("again/"),
        Made::file("again/above", "x"),
        Made::file(".wh.both", ""),
        Made::folder("both/"),
        Made::file("both/inside", "x"),
        Made::file(".wh.never-there", ""),
    ]);
    TestImage::of([base, top])
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_what_an_overlay_would_show() {
    if !is_root() {
        return;
    }
    let world = plain();
    image().push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    assert!(rootfs.lower.is_empty());
    let at = |path: &str| rootfs.upper.join(path);
    assert_eq!(names(&rootfs.upper), ["again", "both", "etc", "link", "opaque", "pipe", "tool", "twin"]);
    assert_eq!(names(&at("etc")), ["passwd"]);
    assert_eq!(names(&at("opaque")), ["above"]);
    assert_eq!(names(&at("again")), ["above"]);
    assert_eq!(names(&at("both")), ["inside"]);
    assert_eq!(std::fs::read(at("etc/passwd")).unwrap(), b"new");
    assert_eq!(std::fs::read_link(at("link")).unwrap(), Path::new("etc/passwd"));
    let stat = |path: &str| std::fs::symlink_metadata(at(path)).unwrap();
    assert_eq!((stat("tool").ino(), stat("tool").nlink()), (stat("twin").ino(), 2));
    assert_eq!((stat("tool").mode() & 0o7777, stat("").mode() & 0o7777), (0o4755, 0o711));
    assert_eq!((stat("opaque").mode() & 0o7777, stat("tool").mtime()), (0o700, 1_000_000_000));
    assert!(stat("pipe").file_type().is_fifo());
    let read = world.store().read_file(&view.id, "/etc/gone", 10).await.unwrap();
    assert_eq!(read, None);
    // Its owners are mapped when it is mounted.
    let range = |host_id| vec![IdMapping { host_id, container_id: 0, length: 10 }];
    let user = UserNamespace { uids: range(3000), gids: range(4000) };
    let mapped = world.store().prepare(&container(2), &view.id, Some(&user)).await.unwrap();
    assert_eq!(std::fs::metadata(&mapped.upper).unwrap().uid(), 0);
    assert!(world.store().status().root_filesystems.starts_with("copy: "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_once_and_goes_with_its_container() {
    let mut world = plain();
    image_with(&["a", "b"]).push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    std::fs::write(rootfs.upper.join("a"), "changed").unwrap();
    std::fs::remove_file(rootfs.upper.join("b")).unwrap();
    // What an unfinished copy left is in nobody's way.
    let volume = world.store().lend(&container(1), &view.id).await.unwrap();
    assert_eq!((volume.len(), names(&volume[0])), (1, vec!["a".to_owned(), "b".to_owned()]));
    let unfinished = world.path("containers").join(container(2).as_str()).join("fs.partial");
    std::fs::create_dir_all(unfinished.join("a")).unwrap();
    world.open();
    assert_eq!(world.store().prepare(&container(1), &view.id, None).await.unwrap(), rootfs);
    assert_eq!(names(&rootfs.upper), ["a"]);
    let second = world.store().prepare(&container(2), &view.id, None).await.unwrap();
    assert_eq!((names(&second.upper), unfinished.exists()), (vec!["a".to_owned(), "b".to_owned()], false));
    assert!(world.store().writable_usage(&container(1)).await.unwrap().unwrap().inodes >= 2);
    for number in [1, 2] {
        world.store().discard(&container(number)).await.unwrap();
    }
    assert!(!rootfs.upper.exists());
    world.wait_for_empty_trash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_layers_are_fetched_again_where_overlays_work() {
    if !is_root() {
        return;
    }
    let mut world = plain();
    image().push(&world.registry, "app", "v1");
    world.pull("app:v1").await.unwrap();
    world.config.overlays = Overlays::IfPossible;
    world.open();
    assert_eq!(world.store().status().root_filesystems, "overlay");
    assert!(world.store().list().is_empty());
    let view = world.pull("app:v1").await.unwrap();
    let lower = world.store().prepare(&container(1), &view.id, None).await.unwrap().lower;
    assert!(std::fs::symlink_metadata(lower[0].join("etc/gone")).unwrap().file_type().is_char_device());
    // The other way round both are understood.
    world.config.overlays = Overlays::Never;
    world.open();
    let copy = world.store().prepare(&container(2), &view.id, None).await.unwrap().upper;
    assert_eq!(
        (names(&copy.join("etc")), names(&copy.join("opaque"))),
        (vec!["passwd".to_owned()], vec!["above".to_owned()])
    );
}
