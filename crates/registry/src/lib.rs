//! Registries: resolves a reference, authenticates, streams manifests and blobs (OCI distribution-spec).
//!
//! ```text
//! hosts ─┐
//!        ├─ endpoint ── client ─┬─ ask ─┬─ pool ── connect ── tls
//! credentials, docker_config ───┘       └─ tokens
//!                               └─ blob: resumes, falls back to the next host
//! ```
//!
//! It knows nothing of layers or disks: what arrives here is bytes of a checked length. Manifests are verified against
//! their digest here, since they are small; blobs by their reader, who hashes them anyway.

mod ask;
mod blob;
pub mod challenge;
mod client;
mod connect;
mod credentials;
mod docker_config;
mod endpoint;
mod explain;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hosts;
pub mod limits;
mod origin;
mod pool;
mod proxy;
mod retry;
mod tls;
mod tokens;

pub use blob::{BlobStream, FetchError};
pub use client::{ACCEPTED, Client, Manifest, RegistryConfig, ResolveError, Resolved, Source};
pub use connect::ConnectError;
pub use credentials::{BadCredentials, Credentials};
pub use docker_config::DockerConfigError;
pub use endpoint::ConfigurationError;
pub use explain::{ExplainedHost, Explanation};
pub use failure::{AllTried, HostFailure, Said, Tried};
pub use origin::{Authority, BadUrl, Origin, Url};
pub use proxy::{BadProxy, Proxy, ProxySettings};
pub use tls::TrustError;
