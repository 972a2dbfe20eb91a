//! A machine that stops at a chosen act of the store and then loses some of what was not synced: the strictest file system
//! that keeps the promises of fsync(2) and rename(2).
//!
//! Names and the database are kept here. Files within layers are real ones; those changed after the last sync began are
//! told by their ctime, which the kernel sets and nobody else can.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Disk;

/// What a stop costs of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process died, the kernel lives on.
    Nothing,
    /// A power cut before anything was written.
    All,
    /// A power cut in the middle: names are there, files and database have half of what they should.
    Half,
    /// A power cut after some of it was written, in any order.
    Some { seed: u64 },
}

/// A machine with one store.
#[derive(Clone)]
pub struct Machine {
    state: Arc<Mutex<State>>,
}

struct State {
    root: PathBuf,
    /// Disks of earlier lives do nothing any more.
    life: u64,
    acts: usize,
    stop_at: usize,
    stopped: bool,
    database: Content,
    changes: Vec<Change>,
    /// The file system's time when the last sync began.
    synced_at: (i64, i64),
}

/// The database's file.
#[derive(Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    writes: Vec<Write>,
    /// Its name would outlive a power cut.
    is_named: bool,
}

enum Write {
    Length(u64),
    Bytes { at: u64, bytes: Vec<u8> },
}

enum Change {
    Made(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
    Removed { path: PathBuf, content: Vec<u8> },
}

impl Machine {
    pub fn new(root: PathBuf) -> Self {
        fs::create_dir_all(&root).unwrap();
        let mut state = State {
            root,
            life: 0,
            acts: 0,
            stop_at: usize::MAX,
            stopped: false,
            database: Content::default(),
            changes: Vec::new(),
            synced_at: (0, 0),
        };
        state.synced_at = state.time();
        Machine { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk, as a new process finds it.
    pub fn boot(&self) -> Arc<dyn Disk> {
        let life = self.state().life;
        Arc::new(Life { machine: self.clone(), life })
    }

    /// Stops before the next act but `acts`.
    pub fn stop_after(&self, acts: usize) {
        let mut state = self.state();
        (state.acts, state.stop_at) = (0, acts);
    }

    pub fn has_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Ends this life. What survives is on disk for the next one.
    pub fn end(&self, loss: Loss) {
        let mut state = self.state();
        state.lose(loss);
        state.life += 1;
        (state.stop_at, state.stopped) = (usize::MAX, false);
        state.note_synced();
        state.database.is_named = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The time that the file system gives to what happens now.
    fn time(&self) -> (i64, i64) {
        let clock = self.root.with_extension("clock");
        let file = File::create(clock).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        let stat = file.metadata().unwrap();
        (stat.ctime(), stat.ctime_nsec())
    }

    fn note_synced(&mut self) {
        self.synced_at = self.time();
        self.changes.clear();
        self.database.note_synced();
    }

    fn lose(&mut self, loss: Loss) {
        let mut random = match loss {
            Loss::Nothing => return,
            Loss::All | Loss::Half => Random(0),
            Loss::Some { seed } => Random(seed),
        };
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            let is_lost = match loss {
                Loss::Nothing | Loss::Half => false,
                Loss::All => true,
                Loss::Some { .. } => random.below(2) == 0,
            };
            if is_lost {
                change.undo();
            }
        }
        for path in self.unsynced_files() {
            let length = fs::metadata(&path).unwrap().len();
            let left = match loss {
                Loss::Nothing => length,
                Loss::All => 0,
                Loss::Half => length / 2,
                Loss::Some { .. } => length * random.below(3) / 2,
            };
            File::options().write(true).open(&path).unwrap().set_len(left.min(length)).unwrap();
        }
        self.database.lose(loss, &mut random);
    }

    /// Regular files of layers and blobs that were changed since the last sync began.
    fn unsynced_files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.root.join("layers"), self.root.join("blobs")];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                if stat.is_dir() {
                    folders.push(path);
                } else if stat.is_file() && (stat.ctime(), stat.ctime_nsec()) > self.synced_at {
                    found.push(path);
                }
            }
        }
        found
    }
}

impl Change {
    fn undo(self) {
        match self {
            Change::Made(path) if path.exists() => fs::remove_dir_all(path).unwrap(),
            Change::Renamed { from, to } if to.exists() => fs::rename(to, from).unwrap(),
            Change::Removed { path, content } => fs::write(path, content).unwrap(),
            // It is gone for good meanwhile, as what lies in the trash.
            Change::Made(_) | Change::Renamed { .. } => {}
        }
    }
}

impl Content {
    fn note_synced(&mut self) {
        self.synced.clone_from(&self.now);
        self.writes.clear();
    }

    fn write(&mut self, write: Write) {
        write.apply(&mut self.now);
        self.writes.push(write);
    }

    fn lose(&mut self, loss: Loss, random: &mut Random) {
        let mut writes = std::mem::take(&mut self.writes);
        if loss == Loss::Half {
            writes.truncate(writes.len().div_ceil(2));
            if let Some(Write::Bytes { bytes, .. }) = writes.last_mut() {
                bytes.truncate(bytes.len() / 2);
            }
        }
        self.now.clone_from(&self.synced);
        for write in &writes {
            let is_written = match loss {
                Loss::All => false,
                Loss::Nothing | Loss::Half => true,
                Loss::Some { .. } => random.below(2) == 0,
            };
            if is_written {
                write.apply(&mut self.now);
            }
        }
        if !self.is_named {
            self.now.clear();
        }
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Length(length) => content.resize(usize::try_from(*length).unwrap(), 0),
            Write::Bytes { at, bytes } => {
                let at = usize::try_from(*at).unwrap();
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

/// Numbers that depend on the seed alone (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % bound
    }
}

/// The disk as one process has it.
#[derive(Clone)]
struct Life {
    machine: Machine,
    life: u64,
}

impl Life {
    /// Does one act, unless the machine stops before it.
    fn act<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.machine.state();
        state.stopped |= state.acts == state.stop_at;
        if state.stopped || state.life != self.life {
            return Err(io::Error::other("the machine has stopped"));
        }
        state.acts += 1;
        act(&mut state)
    }

    /// Looks or writes, which counts for nothing.
    fn use_database<T>(&self, how: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let mut state = self.machine.state();
        if state.stopped || state.life != self.life {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(how(&mut state.database))
    }
}

impl Disk for Life {
    fn open_database(&self, builder: &redb::Builder, _path: &Path) -> Result<redb::Database, redb::DatabaseError> {
        builder.create_with_backend(DatabaseFile(self.clone()))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            state.changes.push(Change::Made(path.to_owned()));
            fs::create_dir(path)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state| {
            fs::rename(from, to)?;
            state.changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned() });
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            let content = fs::read(path)?;
            state.changes.push(Change::Removed { path: path.to_owned(), content });
            fs::remove_file(path)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.act(|state| {
            state.note_synced();
            Ok(())
        })
    }

    fn sync_root(&self) -> io::Result<()> {
        self.act(|state| {
            state.database.is_named = true;
            Ok(())
        })
    }
}

struct DatabaseFile(Life);

impl std::fmt::Debug for DatabaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseFile")
    }
}

impl redb::StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.0.use_database(|content| content.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.use_database(|content| {
            let at = usize::try_from(offset).unwrap();
            out.copy_from_slice(&content.now[at..at + out.len()]);
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.use_database(|content| content.write(Write::Length(len)))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.use_database(|content| content.write(Write::Bytes { at: offset, bytes: data.to_vec() }))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.act(|state| {
            state.database.note_synced();
            Ok(())
        })
    }
}
