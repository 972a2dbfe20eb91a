//! Domain types as the CRI's messages.

mod container;
mod image;
mod info;
mod pod;
mod resources;
mod runtime;
mod signal;
mod usage;

pub use container::{container, container_state, container_status};
pub use image::{filesystem, image};
pub use info::{container_info, image_info, pod_info, status_info};
pub use pod::{pod, pod_state, pod_status};
pub use runtime::{runtime_features, runtime_handlers, runtime_status};
pub use usage::{container_stats, pod_stats};

#[cfg(test)]
mod tests;
