//! Which pod holds which address, and which host ports: one small file an address, and an index of them in memory.
//!
//! ```text
//! <leases_dir>/<boot id>/10.88.0.2      {"version":1,"pod":"…","ports":[…]}
//! ```
//!
//! A lease is void when the machine has booted since, because every pod is gone then; so it lies in a folder of its boot,
//! and the folders of other boots are deleted unread. That is also why nothing here is synced: what a power cut can tear
//! is void after it. Against the end of the process the file is safe once it is written.
//!
//! The name of the file is the reservation: it is created exclusively, so that an address can have no two owners even
//! if the index is wrong.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cradle_domain::{Class, Classified, PodId};
use serde::{Deserialize, Serialize};

use super::limits::LEASE_BYTES_MAX;
use super::ports::HostPort;
use super::subnet::Subnet;

/// The version of the files' form.
const VERSION: u32 = 1;

/// All leases of this boot.
#[derive(Debug)]
pub struct Leases {
    dir: PathBuf,
    index: Mutex<Index>,
}

/// The address of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub address: Ipv4Addr,
    pub subnet: Subnet,
}

/// What a pod holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub ports: Vec<HostPort>,
    /// Its host ports are being closed; they still exclude those of others.
    retiring: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeaseFile {
    version: u32,
    pod: PodId,
    ports: Vec<HostPort>,
}

#[derive(Debug)]
struct Index {
    by_pod: HashMap<PodId, Lease>,
    pools: Vec<Pool>,
}

/// The addresses of one subnet.
#[derive(Debug)]
struct Pool {
    subnet: Subnet,
    /// Positions in use, also those of files that name no pod.
    taken: HashSet<u32>,
    /// Where the search goes on: an address just released is the last to be given out again.
    next: u32,
}

/// Why a pod got no address.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("all addresses for pods are in use: {}", in_use.join(", "))]
    Exhausted { in_use: Vec<String> },
    #[error("host port {port} conflicts with {held} of pod {holder}")]
    PortTaken { port: HostPort, held: HostPort, holder: PodId },
    #[error("pod {pod} is connected with other host ports")]
    OtherPorts { pod: PodId },
    #[error("the address {address} of pod {pod} is in none of the configured subnets")]
    OutsideSubnets { pod: PodId, address: Ipv4Addr },
    #[error("cannot write the lease {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Classified for LeaseError {
    fn class(&self) -> Class {
        match self {
            LeaseError::Exhausted { .. } => Class::Exhausted,
            LeaseError::PortTaken { .. } | LeaseError::OtherPorts { .. } => Class::Conflict,
            LeaseError::OutsideSubnets { .. } => Class::Refused,
            LeaseError::Write { source, .. } => class_of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LeaseError::Exhausted { .. } => Some("remove pods, or add a subnet to the configuration".into()),
            LeaseError::OutsideSubnets { .. } => {
                Some("the subnets were changed: remove the pod and create it anew".into())
            }
            _ => None,
        }
    }
}

/// Why a lease could not be released.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove the lease {}", path.display())]
pub struct ReleaseError {
    path: PathBuf,
    source: io::Error,
}

impl Classified for ReleaseError {
    fn class(&self) -> Class {
        class_of_io(&self.source)
    }
}

/// Why the leases could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub struct LoadError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Classified for LoadError {
    fn class(&self) -> Class {
        class_of_io(&self.source)
    }
}

fn class_of_io(error: &io::Error) -> Class {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => Class::Exhausted,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Class::Denied,
        _ => Class::Unavailable,
    }
}

