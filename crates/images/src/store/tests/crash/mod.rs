//! The store stopped before every act by which it changes what a later life finds, in a pull and in a removal, by the death
//! of its process and by power cuts. Afterwards an image is listed and whole or not at all, what nobody owns is collected,
//! and the same request succeeds.

mod machine;

use std::collections::{BTreeMap, BTreeSet};

use cradle_testkit::registry::Registry;

use super::*;
use crate::store::Disk;
use machine::{Loss, Machine};

const LOSSES: [Loss; 5] = [Loss::Nothing, Loss::All, Loss::Half, Loss::Some { seed: 1 }, Loss::Some { seed: 2 }];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Pull,
    Remove,
}

/// What all runs share: a registry with two images that have a layer in common.
struct Bench {
    registry: Registry,
    wanted: TestImage,
    other: TestImage,
}

/// One run: a machine, and the store that lives on it.
struct Run<'a> {
    bench: &'a Bench,
    folder: TempDir,
    machine: Machine,
    life: Option<(Store, Arc<dyn Disk>)>,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::start();
        let shared = TestLayer::of([Made::file("shared", vec![7; 5000])]);
        let alone = TestLayer::of([Made::folder("opt"), Made::file("opt/tool", vec![8; 70_000])]);
        // Its folder is that of the layer below.
        let dependent = TestLayer::of([Made::file("opt/more", vec![9; 3000])]);
        let wanted = TestImage::of([shared.clone(), alone, dependent]);
        let other = TestImage::of([shared, TestLayer::of([Made::file("other", "other")])]);
        wanted.push(&registry, "wanted", "v1");
        other.push(&registry, "other", "v1");
        Bench { registry, wanted, other }
    }

    /// The files that an image must have.
    fn files(&self, image: &Digest) -> BTreeMap<&'static str, Vec<u8>> {
        if *image == self.other.id() {
            return BTreeMap::from([("shared", vec![7; 5000]), ("other", b"other".to_vec())]);
        }
        BTreeMap::from([("shared", vec![7; 5000]), ("opt/tool", vec![8; 70_000]), ("opt/more", vec![9; 3000])])
    }

    /// Stops before every act of the request in turn, in every way; answers with how many acts there were.
    async fn stop_everywhere(&self, request: Request) -> usize {
        let mut acts = 0;
        loop {
            let mut was_reached = false;
            for loss in LOSSES {
                was_reached |= self.stop_once(request, acts, loss).await;
            }
            if !was_reached {
                return acts;
            }
            acts += 1;
        }
    }

    /// Stops after so many acts; answers whether the request had that many.
    async fn stop_once(&self, request: Request, acts: usize, loss: Loss) -> bool {
        let about = format!("{request:?} stopped after {acts} acts, losing {loss:?}");
        let mut run = Run::new(self);
        run.pull("other:v1").await.unwrap();
        if request == Request::Remove {
            run.pull("wanted:v1").await.unwrap();
        }
        run.machine.stop_after(acts);
        let answer = run.ask(request).await;
        run.close();
        let was_reached = run.machine.has_stopped();
        assert!(was_reached || answer.is_ok(), "{about}: {answer:?}");
        run.machine.end(loss);

        run.open();
        let listed = run.listed_and_whole(&about).await;
        assert!(listed.contains(&self.other.id()), "{about}: another image is gone");
        let is_listed = listed.contains(&self.wanted.id());
        if answer.is_ok() {
            assert_eq!(is_listed, request == Request::Pull, "{about}: what was answered did not last");
        }
        run.collect();
        run.has_nothing_without_owner(&about);
        run.ask(request).await.unwrap_or_else(|failure| panic!("{about}, then asked again: {failure}"));
        let listed = run.listed_and_whole(&about).await;
        assert_eq!(listed.contains(&self.wanted.id()), request == Request::Pull, "{about}, then asked again");
        assert!(listed.contains(&self.other.id()), "{about}, then asked again: another image is gone");
        run.collect();
        run.has_nothing_without_owner(&about);
        run.close();
        was_reached
    }
}

