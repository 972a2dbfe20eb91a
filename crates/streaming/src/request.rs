//! What a URL stands for.

/// Which streams of a process are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// A terminal: the client tells its size, and there is no stderr.
    pub terminal: bool,
}

/// What the client of a URL gets. Containers and pods are named by their whole ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Exec {
        container: String,
        command: Vec<String>,
        wanted: Wanted,
    },
    Attach {
        container: String,
        wanted: Wanted,
    },
    /// `ports`: for clients whose protocol has one pair of channels for each.
    PortForward {
        pod: String,
        ports: Vec<u16>,
    },
}

impl Request {
    /// The first part of the URL's path.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Request::Exec { .. } => "exec",
            Request::Attach { .. } => "attach",
            Request::PortForward { .. } => "portforward",
        }
    }

    /// The container or pod.
    pub(crate) fn object(&self) -> &str {
        match self {
            Request::Exec { container, .. } | Request::Attach { container, .. } => container,
            Request::PortForward { pod, .. } => pod,
        }
    }
}
