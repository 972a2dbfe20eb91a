//! Capabilities: docker's default set, changed as the request says. They are computed, never inherited.

use std::collections::HashSet;

use cradle_domain::{Class, Failure};
use oci_spec::runtime::{Capability, LinuxCapabilities};

use crate::spec::ContainerSecurity;

/// What a container has that says nothing.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// All that Linux knows; what the machine does not grant is left out by the executor.
const ALL: [Capability; 41] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Kill,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetAdmin,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetRaw,
    Capability::Perfmon,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::Syslog,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::WakeAlarm,
];

/// The five sets of a container's process.
pub(super) fn sets(security: &ContainerSecurity) -> Result<LinuxCapabilities, Failure> {
    let bounding: HashSet<_> = bounding(security)?.into_iter().collect();
    let ambient = security.capabilities.add_ambient.iter().map(|name| parse(name));
    let ambient = ambient.collect::<Result<HashSet<_>, _>>()?;
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(bounding.clone()))
        .set_effective(Some(bounding.clone()))
        .set_permitted(Some(bounding))
        .set_inheritable(Some(ambient.clone()))
        .set_ambient(Some(ambient));
    Ok(sets)
}

/// The bounding set, sorted: what a process of the container can ever have.
///
/// # Errors
/// The request names a capability that Linux does not know.
pub(super) fn bounding(security: &ContainerSecurity) -> Result<Vec<Capability>, Failure> {
    if security.privileged {
        return Ok(ALL.to_vec());
    }
    let asked = &security.capabilities;
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut set: HashSet<Capability> = DEFAULT.into_iter().collect();
    if asked.add.iter().any(is_all) {
        set.extend(ALL);
    }
    if asked.drop.iter().any(is_all) {
        set.clear();
        // "Drop all, add all" means all.
        if asked.add.iter().any(is_all) {
            set.extend(ALL);
        }
    }
    for name in asked.add.iter().chain(&asked.add_ambient).filter(|name| !is_all(name)) {
        set.insert(parse(name)?);
    }
    for name in asked.drop.iter().filter(|name| !is_all(name)) {
        set.remove(&parse(name)?);
    }
    // The order is that of `ALL`.
    Ok(ALL.into_iter().filter(|capability| set.contains(capability)).collect())
}

/// Reads a name with or without `CAP_`, in any case.
fn parse(name: &str) -> Result<Capability, Failure> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse().map_err(|_| {
        let name: String = name.chars().take(64).collect();
        Failure::new(Class::Invalid, format!("the capability {name:?} is unknown"))
            .with_hint("names are those of capabilities(7), such as NET_ADMIN")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::tests::security;

    fn names(add: &[&str], drop: &[&str]) -> Vec<Capability> {
        let mut security = security();
        security.capabilities.add = add.iter().map(ToString::to_string).collect();
        security.capabilities.drop = drop.iter().map(ToString::to_string).collect();
        bounding(&security).unwrap()
    }

    #[test]
    fn the_request_changes_the_default_set() {
        assert_eq!(names(&[], &[]).len(), DEFAULT.len());
        assert!(names(&["NET_ADMIN"], &[]).contains(&Capability::NetAdmin));
        assert!(names(&["cap_net_admin"], &[]).contains(&Capability::NetAdmin));
        assert!(!names(&[], &["CHOWN"]).contains(&Capability::Chown));
        assert_eq!(names(&["ALL"], &[]).len(), ALL.len());
        assert_eq!(names(&["ALL"], &["SYS_ADMIN"]).len(), ALL.len() - 1);
        assert_eq!(names(&["KILL"], &["ALL"]), [Capability::Kill]);
        assert_eq!(names(&[], &["all"]), []);
    }

    #[test]
    fn an_unknown_capability_is_refused() {
        let mut security = security();
        security.capabilities.add = vec!["FLY".into()];
        assert_eq!(bounding(&security).unwrap_err().class(), Class::Invalid);
    }
}
