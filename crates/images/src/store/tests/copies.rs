//! Where no overlay can be mounted, layers in the plain form, and containers with copies of their images; where owners
//! cannot be mapped, containers in user namespaces with copies for these.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use cradle_engine::ports::ImageOwners;
use cradle_engine::spec::{IdMapping, UserNamespace};

use super::*;

fn plain() -> World {
    World::with(|config| config.overlays = Overlays::Never)
}

fn without_idmap(config: &mut StoreConfig) {
    config.user_namespaces = UserNamespaceSupport::Copied { why: "it cannot".into() };
}

fn user() -> UserNamespace {
    let range = |host_id| vec![IdMapping { host_id, container_id: 0, length: 1000 }];
    UserNamespace { uids: range(3000), gids: range(40_000) }
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
    let mapped = world.store().prepare(&container(2), &view.id, Some(&user())).await.unwrap();
    assert_eq!((std::fs::metadata(&mapped.upper).unwrap().uid(), mapped.owners), (0, ImageOwners::Original));
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
    let volume = world.store().lend(&container(1), &view.id, None).await.unwrap();
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
    // What has layers keeps them.
    assert_eq!(world.store().prepare(&container(1), &view.id, None).await.unwrap().lower, lower);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_user_namespace_a_copy_has_the_owners_that_an_idmapped_mount_would_show() {
    if !is_root() {
        return;
    }
    for overlays in [Overlays::IfPossible, Overlays::Never] {
        let world = World::with(|config| {
            without_idmap(config);
            config.overlays = overlays;
        });
        let capabilities = [&[1, 0, 0, 2, 0, 4, 0, 0][..], &[0; 12]].concat();
        let acl = |uid: u32| {
            let entries =
                [(1_u16, 6_u16, u32::MAX), (2, 4, uid), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
            let entry = |(tag, mode, id): (u16, u16, u32)| {
                [&tag.to_le_bytes()[..], &mode.to_le_bytes(), &id.to_le_bytes()].concat()
            };
            [2_u32.to_le_bytes().to_vec(), entries.map(entry).concat()].concat()
        };
        let base = TestLayer::of([
            Made::folder("./").mode(0o711).owner(5, 6),
            Made::folder("srv/").mode(0o2775).owner(33, 34),
            Made::file("srv/page", "x").owner(33, 34),
            Made::hard_link("srv/twin", "srv/page"),
            Made::symlink("srv/link", "page").owner(7, 8),
            Made::fifo("srv/pipe").owner(9, 10),
            Made::file("su", "x").mode(0o4755),
            Made::file("stranger", "x").mode(0o6755).owner(1000, 0),
            Made::file("ping", "x").mode(0o755).attribute("security.capability", capabilities.clone()),
            Made::file("shared", "x").mode(0o640).attribute("system.posix_acl_access", acl(33)),
        ]);
        TestImage::of([base]).push(&world.registry, "app", "v1");
        let view = world.pull("app:v1").await.unwrap();
        let rootfs = world.store().prepare(&container(1), &view.id, Some(&user())).await.unwrap();
        assert_eq!((rootfs.lower.len(), rootfs.owners), (0, ImageOwners::Shifted));
        let volume = world.store().lend(&container(1), &view.id, Some(&user())).await.unwrap();
        for root in [&rootfs.upper, &volume[0]] {
            let seen = |path: &str| {
                let stat = std::fs::symlink_metadata(root.join(path)).unwrap();
                (stat.mode() & 0o7777, stat.uid(), stat.gid())
            };
            assert_eq!(seen("srv"), (0o2775, 3033, 40_034));
            assert_eq!(seen("srv/page"), (0o644, 3033, 40_034));
            assert_eq!(seen("srv/link"), (0o777, 3007, 40_008));
            assert_eq!(seen("srv/pipe"), (0o644, 3009, 40_010));
            assert_eq!(seen("su"), (0o4755, 3000, 40_000));
            assert_eq!(seen("stranger"), (0o755, 65534, 40_000));
            let inode = |path: &str| std::fs::metadata(root.join(path)).unwrap().ino();
            assert_eq!(inode("srv/page"), inode("srv/twin"));
            let attribute = |path: &str, name: &str| {
                let mut value = [0; 64];
                let length = rustix::fs::getxattr(root.join(path), name, &mut value[..]).unwrap();
                value[..length].to_vec()
            };
            let moved = [&[1, 0, 0, 3], &capabilities[4..], &3000_u32.to_le_bytes()].concat();
            assert_eq!(attribute("ping", "security.capability"), moved);
            assert_eq!(attribute("shared", "system.posix_acl_access"), acl(3033));
        }
        let root = std::fs::metadata(&rootfs.upper).unwrap();
        assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o711, 3005, 40_006));
        assert_eq!(world.store().status().user_namespaces, "copy: it cannot");
        // Others have what they had.
        let other = world.store().prepare(&container(2), &view.id, None).await.unwrap();
        assert_eq!(
            (other.lower.len(), other.owners),
            (usize::from(overlays != Overlays::Never), ImageOwners::Original)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_was_given_stays_whatever_the_machine_can_do_later() {
    if !is_root() {
        return;
    }
    let mut world = World::with(without_idmap);
    image_with(&["a"]).push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let prepare = |world: &World, number| {
        let store = world.store().clone();
        let id = view.id.clone();
        async move { store.prepare(&container(number), &id, Some(&user())).await.unwrap() }
    };
    let copied = prepare(&world, 1).await;
    std::fs::write(copied.upper.join("a"), "changed").unwrap();
    // A copy that was begun, and will be finished as it was meant.
    let begun = world.path("containers").join(container(3).as_str());
    std::fs::create_dir_all(begun.join("fs.partial")).unwrap();
    std::fs::write(begun.join("shifted"), "").unwrap();

    world.config.user_namespaces = UserNamespaceSupport::Mapped;
    world.open();
    let mapped = prepare(&world, 2).await;
    assert_eq!((mapped.lower.len(), mapped.owners), (1, ImageOwners::Original));
    assert_eq!(prepare(&world, 1).await, copied);
    assert_eq!(std::fs::read(copied.upper.join("a")).unwrap(), b"changed");
    let finished = prepare(&world, 3).await;
    assert_eq!((finished.lower.len(), finished.owners), (0, ImageOwners::Shifted));
    assert_eq!(std::fs::metadata(finished.upper.join("a")).unwrap().uid(), 3000);

    without_idmap(&mut world.config);
    world.open();
    assert_eq!(prepare(&world, 2).await, mapped);
    for number in 1..=3 {
        world.store().discard(&container(number)).await.unwrap();
    }
    assert_eq!(names(&world.path("containers")), [""; 0]);
    world.wait_for_empty_trash();
}
