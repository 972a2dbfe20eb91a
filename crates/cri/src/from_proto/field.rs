//! Where in a request something is, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;

use cradle_domain::{Class, Classified};

use crate::limits::QUOTED_VALUE_MAX_CHARS;

/// A field of a request by its path, as `config.mounts[2].host_path`. It is put together only when it is printed.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    parent: Option<&'a Field<'a>>,
    name: &'a str,
    index: Option<usize>,
}

/// A field whose value can never be accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field} is {value}: {why}")]
pub struct InvalidField {
    field: String,
    value: String,
    why: String,
}

/// The id of a pod or container, or its beginning. An empty one would be the beginning of every id.
pub fn id(name: &str, id: String) -> Result<String, InvalidField> {
    Field::root(name).nonempty(id)
}

impl Classified for InvalidField {
    fn class(&self) -> Class {
        Class::Invalid
    }
}

impl<'a> Field<'a> {
    /// A field of the request itself.
    pub const fn root(name: &'a str) -> Self {
        Field { parent: None, name, index: None }
    }

    /// The field `name` of this message.
    pub const fn at(&'a self, name: &'a str) -> Self {
        Field { parent: Some(self), name, index: None }
    }

    /// The element `index` of this list.
    pub const fn item(self, index: usize) -> Self {
        Field { index: Some(index), ..self }
    }

    /// The error that says why this field cannot have this value.
    pub fn invalid(&self, value: impl fmt::Debug, why: impl Into<String>) -> InvalidField {
        let value = format!("{value:?}");
        let quoted = match value.char_indices().nth(QUOTED_VALUE_MAX_CHARS) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        };
        InvalidField { field: self.to_string(), value: quoted, why: why.into() }
    }

    /// The error that says that this field must be there.
    pub fn missing(&self) -> InvalidField {
        InvalidField { field: self.to_string(), value: "missing".to_owned(), why: "it is required".to_owned() }
    }

    /// The message of this field, which must be there.
    pub fn required<T>(&self, message: Option<T>) -> Result<T, InvalidField> {
        message.ok_or_else(|| self.missing())
    }

    /// A text that must not be empty.
    pub fn nonempty(&self, text: String) -> Result<String, InvalidField> {
        if text.is_empty() { Err(self.invalid(text, "it must not be empty")) } else { Ok(text) }
    }

    /// A text that is handed to the kernel or to a process as a C string.
    pub fn c_string(&self, text: String) -> Result<String, InvalidField> {
        if text.contains('\0') { Err(self.invalid(text, "it has a NUL character")) } else { Ok(text) }
    }

    /// A text that ends up within one line of a file or a log.
    pub fn one_line(&self, text: String) -> Result<String, InvalidField> {
        if text.contains(char::is_control) { Err(self.invalid(text, "it has a control character")) } else { Ok(text) }
    }

    /// A text that ends up as one word of a line.
    pub fn one_word(&self, text: String) -> Result<String, InvalidField> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(self.invalid(text, "it has a space or a control character"));
        }
        self.nonempty(text)
    }

    /// An absolute path.
    pub fn absolute_path(&self, path: String) -> Result<String, InvalidField> {
        if path.starts_with('/') { self.c_string(path) } else { Err(self.invalid(path, "it must be an absolute path")) }
    }

    /// A path that stays below the folder that it is relative to.
    pub fn path_below(&self, path: String) -> Result<String, InvalidField> {
        if path.starts_with('/') {
            return Err(self.invalid(path, "it must be a relative path"));
        }
        if path.split('/').any(|part| part == "..") {
            return Err(self.invalid(path, "it must not have \"..\""));
        }
        self.c_string(path)
    }

    /// A number of the CRI as one of its enum's values.
    pub fn enumeration<E: TryFrom<i32>>(&self, number: i32) -> Result<E, InvalidField> {
        E::try_from(number).map_err(|_| self.invalid(number, "the CRI has no such value"))
    }

    /// Each element of a list, checked under its own path.
    pub fn each<T, U>(
        self,
        items: Vec<T>,
        check: impl Fn(Field<'_>, T) -> Result<U, InvalidField>,
    ) -> Result<Vec<U>, InvalidField> {
        items.into_iter().enumerate().map(|(index, item)| check(self.item(index), item)).collect()
    }

    /// Each value of a map, checked under its key.
    pub fn each_value(
        &self,
        map: BTreeMap<String, String>,
        check: impl Fn(&Field<'_>, &str, &str) -> Result<(), InvalidField>,
    ) -> Result<BTreeMap<String, String>, InvalidField> {
        for (key, value) in &map {
            check(&self.at(key), key, value)?;
        }
        Ok(map)
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}
