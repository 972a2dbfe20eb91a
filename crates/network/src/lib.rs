//! Pod networks: implementations of the engine's port [`PodNetwork`](cradle_engine::ports::PodNetwork).
//!
//! [`bridge`] is built in and needs nothing but the kernel. What a pod finds in its files (`/etc/hosts`,
//! `/etc/resolv.conf`) is the engine's, the loopback device the shim's.

pub mod bridge;
#[cfg(test)]
mod crash_point;
mod netlink;
