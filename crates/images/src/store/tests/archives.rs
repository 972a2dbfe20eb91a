//! Images from and to archives: what is listed afterwards, and that nothing unverified ever is.

use std::collections::VecDeque;

use cradle_engine::ports::ByteStream;

use super::durability::Mounted;
use super::*;

/// An archive as a client sends it, in odd pieces.
struct Sent {
    pieces: VecDeque<Vec<u8>>,
    /// The client leaves before the end.
    breaks_off: bool,
}

impl ByteStream for Sent {
    fn next(&mut self) -> Act<'_, Option<Vec<u8>>> {
        let next = self.pieces.pop_front();
        let left = next.is_none() && self.breaks_off;
        let next = if left { Err(Failure::new(Class::Unavailable, "the client broke off")) } else { Ok(next) };
        Box::pin(std::future::ready(next))
    }
}

fn sent(archive: &[u8]) -> Box<dyn ByteStream> {
    Box::new(Sent { pieces: archive.chunks(1001).map(<[u8]>::to_vec).collect(), breaks_off: false })
}

impl World {
    pub async fn load(&self, archive: &[u8]) -> Result<Vec<LoadedImage>, Failure> {
        self.store().load(sent(archive)).await
    }

    pub async fn save(&self, names: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut stream = self.store().save(names.iter().map(|name| (*name).to_owned()).collect()).await?;
        let mut archive = Vec::new();
        while let Some(piece) = stream.next().await? {
            archive.extend(piece);
        }
        Ok(archive)
    }
}

fn keeping() -> World {
    World::with(|config| config.keep_blobs = true)
}

/// As docker wrote archives up to version 24.
fn docker_archive(image: &TestImage, tags: &[&str]) -> Vec<u8> {
    let config = image.config.to_string();
    let name = format!("{}.json", digest_of(config.as_bytes()).hex());
    let layers: Vec<String> = (0..image.layers.len()).map(|at| format!("{at}/layer.tar")).collect();
    let list = json!([{ "Config": name, "RepoTags": tags, "Layers": layers }]).to_string();
    let mut entries: Vec<Made> =
        layers.iter().zip(&image.layers).map(|(path, layer)| Made::file(path, layer.archive.clone())).collect();
    entries.extend([Made::file(&name, config), Made::file("manifest.json", list)]);
    Archive::of(entries)
}

