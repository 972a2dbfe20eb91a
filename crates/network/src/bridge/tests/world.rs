//! A host, pods and a machine elsewhere, each in a network namespace of the test's own. Namespaces are left and entered by
//! threads made for it; nothing of them outlives the test.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use cradle_domain::{Failure, PodId};
use cradle_engine::ports::{Attachment, PodNetwork};
use cradle_engine::spec::{PortMapping, Protocol};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::super::config::BridgeConfig;
use super::super::limits::CONCURRENT_DEFERRALS;
use super::super::nftables::Table;
use super::super::subnet::Subnet;
use super::super::{Bridge, Network};
use crate::netlink::decode::{find, text};
use crate::netlink::uapi::*;
use crate::netlink::{Family, NetlinkError, Requests, Socket};

/// `linux/rtnetlink.h`; only tests remove addresses.
const RTM_DELADDR: u16 = 21;

/// Far beyond what any of these steps takes; a failure waits for it, a success never.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a test waits for what is not to come.
const SHORT: Duration = Duration::from_millis(300);

pub const BRIDGE: &str = "cradle0";
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
pub const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Whether the test can run. A skip is printed, and a failure where `TEST_REQUIRE` has `root`.
pub fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let required = std::env::var("TEST_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "root"));
    assert!(!required, "this test needs root");
    eprintln!("SKIP: namespaces need root");
    false
}

pub struct Namespace(OwnedFd);

impl Namespace {
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            #[expect(deprecated, reason = "only the thread's network changes; its descriptors stay the process's")]
            rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap().into()
        });
        let namespace = Namespace(made.join().unwrap());
        namespace.run(|| {
            let mut requests = Requests::new();
            let up = link_struct(1, IFF_UP, IFF_UP);
            requests.act("set the loopback up", RTM_NEWLINK, 0, &up, |_| ());
            route().execute(&requests).unwrap();
        });
        namespace
    }

    /// Runs `act` inside, on a thread of its own.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Answers each connection with the address that it comes from.
    pub fn serve_tcp(&self, address: Ipv4Addr, port: u16) {
        let listener = self.run(|| TcpListener::bind((address, port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_string();
                // The peer may have gone away.
                let _ = stream.write_all(peer.as_bytes());
            }
        });
    }

    /// Answers each datagram with the address that it comes from.
    pub fn serve_udp(&self, port: u16) {
        let socket = self.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        std::thread::spawn(move || {
            while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
            }
        });
    }

    /// Where the server at that address sees us come from.
    pub fn call(&self, address: Ipv4Addr, port: u16) -> io::Result<IpAddr> {
        self.call_within(address, port, PATIENCE)
    }

    pub fn cannot_call(&self, address: Ipv4Addr, port: u16) -> bool {
        self.call_within(address, port, SHORT).is_err()
    }

    fn call_within(&self, address: Ipv4Addr, port: u16, patience: Duration) -> io::Result<IpAddr> {
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience)?;
            stream.set_read_timeout(Some(patience))?;
            let mut seen = String::new();
            stream.read_to_string(&mut seen)?;
            seen.parse().map_err(io::Error::other)
        })
    }

    /// A UDP client with a port of its own.
    pub fn udp_client(&self) -> UdpSocket {
        self.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap())
    }

    pub fn set_sysctl(&self, name: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    pub fn links(&self) -> Vec<String> {
        self.run(|| {
            loop {
                let mut requests = Requests::new();
                requests.dump("list links", RTM_GETLINK, &link_struct(0, 0, 0), |_| ());
                let mut names = Vec::new();
                let name = |payload: &[u8]| find(&payload[16..], IFLA_IFNAME).map(text);
                match route().query(&requests, |payload| names.extend(name(payload))) {
                    Err(NetlinkError::Interrupted { .. }) => continue,
                    result => result.unwrap(),
                }
                names.sort_unstable();
                return names;
            }
        })
    }

    pub fn has_link(&self, name: &str) -> bool {
        self.links().iter().any(|link| link == name)
    }

    /// Makes a bridge, as somebody else would.
    pub fn add_bridge(&self, name: &str, address: Option<(Ipv4Addr, u8)>) {
        self.run(|| {
            let mut requests = Requests::new();
            requests.act("create a bridge", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_struct(0, 0, 0), |link| {
                link.text(IFLA_IFNAME, name);
                link.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
            });
            route().execute(&requests).unwrap();
        });
        if let Some((address, prefix)) = address {
            self.add_address(name, address, prefix);
        }
    }

    fn add_address(&self, link: &str, address: Ipv4Addr, prefix: u8) {
        self.run(|| {
            let mut socket = route();
            let index = super::super::link::by_name(&mut socket, link).unwrap().unwrap().index;
            let mut requests = Requests::new();
            let [a, b, c, d] = index.to_ne_bytes();
            let fixed = [2, prefix, 0, 0, a, b, c, d];
            requests.act("add an address", RTM_NEWADDR, NLM_F_CREATE, &fixed, |attributes| {
                attributes.bytes(IFA_LOCAL, &address.octets());
            });
            requests.act("set a link up", RTM_NEWLINK, 0, &link_struct(index, IFF_UP, IFF_UP), |_| ());
            socket.execute(&requests).unwrap();
        });
    }

    pub fn remove_loopback_address(&self) {
        self.run(|| {
            let mut requests = Requests::new();
            let [a, b, c, d] = 1u32.to_ne_bytes();
            requests.act("remove an address", RTM_DELADDR, 0, &[2, 8, 0, 0, a, b, c, d], |address| {
                address.bytes(IFA_LOCAL, &LOOPBACK.octets());
            });
            route().execute(&requests).unwrap();
        });
    }

    pub fn remove_link(&self, name: &str) {
        self.run(|| {
            let mut requests = Requests::new();
            requests.act("remove a link", RTM_DELLINK, 0, &link_struct(0, 0, 0), |link| link.text(IFLA_IFNAME, name));
            route().execute(&requests).unwrap();
        });
    }

    /// Adds a route through the gateway.
    pub fn add_route(&self, to: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) {
        self.run(|| {
            let mut requests = Requests::new();
            let fixed = [2, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
            requests.act("add a route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &fixed, |route| {
                route.bytes(RTA_DST, &to.octets());
                route.bytes(RTA_GATEWAY, &gateway.octets());
            });
            route().execute(&requests).unwrap();
        });
    }
}

