//! What the reader makes of archives by other writers, and of damaged and hostile ones.

use std::io::Cursor;

use proptest::prelude::*;

use super::testing::{Archive, Made, header, record, set_checksum};
use super::*;
use crate::limits::EXTENDED_HEADERS_MAX_BYTES;

/// All entries with their data.
fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(Cursor::new(archive));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut content = Vec::new();
        loop {
            let data = reader.data()?;
            let count = data.len();
            if count == 0 {
                break;
            }
            content.extend_from_slice(data);
            reader.consume(count);
        }
        entries.push((entry, content));
    }
    Ok(entries)
}

fn paths(archive: &[u8]) -> Vec<String> {
    let entries = read(archive).unwrap();
    entries.into_iter().map(|(entry, _)| String::from_utf8(entry.path).unwrap()).collect()
}

#[test]
fn archives_of_another_writer_are_read_the_same() {
    let long = "d/".repeat(90) + "file";
    for (mut header, path) in [
        (::tar::Header::new_gnu(), long.as_str()),
        (::tar::Header::new_ustar(), "short"),
        (::tar::Header::new_old(), "short"),
    ] {
        let mut builder = ::tar::Builder::new(Vec::new());
        header.set_size(5);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(99);
        header.set_entry_type(::tar::EntryType::Regular);
        builder.append_data(&mut header, path, &b"hello"[..]).unwrap();
        let entries = read(&builder.into_inner().unwrap()).unwrap();
        let (entry, content) = &entries[0];
        assert_eq!(entry.path, path.as_bytes());
        assert_eq!((entry.mode, entry.uid, entry.gid), (0o4755, 7, 8));
        assert_eq!(entry.modified, Time { seconds: 99, nanos: 0 });
        assert_eq!(entry.kind, Kind::File { size: 5, segments: None });
        assert_eq!(content, b"hello");
    }
}

#[test]
fn records_override_the_header() {
    let archive = Archive::of([
        Made::file("short", "x")
            .record("path", "the/long/name")
            .record("mtime", "5.5")
            .record("uid", "3000000")
            .attribute("user.a", "b"),
        Made::symlink("link", &"t".repeat(300)),
        Made::file("next", ""),
    ]);
    let entries = read(&archive).unwrap();
    let entry = &entries[0].0;
    assert_eq!(entry.path, b"the/long/name");
    assert_eq!((entry.uid, entry.modified), (3_000_000, Time { seconds: 5, nanos: 500_000_000 }));
    assert_eq!(entry.attributes, [Attribute { name: b"user.a".to_vec(), value: b"b".to_vec() }]);
    assert_eq!(entries[1].0.kind, Kind::Symlink { target: vec![b't'; 300] });
    assert_eq!(entries[2].0.path, b"next");
    assert!(entries[2].0.attributes.is_empty());
}

#[test]
fn the_size_of_a_record_is_that_of_the_entry_and_of_nothing_before_it() {
    // A reader that takes the record for the long name's size, or the header's for the entry's, sees other entries
    // (CVE-2025-62518).
    let mut archive = Archive::default();
    let inner = header(&Made::file("smuggled", ""));
    let size = record("size", inner.len().to_string().as_bytes());
    archive.add_raw(&header(&Made::of_type(b'x', "PaxHeader").with_content(&size)), &size);
    archive.add_raw(&header(&Made::of_type(b'L', "LongLink").with_content(b"long\0")), b"long\0");
    archive.add_raw(&header(&Made::file("outer", "")), &inner);
    archive.add(Made::file("after", ""));
    let archive = archive.finish();
    assert_eq!(paths(&archive), ["long", "after"]);
    assert_eq!(read(&archive).unwrap()[0].1, inner);
}

#[test]
fn sparse_files_of_all_versions_are_read() {
    let data = [[1u8; 512], [2u8; 512]].concat();
    let segments = vec![Segment { offset: 512, length: 512 }, Segment { offset: 4096, length: 512 }];
    let expected = Kind::File { size: 8192, segments: Some(segments) };
    let version_00 = Made::file("GNUSparseFile/f", data.clone())
        .record("GNU.sparse.size", "8192")
        .record("GNU.sparse.numblocks", "2")
        .record("GNU.sparse.offset", "512")
        .record("GNU.sparse.numbytes", "512")
        .record("GNU.sparse.offset", "4096")
        .record("GNU.sparse.numbytes", "512");
    let version_01 = Made::file("GNUSparseFile/f", data.clone())
        .record("GNU.sparse.name", "f")
        .record("GNU.sparse.size", "8192")
        .record("GNU.sparse.map", "512,512,4096,512");
    let mut map = b"2\n512\n512\n4096\n512\n".to_vec();
    map.resize(512, 0);
    let version_10 = Made::file("GNUSparseFile/f", [map, data.clone()].concat())
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", "f")
        .record("GNU.sparse.realsize", "8192");
    let mut old = Archive::default();
    let mut block = header(&Made::of_type(b'S', "f").with_content(&data));
    block[257..265].copy_from_slice(b"ustar  \0");
    block[386..434].copy_from_slice(b"00000001000\x0000000001000\x0000000010000\x0000000001000\0");
    block[483..495].copy_from_slice(b"00000020000\0");
    set_checksum(&mut block);
    old.add_raw(&block, &data);
    for archive in [Archive::of([version_00]), Archive::of([version_01]), Archive::of([version_10]), old.finish()] {
        let entries = read(&archive).unwrap();
        assert_eq!(entries[0].0.kind, expected);
        assert_eq!(entries[0].1, data);
    }
}

