//! What the kubelet asked for, free of the CRI's messages: the specifications of pods and containers. They are recorded
//! on disk as they stand here, so their serialised form is part of the records' versions.

mod container;
mod pod;

pub use container::{
    Capabilities, ContainerSecurity, ContainerSpec, Device, HugepageLimit, ImageRequest, Mount, MountSource,
    Propagation, Resources,
};
pub use pod::{
    Dns, GroupsPolicy, IdMapping, NamespaceMode, PodNamespaceModes, PodSpec, PortMapping, Profile, Protocol,
    SelinuxLabel, UserNamespace,
};
