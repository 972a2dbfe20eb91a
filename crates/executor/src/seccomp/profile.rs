//! Profiles from files ("Localhost"), in the form of the OCI and in docker's, which adds conditions to rules.

use cradle_domain::{Class, Classified};
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use super::Architecture;

/// What the conditions of docker's rules are about.
#[derive(Debug, Clone, Copy)]
pub struct ProfileContext<'a> {
    /// The container's bounding set.
    pub capabilities: &'a [Capability],
    pub architecture: Architecture,
    /// Major and minor version of the running kernel.
    pub kernel: (u32, u32),
}

/// A file that is no seccomp profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("reading a seccomp profile")]
    Json { source: serde_json::Error },
    #[error("a seccomp profile has both {first} and {second}")]
    Both { first: &'static str, second: &'static str },
    #[error("a rule of a seccomp profile needs the kernel {version:?}: expected major.minor")]
    Kernel { version: String },
}

impl Classified for ProfileError {
    fn class(&self) -> Class {
        Class::Invalid
    }
}

/// Both forms: the OCI's is docker's without conditions. Fields that neither has are passed over (`comment`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Vec<Arch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads a profile; docker's conditions are decided here.
pub fn parse_profile(json: &[u8], context: &ProfileContext<'_>) -> Result<LinuxSeccomp, ProfileError> {
    let profile: Profile = serde_json::from_slice(json).map_err(|source| ProfileError::Json { source })?;
    let architectures = match (profile.architectures.filter(|list| !list.is_empty()), profile.arch_map) {
        (Some(_), Some(map)) if !map.is_empty() => {
            return Err(ProfileError::Both { first: "architectures", second: "archMap" });
        }
        (Some(list), _) => list,
        (None, map) => from_map(map.unwrap_or_default(), context.architecture),
    };
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        if applies(&rule, context)? {
            syscalls.push(plain(rule)?);
        }
    }
    let mut plain = LinuxSeccomp::default();
    plain
        .set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(Some(architectures))
        .set_flags(profile.flags)
        .set_listener_path(profile.listener_path)
        .set_syscalls(Some(syscalls));
    Ok(plain)
}

/// The interfaces that docker's map lists for this machine.
fn from_map(map: Vec<ArchMap>, architecture: Architecture) -> Vec<Arch> {
    let own = match architecture {
        Architecture::X86_64 => Arch::ScmpArchX86_64,
        Architecture::Aarch64 => Arch::ScmpArchAarch64,
    };
    let entry = map.into_iter().find(|entry| entry.architecture == own);
    entry.into_iter().flat_map(|entry| std::iter::once(own).chain(entry.sub_architectures)).collect()
}

fn applies(rule: &Rule, context: &ProfileContext<'_>) -> Result<bool, ProfileError> {
    // The names that Go gives to machines.
    let machine = match context.architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
    };
    let has = |name: &String| context.capabilities.iter().any(|granted| is_named(*granted, name));
    let is_ours = |name: &String| name == machine;
    let is_reached = |version: &Option<String>| match version.as_deref().filter(|version| !version.is_empty()) {
        Some(version) => Ok(Some(context.kernel >= parse_version(version)?)),
        None => Ok(None),
    };
    if let Some(excludes) = &rule.excludes
        && (excludes.arches.iter().any(is_ours)
            || excludes.caps.iter().any(has)
            || is_reached(&excludes.min_kernel)? == Some(true))
    {
        return Ok(false);
    }
    Ok(match &rule.includes {
        Some(includes) => {
            (includes.arches.is_empty() || includes.arches.iter().any(is_ours))
                && includes.caps.iter().all(has)
                && is_reached(&includes.min_kernel)? != Some(false)
        }
        None => true,
    })
}

fn is_named(capability: Capability, name: &str) -> bool {
    // The crate prints `SYS_ADMIN` where profiles say `CAP_SYS_ADMIN`.
    name.strip_prefix("CAP_").unwrap_or(name) == capability.to_string()
}

fn parse_version(version: &str) -> Result<(u32, u32), ProfileError> {
    let numbers = version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| ProfileError::Kernel { version: version.chars().take(32).collect() })
}

fn plain(rule: Rule) -> Result<LinuxSyscall, ProfileError> {
    let names = match (rule.name, rule.names) {
        (Some(_), Some(names)) if !names.is_empty() => {
            return Err(ProfileError::Both { first: "name", second: "names" });
        }
        (Some(name), _) => vec![name],
        (None, names) => names.unwrap_or_default(),
    };
    let mut plain = LinuxSyscall::default();
    plain.set_names(names).set_action(rule.action).set_errno_ret(rule.errno_ret).set_args(rule.args);
    Ok(plain)
}