#[test]
fn what_cannot_be_right_is_refused_and_costs_no_memory() {
    let truncated = |by: usize| {
        let mut archive = Archive::of([Made::file("f", vec![7; 1000])]);
        archive.truncate(by);
        archive
    };
    let mut huge_name = header(&Made::of_type(b'L', "LongLink"));
    huge_name[124..136].copy_from_slice(b"77777777777\0");
    set_checksum(&mut huge_name);
    let mut huge_size = header(&Made::file("f", ""));
    huge_size[124..136].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    set_checksum(&mut huge_size);
    let mut bad_sum = header(&Made::file("f", ""));
    bad_sum[0] = b'g';
    let mut lone_zero = vec![0; 512];
    lone_zero.extend(Archive::of([Made::file("f", "")]));
    let many: Vec<u8> = (0..(EXTENDED_HEADERS_MAX_BYTES / 512 + 1))
        .flat_map(|_| {
            let mut archive = Archive::default();
            let content = record("comment", b"x");
            archive.add_raw(&header(&Made::of_type(b'x', "PaxHeader").with_content(&content)), &content);
            archive.bytes_so_far()
        })
        .collect();
    let sparse = |map: &str| {
        Archive::of([Made::file("f", [0; 512]).record("GNU.sparse.map", map).record("GNU.sparse.size", "1024")])
    };
    type Case = (&'static str, Vec<u8>, fn(&TarError) -> bool);
    let cases: Vec<Case> = vec![
        ("cut in the header", truncated(100), |e| matches!(e, TarError::Truncated)),
        ("cut in the data", truncated(1000), |e| matches!(e, TarError::Truncated)),
        ("a name of 8 GiB", huge_name.to_vec(), |e| matches!(e, TarError::ExtendedTooLarge)),
        ("a size of 2^63", huge_size.to_vec(), |e| matches!(e, TarError::Truncated | TarError::Header(_))),
        ("a wrong checksum", bad_sum.to_vec(), |e| matches!(e, TarError::Header(_))),
        ("a lone zero block", lone_zero, |e| matches!(e, TarError::LoneZeroBlock)),
        ("headers without an entry", many, |e| matches!(e, TarError::ExtendedTooLarge)),
        ("an unknown type", Archive::of([Made::of_type(b'Z', "f")]), |e| matches!(e, TarError::Unknown { .. })),
        ("a long path", Archive::of([Made::file(&"a/".repeat(2100), "")]), |e| {
            matches!(e, TarError::NameTooLong { .. })
        }),
        ("uid -1", Archive::of([Made::file("f", "").record("uid", "4294967295")]), |e| {
            matches!(e, TarError::Owner { .. })
        }),
        ("overlapping segments", sparse("0,300,200,212"), |e| matches!(e, TarError::Sparse { .. })),
        ("segments beyond the end", sparse("1000,512"), |e| matches!(e, TarError::Sparse { .. })),
        ("segments that lack data", sparse("0,511"), |e| matches!(e, TarError::Sparse { .. })),
        ("segments that overflow", sparse("18446744073709551615,512"), |e| matches!(e, TarError::Sparse { .. })),
    ];
    for (name, archive, is_expected) in cases {
        let error = read(&archive).map(|entries| entries.len()).expect_err(name);
        assert!(is_expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn an_archive_may_end_without_zeros_and_have_bytes_after_them() {
    let mut archive = Archive::of([Made::file("f", "x")]);
    archive.extend_from_slice(&[9; 700]);
    assert_eq!(paths(&archive), ["f"]);
    archive.truncate(1024);
    assert_eq!(paths(&archive), ["f"]);
    assert!(paths(&[]).is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(mut archive in proptest::collection::vec(any::<u8>(), 0..4096), fix in any::<bool>()) {
        if fix && archive.len() >= 512 {
            let mut block = [0; 512];
            block.copy_from_slice(&archive[..512]);
            set_checksum(&mut block);
            archive[..512].copy_from_slice(&block);
        }
        let _ = read(&archive);
    }

    #[test]
    fn a_changed_byte_makes_no_panic(at in 0usize..6000, byte in any::<u8>()) {
        let mut archive = Archive::of([
            Made::file("a", vec![1; 700]).record("path", "b/c").attribute("user.x", "y"),
            Made::file("GNUSparseFile/f", [0; 512]).record("GNU.sparse.map", "0,512").record("GNU.sparse.size", "600"),
            Made::hard_link("d", "b/c"),
        ]);
        let length = archive.len();
        archive[at % length] = byte;
        let _ = read(&archive);
    }
}
