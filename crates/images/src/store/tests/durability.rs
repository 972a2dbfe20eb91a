//! Restarts at every point, damage found on disk, and what is collected.

use std::fs;

use super::*;
use crate::store::records::FORMAT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_layer_is_thrown_away_at_the_next_start() {
    let mut world = World::new();
    image_with(&["a"]).push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    let inode_before = inode(&rootfs.lower[0].join("a"));
    world.close();
    // As a daemon leaves it that is killed between unpack and commit, or in the middle of removing.
    fs::create_dir_all(world.path("layers/77/deep/er")).unwrap();
    fs::create_dir_all(world.path("trash/3/x")).unwrap();
    fs::write(world.path("blobs/x.5.partial"), "x").unwrap();
    world.open();
    world.wait_for_empty_trash();
    assert_eq!(world.layer_folders(), 1);
    assert!(!world.path("blobs/x.5.partial").exists());
    assert_eq!(world.store().owners().await.unwrap(), [container(1)]);
    let again = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    assert_eq!((again.clone(), inode(&again.lower[0].join("a"))), (rootfs, inode_before));
    // A number is not used twice.
    image_with(&["b"]).push(&world.registry, "b", "v1");
    world.pull("b:v1").await.unwrap();
    assert!(world.path("layers/78").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_layer_is_noticed_when_used_and_only_that_is_fetched_again() {
    let world = World::new();
    let image = image_with(&["a", "b", "c"]);
    image.push(&world.registry, "app", "v1");
    for damage in ["removed", "emptied"] {
        let id = world.pull("app:v1").await.unwrap().id.clone();
        let rootfs = world.store().prepare(&container(1), &id, None).await.unwrap();
        let middle = &rootfs.lower[1];
        world.store().discard(&container(1)).await.unwrap();
        if damage == "removed" {
            fs::remove_dir_all(middle).unwrap();
        } else {
            fs::remove_file(middle.join("b")).unwrap();
        }
        let failure = world.store().prepare(&container(2), &id, None).await.unwrap_err();
        assert_eq!(failure.class(), Class::Corrupt, "{failure}");
        assert!(failure.to_string().contains("pull the image again"));
        // No longer listed, so whoever looks first pulls it.
        assert!(world.store().find(id.as_str()).is_none());
        let before = world.blob_requests();
        world.pull("app:v1").await.unwrap();
        assert_eq!(world.blob_requests(), before + 1, "{damage}");
        let rootfs = world.store().prepare(&container(3), &id, None).await.unwrap();
        assert!(rootfs.lower[1].join("b").exists());
        world.store().discard(&container(3)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_at_the_start_and_heals_every_image_that_has_the_layer() {
    let mut world = World::new();
    image_with(&["shared", "one"]).push(&world.registry, "one", "v1");
    image_with(&["shared", "two"]).push(&world.registry, "two", "v1");
    let one = world.pull("one:v1").await.unwrap();
    let two = world.pull("two:v1").await.unwrap();
    let shared = world.store().prepare(&container(1), &one.id, None).await.unwrap().lower[1].clone();
    world.store().discard(&container(1)).await.unwrap();
    world.close();
    fs::remove_dir_all(shared).unwrap();
    world.open();
    assert!(world.store().list().is_empty());
    let before = world.blob_requests();
    world.pull("one:v1").await.unwrap();
    assert_eq!(world.blob_requests(), before + 1);
    assert!(world.store().find(two.id.as_str()).is_some());
    // What is damaged can be removed as well.
    world.store().remove(two.id.as_str()).await.unwrap();
    assert_eq!(world.store().list().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_put_aside_and_containers_keep_their_layers() {
    let mut world = World::new();
    image_with(&["a"]).push(&world.registry, "app", "v1");
    let view = world.pull("app:v1").await.unwrap();
    let rootfs = world.store().prepare(&container(1), &view.id, None).await.unwrap();
    world.close();
    fs::write(world.path("store.redb"), vec![0x5a; 10_000]).unwrap();
    world.open();
    assert!(world.store().list().is_empty() && world.path("store.redb.damaged").exists());
    assert!(rootfs.lower[0].join("a").exists());
    world.pull("app:v1").await.unwrap();
    assert_eq!(world.layer_folders(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_format_or_in_use_is_left_alone() {
    let mut world = World::new();
    let error =
        Store::open(world.config.clone(), Arc::new(Client::new(RegistryConfig::default()))).map(drop).unwrap_err();
    assert_eq!(error.class(), Class::Busy, "{error}");
    world.close();
    let database = redb::Database::open(world.path("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(redb::TableDefinition::<&str, u64>::new("store"))
        .unwrap()
        .insert("format", FORMAT + 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error =
        Store::open(world.config.clone(), Arc::new(Client::new(RegistryConfig::default()))).map(drop).unwrap_err();
    assert!(Failure::from(error).to_string().contains("has the format 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_without_an_image_have_their_grace() {
    let world = World::new();
    let image = image_with(&["a", "b"]);
    image.push(&world.registry, "app", "v1");
    world.give_up_after_one_layer(&image, "app:v1").await;
    let inner = &world.store().inner;
    // The thread that recorded the layer may still have it in its hands: then the table and the list here are not alone.
    let is_let_go = || inner.catalogue.layers().iter().all(|layer| Arc::strong_count(layer) == 2);
    wait_until("the pull has let go", || inner.layers.is_idle() && is_let_go());
    let now = Timestamp::now();
    assert!(inner.catalogue.take_garbage(now).unwrap().is_empty());
    let later = Timestamp(now.nanos() + 2 * crate::limits::UNNAMED_LAYER_GRACE.as_nanos() as i64);
    assert_eq!(inner.catalogue.take_garbage(later).unwrap().len(), 1);
    assert!(inner.catalogue.layers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_so_and_its_space_given_back() {
    if !is_root() {
        return;
    }
    // A file system of 4 MiB of its own.
    let place = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", place.path(), "tmpfs", flags, Some(c"size=8m,mode=755")).unwrap();
    let mounted = Mounted(place.path().to_owned());
    let world = World::with(|config| config.root = place.path().join("store"));
    TestImage::of([TestLayer::of([Made::file("big", vec![1; 16 << 20])])]).push(&world.registry, "big", "v1");
    let failure = world.pull("big:v1").await.unwrap_err();
    assert_eq!(failure.class(), Class::Exhausted, "{failure}");
    assert!(failure.to_string().contains("\"big\"") && failure.to_string().contains("free space"), "{failure}");
    world.wait_for_empty_trash();
    assert!(world.store().list().is_empty() && world.layer_folders() == 0);
    image_with(&["a"]).push(&world.registry, "small", "v1");
    world.pull("small:v1").await.unwrap();
    drop(world);
    drop(mounted);
}

/// A file system that is unmounted with this.
pub struct Mounted(pub PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
