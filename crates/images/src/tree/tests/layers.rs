//! Whiteouts, dependence on the layers below, and reading through several layers.

use super::union::{Found, Links};
use super::*;

#[test]
fn a_whiteout_hides_what_is_below_and_nothing_of_its_own_layer() {
    if !is_root() {
        return;
    }
    let file = || Made::file("d/f", "new");
    let white = || Made::file("d/.wh.f", "");
    let folder = || [Made::folder("d/f"), Made::file("d/f/in", "x")];
    for (name, entries) in [("first", vec![white(), file()]), ("last", vec![file(), white()])] {
        let ground = Ground::new();
        ground.grow_of(entries).unwrap();
        assert_eq!(fs::read(ground.root().join("d/f")).unwrap(), b"new", "{name}");
    }
    let [made, within] = folder();
    for (name, entries) in [
        ("first", vec![white(), made.clone(), within.clone()]),
        ("last", vec![made.clone(), within.clone(), white()]),
        ("between", vec![made, white(), within.clone()]),
        ("before an implied folder", vec![white(), within]),
    ] {
        let ground = Ground::new();
        ground.grow_of(entries).unwrap();
        assert!(is_opaque(&ground.root().join("d/f")), "{name}");
        assert_eq!(fs::read(ground.root().join("d/f/in")).unwrap(), b"x", "{name}");
    }
    let ground = Ground::new();
    ground.grow_of([white(), Made::hard_link("d/.wh.g", "d/.wh.f"), Made::file(".wh..wh.plnk", "")]).unwrap();
    assert!(is_white(&ground.root().join("d/f")) && is_white(&ground.root().join("d/g")));
    assert_eq!(fs::read_dir(ground.root()).unwrap().count(), 1);
}

#[test]
fn an_opaque_folder_needs_no_whiteouts_wherever_its_mark_comes() {
    if !is_root() {
        return;
    }
    let entries = || [Made::file("d/.wh.old", ""), Made::file("d/e/.wh.old", ""), Made::file("d/new", "x")];
    let opaque = Made::file("d/.wh..wh..opq", "");
    for entries in [[&[opaque.clone()][..], &entries()].concat(), [&entries()[..], &[opaque]].concat()] {
        let ground = Ground::new();
        let grown = ground.grow_of(entries).unwrap();
        assert!(is_opaque(&ground.root().join("d")));
        assert!(!is_white(&ground.root().join("d/old")) && !is_white(&ground.root().join("d/e/old")));
        assert!(ground.root().join("d/new").exists());
        // Beneath it nothing of the layers below is seen, so nothing depends on them.
        assert!(grown.dependence.is_none());
    }
}

#[test]
fn a_file_becomes_a_folder_and_back() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let grown = ground
        .grow_of([
            Made::file("a", "1"),
            Made::folder("a"),
            Made::file("a/b", "2"),
            Made::file("c/d/e", "3"),
            Made::file("c", "4"),
            Made::symlink("s", "a"),
            Made::folder("s"),
        ])
        .unwrap();
    assert!(is_opaque(&ground.root().join("a")));
    assert_eq!(fs::read(ground.root().join("a/b")).unwrap(), b"2");
    assert_eq!(fs::read(ground.root().join("c")).unwrap(), b"4");
    assert!(fs::symlink_metadata(ground.root().join("s")).unwrap().is_dir());
    assert_eq!(grown.usage, measure(ground.handle()).unwrap());
}

#[test]
fn usage_is_what_is_on_disk() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let sparse =
        Made::file("sparse", [7; 512]).record("GNU.sparse.map", "1048576,512").record("GNU.sparse.size", "2097152");
    let files = (0..50).map(|at| Made::file(&format!("d{}/f{at}", at % 7), vec![b'x'; at * 997]));
    let others = [sparse, Made::hard_link("again", "d1/f1"), Made::symlink("l", "x"), Made::fifo("p")];
    let grown = ground.grow_of(files.chain(others)).unwrap();
    assert_eq!(grown.usage, measure(ground.handle()).unwrap());
    assert_eq!(fs::metadata(ground.root().join("sparse")).unwrap().size(), 2 << 20);
}

