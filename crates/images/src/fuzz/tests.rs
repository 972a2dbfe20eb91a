//! The targets on documents and archives as tools write them, and on what a mutator makes of those.

use std::io::Write;

use cradle_domain::Digest;
use cradle_testkit::fuzz::Replay;
use serde_json::{Value, json};

use crate::pipeline::digest_of;
use crate::tar::testing::{Archive, Made, header, set_checksum};

fn descriptor(media_type: &str, byte: u8) -> Value {
    json!({"mediaType": media_type, "digest": Digest::from_sha256([byte; 32]).as_str(), "size": 100})
}

fn after(first: u8, document: &Value) -> Vec<u8> {
    [&[first], document.to_string().as_bytes()].concat()
}

#[test]
fn manifests_do_no_harm() {
    let [index, oci, list, docker] = [1, 2, 3, 4].map(|at| super::SERVED[at].unwrap_or_default());
    let oci_config = "application/vnd.oci.image.config.v1+json";
    let image = json!({
        "schemaVersion": 2, "mediaType": oci, "config": descriptor(oci_config, 1),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 2),
            descriptor("application/vnd.oci.image.layer.v1.tar+zstd", 3)],
        "annotations": {"a": "b"},
    });
    let docker_image = json!({
        "schemaVersion": 2, "mediaType": docker,
        "config": descriptor("application/vnd.docker.container.image.v1+json", 1),
        "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", 2)],
    });
    let mut entries = [descriptor(oci, 4), descriptor(oci, 5), descriptor(index, 6)];
    entries[0]["platform"] = json!({"os": "linux", "architecture": "amd64", "variant": "v2"});
    entries[1]["platform"] = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
    entries[1]["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let many = json!({"schemaVersion": 2, "manifests": entries});
    let nested = json!({"schemaVersion": 2, "mediaType": list, "manifests": [descriptor(list, 1)]});
    let old = json!({"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": "x"}]});
    let artifact = json!({"schemaVersion": 2, "artifactType": "application/x", "config": descriptor("application/vnd.oci.empty.v1+json", 1), "layers": []});
    let samples = [
        (0, image.clone()),
        (2, image),
        (4, docker_image),
        (1, many.clone()),
        (0, many),
        (3, nested),
        (0, old),
        (0, artifact),
    ];
    Replay::new("manifest").run(samples.map(|(served, document)| after(served, &document)), super::manifest);
}

#[test]
fn configurations_do_no_harm() {
    let diff_ids = [1, 2].map(|byte| Digest::from_sha256([byte; 32]).as_str().to_owned());
    let full = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "author": "kim",
        "config": {
            "User": "1000:1000", "Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/init"], "Cmd": ["-v"], "WorkingDir": "/srv",
            "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGRTMIN+3", "Labels": {"a": "b"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD x", "comment": "c", "empty_layer": true}],
    });
    let bare = json!({"rootfs": {"diff_ids": []}});
    let arm =
        json!({"architecture": "arm", "os": "linux", "variant": "v7", "config": null, "rootfs": {"diff_ids": []}});
    let samples = [(2, full.clone()), (3, full), (0, bare.clone()), (1, bare), (0, arm)];
    Replay::new("config").run(samples.map(|(layers, document)| after(layers, &document)), super::config);
}

