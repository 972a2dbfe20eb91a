//! Mount options of an OCI specification (config.md, Linux mount options): attributes of the mount, its propagation, and
//! what is left for the file system.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Depth, FilesystemOption, PlanError};

/// Attribute bits (linux/mount.h, `MOUNT_ATTR_*`), with the names that people write.
const ATTRIBUTES: [(&str, u64, Meaning); 18] = [
    ("ro", RDONLY, Meaning::Set),
    ("rw", RDONLY, Meaning::Clear),
    ("nosuid", NOSUID, Meaning::Set),
    ("suid", NOSUID, Meaning::Clear),
    ("nodev", NODEV, Meaning::Set),
    ("dev", NODEV, Meaning::Clear),
    ("noexec", NOEXEC, Meaning::Set),
    ("exec", NOEXEC, Meaning::Clear),
    ("nosymfollow", NOSYMFOLLOW, Meaning::Set),
    ("symfollow", NOSYMFOLLOW, Meaning::Clear),
    ("nodiratime", NODIRATIME, Meaning::Set),
    ("diratime", NODIRATIME, Meaning::Clear),
    ("noatime", NOATIME, Meaning::AccessTime),
    ("atime", RELATIME, Meaning::AccessTime),
    ("relatime", RELATIME, Meaning::AccessTime),
    ("norelatime", STRICTATIME, Meaning::AccessTime),
    ("strictatime", STRICTATIME, Meaning::AccessTime),
    ("nostrictatime", RELATIME, Meaning::AccessTime),
];

pub const RDONLY: u64 = 0x1;
pub const NOSUID: u64 = 0x2;
pub const NODEV: u64 = 0x4;
pub const NOEXEC: u64 = 0x8;
/// A field of three bits: one of the three below.
const ACCESS_TIME: u64 = 0x70;
const RELATIME: u64 = 0x00;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x0020_0000;

/// Of the empty folder that covers a masked one.
pub const MASK: u64 = RDONLY | NOSUID | NODEV | NOEXEC;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Set,
    Clear,
    /// A value of the field [`ACCESS_TIME`].
    AccessTime,
}

/// A change of mount attributes: bits to set, bits to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeChange {
    pub set: u64,
    pub clear: u64,
}

/// What a mount's attributes become: of the mount alone, and of all that is mounted beneath it too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub mount: AttributeChange,
    pub tree: AttributeChange,
}

impl Attributes {
    /// `ro` on the mount alone.
    pub const READ_ONLY: Attributes =
        Attributes { mount: AttributeChange { set: RDONLY, clear: 0 }, tree: AttributeChange { set: 0, clear: 0 } };
}

/// Which mounts and unmounts pass between a mount and its peers (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub depth: Depth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PropagationKind {
    Private,
    /// From the host to the container.
    Slave,
    /// In both directions.
    Shared,
    Unbindable,
}

/// The options of one mount, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    pub attributes: Attributes,
    pub propagation: Option<Propagation>,
    /// `bind` or `rbind` was among them.
    pub bind: Option<Depth>,
    /// `idmap` or `ridmap` was among them.
    pub idmap: bool,
    pub filesystem: Vec<FilesystemOption>,
}

/// Sorts the options of a mount. A later option replaces an earlier one that it contradicts.
pub fn parse(options: &[String]) -> Result<MountOptions, PlanError> {
    let mut parsed = MountOptions::default();
    for option in options {
        if let Some(propagation) = parse_propagation(option) {
            parsed.propagation = Some(propagation);
            continue;
        }
        match option.as_str() {
            "defaults" | "" => {}
            "bind" => parsed.bind = Some(Depth::Mount),
            "rbind" => parsed.bind = Some(Depth::Tree),
            "idmap" | "ridmap" => parsed.idmap = true,
            "tmpcopyup" => {
                return Err(PlanError::Unimplemented { feature: "the mount option \"tmpcopyup\"".into() });
            }
            _ if parsed.attributes.apply(option) => {}
            _ => parsed.filesystem.push(parse_filesystem_option(option)),
        }
    }
    Ok(parsed)
}

fn parse_filesystem_option(option: &str) -> FilesystemOption {
    match option.split_once('=') {
        Some((key, value)) => FilesystemOption { key: key.to_owned(), value: Some(value.to_owned()) },
        None => FilesystemOption { key: option.to_owned(), value: None },
    }
}

