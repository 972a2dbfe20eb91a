//! Where a pod's control group lies: what the kubelet asks for, in either of its two ways to say it.
//!
//! | `cgroup_parent` | the pod's group |
//! |---|---|
//! | none | `ROOT/ID`, with the configured root |
//! | a path (driver cgroupfs), `/kubepods/burstable/podU` | that path: the kubelet made it and removes it |
//! | a slice of systemd, `kubepods-burstable-podU.slice` | `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU.slice/cradle-ID.scope` |
//!
//! Below a slice the pod gets a group of its own because systemd owns a slice's controllers: when something changes about
//! it, systemd switches off those that no unit below needs, and the limits of the containers would go. The kernel refuses
//! that while a group below has them on for its own children, as the pod's group has.

use cradle_domain::{Class, Failure, PodId};

const SLICE: &str = ".slice";

/// A request's `cgroup_parent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    None,
    /// From the root of the trees.
    Path(String),
    /// The path of a slice, from the root of the trees.
    Slice(String),
}

impl Parent {
    /// Reads either form. A path may also lead to a slice.
    pub(crate) fn parse(parent: &str) -> Result<Parent, Failure> {
        let parent = parent.trim_end_matches('/');
        if parent.is_empty() {
            return Ok(Parent::None);
        }
        let is_slice = parent.ends_with(SLICE);
        if is_slice && !parent.contains('/') {
            return slice_path(parent).map(Parent::Slice);
        }
        let path = if parent.starts_with('/') { parent.to_owned() } else { format!("/{parent}") };
        Ok(if is_slice { Parent::Slice(path) } else { Parent::Path(path) })
    }

    /// The pod's own group; `root` is for pods without a parent.
    pub(crate) fn group(&self, root: &str, id: &PodId) -> String {
        match self {
            Parent::None => format!("{root}/{id}"),
            Parent::Path(path) => path.clone(),
            Parent::Slice(path) => format!("{path}/cradle-{id}.scope"),
        }
    }
}

/// Whether the pod's group carries its id: such a group is ours to remove, any other one the kubelet's.
pub(crate) fn is_ours(group: &str, id: &PodId) -> bool {
    group.rsplit('/').next().is_some_and(|name| name.contains(id.as_str()))
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> Result<String, Failure> {
    let name = slice.strip_suffix(SLICE).unwrap_or(slice);
    if name.split('-').any(str::is_empty) {
        let text = format!("linux.cgroup_parent is {slice:?}, which is no name of a slice");
        return Err(Failure::new(Class::Invalid, text).with_hint("its words are joined by single dashes, as a-b.slice"));
    }
    let dashes = name.match_indices('-').map(|(at, _)| at);
    Ok(dashes.chain([name.len()]).map(|end| format!("/{}{SLICE}", &name[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PodId {
        PodId::from_random([0xab; 32])
    }

    fn group(parent: &str) -> String {
        Parent::parse(parent).unwrap().group("/cradle", &id())
    }

    #[test]
    fn every_form_of_a_parent_has_its_group() {
        let id = id();
        assert_eq!(group(""), format!("/cradle/{id}"));
        assert_eq!(group("/"), format!("/cradle/{id}"));
        for (parent, path) in [
            ("/kubepods/besteffort/podU", "/kubepods/besteffort/podU"),
            ("/kubepods/besteffort/podU/", "/kubepods/besteffort/podU"),
            ("kubepods/podU", "/kubepods/podU"),
        ] {
            assert_eq!(group(parent), path, "{parent}");
        }
        for (parent, path) in [
            ("kubepods-podU.slice", "/kubepods.slice/kubepods-podU.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("user.slice", "/user.slice"),
            ("/kubepods.slice/kubepods-podU.slice", "/kubepods.slice/kubepods-podU.slice"),
        ] {
            assert_eq!(group(parent), format!("{path}/cradle-{id}.scope"), "{parent}");
        }
    }

    #[test]
    fn what_is_no_slice_is_refused() {
        for bad in ["-.slice", ".slice", "-a.slice", "a-.slice", "a--b.slice", ".slice.slice-.slice"] {
            let failure = Parent::parse(bad).unwrap_err();
            assert_eq!(failure.class(), Class::Invalid, "{bad}");
            assert!(failure.to_string().contains(bad), "{failure}");
        }
    }

    #[test]
    fn only_groups_with_the_pods_id_are_removed_with_it() {
        for (parent, ours) in [("", true), ("a-b.slice", true), ("/kubepods/podU", false)] {
            assert_eq!(is_ours(&group(parent), &id()), ours, "{parent}");
        }
        let within_another = format!("/{}/inner", id());
        assert!(!is_ours(&within_another, &id()));
    }
}
