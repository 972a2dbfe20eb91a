//! Accounts of an image, and who runs as what.

use super::*;
use crate::spec::{Capabilities, NamespaceMode, Profile};

/// The security context of a request that says nothing.
pub(crate) fn security() -> ContainerSecurity {
    ContainerSecurity {
        capabilities: Capabilities::default(),
        privileged: false,
        pid: NamespaceMode::Container,
        selinux: None,
        run_as_user: None,
        run_as_username: String::new(),
        run_as_group: None,
        supplemental_groups: Vec::new(),
        groups_policy: GroupsPolicy::Merge,
        readonly_rootfs: false,
        no_new_privs: false,
        seccomp: Profile::Unset,
        apparmor: Profile::Unset,
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
    }
}

fn resolve_in(security: &ContainerSecurity, image_user: &str) -> Result<(u32, u32, Vec<u32>), String> {
    let accounts = Accounts {
        passwd: "root:x:0:0:root:/root:/bin/sh\nredis:x:999:1000::/data:/bin/sh\nbroken\n7:x:70:71::/:/bin/sh\n".into(),
        group: "root:x:0:\nredis:x:1000:\nextra:x:50:root,redis\nbad:x:y:redis\n".into(),
    };
    let user = Wish::of(security, image_user).and_then(|wish| accounts.user(&wish, security));
    user.map(|user| (user.uid, user.gid, user.additional_gids)).map_err(|failure| failure.to_string())
}

#[test]
fn the_images_user_counts_when_the_request_names_none() {
    for (image_user, expected) in [
        ("", (0, 0, vec![0, 50])),
        ("redis", (999, 1000, vec![50, 1000])),
        ("999", (999, 1000, vec![50, 1000])),
        ("1234", (1234, 0, vec![0])),
        ("redis:extra", (999, 50, vec![50])),
        ("1:2", (1, 2, vec![2])),
        ("7", (70, 71, vec![71])),
    ] {
        assert_eq!(resolve_in(&security(), image_user), Ok(expected), "{image_user:?}");
    }
}

#[test]
fn the_home_is_that_of_the_account() {
    let accounts = Accounts {
        passwd: "redis:x:999:1000:a gecos:/data:/bin/sh\nodd:x:7:7::relative:\n".into(),
        group: String::new(),
    };
    for (user, home) in [("redis", "/data"), ("999", "/data"), ("odd", "/"), ("5", "/")] {
        let wish = Wish { user: user.into(), group: None };
        assert_eq!(accounts.user(&wish, &security()).unwrap().home, home, "{user}");
    }
}

#[test]
fn the_request_counts_before_the_image() {
    let asked = ContainerSecurity { run_as_user: Some(1000), run_as_group: Some(2000), ..security() };
    assert_eq!(resolve_in(&asked, "redis"), Ok((1000, 2000, vec![2000])));
    let named = ContainerSecurity { run_as_username: "redis".into(), supplemental_groups: vec![7], ..security() };
    assert_eq!(resolve_in(&named, ""), Ok((999, 1000, vec![7, 50, 1000])));
    let strict = ContainerSecurity { groups_policy: GroupsPolicy::Strict, ..named };
    assert_eq!(resolve_in(&strict, ""), Ok((999, 1000, vec![7, 1000])));
}

#[test]
fn what_the_image_does_not_know_is_refused() {
    for unknown in ["nobody", "redis:nogroup", "-1", "4294967295", "4294967296"] {
        let refused = resolve_in(&security(), unknown).unwrap_err();
        assert!(refused.contains("is not in the image's /etc/"), "{unknown}: {refused}");
    }
    let group_alone = ContainerSecurity { run_as_group: Some(1), ..security() };
    assert!(resolve_in(&group_alone, "").unwrap_err().contains("run_as_group is given without"));
}
