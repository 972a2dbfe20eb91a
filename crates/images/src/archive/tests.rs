//! Archives alone: what is found in good ones, and what is said of others.

use std::io::{Cursor, Write};
use std::sync::Arc;

use cradle_domain::Digest;
use serde_json::json;

use super::*;
use crate::pipeline::digest_of;
use crate::tar::TarError;
use crate::tar::testing::{Archive as Tar, Made};

fn spooled(archive: &[u8]) -> Result<Archive, ArchiveError> {
    spool(Cursor::new(archive), tempfile::tempfile().unwrap(), 1 << 20)
}

fn found(entries: impl IntoIterator<Item = Made>) -> Result<Vec<ArchiveImage>, ArchiveError> {
    images(&Arc::new(spooled(&Tar::of(entries))?))
}

fn blob(content: &[u8]) -> Made {
    Made::file(&format!("blobs/sha256/{}", digest_of(content).hex()), content)
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Annotations of an entry.
type Annotations<'a> = &'a [(&'a str, &'a str)];

/// An index.json with one entry for each manifest, under the annotations given.
fn index(entries: &[(&[u8], Annotations<'_>)]) -> Made {
    let entry = |(manifest, annotations): &(&[u8], Annotations<'_>)| {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        json!({ "digest": digest_of(manifest), "size": manifest.len(), "annotations": annotations })
    };
    let index = json!({ "schemaVersion": 2, "manifests": entries.iter().map(entry).collect::<Vec<_>>() });
    Made::file("index.json", index.to_string())
}

fn manifest_json(entries: &[(&str, &[&str], &[&str])]) -> Made {
    let entry = |(config, tags, layers): &(&str, &[&str], &[&str])| json!({ "Config": config, "RepoTags": tags, "Layers": layers });
    Made::file("./manifest.json", json!(entries.iter().map(entry).collect::<Vec<_>>()).to_string())
}

fn names(images: &[ArchiveImage]) -> Vec<Vec<String>> {
    images.iter().map(|image| image.names.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn files_are_found_by_path_and_digest_however_the_archive_is_packed() {
    let plain = Tar::of([
        Made::folder("./a/"),
        Made::file("./a/layer.tar", "content"),
        Made::symlink("b/layer.tar", "../a/layer.tar"),
        Made::hard_link("c/layer.tar", "./a/layer.tar"),
        Made::symlink("d", "d"),
        blob(b"blob"),
        Made::file("twice", "old"),
        Made::file("twice", "new"),
    ]);
    for (form, archive) in
        [("plain", plain.clone()), ("gzip", gzip(&plain)), ("zstd", ::zstd::encode_all(&*plain, 1).unwrap())]
    {
        let archive = spooled(&archive).unwrap();
        for path in ["a/layer.tar", "b/layer.tar", "./c//layer.tar"] {
            let file = archive.contents.file(path).unwrap();
            assert_eq!(file.digest, digest_of(b"content"), "{form} {path}");
            assert_eq!(archive.document(path, file).unwrap(), b"content", "{form} {path}");
        }
        assert!(archive.contents.file("d").is_none() && archive.contents.file("a").is_none());
        assert_eq!(archive.manifest(&digest_of(b"blob")).unwrap(), "blob");
        let twice = archive.contents.file("twice").unwrap();
        assert_eq!(archive.document("twice", twice).unwrap(), b"new");
    }
}

#[test]
fn what_is_no_archive_of_images_is_told_apart() {
    let whole = Tar::of([Made::file("a", vec![7; 5000])]);
    let said = |archive: &[u8]| spooled(archive).err().map(|error| format!("{error:?}")).unwrap_or_default();
    assert_eq!(said(b""), "Empty");
    assert_eq!(said(b"hello"), "NotTar");
    assert_eq!(said(&[b'x'; 4000]), "NotTar");
    assert!(matches!(spooled(&whole[..2000]), Err(ArchiveError::Tar(TarError::Truncated))));
    let packed = gzip(&whole);
    assert!(matches!(spooled(&packed[..packed.len() - 9]), Err(ArchiveError::Decompress(_))));
    assert!(matches!(
        spooled(&gzip(&Tar::of([Made::file("a", vec![7; 2 << 20])]))),
        Err(ArchiveError::TooLarge { .. })
    ));
    assert!(matches!(found([Made::file("etc/passwd", "x")]), Err(ArchiveError::Foreign)));
    assert!(matches!(found([Made::file("manifest.json", "{")]), Err(ArchiveError::Json { .. })));
    assert!(matches!(found([Made::file("manifest.json", "[]")]), Err(ArchiveError::NoImages { .. })));
    assert!(matches!(found([index(&[])]), Err(ArchiveError::NoImages { .. })));
    assert!(matches!(found([index(&[(b"gone", &[])])]), Err(ArchiveError::NoBlob { .. })));
    let lying = Made::file(&format!("blobs/sha256/{}", digest_of(b"one").hex()), "other");
    assert!(matches!(found([lying, index(&[(b"one", &[])])]), Err(ArchiveError::OtherBlob { .. })));
    let missing = found([Made::file("c.json", "{}"), manifest_json(&[("c.json", &[], &["l/layer.tar"])])]);
    assert!(matches!(missing, Err(ArchiveError::NoFile { path }) if path == "l/layer.tar"));
}

#[test]
fn names_are_normalised_and_a_lone_tag_names_nothing() {
    let (one, two, three) = (&b"one"[..], &b"two"[..], &b"three"[..]);
    let images = found([
        blob(one),
        blob(two),
        blob(three),
        index(&[
            (one, &[("io.containerd.image.name", "nginx:1"), ("org.opencontainers.image.ref.name", "1")]),
            (one, &[("io.containerd.image.name", "docker.io/library/nginx")]),
            (two, &[("org.opencontainers.image.ref.name", "localhost/app:v2")]),
            (three, &[("org.opencontainers.image.ref.name", "v3")]),
            (b"of another", &[("vnd.docker.reference.type", "attestation-manifest")]),
        ]),
    ]);
    let images = images.unwrap();
    assert_eq!(
        names(&images),
        [&["docker.io/library/nginx:1", "docker.io/library/nginx:latest"][..], &["localhost/app:v2"], &[]]
    );
    assert!(images.iter().all(|image| image.is_original));
    assert!(matches!(
        found([blob(one), index(&[(one, &[("io.containerd.image.name", "UPPER:x")])])]),
        Err(ArchiveError::Name(_))
    ));
}

#[test]
fn a_name_stands_for_one_image() {
    let name: Annotations<'_> = &[("io.containerd.image.name", "app:1")];
    let twice = found([blob(b"one"), blob(b"two"), index(&[(b"one", name), (b"two", name)])]);
    assert!(matches!(twice, Err(ArchiveError::TwoImages { name, .. }) if name == "docker.io/library/app:1"));
    let configs = [Made::file("a.json", "{}"), Made::file("b.json", "{ }")];
    let twice = manifest_json(&[("a.json", &["app:1"], &[]), ("b.json", &["app:1", "app:2"], &[])]);
    assert!(matches!(found(configs.into_iter().chain([twice])), Err(ArchiveError::TwoImages { .. })));
}

#[test]
fn of_two_lists_the_one_with_names_counts() {
    let list = || manifest_json(&[("c.json", &["app:1"], &[])]);
    let entries = |annotations| [blob(b"one"), Made::file("c.json", "{}"), index(&[(b"one", annotations)]), list()];
    let of_layout = found(entries(&[("io.containerd.image.name", "app:2")])).unwrap();
    assert_eq!((names(&of_layout), of_layout[0].is_original), (vec![vec!["docker.io/library/app:2".to_owned()]], true));
    let of_docker = found(entries(&[])).unwrap();
    assert_eq!(
        (names(&of_docker), of_docker[0].is_original),
        (vec![vec!["docker.io/library/app:1".to_owned()]], false)
    );
}

#[test]
fn an_archive_holds_shared_layers_once_and_names_all_images() {
    let folder = tempfile::tempdir().unwrap();
    let layer = |content: &[u8]| {
        let path = folder.path().join(digest_of(content).hex());
        std::fs::write(&path, content).unwrap();
        SavedBlob { digest: digest_of(content), size: content.len() as u64, path }
    };
    let document = |content: &'static [u8]| (digest_of(content), content.into());
    let image = |names: &[&str], manifest, config, layers| SavedImage {
        names: names.iter().map(|name| cradle_domain::Reference::parse(name).unwrap()).collect(),
        manifest: document(manifest),
        media_type: crate::manifest::OCI_MANIFEST.into(),
        config: document(config),
        layers,
    };
    let saved = [
        image(&["a:1", "a:2"], b"{\"m\":1}", b"{\"c\":1}", vec![layer(b"shared"), layer(&[1; 600])]),
        image(&[], b"{\"m\":2}", b"{\"c\":2}", vec![layer(b"shared")]),
    ];
    let mut archive = Vec::new();
    write(&saved, &mut archive).unwrap();
    let copy = Arc::new(spooled(&archive).unwrap());
    let images = images(&copy).unwrap();
    assert_eq!(names(&images), [&["docker.io/library/a:1", "docker.io/library/a:2"][..], &[]]);
    assert_eq!(copy.manifest(&digest_of(&[1; 600])).unwrap(), vec![1; 600]);
    // One shared layer, one of its own, two manifests, two configurations, three lists.
    let count = archive.windows(5).filter(|window| window == b"ustar").count();
    assert_eq!(count, 4 + 2 + 3);

    std::fs::write(&saved[0].layers[0].path, b"shareD").unwrap();
    let damaged: Result<(), WriteError> = write(&saved, &mut Vec::new());
    assert!(matches!(damaged, Err(WriteError::Damaged { digest, .. }) if digest == digest_of(b"shared")));
    std::fs::remove_file(&saved[0].layers[0].path).unwrap();
    assert!(matches!(write(&saved, &mut Vec::new()), Err(WriteError::Read { .. })));
}

#[test]
fn the_digest_that_a_path_states_is_one() {
    let digest = Digest::from_sha256([5; 32]);
    let stated = |path: &str| super::contents::stated_digest(path.as_bytes());
    assert_eq!(stated(&format!("./blobs/sha256/{}", digest.hex())), Some(digest.clone()));
    assert_eq!(stated(&format!("blobs/sha512/{}", digest.hex())), None);
    assert_eq!(stated(&format!("{}.json", digest.hex())), None);
}