fn route() -> Socket {
    Socket::open(Family::Route).unwrap()
}

pub fn link_struct(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].map(u32::to_ne_bytes).concat()
}

pub struct Pod {
    pub id: PodId,
    pub namespace: Namespace,
}

impl Pod {
    pub fn new() -> Self {
        let mut random = [0; 32];
        File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        Pod { id: PodId::from_random(random), namespace: Namespace::new() }
    }

    pub fn attachment(&self, ports: &[PortMapping]) -> Attachment {
        Attachment {
            pod: self.id.clone(),
            name: "web".into(),
            namespace: "default".into(),
            uid: "uid".into(),
            netlink: self.namespace.run(|| {
                let kind = rustix::net::SocketType::RAW;
                rustix::net::socket(rustix::net::AddressFamily::NETLINK, kind, None).unwrap()
            }),
            namespace_fd: self.namespace.0.try_clone().unwrap(),
            namespace_path: PathBuf::from("/nowhere"),
            port_mappings: ports.to_vec(),
        }
    }
}

pub fn tcp(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol: Protocol::Tcp, container_port, host_port, host_ip: None }
}

pub fn at(host_ip: Ipv4Addr, mapping: PortMapping) -> PortMapping {
    PortMapping { host_ip: Some(host_ip.into()), ..mapping }
}

/// A host with a link to a machine elsewhere, which knows no way to pods.
pub struct World {
    pub host: Namespace,
    pub elsewhere: Namespace,
    pub dir: tempfile::TempDir,
    pub subnets: Vec<Subnet>,
    pub masquerade: bool,
    /// The host's links before anything of ours; some kernels make tunnels in each new namespace.
    initial_links: Vec<String>,
    boot: AtomicU8,
}

