//! Seccomp profiles as requests name them, as OCI profiles; the default one is made once for each set of capabilities.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use cradle_domain::{Class, Failure};
use cradle_executor::seccomp::{self, Architecture, ProfileContext};
use oci_spec::runtime::{Capability, LinuxSeccomp};
use rustix::fs::{Mode, OFlags};

use crate::spec::Profile;
use crate::{host_path, limits};

/// Default profiles by capabilities. Their number is bounded by dropping all when it grows: it is a cache.
#[derive(Default)]
pub(crate) struct Profiles {
    defaults: Mutex<HashMap<Vec<Capability>, Arc<LinuxSeccomp>>>,
}

const CACHED: usize = 64;

impl Profiles {
    /// The OCI profile for a request's; none: unconfined.
    ///
    /// # Errors
    /// The file of a localhost profile cannot be read, or is no profile.
    pub async fn resolve(
        &self,
        profile: &Profile,
        capabilities: Vec<Capability>,
    ) -> Result<Option<LinuxSeccomp>, Failure> {
        match profile {
            Profile::Unset | Profile::Unconfined => Ok(None),
            Profile::RuntimeDefault => Ok(Some(self.default_for(&capabilities))),
            Profile::Localhost(path) => {
                let (what, path) = (format!("the seccomp profile {path:?}"), path.clone());
                host_path::read(&what, move || read(&path, &capabilities)).await.map(Some)
            }
        }
    }

    fn default_for(&self, capabilities: &[Capability]) -> LinuxSeccomp {
        let mut defaults = self.defaults.lock().unwrap_or_else(PoisonError::into_inner);
        if defaults.len() >= CACHED {
            defaults.clear();
        }
        let made = || Arc::new(seccomp::runtime_default(capabilities, Architecture::native()));
        LinuxSeccomp::clone(defaults.entry(capabilities.to_vec()).or_insert_with(made))
    }
}

/// Major and minor version of the running kernel (uname(2)); what cannot be read counts as the oldest.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn read(path: &str, capabilities: &[Capability]) -> Result<LinuxSeccomp, Failure> {
    let failed = |class, why: String| {
        Failure::new(class, format!("the seccomp profile {path:?}: {why}"))
            .with_hint("a Localhost profile is a JSON file on this node, by absolute path")
    };
    if !path.starts_with('/') {
        return Err(failed(Class::Invalid, "its path is not absolute".into()));
    }
    // A FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from);
    let file = std::fs::File::from(file.map_err(|error| failed(Class::Invalid, error.to_string()))?);
    let mut json = Vec::new();
    let read = file.take(limits::SECCOMP_PROFILE_MAX_BYTES + 1).read_to_end(&mut json);
    read.map_err(|error| failed(Class::Unavailable, error.to_string()))?;
    if json.len() as u64 > limits::SECCOMP_PROFILE_MAX_BYTES {
        return Err(failed(Class::Invalid, format!("it is larger than {} bytes", limits::SECCOMP_PROFILE_MAX_BYTES)));
    }
    let context = ProfileContext { capabilities, architecture: Architecture::native(), kernel: kernel() };
    seccomp::parse_profile(&json, &context)
        .map_err(|error| failed(Class::Invalid, cradle_domain::failure::Chain(&error).to_string()))
}