impl Leases {
    /// Reads the leases of this boot and deletes those of others. A damaged lease keeps its address until the next boot
    /// and is reported, since the pod that holds it may run.
    pub fn load(leases_dir: &Path, boot_id: &str, subnets: &[Subnet]) -> Result<Self, LoadError> {
        let dir = leases_dir.join(boot_id);
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| LoadError { what, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed("create the folder", &dir))?;
        let entries = |dir: &Path| fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries(leases_dir).map_err(failed("list the folder", leases_dir))? {
            if entry.file_name() != *boot_id && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(entry.path()).map_err(failed("delete the void leases", &entry.path()))?;
            }
        }
        let pools = subnets.iter().map(|subnet| Pool { subnet: *subnet, taken: HashSet::new(), next: 0 }).collect();
        let mut index = Index { by_pod: HashMap::new(), pools };
        for entry in entries(&dir).map_err(failed("list the folder", &dir))? {
            let path = entry.path();
            match read(&path) {
                Ok(None) => fs::remove_file(&path).map_err(failed("remove the empty lease", &path))?,
                Ok(Some((address, file))) => index.load(&path, address, file),
                Err(reason) => index.set_aside(&path, &reason),
            }
        }
        Ok(Leases { dir, index: Mutex::new(index) })
    }

    /// Gives a pod an address and its host ports. A pod that holds a lease keeps it.
    pub fn take(&self, pod: &PodId, ports: &[HostPort]) -> Result<Grant, LeaseError> {
        loop {
            let grant = match self.index().reserve(pod, ports)? {
                Reservation::Held(grant) => return Ok(grant),
                Reservation::New(grant) => grant,
            };
            match self.write(grant.address, pod, ports) {
                Ok(()) => return Ok(grant),
                // A file that the index does not know: its address stays taken.
                Err(LeaseError::Write { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                    self.index().by_pod.remove(pod);
                }
                Err(error) => {
                    self.index().free(pod);
                    return Err(error);
                }
            }
        }
    }

    fn write(&self, address: Ipv4Addr, pod: &PodId, ports: &[HostPort]) -> Result<(), LeaseError> {
        let path = self.path(address);
        let failed = |source| LeaseError::Write { path: path.clone(), source };
        let content = LeaseFile { version: VERSION, pod: pod.clone(), ports: ports.to_vec() };
        let content = serde_json::to_vec(&content).map_err(|error| failed(error.into()))?;
        #[cfg(test)]
        crate::crash_point::pass();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        #[cfg(test)]
        crate::crash_point::pass();
        file.write_all(&content).map_err(|source| {
            // No address is lost to a full disk: what is left is empty or cut off, and no pod was connected.
            let _ = fs::remove_file(&path);
            failed(source)
        })
    }

    /// What a pod holds.
    pub fn of(&self, pod: &PodId) -> Option<Lease> {
        self.index().by_pod.get(pod).cloned()
    }

    /// Begins to take back what a pod holds: from now on its host ports are not among those to be open.
    pub fn retire(&self, pod: &PodId) -> Option<Lease> {
        let mut index = self.index();
        let lease = index.by_pod.get_mut(pod)?;
        lease.retiring = true;
        Some(lease.clone())
    }

    /// Takes back what a pod holds, if it holds anything. The file goes first: an address is free when nothing says
    /// otherwise any more.
    pub fn release(&self, pod: &PodId) -> Result<(), ReleaseError> {
        let Some(lease) = self.of(pod) else { return Ok(()) };
        let path = self.path(lease.address);
        #[cfg(test)]
        crate::crash_point::pass();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(ReleaseError { path, source }),
            _ => self.index().free(pod),
        }
        Ok(())
    }

    /// The pods that hold an address, in order.
    pub fn owners(&self) -> Vec<PodId> {
        let mut owners: Vec<PodId> = self.index().by_pod.keys().cloned().collect();
        owners.sort_unstable();
        owners
    }

    pub fn is_empty(&self) -> bool {
        self.index().by_pod.is_empty()
    }

    /// The host ports to be open, with the addresses of their pods.
    pub fn open_ports(&self) -> Vec<(Ipv4Addr, HostPort)> {
        let index = self.index();
        let open = index.by_pod.values().filter(|lease| !lease.retiring);
        open.flat_map(|lease| lease.ports.iter().map(|port| (lease.address, *port))).collect()
    }

    fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.dir.join(address.to_string())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Reservation {
    Held(Grant),
    New(Grant),
}