#[test]
fn implied_folders_and_links_to_files_below_are_settled_upon_them() {
    if !is_root() {
        return;
    }
    let base = Ground::new();
    base.grow_of([
        Made::folder("tmp").mode(0o1777).owner(3, 4).modified(5),
        Made::file("bin/tool", "tool").mode(0o4755).owner(1, 1).modified(6),
        Made::file("gone", "x"),
    ])
    .unwrap();
    let hiding = Ground::new();
    hiding.grow_of([Made::file(".wh.gone", "")]).unwrap();

    let top = Ground::new();
    let grown = top
        .grow_of([
            Made::file("tmp/x", "x"),
            Made::hard_link("tool", "bin/tool"),
            Made::hard_link("tool-2", "/tool"),
            Made::hard_link("later", "bin/tool"),
            Made::file("later", "an own file"),
        ])
        .unwrap();
    assert_eq!(grown.dependence.implied, [b"tmp".to_vec()]);
    let below = Union::new(vec![hiding.handle(), base.handle()]);
    settle(&top.handle(), &grown.dependence, &below).unwrap();
    let stat = fs::metadata(top.root().join("tmp")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime()), (0o1777, 3, 4, 5));
    let stat = fs::metadata(top.root().join("tool")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.mtime(), stat.nlink()), (0o4755, 1, 6, 2));
    assert_eq!(fs::read(top.root().join("tool-2")).unwrap(), b"tool");
    assert_eq!(fs::read(top.root().join("later")).unwrap(), b"an own file");

    for target in ["gone", "nowhere", "tmp"] {
        let ground = Ground::new();
        let grown = ground.grow_of([Made::hard_link("h", target)]).unwrap();
        let error = settle(&ground.handle(), &grown.dependence, &below).unwrap_err();
        assert!(matches!(error, TreeError::LinkTarget { .. }), "{target}: {error}");
    }
}

#[test]
fn files_are_read_through_layers_as_a_container_sees_them() {
    if !is_root() {
        return;
    }
    let base = Ground::new();
    base.grow_of([
        Made::file("etc/passwd", "base"),
        Made::file("etc/group", "base"),
        Made::file("opt/old", "old"),
        Made::file("var/old", "old"),
        Made::file("file/in", "x"),
        Made::symlink("run", "/var/run"),
        Made::file("var/run/pid", "1"),
        Made::symlink("etc/up", "../../../../etc/group"),
        Made::symlink("etc/self", "self"),
        Made::fifo("etc/pipe"),
    ])
    .unwrap();
    let top = Ground::new();
    top.grow_of([
        Made::file("etc/passwd", "top"),
        Made::file("etc/.wh.gone", ""),
        Made::file("opt/.wh.old", ""),
        Made::file("var/.wh..wh..opq", ""),
        Made::file("var/run/new", "2"),
        Made::file("file", "not a folder any more"),
    ])
    .unwrap();
    let union = Union::new(vec![top.handle(), base.handle()]);
    for (path, expected) in [
        ("/etc/passwd", Some("top")),
        ("etc//./group", Some("base")),
        ("/etc/../etc/group", Some("base")),
        ("/../etc/group", Some("base")),
        ("/etc/up", Some("base")),
        ("/opt/old", None),
        ("/var/old", None),
        ("/run/new", Some("2")),
        ("/run/pid", None),
        ("/file/in", None),
        ("/nowhere/x", None),
    ] {
        let content = union.read(path, 100).unwrap();
        assert_eq!(content.as_deref(), expected.map(str::as_bytes), "{path}");
    }
    assert!(matches!(union.read("/etc", 100), Err(ReadError::NotAFile { .. })));
    assert!(matches!(union.read("/etc/pipe", 100), Err(ReadError::NotAFile { .. })));
    assert!(matches!(union.read("/etc/passwd", 2), Err(ReadError::TooLarge { .. })));
    assert!(matches!(union.read("/etc/self", 100), Err(ReadError::Read { .. })));
    assert!(matches!(union.find(b"etc", Links::Keep), Ok(Some(Found::Folder(merged))) if merged.len() == 2));
}
