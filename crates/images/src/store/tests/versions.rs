//! Stores of every form that records had, kept for ever: `tests/v1/FORM.redb.gz`, each with the sample image. A change of
//! a record's form adds a file; those that are there never change.

use std::collections::BTreeSet;
use std::io::Read;

use super::archives::layout_archive;
use super::*;

/// The oldest first: an image named its manifest alone; an image names all its documents.
const FORMS: [(&str, &[u8]); 2] = [
    ("manifest", include_bytes!("../../../tests/v1/manifest.redb.gz")),
    ("documents", include_bytes!("../../../tests/v1/documents.redb.gz")),
];

const NAME: &str = "example.test/sample:1";

/// Of uncompressed layers: it is the same whatever compresses.
fn sample() -> TestImage {
    let mut image = image_with(&["a", "b"]);
    for layer in &mut image.layers {
        layer.blob = layer.archive.clone();
        layer.media_type = "application/vnd.oci.image.layer.v1.tar";
    }
    image.describe();
    image
}

/// A table of a store that is closed.
fn table(store: &Path, name: &str) -> Vec<(String, Value)> {
    let database = redb::Database::open(store).unwrap();
    let definition: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new(name);
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let table = transaction.open_table(definition).unwrap();
    let entries = redb::ReadableTable::iter(&table).unwrap().map(|entry| {
        let (key, value) = entry.unwrap();
        (key.value().to_owned(), serde_json::from_slice(value.value()).unwrap())
    });
    entries.collect()
}

impl World {
    /// Puts a kept store in the place of this one's, with the folders that its layers need to be found whole.
    fn take_over(&mut self, packed: &[u8]) {
        self.close();
        let mut store = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut store).unwrap();
        std::fs::write(self.path("store.redb"), store).unwrap();
        for (_, layer) in table(&self.path("store.redb"), "layers") {
            let folder = self.path("layers").join(layer["number"].to_string());
            std::fs::create_dir(&folder).unwrap();
            let time = &layer["root_time"];
            let since = Duration::new(time["seconds"].as_u64().unwrap(), time["nanos"].as_u64().unwrap() as u32);
            let times = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH + since);
            std::fs::File::open(&folder).unwrap().set_times(times).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_every_form_is_read() {
    let image = sample();
    let manifest = digest_of(image.manifest.to_string().as_bytes());
    for (form, packed) in FORMS {
        let mut world = World::new();
        world.take_over(packed);
        world.open();
        let listed = world.store().list();
        assert_eq!(listed.len(), 1, "{form}");
        assert_eq!((&listed[0].id, listed[0].layers.len()), (&image.id(), 2), "{form}");
        assert_eq!(listed[0].tags.iter().map(ToString::to_string).collect::<Vec<_>>(), [NAME], "{form}");
        let details = world.store().describe(NAME).await.unwrap().unwrap();
        assert_eq!((&details.manifest, details.layers.len()), (&manifest, 2), "{form}");
        assert_eq!(details.config, image.config.to_string().into_bytes(), "{form}");
        let saved = world.save(&[NAME]).await.unwrap_err();
        assert!(saved.to_string().contains("was discarded after it was unpacked"), "{form}: {saved}");
        assert!(world.store().prepare(&container(1), &image.id(), None).await.is_ok(), "{form}");

        world.store().remove(NAME).await.unwrap();
        let document = |digest: &Digest| world.store().inner.catalogue.document(digest).unwrap();
        assert_eq!((document(&image.id()), document(&manifest)), (None, None), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_kept_store_is_of_the_form_that_is_written() {
    let mut world = World::new();
    world.load(&layout_archive(&sample(), NAME)).await.unwrap();
    world.close();
    if let Some(path) = std::env::var_os("WRITE_STORE") {
        std::fs::write(path, gzip(&std::fs::read(world.path("store.redb")).unwrap())).unwrap();
    }
    let fields = |world: &World| -> Vec<BTreeSet<String>> {
        let records = ["layers", "images", "references"].map(|name| table(&world.path("store.redb"), name));
        records.into_iter().flatten().map(|(_, record)| record.as_object().unwrap().keys().cloned().collect()).collect()
    };
    let written = fields(&world);
    let mut kept = World::new();
    kept.take_over(FORMS[FORMS.len() - 1].1);
    assert_eq!(written, fields(&kept));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_manifest_is_unknown_runs_and_says_what_is_missing() {
    let mut world = World::new();
    world.take_over(FORMS[0].1);
    let database = redb::Database::open(world.path("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let documents: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("documents");
    let manifest = digest_of(sample().manifest.to_string().as_bytes());
    transaction.open_table(documents).unwrap().remove(manifest.as_str()).unwrap().unwrap();
    transaction.commit().unwrap();
    drop(database);
    world.open();
    assert!(world.store().prepare(&container(1), &sample().id(), None).await.is_ok());
    for said in [world.store().describe(NAME).await.unwrap_err(), world.save(&[NAME]).await.unwrap_err()] {
        assert_eq!(said.class(), Class::Corrupt);
        assert!(said.to_string().contains("its manifest is missing in the image database"), "{said}");
        assert!(said.to_string().contains("remove the image and pull it again"), "{said}");
    }
    world.store().remove(NAME).await.unwrap();
    assert!(world.store().list().is_empty());
}
