//! The runtime handlers (Kubernetes `RuntimeClass`) that requests may name.

/// Our own executor, by name and, as the empty name, as the default.
pub const HANDLERS: [&str; 2] = ["", "cradle"];

/// Is `name` a handler?
pub fn is_known(name: &str) -> bool {
    HANDLERS.contains(&name)
}