impl World {
    pub fn new() -> Self {
        let (host, elsewhere) = (Namespace::new(), Namespace::new());
        host.run(|| {
            let mut requests = Requests::new();
            requests.act("connect elsewhere", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_struct(0, 0, 0), |link| {
                link.text(IFLA_IFNAME, "uplink0");
                link.u32(IFLA_MTU, 1400);
                link.nest(IFLA_LINKINFO, |info| {
                    info.text(IFLA_INFO_KIND, "veth");
                    info.nest(IFLA_INFO_DATA, |data| {
                        data.nest_after(VETH_INFO_PEER, &link_struct(0, 0, 0), |peer| {
                            peer.text(IFLA_IFNAME, "eth0");
                            peer.u32(IFLA_MTU, 1400);
                            peer.bytes(IFLA_NET_NS_FD, &std::os::fd::AsRawFd::as_raw_fd(&elsewhere.0).to_ne_bytes());
                        });
                    });
                });
            });
            route().execute(&requests).unwrap();
        });
        host.add_address("uplink0", HOST, 24);
        elsewhere.add_address("eth0", ELSEWHERE, 24);
        host.add_route(Ipv4Addr::UNSPECIFIED, 0, ELSEWHERE);
        let dir = tempfile::tempdir().unwrap();
        let subnets = vec!["10.88.0.0/16".parse().unwrap()];
        let initial_links = host.links();
        World { host, elsewhere, dir, subnets, masquerade: true, initial_links, boot: AtomicU8::new(0) }
    }

    pub fn config(&self) -> BridgeConfig {
        BridgeConfig {
            bridge: BRIDGE.into(),
            subnets: self.subnets.clone(),
            leases_dir: self.dir.path().join("leases"),
            mtu: None,
            masquerade: self.masquerade,
            boot_id: format!("boot-{}", self.boot.load(Ordering::Relaxed)),
        }
    }

    /// From now on, leases are of another boot.
    pub fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts the pod network as the daemon does.
    pub fn start(&self) -> Daemon<'_> {
        Daemon { world: self, bridge: self.host.run(|| Bridge::new(self.config()).unwrap()) }
    }

    pub fn lease_files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("leases").join(self.config().boot_id)) else {
            return vec![];
        };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    pub fn table(&self) -> Table {
        Table::new(BRIDGE, &self.subnets, self.masquerade)
    }

    /// The host's links that were not there at first.
    pub fn links(&self) -> Vec<String> {
        self.host.links().into_iter().filter(|link| !self.initial_links.contains(link)).collect()
    }

    pub fn has_table(&self) -> bool {
        self.host.run(|| self.table().exists().unwrap())
    }

    /// Asserts that the host comes to be as it was, with no pod and nothing of ours.
    pub fn assert_nothing_left(&self) {
        let nothing = || self.links().is_empty() && !self.has_table() && self.lease_files().is_empty();
        wait_until(nothing, || format!("{:?} {} {:?}", self.links(), self.has_table(), self.lease_files()));
    }
}

/// A daemon's pod network; each call runs in the host's namespace.
pub struct Daemon<'a> {
    pub world: &'a World,
    pub bridge: Bridge,
}

impl Daemon<'_> {
    pub fn attach(&self, pod: &Pod, ports: &[PortMapping]) -> Result<Ipv4Addr, Failure> {
        let attachment = pod.attachment(ports);
        let attached = self.block_on(self.bridge.attach(attachment))?;
        match attached.addresses[..] {
            [IpAddr::V4(address)] => Ok(address),
            ref other => panic!("{other:?}"),
        }
    }

    pub fn detach(&self, pod: &Pod) -> Result<(), Failure> {
        self.block_on(self.bridge.detach(&pod.id))
    }

    pub fn close(&self) {
        self.block_on(self.bridge.close());
    }

    pub fn network(&self) -> &Network {
        &self.bridge.network
    }

    /// Runs a future to its end, and what it leaves behind it.
    pub fn block_on<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        self.world.host.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let result = future.await;
                // What the act left to be done behind it is on this runtime: it comes first.
                tokio::task::yield_now().await;
                drop(self.bridge.deferrals.acquire_many(CONCURRENT_DEFERRALS as u32).await);
                result
            })
        })
    }
}

/// Waits for a condition, and tells what is there instead when it does not come.
pub fn wait_until(condition: impl Fn() -> bool, instead: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{}", instead());
        std::thread::yield_now();
    }
}
