//! The path of a group below the root of every tree.

use cradle_domain::{Class, Classified};

use super::limits::{NAME_MAX_BYTES, PATH_MAX_BYTES};

/// A path that names no group of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path:?} is not the path of a control group: {why}")]
pub struct BadPath {
    path: String,
    why: &'static str,
}

impl Classified for BadPath {
    fn class(&self) -> Class {
        Class::Invalid
    }
}

/// `kubepods/burstable/pod…/<id>`: relative to the root of a tree, never the root itself, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupPath(String);

impl GroupPath {
    /// Reads `/kubepods/…`.
    pub(super) fn parse(path: &str) -> Result<Self, BadPath> {
        let bad = |why| BadPath { path: path.chars().take(NAME_MAX_BYTES).collect(), why };
        let relative = path.strip_prefix('/').ok_or_else(|| bad("it must begin with '/'"))?;
        let relative = relative.strip_suffix('/').unwrap_or(relative);
        if relative.is_empty() {
            return Err(bad("the root of a tree is not ours"));
        }
        if relative.len() > PATH_MAX_BYTES {
            return Err(bad("it is too long"));
        }
        relative.split('/').try_for_each(|name| check_name(name).map_err(bad))?;
        Ok(GroupPath(relative.to_owned()))
    }

    /// The group `name` below this one.
    pub(super) fn child(&self, name: &str) -> Result<Self, BadPath> {
        let bad = |why| BadPath { path: name.chars().take(NAME_MAX_BYTES).collect(), why };
        check_name(name).map_err(bad)?;
        if name.contains('/') {
            return Err(bad("a single name is needed"));
        }
        Ok(GroupPath(format!("{}/{name}", self.0)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("it has an empty component"),
        "." | ".." => Err("it must not contain '.' or '..'"),
        _ if name.contains('\0') => Err("it contains a zero byte"),
        _ if name.len() > NAME_MAX_BYTES => Err("one of its components is too long"),
        _ => Ok(()),
    }
}

/// The path of the group above, none for a group directly below the root.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rfind('/').map(|at| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_without_dots_are_paths_of_groups() {
        assert_eq!(GroupPath::parse("/kubepods/pod1/a").map(|p| p.0), Ok("kubepods/pod1/a".to_owned()));
        assert_eq!(GroupPath::parse("/a/").map(|p| p.0), Ok("a".to_owned()));
        let long = format!("/{}", "a".repeat(256));
        for bad in ["", "/", "a", "//a", "/a//b", "/a/../b", "/./a", "/a\0b", &long] {
            assert!(GroupPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_child_is_one_name() {
        let group = GroupPath::parse("/a").unwrap();
        assert_eq!(group.child("exec-1").unwrap().as_str(), "a/exec-1");
        for bad in ["", "..", "b/c"] {
            assert!(group.child(bad).is_err(), "{bad:?}");
        }
    }
}
