//! Documents as registries serve them: good, strange and hostile ones.

use serde_json::{Value, json};

use super::document::Choice;
use super::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use super::*;

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn digest(byte: u8) -> Digest {
    Digest::from_sha256([byte; 32])
}

fn descriptor(media_type: &str, byte: u8) -> Value {
    json!({"mediaType": media_type, "digest": digest(byte).as_str(), "size": 100})
}

fn manifest_with(config: &str, layer: &str) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(config, 1), "layers": [descriptor(layer, 2)]})
}

fn parse(document: &Value, served: Option<&str>) -> Result<Document, DocumentError> {
    parse_document(document.to_string().as_bytes(), served)
}

#[test]
fn manifests_of_both_kinds_are_read() {
    let oci = manifest_with(OCI_CONFIG, OCI_LAYER);
    let docker = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": descriptor("application/vnd.docker.container.image.v1+json", 1),
        "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", 2)],
    });
    let mut unnamed = oci.clone();
    unnamed["mediaType"].take();
    for (document, served, format) in [
        (&oci, Some(OCI_MANIFEST), LayerFormat::Stated(Compression::Gzip)),
        (&docker, Some(DOCKER_MANIFEST), LayerFormat::ByContent),
        (&unnamed, Some(OCI_MANIFEST), LayerFormat::Stated(Compression::Gzip)),
        (&unnamed, None, LayerFormat::Stated(Compression::Gzip)),
    ] {
        let Ok(Document::Manifest(manifest)) = parse(document, served) else { panic!("{document}") };
        assert_eq!(manifest.config.digest, digest(1));
        assert_eq!(
            manifest.layers,
            [LayerDescriptor { digest: digest(2), size: 100, format, content: LayerContent::Layer }]
        );
    }
}

#[test]
fn what_cannot_be_an_image_is_refused_with_its_reason() {
    let good = || manifest_with(OCI_CONFIG, OCI_LAYER);
    let with = |key: &str, value: Value| {
        let mut document = good();
        document[key] = value;
        document
    };
    let layer = |media_type: &str| manifest_with(OCI_CONFIG, media_type);
    let index = json!({"schemaVersion": 2, "manifests": []});
    let cases: Vec<(&str, Value, Option<&str>, &str)> = vec![
        ("both kinds at once", with("manifests", json!([])), None, "ambiguous"),
        ("served as an index", with("mediaType", Value::Null), Some(OCI_INDEX), "ambiguous"),
        ("an index served as a manifest", index.clone(), Some(OCI_MANIFEST), "ambiguous"),
        ("calls itself another", good(), Some(DOCKER_MANIFEST), "calls itself"),
        ("schema 1", json!({"schemaVersion": 1, "fsLayers": [], "history": []}), None, "schema 1"),
        ("schema 1 and 2", with("fsLayers", json!([])), None, "ambiguous"),
        ("schema 3", with("schemaVersion", json!(3)), None, "schemaVersion is 3"),
        ("another document", with("mediaType", json!("application/json")), None, "neither a manifest nor an index"),
        ("an artifact", manifest_with("application/vnd.cncf.helm.config.v1+json", OCI_LAYER), None, "artifact"),
        ("an artifact by type", with("artifactType", json!("application/spdx+json")), None, "artifact"),
        ("encrypted", layer(&format!("{OCI_LAYER}+encrypted")), None, "encrypted"),
        ("foreign", layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), None, "given out"),
        ("non-distributable", layer("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), None, "given out"),
        ("no file system", layer("text/plain"), None, "no layer"),
        ("no layers", with("layers", Value::Null), None, "\"layers\" is missing"),
        (
            "a negative size",
            with("config", json!({"mediaType": OCI_CONFIG, "digest": digest(1).as_str(), "size": -1})),
            None,
            "JSON",
        ),
        (
            "another hash",
            with("config", json!({"mediaType": OCI_CONFIG, "digest": "sha512:00", "size": 1})),
            None,
            "JSON",
        ),
        (
            "a huge configuration",
            with("config", json!({"mediaType": OCI_CONFIG, "digest": digest(1).as_str(), "size": 1u64 << 40})),
            None,
            "more than",
        ),
        ("many layers", with("layers", json!(vec![descriptor(OCI_LAYER, 2); 501])), None, "overlayfs"),
    ];
    for (name, document, served, expected) in cases {
        let error = parse(&document, served).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert!(matches!(parse_document(b"{", None), Err(DocumentError::Json(_))));
    assert!(matches!(parse_document(&vec![b' '; (4 << 20) + 1], None), Err(DocumentError::TooLarge)));
    let twice = r#"{"schemaVersion": 2, "config": {}, "config": {}}"#;
    assert!(matches!(parse_document(twice.as_bytes(), None), Err(DocumentError::Json(_))));
}

fn platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Platform { os: next(), architecture: next(), variant: next() }
}

fn choices(platforms: &[&str]) -> Vec<Choice> {
    let entries: Vec<Value> = platforms
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let mut entry = descriptor(OCI_MANIFEST, at as u8);
            let platform = platform(text);
            entry["platform"] =
                json!({"os": platform.os, "architecture": platform.architecture, "variant": platform.variant});
            entry
        })
        .collect();
    let document = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries});
    match parse(&document, Some(DOCKER_LIST)) {
        Ok(Document::Index(choices)) => choices,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_closest_variant_below_this_machine_is_chosen() {
    for (wanted, offered, expected) in [
        ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
        ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
        ("linux/amd64/v1", &["linux/amd64/v2"], None),
        ("linux/amd64", &["linux/x86_64"], Some(0)),
        ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64/v8"], Some(1)),
        ("linux/arm64", &["linux/arm64/v8"], Some(0)),
        ("linux/arm64/v8", &["linux/arm64", "linux/arm64"], Some(0)),
        ("linux/amd64", &["windows/amd64"], None),
        ("linux/amd64", &["unknown/unknown"], None),
        ("linux/amd64", &[], None),
    ] {
        let choices = choices(offered);
        let chosen = choose(&choices, &platform(wanted)).ok().map(|choice| choice.descriptor.digest.clone());
        assert_eq!(chosen, expected.map(digest), "{wanted} of {offered:?}");
    }
}

#[test]
fn attestations_are_no_choice_and_a_nested_index_is() {
    let attestation = json!({
        "mediaType": OCI_MANIFEST, "digest": digest(1).as_str(), "size": 1,
        "platform": {"os": "linux", "architecture": "amd64"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    });
    let document = json!({"schemaVersion": 2, "manifests": [attestation, descriptor(OCI_INDEX, 2)]});
    let Ok(Document::Index(choices)) = parse(&document, None) else { panic!() };
    assert_eq!(choose(&choices, &platform("linux/amd64")).unwrap().descriptor.digest, digest(2));
}

fn config() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {
            "User": "nobody", "Env": ["A=b"], "Entrypoint": ["/e"], "Cmd": null, "WorkingDir": "/w",
            "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT", "Labels": {"l": "m"},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(1).as_str()]},
        "history": [{"created_by": "RUN x", "empty_layer": true}],
    })
}