pub fn layout_archive(image: &TestImage, name: &str) -> Vec<u8> {
    let blob = |content: &[u8]| Made::file(&format!("blobs/sha256/{}", digest_of(content).hex()), content);
    let manifest = image.manifest.to_string();
    let entry = json!({
        "mediaType": OCI_MANIFEST, "digest": digest_of(manifest.as_bytes()), "size": manifest.len(),
        "annotations": {"io.containerd.image.name": name},
    });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut entries =
        vec![Made::file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#), Made::file("index.json", index)];
    entries.extend(image.layers.iter().map(|layer| blob(&layer.blob)));
    entries.extend([blob(image.config.to_string().as_bytes()), blob(manifest.as_bytes())]);
    Archive::of(entries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_archive_is_loaded_under_its_tags() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    let archive = docker_archive(&image, &["app:1", "example.com/x:2"]);
    for _ in 0..2 {
        let loaded = world.load(&archive).await.unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].id, image.id());
        assert_eq!(loaded[0].names[0].to_string(), "docker.io/library/app:1");
    }
    let view = world.store().find("app:1").unwrap();
    assert_eq!((&view.id, view.layers.len(), view.tags.len()), (&image.id(), 2, 2));
    // No registry has the manifest that was made up for it.
    assert!(view.digests.is_empty());
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    assert!(rootfs.lower[0].join("b").exists() && rootfs.lower[1].join("a").exists());
    world.wait_for_empty_trash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_layout_is_loaded_with_its_digest_and_outlives_the_daemon() {
    let mut world = World::new();
    let image = image_with(&["a", "b"]);
    world.load(&gzip(&layout_archive(&image, "app:1"))).await.unwrap();
    world.open();
    let digest = digest_of(image.manifest.to_string().as_bytes());
    let view = world.store().find(&format!("app@{digest}")).unwrap();
    assert_eq!((view.id.clone(), view.digests.len(), view.tags.len()), (image.id(), 1, 1));
    assert_eq!(world.layer_folders(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untagged_image_is_known_by_its_id_and_a_tag_that_moves_leaves_the_older_one() {
    let world = World::new();
    let (old, new) = (image_with(&["a"]), image_with(&["a", "b"]));
    let loaded = world.load(&docker_archive(&old, &[])).await.unwrap();
    assert!(loaded[0].names.is_empty());
    assert!(world.store().find(old.id().as_str()).unwrap().tags.is_empty());
    world.load(&docker_archive(&old, &["app"])).await.unwrap();
    world.load(&docker_archive(&new, &["app"])).await.unwrap();
    assert_eq!(world.store().find("app").unwrap().id, new.id());
    assert!(world.store().find(old.id().as_str()).unwrap().tags.is_empty());
    world.store().remove(old.id().as_str()).await.unwrap();
    assert_eq!(world.store().list().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_archive_says_of_its_content_is_not_believed() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    let whole = layout_archive(&image, "app:1");
    // A layer's bytes are other ones than its name says.
    let mut damaged = whole.clone();
    let at = damaged.windows(20).position(|window| *window == image.layers[1].blob[..20]).unwrap();
    damaged[at + 15] ^= 1;
    let failure = world.load(&damaged).await.unwrap_err();
    assert_eq!(failure.class(), Class::Corrupt, "{failure}");
    assert!(
        failure.to_string().contains("docker.io/library/app:1") && failure.to_string().contains("archive"),
        "{failure}"
    );
    // The layer is whole, but it is not the one of the configuration.
    let mut other = image_with(&["a", "b"]);
    other.config["rootfs"]["diff_ids"][1] = json!(digest_of(b"other").to_string());
    other.describe();
    assert_eq!(world.load(&layout_archive(&other, "app:1")).await.unwrap_err().class(), Class::Corrupt);
    // A name with a digest that is not its image's.
    let lying = format!("app@{}", digest_of(b"other"));
    world.load(&layout_archive(&image, &lying)).await.unwrap();
    assert!(world.store().find(&lying).is_none());
    assert!(world.store().find(&format!("app@{}", digest_of(image.manifest.to_string().as_bytes()))).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_cut_off_leaves_nothing() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    let whole = docker_archive(&image, &["app:1"]);
    let cut = world.load(&whole[..whole.len() / 2]).await.unwrap_err();
    assert_eq!(cut.class(), Class::Corrupt, "{cut}");
    let pieces = whole.chunks(1001).map(<[u8]>::to_vec).collect();
    let left = world.store().load(Box::new(Sent { pieces, breaks_off: true })).await.unwrap_err();
    assert!(left.to_string().contains("broke off"), "{left}");
    assert!(world.load(b"hello").await.unwrap_err().to_string().contains("no tar archive"));
    assert!(world.store().list().is_empty());
    assert_eq!(world.layer_folders(), 0);
    world.wait_for_empty_trash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_the_disk_does_not_hold_is_said_so_and_its_space_given_back() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", place.path(), "tmpfs", flags, Some(c"size=8m,mode=755")).unwrap();
    let mounted = Mounted(place.path().to_owned());
    let world = World::with(|config| config.root = place.path().join("store"));
    let large = TestImage::of([TestLayer::of([Made::file("big", vec![1; 16 << 20])])]);
    let failure = world.load(&docker_archive(&large, &["big"])).await.unwrap_err();
    assert_eq!(failure.class(), Class::Exhausted, "{failure}");
    assert!(failure.to_string().contains("free space"), "{failure}");
    world.load(&docker_archive(&image_with(&["a"]), &["small"])).await.unwrap();
    assert_eq!(world.store().list().len(), 1);
    drop(world);
    drop(mounted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_image_loads_as_the_same_one_elsewhere() {
    let world = keeping();
    let image = image_with(&["a", "b"]);
    let digest = image.push(&world.registry, "app", "v1");
    image_with(&["a", "c"]).push(&world.registry, "app", "v2");
    world.pull("app:v1").await.unwrap();
    world.pull("app:v2").await.unwrap();
    let (one, two) = (world.reference("app:v1").to_string(), world.reference("app:v2").to_string());
    let archive = world.save(&[&one, &two]).await.unwrap();
    assert_eq!(world.save(&[&one, &two]).await.unwrap(), archive);
    let elsewhere = keeping();
    let loaded = elsewhere.load(&archive).await.unwrap();
    assert_eq!(loaded.iter().map(|image| image.names.len()).sum::<usize>(), 2);
    let view = elsewhere.store().find(&one).unwrap();
    assert_eq!((&view.id, &view.digests), (&image.id(), &world.store().find(&one).unwrap().digests));
    assert!(view.digests[0].ends_with(digest.as_str()));
    assert_eq!(elsewhere.layer_folders(), 3);
    // What was loaded is saved the same.
    assert_eq!(elsewhere.save(&[&one, &two]).await.unwrap(), archive);
    // By its id it has no name.
    let anonymous = World::new();
    assert!(anonymous.load(&world.save(&[image.id().as_str()]).await.unwrap()).await.unwrap()[0].names.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_blobs_were_discarded_says_how_to_get_them() {
    let world = World::new();
    let image = image_with(&["a"]);
    image.push(&world.registry, "app", "v1");
    world.pull("app:v1").await.unwrap();
    let failure = world.save(&[image.id().as_str()]).await.unwrap_err();
    assert_eq!(failure.class(), Class::Refused);
    let said = failure.to_string();
    assert!(said.contains("discarded") && said.contains("images.keep_blobs = true"), "{said}");
    assert_eq!(world.save(&["nothing:1"]).await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_blob_that_is_damaged_breaks_the_archive_off() {
    let world = keeping();
    let image = image_with(&["a"]);
    image.push(&world.registry, "app", "v1");
    world.pull("app:v1").await.unwrap();
    let blob = world.path("blobs").join(digest_of(&image.layers[0].blob).hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    assert_eq!(world.save(&[image.id().as_str()]).await.unwrap_err().class(), Class::Corrupt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_described_with_what_it_shares() {
    let world = keeping();
    let image = image_with(&["shared", "own"]);
    let digest = image.push(&world.registry, "one", "v1");
    image_with(&["shared"]).push(&world.registry, "two", "v1");
    world.pull("one:v1").await.unwrap();
    assert_eq!(world.store().describe(image.id().hex()).await.unwrap().unwrap().shared_bytes, 0);
    world.pull("two:v1").await.unwrap();
    let details = world.store().describe(image.id().hex()).await.unwrap().unwrap();
    assert_eq!((details.manifest, details.manifest_media_type.as_str()), (digest, OCI_MANIFEST));
    assert_eq!(details.config, image.config.to_string().into_bytes());
    assert_eq!(details.layers.len(), 2);
    let [shared, own] = &details.layers[..] else { panic!() };
    assert_eq!((shared.compressed_bytes, shared.is_blob_kept), (image.layers[0].blob.len() as u64, true));
    assert_eq!(details.shared_bytes, shared.unpacked_bytes);
    let config_bytes = details.view.size_bytes - shared.unpacked_bytes - own.unpacked_bytes;
    assert_eq!(config_bytes, image.config.to_string().len() as u64);
    let all: std::collections::HashMap<_, _> = world.store().shared_bytes().into_iter().collect();
    assert!(all.len() == 2 && all.values().all(|bytes| *bytes == shared.unpacked_bytes));
    assert!(world.store().describe("nothing").await.unwrap().is_none());
}
