//! The database: one file, redb, each commit durable before it returns. What it names is on disk already.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cradle_domain::{Class, Classified, Digest};
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::Disk;
use super::records::{FORMAT, ImageRecord, LayerRecord, ReferenceRecord};
use crate::limits::{DATABASE_CACHE_BYTES, DATABASE_IN_USE, DATABASE_IN_USE_PAUSE};

type Table = TableDefinition<'static, &'static str, &'static [u8]>;

const STORE: TableDefinition<'static, &'static str, u64> = TableDefinition::new("store");
const FORMAT_KEY: &str = "format";
const LAYERS: Table = TableDefinition::new("layers");
const IMAGES: Table = TableDefinition::new("images");
const REFERENCES: Table = TableDefinition::new("references");
/// Configurations and manifests as they came, by digest.
const DOCUMENTS: Table = TableDefinition::new("documents");

/// The open database.
pub struct Database {
    redb: redb::Database,
    path: PathBuf,
}

/// All that a database holds when it is opened.
#[derive(Default)]
pub struct Contents {
    pub layers: Vec<(Digest, LayerRecord)>,
    /// With their configurations.
    pub images: Vec<(Digest, ImageRecord, Vec<u8>)>,
    pub references: Vec<(String, ReferenceRecord)>,
}

/// An image to be recorded.
pub struct NewImage {
    pub id: Digest,
    pub record: ImageRecord,
    pub references: Vec<(String, ReferenceRecord)>,
    pub documents: Vec<(Digest, bytes::Bytes)>,
}

/// What is to be taken out with an image.
pub struct OldImage {
    pub id: Digest,
    pub references: Vec<String>,
    pub documents: Vec<Digest>,
}

/// The database cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the image database {path:?} is in use by another process")]
    InUse { path: PathBuf },
    #[error("the image database {path:?} has the format {found}; this program knows {FORMAT}")]
    Format { path: PathBuf, found: u64 },
    #[error("the image database {path:?} is damaged")]
    Damaged { path: PathBuf, source: Box<redb::Error> },
    #[error("{act} the image database {path:?}")]
    Access { act: &'static str, path: PathBuf, source: Box<redb::Error> },
    #[error("encoding a record for the image database")]
    Encode(#[source] serde_json::Error),
}

impl Classified for DatabaseError {
    fn class(&self) -> Class {
        match self {
            DatabaseError::InUse { .. } => Class::Busy,
            DatabaseError::Format { .. } => Class::Invalid,
            DatabaseError::Damaged { .. } => Class::Corrupt,
            DatabaseError::Access { source, .. } => match &**source {
                redb::Error::Io(error) => crate::tree::class_of(error),
                _ => Class::Bug,
            },
            DatabaseError::Encode(_) => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DatabaseError::InUse { .. } => Some("give each daemon a root of its own".into()),
            DatabaseError::Format { .. } => Some("start the version that wrote it, or give another root".into()),
            _ => None,
        }
    }
}

/// Opens the file. One that is in use is asked for again, for a while: a process that was killed may leave a child on
/// its way to its program, which has the file open until it gets there.
fn open_when_free(path: &Path, disk: &dyn Disk) -> Result<redb::Database, redb::DatabaseError> {
    let deadline = Instant::now() + DATABASE_IN_USE;
    let mut builder = redb::Database::builder();
    // A file that something else has written to must be found out here: redb trusts it from then on.
    builder.set_cache_size(DATABASE_CACHE_BYTES).set_check_integrity_on_open(true);
    loop {
        match disk.open_database(&builder, path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                std::thread::sleep(DATABASE_IN_USE_PAUSE);
            }
            opened => return opened,
        }
    }
}

