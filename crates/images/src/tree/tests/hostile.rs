//! Archives that try to get out, and such as only look like it.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn an_entry_that_climbs_is_refused_and_named() {
    if !is_root() {
        return;
    }
    let up = || Made::symlink("up", "..");
    let far = || Made::symlink("far", "a/../../..");
    let cases: Vec<(&str, Vec<Made>)> = vec![
        ("../escaped", vec![Made::file("../escaped", "x")]),
        ("a/../../escaped", vec![Made::file("a/../../escaped", "x")]),
        ("/../escaped", vec![Made::file("/../escaped", "x")]),
        ("up/escaped", vec![up(), Made::file("up/escaped", "x")]),
        ("far/escaped", vec![Made::folder("a"), far(), Made::file("far/escaped", "x")]),
        ("via/escaped", vec![up(), Made::symlink("via", "up/layer/../x"), Made::file("via/escaped", "x")]),
        ("hard", vec![Made::hard_link("hard", "../../../etc/passwd")]),
        ("hard", vec![up(), Made::hard_link("hard", "up/layer")]),
        ("../null", vec![Made::character_device("../null", 1, 3)]),
        ("up/null", vec![up(), Made::character_device("up/null", 1, 3)]),
        ("up/pipe", vec![up(), Made::fifo("up/pipe")]),
        ("up/link", vec![up(), Made::symlink("up/link", "x")]),
        ("up/folder", vec![up(), Made::folder("up/folder")]),
        ("a/.wh...", vec![Made::file("a/.wh...", "")]),
        (".wh..", vec![Made::file(".wh..", "")]),
        ("up/.wh.layer", vec![up(), Made::file("up/.wh.layer", "")]),
        ("up/.wh..wh..opq", vec![up(), Made::file("up/.wh..wh..opq", "")]),
    ];
    for (named, entries) in cases {
        let ground = Ground::new();
        let error = ground.grow_of(entries).map(|grown| grown.usage).expect_err(named);
        assert!(matches!(&error, TreeError::Climbs { entry, .. } if entry == named), "{named}: {error}");
        ground.assert_nothing_got_out();
    }
}

#[test]
fn the_root_itself_is_not_replaced() {
    for entry in [Made::symlink("./", "/etc"), Made::file("a/..", "x"), Made::hard_link("/", "a"), Made::fifo(".")] {
        let error = Ground::new().grow_of([entry]).map(|grown| grown.usage).unwrap_err();
        assert!(matches!(error, TreeError::ReplacesRoot { .. }), "{error}");
    }
}

#[test]
fn a_link_that_names_nothing_is_refused() {
    let error = Ground::new().grow_of([Made::symlink("empty", "")]).map(|grown| grown.usage).unwrap_err();
    assert!(matches!(&error, TreeError::EmptyLink { entry } if entry == "empty"), "{error}");
}

