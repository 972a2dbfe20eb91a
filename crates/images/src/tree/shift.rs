//! What a copy's files say of users and groups, moved into a user namespace: inside, they look as in the image, as if the
//! kernel had mapped them (mount_setattr(2), MOUNT_ATTR_IDMAP).
//!
//! Ids that stand in attributes move along: the root whose capabilities a program has (capabilities(7), version 3), and
//! whom an access control list names (acl(5)).
//!
//! An id that is not mapped becomes the one by which the kernel shows such ids, which is nobody's inside. A program of
//! such an owner runs without that owner's rights and without capabilities.

use cradle_engine::spec::UserNamespace;

use super::metadata::Metadata;
use crate::tar::Attribute;

/// The kernel's overflow user and group (proc(5), `/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;

const SET_ID_BITS: u32 = 0o6000;

/// Tags of those entries of an access control list that name somebody (`linux/posix_acl.h`).
const ACL_USER: u8 = 0x02;
const ACL_GROUP: u8 = 0x08;

/// Who on the node owns what these own in the image.
pub fn owner(user: &UserNamespace, uid: u32, gid: u32) -> (u32, u32) {
    (user.host_uid(uid).unwrap_or(NOBODY), user.host_gid(gid).unwrap_or(NOBODY))
}

impl Metadata {
    /// The same for a file that is seen in a user namespace.
    pub fn shifted(self, user: &UserNamespace) -> Self {
        let is_mapped = user.host_uid(self.uid).is_some() && user.host_gid(self.gid).is_some();
        let (uid, gid) = owner(user, self.uid, self.gid);
        let mode = if is_mapped { self.mode } else { self.mode & !SET_ID_BITS };
        let shift = |Attribute { name, value }| {
            let value = match &*name {
                b"security.capability" => capability(value, user).filter(|_| is_mapped)?,
                b"system.posix_acl_access" | b"system.posix_acl_default" => access_list(value, user),
                _ => value,
            };
            Some(Attribute { name, value })
        };
        let attributes = self.attributes.into_iter().filter_map(shift).collect();
        Metadata { mode, uid, gid, attributes, ..self }
    }
}

/// In version 3 (`linux/capability.h`): the version in the fourth byte, two pairs of sets, and the root whose they are. Earlier
/// versions, of which the first has one pair of sets, are of root. None: they are nobody's inside, or no capabilities.
fn capability(mut value: Vec<u8>, user: &UserNamespace) -> Option<Vec<u8>> {
    let root = match (value.get(3)?, value.len()) {
        (1, 12) | (2, 20) => 0,
        (3, 24) => u32::from_le_bytes(*value.last_chunk()?),
        _ => return None,
    };
    *value.get_mut(3)? = 3;
    value.resize(20, 0);
    value.extend(user.host_uid(root)?.to_le_bytes());
    Some(value)
}

/// A version of four bytes, and entries of a tag, permissions and an id (`linux/posix_acl_xattr.h`).
fn access_list(mut value: Vec<u8>, user: &UserNamespace) -> Vec<u8> {
    let (entries, _) = value.get_mut(4..).unwrap_or_default().as_chunks_mut::<8>();
    for [tag, _, _, _, id @ ..] in entries {
        let inside = u32::from_le_bytes(*id);
        let outside = match *tag {
            ACL_USER => user.host_uid(inside),
            ACL_GROUP => user.host_gid(inside),
            _ => continue,
        };
        *id = outside.unwrap_or(NOBODY).to_le_bytes();
    }
    value
}

#[cfg(test)]
mod tests {
    use cradle_engine::spec::IdMapping;

    use super::*;

    /// Users 0 to 9 are those from 3000 on, groups those from 4000 on.
    fn user() -> UserNamespace {
        let range = |host_id| vec![IdMapping { host_id, container_id: 0, length: 10 }];
        UserNamespace { uids: range(3000), gids: range(4000) }
    }

    fn metadata(mode: u32, uid: u32, gid: u32, attributes: &[(&str, &[u8])]) -> Metadata {
        let attribute = |(name, value): &(&str, &[u8])| Attribute { name: (*name).into(), value: value.to_vec() };
        let attributes = attributes.iter().map(attribute).collect();
        Metadata { mode, uid, gid, attributes, ..Metadata::of_implied_folder() }
    }

    #[test]
    fn owners_move_and_programs_of_owners_who_are_not_mapped_lose_their_rights() {
        for ((mode, uid, gid), expected) in [
            ((0o4755, 0, 0), (0o4755, 3000, 4000)),
            ((0o2711, 9, 3), (0o2711, 3009, 4003)),
            ((0o4755, 10, 0), (0o755, NOBODY, 4000)),
            ((0o7777, 0, 10), (0o1777, 3000, NOBODY)),
            // Not the user of the node who has that number.
            ((0o644, 3000, u32::MAX), (0o644, NOBODY, NOBODY)),
        ] {
            let Metadata { mode, uid, gid, .. } = metadata(mode, uid, gid, &[]).shifted(&user());
            assert_eq!((mode, uid, gid), expected);
        }
    }

    #[test]
    fn capabilities_become_those_of_the_namespaces_root() {
        let sets = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let of = |version: u8, sets: &[u8], root: &[u8]| [&[1, 0, 0, version], sets, root].concat();
        let shift = |value: Vec<u8>| capability(value, &user());
        let third = |sets: &[u8], root: u32| Some(of(3, sets, &root.to_le_bytes()));
        assert_eq!(shift(of(2, &sets, &[])), third(&sets, 3000));
        assert_eq!(shift(of(3, &sets, &[7, 0, 0, 0])), third(&sets, 3007));
        assert_eq!(shift(of(1, &sets[..8], &[])), third(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0], 3000));
        // Of a root that nobody is, and what the kernel would not take either.
        for value in [of(3, &sets, &[10, 0, 0, 0]), of(2, &sets[..8], &[]), of(4, &sets, &[]), vec![1, 0], Vec::new()] {
            assert_eq!(shift(value), None);
        }
        let kept = |uid| metadata(0o755, uid, 0, &[("security.capability", &of(2, &sets, &[]))]).shifted(&user());
        assert_eq!((kept(9).attributes.len(), kept(10).attributes.len()), (1, 0));
    }

    #[test]
    fn an_access_control_list_names_whom_it_named_and_other_attributes_stay() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[6, 0], &id.to_le_bytes()].concat();
        let list =
            |of: [(u16, u32); 6]| [2_u32.to_le_bytes().to_vec(), of.map(|(tag, id)| entry(tag, id)).concat()].concat();
        let before = list([(1, u32::MAX), (2, 5), (2, 10), (4, u32::MAX), (8, 6), (0x20, u32::MAX)]);
        let after = list([(1, u32::MAX), (2, 3005), (2, NOBODY), (4, u32::MAX), (8, 4006), (0x20, u32::MAX)]);
        let names = ["system.posix_acl_access", "system.posix_acl_default", "user.posix_acl_access"];
        let shifted = metadata(0o644, 0, 0, &names.map(|name| (name, &*before))).shifted(&user());
        let values: Vec<&[u8]> = shifted.attributes.iter().map(|attribute| &*attribute.value).collect();
        assert_eq!(values, [&*after, &after, &before]);
        for cut in [&[][..], &[2, 0, 0], &[2, 0, 0, 0, 2, 0]] {
            assert_eq!(access_list(cut.to_vec(), &user()), cut);
        }
    }
}
