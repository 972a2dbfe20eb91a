//! Users, groups, profiles and labels.

use cradle_cri_api::v1;
use cradle_cri_api::v1::security_profile::ProfileType;
use cradle_engine::spec::{Capabilities, GroupsPolicy, Profile, SelinuxLabel};

use super::{Field, InvalidField};

/// The largest id: all ones means "no change" to the kernel (setresuid(2)).
const ID_MAX: i64 = u32::MAX as i64 - 1;

/// A user or group id; none if it was not said.
pub fn optional_id(field: Field<'_>, id: Option<v1::Int64Value>) -> Result<Option<i64>, InvalidField> {
    id.map(|id| self::id(field, id.value)).transpose()
}

/// Group ids.
pub fn ids(field: Field<'_>, ids: Vec<i64>) -> Result<Vec<i64>, InvalidField> {
    field.each(ids, id)
}

fn id(field: Field<'_>, id: i64) -> Result<i64, InvalidField> {
    if (0..=ID_MAX).contains(&id) { Ok(id) } else { Err(field.invalid(id, format!("an id is between 0 and {ID_MAX}"))) }
}

pub fn groups_policy(field: Field<'_>, number: i32) -> Result<GroupsPolicy, InvalidField> {
    Ok(match field.enumeration(number)? {
        v1::SupplementalGroupsPolicy::Merge => GroupsPolicy::Merge,
        v1::SupplementalGroupsPolicy::Strict => GroupsPolicy::Strict,
    })
}

/// Whose profile: a file's path for seccomp, a loaded profile's name for AppArmor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Seccomp,
    AppArmor,
}

/// A profile from its field or, if that is absent, from the text that older clients send. Both are fields of `context`.
pub fn profile(
    context: Field<'_>,
    mechanism: Mechanism,
    profile: Option<v1::SecurityProfile>,
    deprecated: String,
) -> Result<Profile, InvalidField> {
    let (name, deprecated_name) = match mechanism {
        Mechanism::Seccomp => ("seccomp", "seccomp_profile_path"),
        Mechanism::AppArmor => ("apparmor", "apparmor_profile"),
    };
    let Some(profile) = profile else {
        return deprecated_profile(context.at(deprecated_name), mechanism, deprecated);
    };
    let field = context.at(name);
    let kind = field.at("profile_type").enumeration(profile.profile_type)?;
    if kind != ProfileType::Localhost && !profile.localhost_ref.is_empty() {
        return Err(field.at("localhost_ref").invalid(profile.localhost_ref, "it needs the profile type Localhost"));
    }
    match kind {
        ProfileType::RuntimeDefault => Ok(Profile::RuntimeDefault),
        ProfileType::Unconfined => Ok(Profile::Unconfined),
        ProfileType::Localhost => localhost(field.at("localhost_ref"), mechanism, &profile.localhost_ref),
    }
}

fn deprecated_profile(field: Field<'_>, mechanism: Mechanism, text: String) -> Result<Profile, InvalidField> {
    match text.as_str() {
        "" => Ok(Profile::Unset),
        "unconfined" => Ok(Profile::Unconfined),
        "runtime/default" | "docker/default" => Ok(Profile::RuntimeDefault),
        _ => match text.strip_prefix("localhost/") {
            Some(name) => localhost(field, mechanism, name),
            None => {
                let why = "it must be \"runtime/default\", \"unconfined\" or \"localhost/\" and a profile";
                Err(field.invalid(text, why))
            }
        },
    }
}

fn localhost(field: Field<'_>, mechanism: Mechanism, name: &str) -> Result<Profile, InvalidField> {
    let name = match mechanism {
        Mechanism::Seccomp => field.absolute_path(name.to_owned())?,
        // Some clients leave the prefix of the old annotation on the name.
        Mechanism::AppArmor => {
            field.one_line(field.nonempty(name.strip_prefix("localhost/").unwrap_or(name).to_owned())?)?
        }
    };
    Ok(Profile::Localhost(name))
}

/// An SELinux label; none if all four parts are empty.
pub fn selinux(field: Field<'_>, label: Option<v1::SeLinuxOption>) -> Result<Option<SelinuxLabel>, InvalidField> {
    let Some(label) = label.filter(|label| *label != v1::SeLinuxOption::default()) else { return Ok(None) };
    let part = |name: &str, text: String| {
        let field = field.at(name);
        if text.contains(':') {
            Err(field.invalid(text, "it has a colon, which separates the parts"))
        } else {
            field.one_line(text)
        }
    };
    Ok(Some(SelinuxLabel {
        user: part("user", label.user)?,
        role: part("role", label.role)?,
        kind: part("type", label.r#type)?,
        level: field.at("level").one_line(label.level)?,
    }))
}

/// Changes to the default set of capabilities, by name; which names exist is the kernel's to say.
pub fn capabilities(field: Field<'_>, capabilities: Option<v1::Capability>) -> Result<Capabilities, InvalidField> {
    let capabilities = capabilities.unwrap_or_default();
    Ok(Capabilities {
        add: field.at("add_capabilities").each(capabilities.add_capabilities, capability)?,
        drop: field.at("drop_capabilities").each(capabilities.drop_capabilities, capability)?,
        add_ambient: field.at("add_ambient_capabilities").each(capabilities.add_ambient_capabilities, capability)?,
    })
}

fn capability(field: Field<'_>, name: String) -> Result<String, InvalidField> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(name)
    } else {
        Err(field.invalid(name, "it is no name of a capability (capabilities(7))"))
    }
}
