//! Decides what happens to pods and containers: one task a pod admits requests, records intentions, plans and has shims
//! act; recovery compares records with what is there. The ports are the traits it needs of the world.
//!
//! Nothing here knows the CRI's messages, registries, layers or netlink.

pub mod ports;
pub mod spec;
pub mod view;
