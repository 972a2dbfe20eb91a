//! Which user a container runs as: from the request, the image's configuration, and the image's `/etc/passwd` and
//! `/etc/group`, which are hostile input.

use cradle_domain::{Class, Failure};

use crate::engine::Core;
use crate::limits;
use crate::spec::{ContainerSecurity, ContainerSpec, GroupsPolicy};
use crate::view::{ContainerUser, ImageView};

/// Resolves the user of a container.
///
/// # Errors
/// A user or group by name is not in the image's files, or a number is out of range.
pub(crate) async fn resolve(core: &Core, spec: &ContainerSpec, image: &ImageView) -> Result<ContainerUser, Failure> {
    let wish = Wish::of(&spec.security, &image.config.user)?;
    let read = |path| core.ports.images.read_file(&image.id, path, limits::ACCOUNT_FILE_MAX_BYTES);
    let (passwd, group) = tokio::join!(read("/etc/passwd"), read("/etc/group"));
    let accounts = Accounts {
        passwd: String::from_utf8_lossy(&passwd?.unwrap_or_default()).into_owned(),
        group: String::from_utf8_lossy(&group?.unwrap_or_default()).into_owned(),
    };
    accounts.user(&wish, &spec.security)
}

/// Who is wanted, by number or name.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    user: String,
    group: Option<String>,
}

impl Wish {
    fn of(security: &ContainerSecurity, image: &str) -> Result<Self, Failure> {
        let asked = match (security.run_as_user, security.run_as_username.as_str()) {
            (Some(number), _) => Some(number.to_string()),
            (None, "") => None,
            (None, name) => Some(name.to_owned()),
        };
        let group = security.run_as_group.map(|number| number.to_string());
        match asked {
            Some(user) => Ok(Wish { user, group }),
            None if group.is_some() => {
                Err(Failure::new(Class::Invalid, "run_as_group is given without run_as_user or run_as_username"))
            }
            None => {
                let (user, group) = image.split_once(':').map_or((image, None), |(user, group)| (user, Some(group)));
                let user = if user.is_empty() { "0" } else { user };
                Ok(Wish { user: user.to_owned(), group: group.filter(|group| !group.is_empty()).map(str::to_owned) })
            }
        }
    }
}

/// The image's account files.
struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    fn user(&self, wish: &Wish, security: &ContainerSecurity) -> Result<ContainerUser, Failure> {
        let entry = self.passwd_entry(&wish.user);
        let uid = match &entry {
            Some(entry) => entry.uid,
            None => number(&wish.user).ok_or_else(|| unknown("user", &wish.user, "/etc/passwd"))?,
        };
        let gid = match &wish.group {
            Some(group) => self.gid(group)?,
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        let home = entry.as_ref().map(|entry| entry.home.clone()).filter(|home| home.starts_with('/'));
        let home = home.unwrap_or_else(|| "/".to_owned());
        let mut additional: Vec<u32> = match security.groups_policy {
            GroupsPolicy::Merge => entry.map(|entry| self.groups_of(&entry.name)).unwrap_or_default(),
            GroupsPolicy::Strict => Vec::new(),
        };
        for group in &security.supplemental_groups {
            let group = u32::try_from(*group);
            additional.push(group.map_err(|_| Failure::new(Class::Invalid, "a supplemental group is out of range"))?);
        }
        // The primary group counts among them, as the kernel's other runtimes have it.
        additional.push(gid);
        additional.sort_unstable();
        additional.dedup();
        Ok(ContainerUser { uid, gid, additional_gids: additional, home })
    }

    /// The entry with this name or, for a number, this id.
    fn passwd_entry(&self, user: &str) -> Option<PasswdEntry> {
        let entries = || self.passwd.lines().filter_map(PasswdEntry::parse);
        let by_number = number(user).and_then(|uid| entries().find(|entry| entry.uid == uid));
        entries().find(|entry| entry.name == user).or(by_number)
    }

    fn gid(&self, group: &str) -> Result<u32, Failure> {
        let mut named = self.groups().filter(|(name, ..)| *name == group).map(|(_, gid, _)| gid);
        named.next().or_else(|| number(group)).ok_or_else(|| unknown("group", group, "/etc/group"))
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, gid.parse().ok()?, fields.next().unwrap_or("")))
        })
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        let member = |members: &str| members.split(',').any(|member| member == user);
        self.groups().filter(|(.., members)| member(members)).map(|(_, gid, _)| gid).collect()
    }
}

struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl PasswdEntry {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let (name, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default().to_owned();
        Some(PasswdEntry { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

/// A numeric id; the largest one means "no change" to the kernel and is none.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id < u32::MAX)
}

fn unknown(what: &str, name: &str, file: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::new(Class::Invalid, format!("the {what} {name:?} is not in the image's {file}"))
        .with_hint("give a number, or a name that the image knows")
}

#[cfg(test)]
pub(crate) mod tests;
