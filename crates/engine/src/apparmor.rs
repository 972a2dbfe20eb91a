//! Whether the kernel knows an AppArmor profile. A container that asks for one that is not loaded is refused when it is
//! created, as the kubelet expects; the kernel itself would only refuse its start.

use cradle_domain::{Class, Failure};

use crate::spec::{ContainerSecurity, Profile};

/// Of securityfs: one line for each loaded profile, `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Refuses a container whose profile is not loaded. Where the list cannot be read, its start will tell.
pub(crate) async fn check_loaded(security: &ContainerSecurity) -> Result<(), Failure> {
    let Profile::Localhost(name) = &security.apparmor else { return Ok(()) };
    if security.privileged {
        return Ok(());
    }
    let Ok(list) = tokio::fs::read_to_string(LOADED).await else { return Ok(()) };
    if is_loaded(&list, name) {
        return Ok(());
    }
    let text = format!("the AppArmor profile {name:?} is not loaded on this node");
    Err(Failure::new(Class::NotFound, text).with_hint("load it with apparmor_parser"))
}

fn is_loaded(list: &str, name: &str) -> bool {
    list.lines().filter_map(|line| line.rsplit_once(" (")).any(|(loaded, _)| loaded == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_loaded_under_its_whole_name() {
        let list = "/usr/sbin/cupsd (enforce)\nmy web (v2) (complain)\n:ns:inner (kill)\n";
        for (name, loaded) in [
            ("/usr/sbin/cupsd", true),
            ("my web (v2)", true),
            (":ns:inner", true),
            ("cupsd", false),
            ("my web", false),
            ("", false),
        ] {
            assert_eq!(is_loaded(list, name), loaded, "{name:?}");
        }
    }
}