fn parse_config_of(value: &Value) -> Result<(cradle_engine::view::ImageConfig, Vec<Digest>), ConfigError> {
    parse_config(value.to_string().as_bytes(), 1, Some(&platform("linux/amd64")))
}

#[test]
fn a_configuration_is_read() {
    let (read, diff_ids) = parse_config_of(&config()).unwrap();
    assert_eq!(diff_ids, [digest(1)]);
    assert_eq!((read.user.as_str(), read.env.as_slice()), ("nobody", &["A=b".to_owned()][..]));
    assert_eq!(read.stop_signal.map(cradle_domain::Signal::number), Some(3));
    assert_eq!((read.volumes, read.exposed_ports), (vec!["/v".to_owned()], vec!["80/tcp".to_owned()]));
    assert!(read.cmd.is_empty() && read.history[0].empty_layer);
    let (bare, _) = parse_config_of(&json!({"rootfs": {"diff_ids": [digest(1).as_str()]}})).unwrap();
    assert_eq!(bare, cradle_engine::view::ImageConfig::default());
}

#[test]
fn a_hostile_configuration_is_refused() {
    let with = |pointer: &str, value: Value| {
        let mut changed = config();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    for (changed, expected) in [
        (with("/rootfs", json!({})), "no list of layers"),
        (with("/rootfs/diff_ids", json!([])), "the manifest has 1 layers"),
        (with("/rootfs/diff_ids", json!(["../../etc"])), "JSON"),
        (with("/architecture", json!("s390x")), "linux/s390x"),
        (with("/config/Env", json!(vec!["A=b"; 5000])), "more than 4096 entries in \"Env\""),
        (with("/config/Env", json!(["A=\u{0}"])), "a NUL"),
        (with("/config/User", json!({"a": 1})), "JSON"),
        (with("/config/Entrypoint", json!("sh")), "JSON"),
    ] {
        let error = parse_config_of(&changed).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..512)) {
        let _ = parse_document(&bytes, None);
        let _ = parse_config(&bytes, 1, None);
    }
}
