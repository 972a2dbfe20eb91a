//! Namespaces: whose, and the mappings of user namespaces.

use cradle_cri_api::v1;
use cradle_domain::ContainerId;
use cradle_engine::spec::{IdMapping, NamespaceMode, PodNamespaceModes, UserNamespace};

use super::{Field, InvalidField};

const POD_OR_NODE: &str = "it must be POD or NODE";

/// The pod's namespaces.
pub fn pod_namespaces(
    field: Field<'_>,
    options: Option<v1::NamespaceOption>,
) -> Result<PodNamespaceModes, InvalidField> {
    let options = options.unwrap_or_default();
    let pid = match mode(field.at("pid"), options.pid)? {
        v1::NamespaceMode::Pod => NamespaceMode::Pod,
        v1::NamespaceMode::Container => NamespaceMode::Container,
        v1::NamespaceMode::Node => NamespaceMode::Node,
        v1::NamespaceMode::Target => {
            return Err(field.at("pid").invalid("TARGET", "only a container can have the namespace of another one"));
        }
    };
    Ok(PodNamespaceModes {
        network: pod_or_node(field.at("network"), options.network)?,
        pid,
        ipc: pod_or_node(field.at("ipc"), options.ipc)?,
        user: user_namespace(field.at("userns_options"), options.userns_options)?,
    })
}

/// A container's PID namespace. Network, IPC and user namespace are its pod's; here they are only checked.
pub fn container_pid(field: Field<'_>, options: Option<v1::NamespaceOption>) -> Result<NamespaceMode, InvalidField> {
    let options = options.unwrap_or_default();
    pod_or_node(field.at("network"), options.network)?;
    pod_or_node(field.at("ipc"), options.ipc)?;
    user_namespace(field.at("userns_options"), options.userns_options)?;
    match mode(field.at("pid"), options.pid)? {
        v1::NamespaceMode::Pod => Ok(NamespaceMode::Pod),
        v1::NamespaceMode::Container => Ok(NamespaceMode::Container),
        v1::NamespaceMode::Node => Ok(NamespaceMode::Node),
        v1::NamespaceMode::Target => match ContainerId::parse(&options.target_id) {
            Ok(id) => Ok(NamespaceMode::Target(id)),
            Err(error) => Err(field.at("target_id").invalid(&options.target_id, error.to_string())),
        },
    }
}

fn mode(field: Field<'_>, number: i32) -> Result<v1::NamespaceMode, InvalidField> {
    field.enumeration(number)
}

fn pod_or_node(field: Field<'_>, number: i32) -> Result<NamespaceMode, InvalidField> {
    match mode(field, number)? {
        v1::NamespaceMode::Pod => Ok(NamespaceMode::Pod),
        v1::NamespaceMode::Node => Ok(NamespaceMode::Node),
        other @ (v1::NamespaceMode::Container | v1::NamespaceMode::Target) => {
            Err(field.invalid(other.as_str_name(), POD_OR_NODE))
        }
    }
}

/// A user namespace of the pod's own; none: the node's. Kubelets that know none of them send nothing.
fn user_namespace(field: Field<'_>, options: Option<v1::UserNamespace>) -> Result<Option<UserNamespace>, InvalidField> {
    let Some(options) = options else { return Ok(None) };
    match mode(field.at("mode"), options.mode)? {
        v1::NamespaceMode::Node if options.uids.is_empty() && options.gids.is_empty() => Ok(None),
        v1::NamespaceMode::Node => {
            Err(field.at("mode").invalid("NODE", "there is nothing to map in the node's user namespace"))
        }
        v1::NamespaceMode::Pod => Ok(Some(UserNamespace {
            uids: vec![single_mapping(field.at("uids"), &options.uids)?],
            gids: vec![single_mapping(field.at("gids"), &options.gids)?],
        })),
        other @ (v1::NamespaceMode::Container | v1::NamespaceMode::Target) => {
            Err(field.at("mode").invalid(other.as_str_name(), POD_OR_NODE))
        }
    }
}

/// The one mapping of a pod; it must contain id 0, as which images' files are owned.
fn single_mapping(field: Field<'_>, mappings: &[v1::IdMapping]) -> Result<IdMapping, InvalidField> {
    let [mapping] = mappings else {
        return Err(field.invalid(mappings.len(), "a pod has exactly one mapping"));
    };
    let mapping = id_mapping(field.item(0), mapping)?;
    if mapping.container_id == 0 {
        Ok(mapping)
    } else {
        Err(field.item(0).at("container_id").invalid(mapping.container_id, "the id 0 must be mapped"))
    }
}

/// Mappings of a mount's owners.
pub fn id_mappings(field: Field<'_>, mappings: &[v1::IdMapping]) -> Result<Vec<IdMapping>, InvalidField> {
    mappings.iter().enumerate().map(|(index, mapping)| id_mapping(field.item(index), mapping)).collect()
}

fn id_mapping(field: Field<'_>, mapping: &v1::IdMapping) -> Result<IdMapping, InvalidField> {
    let v1::IdMapping { host_id, container_id, length } = *mapping;
    if length == 0 {
        return Err(field.at("length").invalid(length, "it must be at least 1"));
    }
    if host_id.checked_add(length).is_none() || container_id.checked_add(length).is_none() {
        return Err(field.at("length").invalid(length, "the range goes beyond the largest id"));
    }
    Ok(IdMapping { host_id, container_id, length })
}
