//! What containers have of the store: a writable layer, and the layers of images. Both are remembered by the container's
//! folder itself, so that making one costs a few system calls and no durable write; a container does not outlive a power
//! cut anyway.
//!
//! Where no overlay can be mounted, a container gets a copy of the image instead, made once. So does one in a user
//! namespace where the kernel cannot map the owners of layers; in its copies the owners are mapped.
//!
//! ```text
//! containers/ID/fs, work        overlayfs' upper and work folder; or the copy, and nothing
//! containers/ID/volume-HEX      the copy of an image that is mounted into the container
//! containers/ID/rootfs-HEX      the numbers of the layers below, one a line; HEX is the image
//! containers/ID/lent-HEX        the same for an image that is mounted into the container
//! containers/ID/shifted         empty; says that the owners in copies are mapped
//! ```

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cradle_domain::{Class, Classified, ContainerId, Digest};
use cradle_engine::ports::{ImageOwners, RootFilesystem};
use cradle_engine::spec::UserNamespace;
use rustix::fs::{CWD, Mode, openat};

use super::catalogue::{Catalogue, Layer};
use super::layout::{EMPTY_LAYER, Layout};
use super::read_file::union_of;
use super::snapshot::{Image, USUAL_ROOT};
use super::trash::Trash;
use crate::limits::USAGE_MAX_AGE;
use crate::manifest::ImageKind;
use crate::tree::{self, CopyError, LayerForm, OPEN_FOLDER, Usage, copy, measure};

/// The containers that have something of the store.
pub struct Containers {
    layout: Layout,
    form: LayerForm,
    /// Containers in user namespaces get copies with mapped owners.
    shifts_copies: bool,
    known: Mutex<HashMap<ContainerId, Owner>>,
}

#[derive(Default)]
struct Owner {
    /// Held, so that they are not garbage.
    layers: Vec<Arc<Layer>>,
    measured: Option<(Instant, Usage)>,
}

impl Owner {
    fn hold(&mut self, layers: &[Arc<Layer>]) {
        for layer in layers {
            if !self.layers.iter().any(|held| Arc::ptr_eq(held, layer)) {
                self.layers.push(Arc::clone(layer));
            }
        }
    }
}

/// A container does not get its layers.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the image {image} is not here")]
    NoImage { image: Digest },
    #[error("the image {image} is damaged: its layer {layer} is missing or changed on disk")]
    Damaged { image: Digest, layer: Digest },
    #[error("{image} is an artifact: it has files, but nothing that runs")]
    Artifact { image: Digest },
    #[error("copying the image {image} for the container")]
    Copy { image: Digest, source: CopyError },
    #[error("the container {container} has a writable layer upon another image")]
    OtherImage { container: ContainerId },
    #[error("making the writable layer {path:?}")]
    Write { path: PathBuf, source: io::Error },
}

impl Classified for PrepareError {
    fn class(&self) -> Class {
        match self {
            PrepareError::NoImage { .. } => Class::NotFound,
            PrepareError::Damaged { .. } => Class::Corrupt,
            PrepareError::Artifact { .. } => Class::Invalid,
            PrepareError::Copy { source: CopyError::System { source, .. }, .. } => crate::tree::class_of(source),
            PrepareError::Copy { .. } => Class::Exhausted,
            PrepareError::OtherImage { .. } => Class::Conflict,
            PrepareError::Write { source, .. } => crate::tree::class_of(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PrepareError::NoImage { .. } | PrepareError::Damaged { .. } => Some("pull the image again".into()),
            PrepareError::Artifact { .. } => Some("mount it as an image volume of a container of another image".into()),
            PrepareError::Copy { .. } => {
                let needed = "where overlays can be mounted and owners of files be mapped";
                Some(format!("set root in the configuration to a folder {needed}, or free space"))
            }
            PrepareError::OtherImage { .. } => None,
            PrepareError::Write { .. } => Some("look at the file system of the image store".into()),
        }
    }
}

/// A container's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{act} {path:?}")]
pub struct ContainerError {
    pub act: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl Classified for ContainerError {
    fn class(&self) -> Class {
        crate::tree::class_of(&self.source)
    }
}

const ROOTFS: &str = "rootfs-";
const LENT: &str = "lent-";
const UPPER: &str = "fs";
const WORK: &str = "work";
const VOLUME: &str = "volume-";
const SHIFTED: &str = "shifted";
/// What a copy is called until it is whole.
const PARTIAL: &str = ".partial";

/// What a container gets of an image.
#[derive(Clone, Copy)]
enum Share<'a> {
    Layers,
    /// A copy, with owners as they are or for a user namespace.
    Copy(Option<&'a UserNamespace>),
}

/// What the folders of containers say when the store is opened.
pub struct Found {
    pub containers: Containers,
    /// Layers that containers have but no record names; they stay.
    pub unrecorded: HashSet<u64>,
}

impl Containers {
    /// Reads the folders of a store that is being opened.
    pub fn load(layout: Layout, form: LayerForm, shifts_copies: bool, catalogue: &Catalogue) -> io::Result<Found> {
        let by_number: HashMap<u64, Arc<Layer>> =
            catalogue.layers().into_iter().map(|layer| (layer.record.number, layer)).collect();
        let mut known = HashMap::new();
        let mut unrecorded = HashSet::new();
        for entry in fs::read_dir(layout.containers())? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| ContainerId::parse(name).ok()) else { continue };
            let mut owner = Owner::default();
            for number in numbers_in(&entry.path())? {
                match by_number.get(&number) {
                    Some(layer) => {
                        layer.mark_named();
                        owner.layers.push(Arc::clone(layer));
                    }
                    None => drop(unrecorded.insert(number)),
                }
            }
            known.insert(id, owner);
        }
        Ok(Found { containers: Containers { layout, form, shifts_copies, known: Mutex::new(known) }, unrecorded })
    }