/// Archives in which all that the format and the layers know occurs.
fn archives() -> Vec<Vec<u8>> {
    let plain = [
        Made::folder("etc/").mode(0o750).owner(1, 2),
        Made::file("etc/passwd", "root:x:0:0::/:/bin/sh\n").modified(1_700_000_000),
        Made::file("bin/su", [7; 600]).mode(0o4755).attribute("security.capability", [1, 0, 0, 2].repeat(5)),
        Made::symlink("lib", "usr/lib"),
        Made::file("lib/a.so", "a"),
        Made::hard_link("bin/sudo", "bin/su"),
        Made::hard_link("bin/below", "/usr/bin/of-a-layer-below"),
        Made::fifo("run/pipe"),
        Made::character_device("dev/null", 1, 3),
    ];
    let hidden = [
        Made::file("a/.wh.b", ""),
        Made::file("a/.wh..wh..opq", ""),
        Made::file("a/b/c", "x"),
        Made::file("a/b", "now a file"),
        Made::folder("a/b"),
        Made::character_device("a/gone", 0, 0),
        Made::symlink("up", ".."),
        Made::file("up/escaped", "x"),
    ];
    let long = [
        Made::file(&"d/".repeat(60), ""),
        Made::symlink("link", &"t".repeat(150)),
        Made::file("short", "x").record("path", "the/long/name").record("mtime", "5.5").record("uid", "3000000"),
    ];
    let sparse = [
        Made::file("GNUSparseFile/f", [0; 512]).record("GNU.sparse.map", "0,512").record("GNU.sparse.size", "600"),
        Made::file("GNUSparseFile/g", [b"1\n0\n512\n".as_slice(), &[0; 504], &[5; 512]].concat())
            .record("GNU.sparse.major", "1")
            .record("GNU.sparse.minor", "0")
            .record("GNU.sparse.name", "g")
            .record("GNU.sparse.realsize", "4096"),
    ];
    let mut gnu = Archive::default();
    gnu.add_raw(&header(&Made::of_type(b'L', "././@LongLink").with_content(b"long/name\0")), b"long/name\0");
    gnu.add(Made::file("cut", "x"));
    let mut old_sparse = header(&Made::of_type(b'S', "f").with_content(&[1; 512]));
    old_sparse[257..265].copy_from_slice(b"ustar  \0");
    old_sparse[386..410].copy_from_slice(b"00000001000\x0000000001000\0");
    old_sparse[483..495].copy_from_slice(b"00000020000\0");
    set_checksum(&mut old_sparse);
    gnu.add_raw(&old_sparse, &[1; 512]);
    vec![Archive::of(plain), Archive::of(hidden), Archive::of(long), Archive::of(sparse), gnu.finish()]
}

/// Archives of images in both forms, plain and compressed.
fn image_archives() -> [Vec<u8>; 4] {
    let blob = |content: &[u8]| Made::file(&format!("blobs/sha256/{}", digest_of(content).hex()), content);
    let layer = Archive::of([Made::file("a", "content")]);
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]}});
    let config = config.to_string();
    let list =
        json!([{"Config": "c.json", "RepoTags": ["app:1", "r.test/app:2"], "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let docker = Archive::of([
        Made::folder("1/"),
        Made::file("1/layer.tar", layer.clone()),
        Made::symlink("2/layer.tar", "../1/layer.tar"),
        Made::file("c.json", config.as_str()),
        Made::file("manifest.json", list.to_string()),
    ]);
    let described = |media_type: &str, content: &[u8]| json!({"mediaType": media_type, "digest": digest_of(content), "size": content.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string();
    let mut entries =
        [described("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes()), described("application/x", b"")];
    entries[0]["annotations"] = json!({"io.containerd.image.name": "app:1", "org.opencontainers.image.ref.name": "1"});
    entries[1]["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let layout = Archive::of([
        Made::file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        blob(&layer),
        blob(config.as_bytes()),
        blob(manifest.as_bytes()),
        Made::file("index.json", json!({"schemaVersion": 2, "manifests": entries}).to_string()),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&docker).unwrap();
    let zstd = ::zstd::encode_all(&*layout, 1).unwrap();
    [docker, layout, gzip.finish().unwrap(), zstd]
}

#[test]
fn archives_of_images_do_no_harm() {
    for archive in image_archives() {
        let copy = tempfile::tempfile().unwrap();
        let archive = std::sync::Arc::new(crate::archive::spool(&*archive, copy, 1 << 20).unwrap());
        assert_eq!(crate::archive::images(&archive).unwrap().len(), 1);
    }
    let samples = image_archives().into_iter().zip([1, 1, 0, 0]);
    let samples = samples.map(|(archive, fix)| [&[fix], &archive[..]].concat());
    Replay::new("image_archive").run(samples, super::image_archive);
}

#[test]
fn layers_do_no_harm() {
    if !crate::tree::tests::is_root() {
        return;
    }
    let samples = archives().into_iter().zip([1, 1, 0, 1, 1]);
    let samples = samples.map(|(archive, fix)| [&[fix], &archive[..]].concat());
    Replay::new("layer").mutants(600).run(samples, super::layer);
}
