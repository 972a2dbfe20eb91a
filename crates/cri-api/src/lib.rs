//! What is spoken on the daemon's socket: the Container Runtime Interface v1 of Kubernetes 1.36, and a small service of
//! our own beside it. Messages, clients and servers are generated from `proto/` by `cargo xtask codegen` and committed.
//!
//! Their types stop at `crates/cri` on the daemon's side and at `crates/cradle` on the client's.

use std::fmt;

#[allow(clippy::all, missing_docs)]
pub mod v1 {
    include!("runtime.v1.rs");
}

/// Our own service: progress of pulls, archives, what images are made of, explanations.
#[allow(clippy::all, missing_docs)]
pub mod cradle_v1 {
    include!("cradle.v1.rs");
}

/// Credentials must not reach a log: only the user's name and the registry are printed.
impl fmt::Debug for v1::AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::v1::{AuthConfig, PullImageRequest};

    #[test]
    fn credentials_are_not_printed() {
        let secret = || "s3cret".to_owned();
        let auth = AuthConfig {
            username: "kim".to_owned(),
            password: secret(),
            auth: secret(),
            server_address: "registry.example".to_owned(),
            identity_token: secret(),
            registry_token: secret(),
        };
        let printed = format!("{:?}", PullImageRequest { auth: Some(auth), ..Default::default() });
        assert!(printed.contains("kim") && !printed.contains("s3cret"), "{printed}");
    }
}