impl Database {
    /// Opens or makes the database and reads all of it. A record that cannot be read is left out and reported.
    pub fn open(path: &Path, disk: &dyn Disk) -> Result<(Self, Contents), DatabaseError> {
        let redb = open_when_free(path, disk).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => DatabaseError::InUse { path: path.to_owned() },
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) if !is_damage(&error) => {
                DatabaseError::Access {
                    act: "opening",
                    path: path.to_owned(),
                    source: Box::new(redb::Error::Io(error)),
                }
            }
            other => DatabaseError::Damaged { path: path.to_owned(), source: Box::new(other.into()) },
        })?;
        let database = Database { redb, path: path.to_owned() };
        database.prepare()?;
        let contents = database.read_all().map_err(database.failed("reading"))?;
        Ok((database, contents))
    }

    pub fn insert_layer(&self, key: &Digest, record: &LayerRecord) -> Result<(), DatabaseError> {
        let value = encode(record)?;
        self.write(|transaction| {
            transaction.open_table(LAYERS)?.insert(key.as_str(), value.as_slice())?;
            Ok(())
        })
    }

    pub fn remove_layers(&self, keys: &[Digest]) -> Result<(), DatabaseError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(LAYERS)?;
            for key in keys {
                table.remove(key.as_str())?;
            }
            Ok(())
        })
    }

    pub fn insert_image(&self, image: &NewImage) -> Result<(), DatabaseError> {
        let value = encode(&image.record)?;
        let references: Vec<(&str, Vec<u8>)> = image
            .references
            .iter()
            .map(|(name, record)| Ok((name.as_str(), encode(record)?)))
            .collect::<Result<_, DatabaseError>>()?;
        self.write(|transaction| {
            transaction.open_table(IMAGES)?.insert(image.id.as_str(), value.as_slice())?;
            let mut documents = transaction.open_table(DOCUMENTS)?;
            for (digest, bytes) in &image.documents {
                documents.insert(digest.as_str(), &bytes[..])?;
            }
            insert_references(transaction, &references)
        })
    }

    pub fn insert_references(&self, references: &[(String, ReferenceRecord)]) -> Result<(), DatabaseError> {
        let references: Vec<(&str, Vec<u8>)> = references
            .iter()
            .map(|(name, record)| Ok((name.as_str(), encode(record)?)))
            .collect::<Result<_, DatabaseError>>()?;
        self.write(|transaction| insert_references(transaction, &references))
    }

    pub fn remove_image(&self, image: &OldImage) -> Result<(), DatabaseError> {
        self.write(|transaction| {
            transaction.open_table(IMAGES)?.remove(image.id.as_str())?;
            let mut references = transaction.open_table(REFERENCES)?;
            for name in &image.references {
                references.remove(name.as_str())?;
            }
            let mut documents = transaction.open_table(DOCUMENTS)?;
            for digest in &image.documents {
                documents.remove(digest.as_str())?;
            }
            Ok(())
        })
    }

    /// A configuration or manifest as it came.
    pub fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.redb.begin_read()?.open_table(DOCUMENTS)?;
            Ok(table.get(digest.as_str())?.map(|value| value.value().to_vec()))
        };
        read().map_err(self.failed("reading"))
    }

    /// Makes the tables of a new database; refuses one of another format. One that is whole is not written to: there may
    /// be no space, and its images must be there all the same.
    fn prepare(&self) -> Result<(), DatabaseError> {
        match self.format().map_err(self.failed("reading"))? {
            Some(FORMAT) => Ok(()),
            Some(found) => Err(DatabaseError::Format { path: self.path.clone(), found }),
            None => self.write(|transaction| {
                transaction.open_table(STORE)?.insert(FORMAT_KEY, FORMAT)?;
                for table in [LAYERS, IMAGES, REFERENCES, DOCUMENTS] {
                    transaction.open_table(table)?;
                }
                Ok(())
            }),
        }
    }

    /// The format that the database was made in; none: it is new.
    fn format(&self) -> Result<Option<u64>, redb::Error> {
        match self.redb.begin_read()?.open_table(STORE) {
            Ok(store) => Ok(store.get(FORMAT_KEY)?.map(|format| format.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read_all(&self) -> Result<Contents, redb::Error> {
        let transaction = self.redb.begin_read()?;
        let documents = transaction.open_table(DOCUMENTS)?;
        let mut contents = Contents::default();
        for entry in transaction.open_table(LAYERS)?.iter()? {
            let (key, value) = entry?;
            contents.layers.extend(decode_digest(key.value()).zip(decode("layer", key.value(), value.value())));
        }
        for entry in transaction.open_table(IMAGES)?.iter()? {
            let (key, value) = entry?;
            let config = documents.get(key.value())?.map(|config| config.value().to_vec());
            let Some(id) = decode_digest(key.value()) else { continue };
            let record = whole("image", key.value(), ImageRecord::read(&id, value.value()));
            match (record, config) {
                (Some(record), Some(config)) => contents.images.push((id, record, config)),
                (Some(_), None) => tracing::error!(image = %id, "an image's configuration is missing; left out"),
                (None, _) => {}
            }
        }
        for entry in transaction.open_table(REFERENCES)?.iter()? {
            let (key, value) = entry?;
            let record = decode("reference", key.value(), value.value());
            contents.references.extend(record.map(|record| (key.value().to_owned(), record)));
        }
        Ok(contents)
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), DatabaseError> {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.redb.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            // After a crash the file is opened without reading all of it.
            transaction.set_quick_repair(true);
            change(&transaction)?;
            Ok(transaction.commit()?)
        };
        write().map_err(self.failed("writing"))
    }

    fn failed(&self, act: &'static str) -> impl Fn(redb::Error) -> DatabaseError {
        let path = self.path.clone();
        move |error| match error {
            redb::Error::Corrupted(_) => DatabaseError::Damaged { path: path.clone(), source: Box::new(error) },
            error => DatabaseError::Access { act, path: path.clone(), source: Box::new(error) },
        }
    }
}

/// redb says so of a file that is no database.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn insert_references(transaction: &WriteTransaction, references: &[(&str, Vec<u8>)]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(REFERENCES)?;
    for (name, record) in references {
        table.insert(name, record.as_slice())?;
    }
    Ok(())
}

fn encode(record: &impl Serialize) -> Result<Vec<u8>, DatabaseError> {
    serde_json::to_vec(record).map_err(DatabaseError::Encode)
}

fn decode<T: DeserializeOwned>(kind: &str, key: &str, value: &[u8]) -> Option<T> {
    whole(kind, key, serde_json::from_slice(value))
}

/// A record, if it could be read.
fn whole<T>(kind: &str, key: &str, read: Result<T, serde_json::Error>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(kind, key, %error, "a record of the image database is damaged; left out"))
        .ok()
}

fn decode_digest(key: &str) -> Option<Digest> {
    Digest::parse(key).inspect_err(|error| tracing::error!(key, %error, "a key of the image database is damaged")).ok()
}