impl<'a> Run<'a> {
    fn new(bench: &'a Bench) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(folder.path().join("store"));
        let mut run = Run { bench, folder, machine, life: None };
        run.open();
        run
    }

    fn open(&mut self) {
        let mut config = config_at(self.folder.path());
        config.keep_blobs = true;
        let client = client_of(&self.bench.registry, self.folder.path());
        let disk = self.machine.boot();
        self.life = Some((Store::open_on(Arc::clone(&disk), config, client).unwrap(), disk));
    }

    /// Waits until nothing of this life is left that could still act.
    fn close(&mut self) {
        let Some((store, disk)) = self.life.take() else { return };
        drop(store);
        wait_until("the store is closed", || Arc::strong_count(&disk) == 1);
    }

    fn store(&self) -> &Store {
        &self.life.as_ref().unwrap().0
    }

    async fn pull(&self, name: &str) -> Result<(), Failure> {
        let reference = Reference::parse(&format!("{}/{name}", self.bench.registry.host())).unwrap();
        self.store().pull(PullRequest { reference, credentials: None, progress: None }).await.map(drop)
    }

    async fn ask(&self, request: Request) -> Result<(), Failure> {
        match request {
            Request::Pull => self.pull("wanted:v1").await,
            Request::Remove => self.store().remove(self.bench.wanted.id().as_str()).await,
        }
    }

    /// The images that are listed, each with every byte of its files.
    async fn listed_and_whole(&self, about: &str) -> BTreeSet<Digest> {
        let mut listed = BTreeSet::new();
        for view in self.store().list() {
            let rootfs = self.store().prepare(&container(1), &view.id, None).await.unwrap();
            for (path, content) in self.bench.files(&view.id) {
                let found = rootfs.lower.iter().find_map(|layer| std::fs::read(layer.join(path)).ok());
                assert!(found.as_ref() == Some(&content), "{about}: {path} of {} is damaged", view.id);
            }
            self.store().discard(&container(1)).await.unwrap();
            listed.insert(view.id.clone());
        }
        listed
    }

    /// Collects garbage as if its grace were over.
    fn collect(&self) {
        let grace = i64::try_from(crate::limits::UNNAMED_LAYER_GRACE.as_nanos()).unwrap();
        self.store().inner.collect(Timestamp(Timestamp::now().nanos() + 2 * grace)).unwrap();
        let trash = self.folder.path().join("store/trash");
        wait_until("the trash is empty", || std::fs::read_dir(&trash).unwrap().count() == 0);
    }

    fn has_nothing_without_owner(&self, about: &str) {
        let listed: Vec<&TestImage> = [&self.bench.wanted, &self.bench.other]
            .into_iter()
            .filter(|image| self.store().find(image.id().as_str()).is_some())
            .collect();
        let blobs: BTreeSet<String> = listed
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| digest_of(&layer.blob).hex().to_owned())
            .collect();
        assert_eq!(names_in(&self.folder.path().join("store/blobs")), blobs, "{about}: blobs");
        let mut folders: BTreeSet<String> =
            self.store().inner.catalogue.layers().iter().map(|layer| layer.record.number.to_string()).collect();
        assert_eq!(folders.len(), blobs.len(), "{about}: layers");
        folders.insert("0".into());
        assert_eq!(names_in(&self.folder.path().join("store/layers")), folders, "{about}: folders of layers");
        assert!(names_in(&self.folder.path().join("store/containers")).is_empty(), "{about}: containers");
    }
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_stopped_anywhere_leaves_whole_images_and_no_garbage() {
    let acts = Bench::new().stop_everywhere(Request::Pull).await;
    println!("{acts} points of a pull, each in {} ways", LOSSES.len());
    assert!(acts >= 15, "there are more acts than {acts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_stopped_anywhere_leaves_whole_images_and_no_garbage() {
    let acts = Bench::new().stop_everywhere(Request::Remove).await;
    println!("{acts} points of a removal, each in {} ways", LOSSES.len());
    assert!(acts >= 6, "there are more acts than {acts}");
}