    /// Makes a container's writable layer; repeated: answers as before.
    pub fn prepare(
        &self,
        container: &ContainerId,
        image: &Arc<Image>,
        user: Option<&UserNamespace>,
        catalogue: &Catalogue,
    ) -> Result<RootFilesystem, PrepareError> {
        if image.kind == ImageKind::Artifact {
            return Err(PrepareError::Artifact { image: image.view.id.clone() });
        }
        let lower = self.borrow(container, image, ROOTFS, catalogue)?;
        let folder = self.layout.container(container);
        let share = self.share(&folder, user)?;
        let (upper, work) = (folder.join(UPPER), folder.join(WORK));
        let lower = match share {
            Share::Layers => {
                make_folder(&work).map_err(writing(&work))?;
                make_folder(&upper).map_err(writing(&upper))?;
                lower
            }
            Share::Copy(shifted) => {
                copy_once(image, &upper, shifted)?;
                Vec::new()
            }
        };
        // The upper folder is the container's `/`. Set every time: an earlier try may have died in between.
        let root = image.root.unwrap_or(USUAL_ROOT);
        let (user, owners) = match share {
            Share::Layers => (user, ImageOwners::Original),
            // Its owners are mapped as it is mounted, like those of an image's layers.
            Share::Copy(None) => (None, ImageOwners::Original),
            Share::Copy(shifted) => (shifted, ImageOwners::Shifted),
        };
        if image.root.is_some() || user.is_some() {
            let (uid, gid) = user.map_or((root.uid, root.gid), |user| tree::owner(user, root.uid, root.gid));
            chown(&upper, Some(uid), Some(gid)).map_err(writing(&upper))?;
        }
        fs::set_permissions(&upper, fs::Permissions::from_mode(root.mode)).map_err(writing(&upper))?;
        Ok(RootFilesystem { lower, upper, work, owners })
    }

    /// Lends an image's layers to a container, for as long as its folder is there.
    pub fn lend(
        &self,
        container: &ContainerId,
        image: &Arc<Image>,
        user: Option<&UserNamespace>,
        catalogue: &Catalogue,
    ) -> Result<Vec<PathBuf>, PrepareError> {
        let layers = self.borrow(container, image, LENT, catalogue)?;
        let folder = self.layout.container(container);
        match self.share(&folder, user)? {
            Share::Layers => Ok(layers),
            Share::Copy(shifted) => {
                let copy = folder.join(format!("{VOLUME}{}", image.view.id.hex()));
                copy_once(image, &copy, shifted)?;
                Ok(vec![copy])
            }
        }
    }

