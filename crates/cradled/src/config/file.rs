//! Reads the TOML file, strictly: a key that nobody knows is an error, not a wish that nobody hears.

use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{Config, KEYS, Key, Value};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{}:{line}: unknown key {key:?}; the nearest known one is {nearest:?}", path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: &'static str },
    #[error("{}:{line}: {key}: {why}", path.display())]
    BadValue { path: PathBuf, line: usize, key: String, why: String },
}

/// Reads the file into `config`. An optional file may be absent.
pub fn read(path: &Path, optional: bool, config: &mut Config) -> Result<(), FileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => apply(path, &text, config),
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Sets what `text` says; an error leaves `config` half changed.
pub fn apply(path: &Path, text: &str, config: &mut Config) -> Result<(), FileError> {
    let at = Place { path, text };
    let table = DeTable::parse(text).map_err(|error| FileError::Syntax {
        path: path.to_owned(),
        line: at.line(error.span().map_or(text.len(), |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    flatten("", table.get_ref(), &mut entries);
    // In the order of the file, so that the first error is the topmost one.
    entries.sort_by_key(|entry| entry.offset);
    entries.into_iter().try_for_each(|entry| set(&at, entry, config))
}

struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }
}

/// A key of the file with its full name, and where the name stands.
struct Entry<'a> {
    name: String,
    offset: usize,
    value: &'a DeValue<'a>,
}

/// Every key of the table and of the known tables within.
fn flatten<'a>(prefix: &str, table: &'a DeTable<'a>, entries: &mut Vec<Entry<'a>>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) if sections().any(|section| section == name) => flatten(&name, inner, entries),
            value => entries.push(Entry { name, offset: key.span().start, value }),
        }
    }
}

/// The names of tables.
fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.name.rsplit_once('.').map(|(section, _)| section))
}

fn set(at: &Place<'_>, entry: Entry<'_>, config: &mut Config) -> Result<(), FileError> {
    let (path, line) = (at.path.to_owned(), at.line(entry.offset));
    let Some(key) = KEYS.iter().find(|key| key.name == entry.name) else {
        return Err(unknown(path, line, entry));
    };
    plain(entry.value).and_then(|value| (key.set)(config, value)).map_err(|why| FileError::BadValue {
        path,
        line,
        key: entry.name,
        why,
    })
}

fn unknown(path: PathBuf, line: usize, entry: Entry<'_>) -> FileError {
    if sections().any(|section| section == entry.name) {
        let why = "it is a table, not a key".to_owned();
        return FileError::BadValue { path, line, key: entry.name, why };
    }
    let is_table = matches!(entry.value, DeValue::Table(_));
    let names: &mut dyn Iterator<Item = &'static str> =
        if is_table { &mut sections() } else { &mut KEYS.iter().map(|key: &Key| key.name) };
    let nearest = nearest(&entry.name, names).unwrap_or_default();
    FileError::UnknownKey { path, line, key: entry.name, nearest }
}

/// The value, if it is of a form that some key has.
fn plain(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::Text(text.to_string())),
        DeValue::Boolean(flag) => Ok(Value::Boolean(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| format!("the number {number} is too large")),
        DeValue::Array(items) => items.iter().map(item).collect::<Result<_, _>>().map(Value::List),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            Err(format!("there is no key whose value is a {}", value.type_str()))
        }
    }
}

fn item(item: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match item.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("its list must hold texts, and holds a {}", other.type_str())),
    }
}
