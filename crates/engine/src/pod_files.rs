//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod, in its folder; containers bind them.
//!
//! The kubelet mounts a `hosts` of its own into containers; this one serves those that are run without it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use cradle_domain::{Class, Classified, Failure};
use rustix::fs::{Mode, OFlags};

use crate::engine::Settings;
use crate::pod::Pod;
use crate::spec::{Dns, NamespaceMode, PodSpec};

/// Names of the files in the pod's folder, and where containers see them.
pub(crate) const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// A file of the pod's could not be made.
#[derive(Debug, thiserror::Error)]
#[error("writing the pod's file {}", path.display())]
struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl Classified for WriteError {
    fn class(&self) -> Class {
        if self.source.kind() == io::ErrorKind::StorageFull { Class::Exhausted } else { Class::Unavailable }
    }
}

/// Writes the files of a pod that has its addresses.
pub(crate) fn write(settings: &Settings, folder: &Path, pod: &Pod) -> Result<(), Failure> {
    let view = pod.view();
    let spec = &pod.spec;
    let on_host = spec.namespaces.network == NamespaceMode::Node;
    let hostname = if spec.hostname.is_empty() && on_host { &settings.hostname } else { &spec.hostname };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let hosts = if on_host { read(Path::new("/etc/hosts")) } else { hosts(&view.addresses, hostname) };
    let resolv = if spec.dns == Dns::default() { read(&settings.resolv_conf) } else { resolv_conf(spec) };
    for (name, content) in [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv)] {
        put(folder, name, content.as_bytes()).map_err(|source| WriteError { path: folder.join(name), source })?;
    }
    Ok(())
}

/// Not by a rename: containers that are bound to the file would keep the old one.
fn put(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(folder.join(name), flags, Mode::from_raw_mode(0o644))?;
    // Users other than root read it inside containers, whatever the daemon's umask.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    io::Write::write_all(&mut std::fs::File::from(file), content)
}

fn hosts(addresses: &[std::net::IpAddr], hostname: &str) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    if !hostname.is_empty() {
        for address in addresses {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}\t{hostname}");
        }
    }
    text
}

fn resolv_conf(spec: &PodSpec) -> String {
    let mut text = String::new();
    let mut line = |keyword: &str, words: &str| {
        let _ = writeln!(text, "{keyword} {words}");
    };
    if !spec.dns.searches.is_empty() {
        line("search", &spec.dns.searches.join(" "));
    }
    spec.dns.servers.iter().for_each(|server| line("nameserver", server));
    if !spec.dns.options.is_empty() {
        line("options", &spec.dns.options.join(" "));
    }
    text
}