    /// What a container gets: what it got before, whatever is possible now.
    fn share<'a>(&self, folder: &Path, user: Option<&'a UserNamespace>) -> Result<Share<'a>, PrepareError> {
        let shifted = folder.join(SHIFTED);
        if shifted.exists() {
            return Ok(Share::Copy(user));
        }
        if folder.join(WORK).exists() {
            return Ok(Share::Layers);
        }
        if folder.join(UPPER).exists() {
            return Ok(Share::Copy(None));
        }
        if self.shifts_copies && user.is_some() {
            fs::write(&shifted, []).map_err(writing(&shifted))?;
            return Ok(Share::Copy(user));
        }
        Ok(if self.form == LayerForm::Overlay { Share::Layers } else { Share::Copy(None) })
    }

    /// Moves a container's folder to the trash; absent: success.
    pub fn discard(&self, container: &ContainerId, trash: &Trash) -> Result<(), ContainerError> {
        let path = self.layout.container(container);
        trash.discard(&path).map_err(|source| ContainerError { act: "removing", path, source })?;
        self.known().remove(container);
        trash.wake();
        Ok(())
    }

    /// Where a container's writable layer is, or would be.
    pub fn writable_path(&self, container: &ContainerId) -> PathBuf {
        self.layout.container(container).join(UPPER)
    }

    pub fn owners(&self) -> Vec<ContainerId> {
        self.known().keys().cloned().collect()
    }

    /// What a writable layer takes, measured not long ago; none without one.
    pub fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, ContainerError> {
        let now = Instant::now();
        let measured = match self.known().get(container) {
            None => return Ok(None),
            Some(owner) => owner.measured,
        };
        if let Some((at, usage)) = measured
            && now.duration_since(at) < USAGE_MAX_AGE
        {
            return Ok(Some(usage));
        }
        let path = self.writable_path(container);
        let usage = match fs::File::open(&path).and_then(measure) {
            Ok(usage) => usage,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ContainerError { act: "measuring", path, source }),
        };
        if let Some(owner) = self.known().get_mut(container) {
            owner.measured = Some((now, usage));
        }
        Ok(Some(usage))
    }

    /// What all writable layers take.
    pub fn total_usage(&self) -> Result<Usage, ContainerError> {
        let mut total = Usage::default();
        for container in self.owners() {
            let usage = self.usage(&container)?.unwrap_or_default();
            total.bytes += usage.bytes;
            total.inodes += usage.inodes;
        }
        Ok(total)
    }

    /// Writes down that a container has an image's layers, and answers with their folders, the top one first.
    fn borrow(
        &self,
        container: &ContainerId,
        image: &Arc<Image>,
        prefix: &str,
        catalogue: &Catalogue,
    ) -> Result<Vec<PathBuf>, PrepareError> {
        if let Some(damaged) = image.stack.iter().find(|layer| !layer.is_whole()) {
            catalogue.mark_damaged(damaged);
            return Err(PrepareError::Damaged { image: image.view.id.clone(), layer: damaged.key.clone() });
        }
        let folder = self.layout.container(container);
        let file = format!("{prefix}{}", image.view.id.hex());
        if make_folder(&folder).map_err(writing(&folder))? == Made::Earlier && prefix == ROOTFS {
            let other = has_other_rootfs(&folder, &file).map_err(writing(&folder))?;
            if other {
                return Err(PrepareError::OtherImage { container: container.clone() });
            }
        }
        // Held before it is written: the layers must not vanish in between.
        self.known().entry(container.clone()).or_default().hold(&image.stack);
        let numbers: String = image.stack.iter().map(|layer| format!("{}\n", layer.record.number)).collect();
        let path = folder.join(file);
        fs::write(&path, numbers).map_err(writing(&path))?;
        if image.stack.is_empty() {
            return Ok(vec![self.layout.layer(EMPTY_LAYER)]);
        }
        Ok(image.stack.iter().map(|layer| layer.path.clone()).collect())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ContainerId, Owner>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn writing(path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_owned();
    move |source| PrepareError::Write { path, source }
}

/// Copies an image to `path`, unless that was done before: the container may have written to it since.
fn copy_once(image: &Image, path: &Path, user: Option<&UserNamespace>) -> Result<(), PrepareError> {
    if path.exists() {
        return Ok(());
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = PathBuf::from(partial);
    // An earlier try may have died in between.
    remove_tree(&partial).map_err(writing(&partial))?;
    fs::create_dir(&partial).map_err(writing(&partial))?;
    let copied = copy_into(image, &partial, user).map_err(|source| {
        // What is left is removed by the next try, or with the container.
        let _ = remove_tree(&partial);
        PrepareError::Copy { image: image.view.id.clone(), source }
    });
    copied.and_then(|()| fs::rename(&partial, path).map_err(writing(path)))
}

fn copy_into(image: &Image, folder: &Path, user: Option<&UserNamespace>) -> Result<(), CopyError> {
    let failed = |source: io::Error| CopyError::System { act: "opening", path: "/".into(), source };
    let union = union_of(image).map_err(failed)?;
    let folder = openat(CWD, folder, OPEN_FOLDER, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    copy(&union, folder, user)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = openat(CWD, parent, OPEN_FOLDER, Mode::empty())?;
    tree::remove(parent.as_fd(), name.as_bytes())
}

#[derive(PartialEq, Eq)]
enum Made {
    Now,
    Earlier,
}

fn make_folder(path: &Path) -> io::Result<Made> {
    match fs::create_dir(path) {
        Ok(()) => Ok(Made::Now),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Made::Earlier),
        Err(error) => Err(error),
    }
}

fn has_other_rootfs(folder: &Path, ours: &str) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(ROOTFS) && name != ours) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The numbers in the files of one container. A line cut off by a crash is of a call that was never answered.
fn numbers_in(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(ROOTFS) || name.starts_with(LENT)) {
            let text = fs::read_to_string(entry.path())?;
            numbers.extend(text.lines().filter_map(|line| line.parse::<u64>().ok()));
        }
    }
    Ok(numbers)
}
