//! Makes a pod's namespaces, from inside the shim.

use std::io;

use cradle_domain::{Class, Classified};
use cradle_sys::SingleThreaded;
use cradle_sys::interface;
use cradle_sys::namespace::{self, Kinds};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::init::PodInit;
use super::shm::SharedMemory;
use super::{PidShare, PodNamespaces, PodPlan, Share};
use crate::procfs::Procfs;
use crate::run::identity;
use crate::sysctl::{self, Owner};
use crate::user_namespace;

/// Why the pod's namespaces could not be made. The shim is then in an unknown mixture of namespaces and must end.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("the sysctl {name} {problem}")]
    Sysctl { name: String, problem: &'static str },
    #[error("setting the sysctl {name} = {value}")]
    WriteSysctl { name: String, value: String, source: io::Error },
    #[error("{doing}")]
    Kernel { doing: &'static str, source: io::Error },
}

impl Classified for SetUpError {
    fn class(&self) -> Class {
        match self {
            SetUpError::Sysctl { .. } | SetUpError::WriteSysctl { .. } => Class::Invalid,
            SetUpError::Kernel { source, .. } => crate::run::class_of(source.raw_os_error()),
        }
    }
}

/// Makes the pod's namespaces and moves the calling process into them, for good.
pub fn set_up(plan: &PodPlan, single: &SingleThreaded) -> Result<PodNamespaces, SetUpError> {
    for (name, _) in &plan.sysctls {
        check_sysctl(plan, name)?;
    }
    let kernel = |doing| move |source: io::Error| SetUpError::Kernel { doing, source };
    let procfs = Procfs::open_host().map_err(kernel("opening /proc"))?;
    let mut kinds = Kinds::empty();
    kinds.set(Kinds::NETWORK, plan.network == Share::New);
    kinds.set(Kinds::INTER_PROCESS_COMMUNICATION, plan.ipc == Share::New);
    kinds.set(Kinds::HOST_NAME_AND_NIS_DOMAIN_NAME, plan.uts == Share::New);
    let user = match &plan.user {
        None => {
            namespace::unshare(kinds, single).map_err(|errno| kernel("making the pod's namespaces")(errno.into()))?;
            None
        }
        Some(mapping) => {
            let made = user_namespace::make_with(mapping, kinds, single);
            Some(made.map_err(kernel("making the pod's user namespace and those that belong to it"))?)
        }
    };
    if plan.uts == Share::New && !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes())
            .map_err(|errno| kernel("setting the host name")(errno.into()))?;
    }
    let (mut network, mut netlink_socket) = (None, None);
    if plan.network == Share::New {
        network = Some(procfs.own_namespace("net").map_err(kernel("opening the pod's network namespace"))?);
        interface::set_up(c"lo").map_err(|errno| kernel("setting the loopback interface up")(errno.into()))?;
        // The protocol 0 of netlink is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
        netlink_socket = Some(socket.map_err(|errno| kernel("opening a netlink socket")(errno.into()))?);
        refuse_router_advertisements(plan, &procfs)
            .map_err(kernel("having the pod's interfaces ignore router advertisements"))?;
    }
    for (name, value) in &plan.sysctls {
        write_sysctl(plan, &procfs, name, value).map_err(|source| {
            let (name, value) = (name.clone(), value.clone());
            SetUpError::WriteSysctl { name, value, source }
        })?;
    }
    let shm = match plan.ipc {
        Share::Host => SharedMemory::Host,
        Share::New => SharedMemory::new(plan, &procfs, single).map_err(kernel("making the pod's shared memory"))?,
    };
    let mut pod = PodNamespaces { network, netlink: netlink_socket, plan: plan.clone(), shm, init: None, user };
    if plan.pid == PidShare::Pod {
        let init = PodInit::start(pod.user_namespace(), single).map_err(kernel("starting the pod's init"))?;
        pod.init = Some(init);
    }
    Ok(pod)
}

/// Otherwise any neighbour in the pods' network could make itself a pod's IPv6 router (CVE-2020-10749). Interfaces that
/// come later take this over.
fn refuse_router_advertisements(plan: &PodPlan, procfs: &Procfs) -> io::Result<()> {
    match write_sysctl(plan, procfs, "net.ipv6.conf.default.accept_ra", "0") {
        // The kernel has no IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Since Linux 6.9, what belongs to an IPC namespace is written by the root of its user namespace, and nobody else.
fn write_sysctl(plan: &PodPlan, procfs: &Procfs, name: &str, value: &str) -> io::Result<()> {
    let written = sysctl::write(procfs, name, value);
    let refused = matches!(&written, Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
    match plan.user.as_ref().and_then(|mapping| mapping.outer_uid(0)) {
        Some(uid) if refused => identity::as_user(uid, || sysctl::write(procfs, name, value)),
        _ => written,
    }
}

/// Only sysctls of a namespace of the pod's own may be set: any other would change the host.
fn check_sysctl(plan: &PodPlan, name: &str) -> Result<(), SetUpError> {
    let refuse = |problem| Err(SetUpError::Sysctl { name: name.to_owned(), problem });
    match sysctl::namespace(name) {
        Some(Owner::Network) if plan.network == Share::Host => refuse("belongs to the host's network namespace"),
        Some(Owner::Ipc) if plan.ipc == Share::Host => refuse("belongs to the host's IPC namespace"),
        Some(Owner::Network | Owner::Ipc) => Ok(()),
        Some(Owner::Uts) => refuse("is set by the pod's host name"),
        None => refuse("belongs to no namespace: it would change the host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sysctls_of_the_pods_own_namespaces_pass() {
        let own = PodPlan::default();
        let host = PodPlan { network: Share::Host, ipc: Share::Host, ..PodPlan::default() };
        for (plan, name, passes) in [
            (&own, "net.core.somaxconn", true),
            (&host, "net.core.somaxconn", false),
            (&own, "kernel.shmmax", true),
            (&host, "kernel.shmmax", false),
            (&own, "kernel.hostname", false),
            (&own, "kernel.core_pattern", false),
            (&own, "net/../kernel/core_pattern", false),
        ] {
            assert_eq!(check_sysctl(plan, name).is_ok(), passes, "{name}");
        }
    }
}
