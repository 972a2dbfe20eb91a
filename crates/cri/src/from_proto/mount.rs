//! Mounts and devices of containers.

use cradle_cri_api::v1;
use cradle_engine::spec::{Device, Mount, MountSource, Propagation};

use super::image::image_request;
use super::namespace::id_mappings;
use super::{Field, InvalidField};

/// One mount of a container.
pub fn mount(field: Field<'_>, mount: v1::Mount) -> Result<Mount, InvalidField> {
    let propagation = match field.at("propagation").enumeration(mount.propagation)? {
        v1::MountPropagation::PropagationPrivate => Propagation::Private,
        v1::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        v1::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    };
    let is_image = mount.image.is_some();
    let source = source(field, mount.image, mount.host_path, mount.image_sub_path)?;
    // Images are shared by all who use them: a mount of one is read-only, whatever the request says.
    let readonly = mount.readonly || is_image;
    if mount.recursive_read_only {
        if !readonly {
            return Err(field.at("recursive_read_only").invalid(true, "it demands that readonly is true as well"));
        }
        if propagation != Propagation::Private {
            return Err(field.at("recursive_read_only").invalid(true, "it demands private propagation"));
        }
    }
    let uid_mappings = id_mappings(field.at("uidMappings"), &mount.uid_mappings)?;
    let gid_mappings = id_mappings(field.at("gidMappings"), &mount.gid_mappings)?;
    if uid_mappings.is_empty() != gid_mappings.is_empty() {
        let why = "users and groups of a mount are mapped both or not at all";
        return Err(field.at("gidMappings").invalid(&gid_mappings, why));
    }
    Ok(Mount {
        container_path: field.at("container_path").absolute_path(mount.container_path)?,
        source,
        readonly,
        recursive_readonly: mount.recursive_read_only,
        selinux_relabel: mount.selinux_relabel,
        propagation,
        uid_mappings,
        gid_mappings,
    })
}

fn source(
    field: Field<'_>,
    image: Option<v1::ImageSpec>,
    host_path: String,
    sub_path: String,
) -> Result<MountSource, InvalidField> {
    match image {
        Some(_) if !host_path.is_empty() => {
            Err(field.at("host_path").invalid(host_path, "a mount has a host path or an image, not both"))
        }
        Some(image) => Ok(MountSource::Image {
            image: image_request(field.at("image"), image)?,
            sub_path: field.at("image_sub_path").path_below(sub_path)?,
        }),
        None if !sub_path.is_empty() => {
            Err(field.at("image_sub_path").invalid(sub_path, "it needs an image whose path it is"))
        }
        None => Ok(MountSource::Host(field.at("host_path").absolute_path(host_path)?)),
    }
}

/// One device of a container.
pub fn device(field: Field<'_>, device: v1::Device) -> Result<Device, InvalidField> {
    let host_path = field.at("host_path").absolute_path(device.host_path)?;
    let container_path = match device.container_path.as_str() {
        "" => host_path.clone(),
        _ => field.at("container_path").absolute_path(device.container_path)?,
    };
    let permissions = device.permissions;
    let known = permissions.chars().all(|letter| matches!(letter, 'r' | 'w' | 'm'));
    let twice = permissions.char_indices().any(|(at, letter)| permissions[at + 1..].contains(letter));
    if permissions.is_empty() || !known || twice {
        let why = "it must be one or more of the letters r, w and m";
        return Err(field.at("permissions").invalid(permissions, why));
    }
    Ok(Device { container_path, host_path, permissions })
}
