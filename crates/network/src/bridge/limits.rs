//! The bounds of the built-in pod network.

use std::time::Duration;

/// Attachments and detachments under way at once. The kernel creates one link at a time (the RTNL lock), so more threads
/// would only queue there.
pub const CONCURRENT_ACTS: usize = 4;

/// Of what acts leave behind them, how much is done at once. It waits for grace periods of the kernel, or walks through all
/// of its flows.
pub const CONCURRENT_DEFERRALS: usize = 4;

/// How long a link that was cut off stays before it is removed. A pod's namespace mostly ends soon after, and the kernel
/// removes the links of many namespaces at less cost than we can one by one.
pub const LINK_REMOVAL_DELAY: Duration = Duration::from_millis(300);

/// How long the bridge and the table stay after the last pod: one pod started after another then finds them there.
pub const IDLE_BEFORE_REMOVAL: Duration = Duration::from_secs(2);

/// How often, and how long apart, to look whether the kernel passes packets of a new pod. Only kernels before 6.8 need a
/// second look.
pub const CARRIER_LOOKS: u32 = 50;
pub const CARRIER_LOOK_INTERVAL: Duration = Duration::from_micros(400);

/// How often a listing is begun anew because what it lists changed meanwhile.
pub const LISTING_ATTEMPTS: u32 = 5;

/// Subnets of one bridge.
pub const SUBNETS_MAX: usize = 16;

/// Host ports of one pod.
pub const HOST_PORTS_MAX: usize = 256;

/// Elements in one netlink message to nf_tables, whose attributes can be 64 KiB long.
pub const ELEMENTS_PER_MESSAGE: usize = 512;

/// Requests sent at once where there can be many: their acknowledgements must fit into the socket's receive buffer.
pub const REQUESTS_PER_SEND: usize = 64;

/// The content of a lease file, beyond which it is damaged.
pub const LEASE_BYTES_MAX: u64 = 64 << 10;
