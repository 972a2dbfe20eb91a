//! The host's procfs, by a descriptor that is known to be one.
//!
//! A container can put anything at its own `/proc`; labels, sysctls and scores are therefore written through the host's,
//! opened before the container's file system is entered. What it shows of "self" is the writer, whatever namespaces it
//! has entered meanwhile.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat, openat2};

/// A verified procfs.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

impl Procfs {
    /// Opens `/proc` of this process's root.
    pub fn open_host() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", flags, Mode::empty())?;
        if fstatfs(&proc)?.f_type == PROC_SUPER_MAGIC {
            Ok(Procfs(proc))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "/proc is not a procfs"))
        }
    }

    /// Opens a file in it; neither another mount nor a magic link is crossed.
    pub fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// Writes a value, in one write: the kernel takes each as a whole.
    pub fn write(&self, path: &str, value: &[u8]) -> io::Result<()> {
        let file = self.open(path, OFlags::WRONLY)?;
        let written = rustix::io::write(&file, value)?;
        if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::from(self.open(path, OFlags::RDONLY)?).read_to_string(&mut text)?;
        Ok(text)
    }

    /// A namespace of the calling process, as `net`.
    pub fn own_namespace(&self, kind: &str) -> io::Result<OwnedFd> {
        // The link is a magic one, and it leads out of procfs: this is what it is for.
        let path = format!("thread-self/ns/{kind}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::empty())?)
    }
}