impl Index {
    fn load(&mut self, path: &Path, address: Ipv4Addr, file: LeaseFile) {
        if self.by_pod.contains_key(&file.pod) {
            return self.set_aside(path, "its pod has another one");
        }
        self.occupy(address);
        self.by_pod.insert(file.pod, Lease { address, ports: file.ports, retiring: false });
    }

    fn set_aside(&mut self, path: &Path, reason: &str) {
        tracing::warn!(path = %path.display(), reason, "damaged lease; its address is not given out before the next boot");
        if let Some(address) = address_of(path) {
            self.occupy(address);
        }
    }

    fn occupy(&mut self, address: Ipv4Addr) {
        for pool in &mut self.pools {
            if let Some(position) = pool.subnet.position(address) {
                pool.taken.insert(position);
                pool.next = pool.next.max(position + 1);
            }
        }
    }

    fn reserve(&mut self, pod: &PodId, ports: &[HostPort]) -> Result<Reservation, LeaseError> {
        if let Some(lease) = self.by_pod.get_mut(pod) {
            let address = lease.address;
            if lease.ports != ports {
                return Err(LeaseError::OtherPorts { pod: pod.clone() });
            }
            lease.retiring = false;
            let pool = self.pools.iter().find(|pool| pool.subnet.position(address).is_some());
            let outside = || LeaseError::OutsideSubnets { pod: pod.clone(), address };
            return Ok(Reservation::Held(Grant { address, subnet: pool.ok_or_else(outside)?.subnet }));
        }
        self.check_ports(ports)?;
        let grant = self.pools.iter_mut().find_map(Pool::take).ok_or_else(|| {
            let full = |pool: &Pool| format!("{} of {}", pool.taken.len(), pool.subnet);
            LeaseError::Exhausted { in_use: self.pools.iter().map(full).collect() }
        })?;
        self.by_pod.insert(pod.clone(), Lease { address: grant.address, ports: ports.to_vec(), retiring: false });
        Ok(Reservation::New(grant))
    }

    fn check_ports(&self, ports: &[HostPort]) -> Result<(), LeaseError> {
        for port in ports {
            for (holder, lease) in &self.by_pod {
                if let Some(held) = lease.ports.iter().find(|held| held.conflicts_with(port)) {
                    return Err(LeaseError::PortTaken { port: *port, held: *held, holder: holder.clone() });
                }
            }
        }
        Ok(())
    }

    fn free(&mut self, pod: &PodId) {
        let Some(lease) = self.by_pod.remove(pod) else { return };
        for pool in &mut self.pools {
            if let Some(position) = pool.subnet.position(lease.address) {
                pool.taken.remove(&position);
            }
        }
    }
}

impl Pool {
    fn take(&mut self) -> Option<Grant> {
        let capacity = self.subnet.capacity();
        // Spares the search through a full subnet.
        if self.taken.len() >= usize::try_from(capacity).unwrap_or(usize::MAX) {
            return None;
        }
        let from = self.next;
        let position = (0..capacity).map(|step| (from + step) % capacity).find(|at| !self.taken.contains(at))?;
        self.taken.insert(position);
        self.next = (position + 1) % capacity;
        Some(Grant { address: self.subnet.pod(position)?, subnet: self.subnet })
    }
}

/// Reads a lease; none if it is empty, as an interrupted [`Leases::take`] leaves it. No pod was connected then.
fn read(path: &Path) -> Result<Option<(Ipv4Addr, LeaseFile)>, String> {
    let address = address_of(path).ok_or("its name is no address")?;
    let mut content = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LEASE_BYTES_MAX).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.is_empty() {
        return Ok(None);
    }
    let file: LeaseFile = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
    match file.version {
        VERSION => Ok(Some((address, file))),
        other => Err(format!("its version is {other}, and only {VERSION} is known")),
    }
}

fn address_of(path: &Path) -> Option<Ipv4Addr> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
