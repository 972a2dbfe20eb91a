//! The CRI's messages as domain types. Everything that can be said about a request without looking at the machine is
//! checked here, so that what passes is well formed for the rest of the program.

mod container;
mod field;
mod filter;
mod image;
mod mount;
mod namespace;
mod pod;
mod resources;
mod security;
mod signal;
mod streaming;
mod time;

pub use container::{command, container};
pub use field::{Field, InvalidField, id};
pub use filter::{ContainerFilter, PodFilter};
pub use image::{image_name, pull, wish};
pub use pod::pod;
pub use resources::resources;
pub use signal::signal;
pub use streaming::{ports, wanted};
pub use time::{execution_limit, grace_period};

#[cfg(test)]
mod tests;
