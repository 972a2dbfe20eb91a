//! A file system that takes every request and answers none, as a volume whose server is gone. Whoever asks it sleeps in
//! the kernel and cannot be killed, until this value is dropped.
//!
//! The protocol is that of /dev/fuse (fuse(4)): the kernel writes requests, each with a header of 40 bytes; the first one
//! is INIT, which has to be answered for there to be others.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const INIT: u32 = 26;
/// The version of the protocol that is spoken: without what came later.
const MAJOR: u32 = 7;
const MINOR: u32 = 31;
const WRITE_MAX_BYTES: u32 = 4096;
/// The kernel wants room for its largest request.
const REQUEST_MAX_BYTES: usize = 128 * 1024;

pub struct SilentFilesystem {
    path: PathBuf,
    waiting: Arc<AtomicUsize>,
    stop: Arc<OwnedFd>,
    server: Option<JoinHandle<()>>,
}

impl SilentFilesystem {
    pub fn mount(path: &Path) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").context("opening /dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = CString::new(options)?;
        mount("silent", path, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
            .with_context(|| format!("mounting at {}", path.display()))?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (stop.clone(), waiting.clone());
        let server = std::thread::spawn(move || serve(device, &stopped, &count));
        Ok(SilentFilesystem { path: path.to_owned(), waiting, stop, server: Some(server) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many requests have been taken and not answered.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Takes requests until it is told to stop; then the device is closed, and all who wait get an error.
fn serve(mut device: File, stop: &OwnedFd, waiting: &AtomicUsize) {
    let mut request = vec![0; REQUEST_MAX_BYTES];
    loop {
        let mut ready = [PollFd::new(&device, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        if poll(&mut ready, None).is_err() || !ready[1].revents().is_empty() {
            return;
        }
        match device.read(&mut request) {
            Ok(_) if word(&request, 4) == INIT => {
                // Without an answer nobody asks anything else.
                let _ = device.write_all(&init_answer(&request));
            }
            Ok(_) => drop(waiting.fetch_add(1, Ordering::Relaxed)),
            // Unmounted.
            Err(_) => return,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// `fuse_out_header` and `fuse_init_out`.
fn init_answer(request: &[u8]) -> Vec<u8> {
    const BYTES: u32 = 16 + 64;
    let unique = request.get(8..16).unwrap_or_default();
    let mut answer = Vec::new();
    answer.extend(BYTES.to_ne_bytes());
    answer.extend(0_i32.to_ne_bytes());
    answer.extend(unique);
    for word in [MAJOR, MINOR, 0, 0, 0, WRITE_MAX_BYTES, 1] {
        answer.extend(word.to_ne_bytes());
    }
    answer.resize(BYTES as usize, 0);
    answer
}

impl Drop for SilentFilesystem {
    fn drop(&mut self) {
        // The mount goes when the last who uses it does.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            println!("# unmounting {}: {error}", self.path.display());
        }
    }
}
