//! Reads tar archives, entry by entry, from a stream: v7, ustar, GNU and PAX (POSIX.1-2008, pax; GNU tar manual,
//! Appendix D). Hostile input: every size, count and name is bounded before memory is taken for it.
//!
//! It knows nothing of file systems; `tree` applies what it reads. A reader of our own, since the crate `tar` reads
//! long names and PAX records of any size into memory.

mod extended;
mod header;
mod reader;
mod sparse;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use reader::{Reader, TarError};

/// One entry's description. Its data, if any, comes from the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As written in the archive; may be absolute or climb.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// The permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: Time,
    /// Extended attributes (`SCHILY.xattr.*`).
    pub attributes: Vec<Attribute>,
}

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file. With segments, only these bytes are in the archive and the rest are holes.
    File {
        size: u64,
        segments: Option<Vec<Segment>>,
    },
    /// Another name of an entry of this archive, or of a layer below.
    HardLink {
        target: Vec<u8>,
    },
    Symlink {
        target: Vec<u8>,
    },
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Directory,
    Fifo,
}

/// A stretch of data within a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// Seconds since 1970 and nanoseconds after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// An extended attribute of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

/// Bytes of one tar block.
pub const BLOCK: usize = 512;