#[test]
fn absolute_names_and_links_mean_the_layer() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    ground
        .grow_of([
            Made::file("/etc/passwd", "ours"),
            Made::symlink("lib", "/usr/lib"),
            Made::symlink("alias", "/lib"),
            Made::file("alias/x.so", "x"),
            // The link itself gets a second name, not what it points to.
            Made::symlink("outside", "/etc/shadow"),
            Made::hard_link("again", "outside"),
            Made::file("outside", "now a file"),
        ])
        .unwrap();
    assert_eq!(fs::read(ground.root().join("etc/passwd")).unwrap(), b"ours");
    assert_eq!(fs::read(ground.root().join("usr/lib/x.so")).unwrap(), b"x");
    assert_eq!(fs::read_link(ground.root().join("again")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(fs::read(ground.root().join("outside")).unwrap(), b"now a file");
    ground.assert_nothing_got_out();
}

#[test]
fn a_link_in_the_place_of_a_known_folder_is_noticed() {
    // The folder's handle was remembered; the next entry must not be led by it, nor by the link to the outside.
    let ground = Ground::new();
    let error = ground.grow_of([Made::file("d/one", "1"), Made::symlink("d", "../.."), Made::file("d/two", "2")]);
    assert!(matches!(error.map(|grown| grown.usage), Err(TreeError::Climbs { .. })));
    ground.assert_nothing_got_out();
}

#[test]
fn links_in_a_circle_and_files_in_the_way_are_refused() {
    let circle = [Made::symlink("a", "b"), Made::symlink("b", "a"), Made::file("a/x", "")];
    assert!(matches!(Ground::new().grow_of(circle).map(|g| g.usage), Err(TreeError::LinkLoop { .. })));
    let beneath = [Made::file("a", ""), Made::file("a/x", "")];
    assert!(matches!(Ground::new().grow_of(beneath).map(|g| g.usage), Err(TreeError::BeneathFile { .. })));
}

#[test]
fn attributes_and_bits_are_those_of_the_entry() {
    if !is_root() {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let ground = Ground::new();
    let grown = ground
        .grow_of([
            Made::folder("./").mode(0o700).owner(9, 9),
            Made::folder("shared").mode(0o2777).owner(5, 6).modified(77),
            Made::file("shared/su", "x").mode(0o4755).owner(1, 2).attribute("security.capability", capability),
            Made::file("shared/plain", "x").mode(0o666),
            Made::file("shared/user", "x").attribute("user.a", "b").attribute("trusted.overlay.redirect", "/etc"),
            Made::file("none", "").mode(0),
            Made::folder("closed").mode(0),
            Made::file("closed/in", "x"),
        ])
        .unwrap();
    let mode = |path: &str| fs::metadata(ground.root().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("shared"), 0o2777);
    assert_eq!(mode("shared/su"), 0o4755);
    assert_eq!(mode("shared/plain"), 0o666);
    assert_eq!((mode("none"), mode("closed")), (0, 0));
    let stat = fs::metadata(ground.root().join("shared/su")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (1, 2));
    // The set-gid folder passes its group on to nothing.
    assert_eq!(fs::metadata(ground.root().join("shared/plain")).unwrap().gid(), 0);
    assert_eq!(fs::metadata(ground.root().join("shared")).unwrap().mtime(), 77);
    assert!(attributes(&ground.root().join("shared/su")).starts_with("security.capability="));
    assert_eq!(attributes(&ground.root().join("shared/user")), "user.a=[98]");
    assert!(!is_opaque(&ground.root().join("shared")));
    assert_eq!(grown.root, Some(RootDirectory { mode: 0o700, uid: 9, gid: 9 }));
}

#[test]
fn trees_of_any_depth_are_removed() {
    let ground = Ground::new();
    let mut folder = ground.handle();
    for level in 0..1500 {
        rustix::fs::mkdirat(&folder, "d", rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        fs::write(format!("/proc/self/fd/{}/raised-{level}", std::os::fd::AsRawFd::as_raw_fd(&folder)), "x").unwrap();
        folder = rustix::fs::openat(&folder, "d", OPEN_FOLDER, rustix::fs::Mode::empty()).unwrap();
    }
    drop(folder);
    let parent = fs::File::open(ground.root().parent().unwrap()).unwrap();
    remove(std::os::fd::AsFd::as_fd(&parent), b"layer").unwrap();
    assert!(!ground.root().exists());
    remove(std::os::fd::AsFd::as_fd(&parent), b"layer").unwrap();
}

proptest::proptest! {
    #[test]
    fn no_names_get_out(
        names in proptest::collection::vec(("[ab./]{1,8}", "[ab./]{0,8}", 0u8..6), 1..12)
    ) {
        let ground = Ground::new();
        let entries = names.into_iter().map(|(path, target, kind)| match kind {
            0 => Made::file(&path, "x"),
            1 => Made::symlink(&path, &target),
            2 => Made::hard_link(&path, &target),
            3 => Made::folder(&path),
            4 => Made::file(&format!("{path}/.wh.{target}"), ""),
            _ => Made::fifo(&path),
        });
        let _ = ground.grow_of(entries);
        ground.assert_nothing_got_out();
    }
}