/// `private`, `rslave`, …
pub fn parse_propagation(option: &str) -> Option<Propagation> {
    let kind = |name| match name {
        "private" => Some(PropagationKind::Private),
        "slave" => Some(PropagationKind::Slave),
        "shared" => Some(PropagationKind::Shared),
        "unbindable" => Some(PropagationKind::Unbindable),
        _ => None,
    };
    let mount = kind(option).map(|kind| Propagation { kind, depth: Depth::Mount });
    mount.or_else(|| option.strip_prefix('r').and_then(kind).map(|kind| Propagation { kind, depth: Depth::Tree }))
}

impl Attributes {
    /// Takes an option; false: it is none of the attributes.
    fn apply(&mut self, option: &str) -> bool {
        let find = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        let (change, (_, bits, meaning)) = match (find(option), option.strip_prefix('r').and_then(find)) {
            (Some(found), _) => (&mut self.mount, found),
            (None, Some(found)) => (&mut self.tree, found),
            (None, None) => return false,
        };
        change.apply(*bits, *meaning);
        true
    }
}

impl AttributeChange {
    pub fn is_empty(self) -> bool {
        self == AttributeChange::default()
    }

    fn apply(&mut self, bits: u64, meaning: Meaning) {
        match meaning {
            Meaning::Set => {
                self.set |= bits;
                self.clear &= !bits;
            }
            Meaning::Clear => {
                self.clear |= bits;
                self.set &= !bits;
            }
            Meaning::AccessTime => {
                self.set = self.set & !ACCESS_TIME | bits;
                self.clear |= ACCESS_TIME;
            }
        }
    }

    /// The options that make this change.
    fn names(self) -> impl Iterator<Item = &'static str> {
        ATTRIBUTES.iter().filter_map(move |(name, bits, meaning)| {
            let named = match meaning {
                Meaning::Set => self.set & bits != 0,
                Meaning::Clear => self.clear & bits != 0,
                // `relatime`, `noatime` and `strictatime` name the three values; the others are synonyms.
                Meaning::AccessTime => {
                    self.clear & ACCESS_TIME != 0
                        && self.set & ACCESS_TIME == *bits
                        && matches!(*name, "relatime" | "noatime" | "strictatime")
                }
            };
            named.then_some(*name)
        })
    }
}

/// The options that make this change, separated by commas.
impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mount = self.mount.names().map(str::to_owned);
        let tree = self.tree.names().map(|name| format!("r{name}"));
        f.write_str(&mount.chain(tree).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.depth == Depth::Tree { "r" } else { "" };
        let kind = match self.kind {
            PropagationKind::Private => "private",
            PropagationKind::Slave => "slave",
            PropagationKind::Shared => "shared",
            PropagationKind::Unbindable => "unbindable",
        };
        write!(f, "{prefix}{kind}")
    }
}

impl fmt::Display for FilesystemOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> MountOptions {
        parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn options_are_sorted_by_what_they_change() {
        for (text, attributes, propagation, filesystem) in [
            ("nosuid,strictatime,mode=755,size=65536k", "nosuid,strictatime", None, "mode=755 size=65536k"),
            ("rbind,rprivate,ro", "ro", Some("rprivate"), ""),
            ("rbind,rslave,rro,rnosuid", "rro,rnosuid", Some("rslave"), ""),
            ("bind,slave,noexec,exec", "exec", Some("slave"), ""),
            ("ro,rw", "rw", None, ""),
            ("relatime", "relatime", None, ""),
            ("rnoatime", "rnoatime", None, ""),
            ("newinstance,gid=5", "", None, "newinstance gid=5"),
            ("noatime,atime", "relatime", None, ""),
        ] {
            let parsed = options(text);
            assert_eq!(parsed.attributes.to_string(), attributes, "{text}");
            assert_eq!(parsed.propagation.map(|p| p.to_string()).as_deref(), propagation, "{text}");
            let left = parsed.filesystem.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            assert_eq!(left, filesystem, "{text}");
        }
    }

    #[test]
    fn a_bind_takes_the_tree_along_when_it_is_recursive() {
        assert_eq!(options("bind").bind, Some(Depth::Mount));
        assert_eq!(options("rbind").bind, Some(Depth::Tree));
        assert_eq!(options("ro").bind, None);
    }
}
