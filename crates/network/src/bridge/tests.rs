//! The built-in pod network against the kernel, in namespaces of the tests' own.

mod times;
mod world;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use cradle_domain::Class;
use cradle_engine::ports::PodNetwork;
use cradle_engine::spec::{PortMapping, Protocol};

use self::world::*;
use super::limits::IDLE_BEFORE_REMOVAL;
use super::link;
use crate::crash_point::crash_after;
use crate::netlink::{Family, Socket};

/// Bridges hand frames to the packet filter on many nodes, and sources are checked strictly; on many neither.
fn both_kinds_of_hosts() -> impl Iterator<Item = (World, String)> {
    ["0", "1"].into_iter().map(|value| {
        let world = World::new();
        let filter = "bridge/bridge-nf-call-iptables";
        if std::path::Path::new("/proc/sys/net").join(filter).exists() {
            world.host.set_sysctl(filter, value);
        }
        world.host.set_sysctl("ipv4/conf/all/rp_filter", value);
        world.host.set_sysctl("ipv4/conf/default/rp_filter", value);
        (world, format!("bridge-nf-call-iptables and rp_filter {value}"))
    })
}

fn ip(address: Ipv4Addr) -> Option<IpAddr> {
    Some(address.into())
}

#[test]
fn pods_reach_each_other_the_host_and_elsewhere() {
    if !is_root() {
        return;
    }
    for (world, case) in both_kinds_of_hosts() {
        let daemon = world.start();
        let (one, two) = (Pod::new(), Pod::new());
        let (at_one, at_two) = (daemon.attach(&one, &[]).unwrap(), daemon.attach(&two, &[]).unwrap());
        assert_eq!((at_one, at_two), (Ipv4Addr::new(10, 88, 0, 2), Ipv4Addr::new(10, 88, 0, 3)));
        two.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
        world.host.serve_tcp(Ipv4Addr::UNSPECIFIED, 81);
        world.elsewhere.serve_tcp(Ipv4Addr::UNSPECIFIED, 82);
        assert_eq!(one.namespace.call(at_two, 80).ok(), ip(at_one), "pod to pod, {case}");
        assert_eq!(world.host.call(at_two, 80).ok(), ip(GATEWAY), "host to pod, {case}");
        assert_eq!(one.namespace.call(GATEWAY, 81).ok(), ip(at_one), "pod to host, {case}");
        assert_eq!(one.namespace.call(HOST, 81).ok(), ip(at_one), "pod to another address of the host, {case}");
        assert_eq!(one.namespace.call(ELSEWHERE, 82).ok(), ip(HOST), "pod to elsewhere, masqueraded, {case}");
        daemon.detach(&one).unwrap();
        assert!(world.host.cannot_call(at_one, 80));
        assert_eq!(world.host.call(at_two, 80).ok(), ip(GATEWAY), "the other pod stays connected");
        daemon.detach(&two).unwrap();
        daemon.close();
        world.assert_nothing_left();
    }
}

#[test]
fn without_masquerading_pods_keep_their_addresses_elsewhere() {
    if !is_root() {
        return;
    }
    let mut world = World::new();
    world.masquerade = false;
    let daemon = world.start();
    let pod = Pod::new();
    let address = daemon.attach(&pod, &[]).unwrap();
    world.elsewhere.serve_tcp(Ipv4Addr::UNSPECIFIED, 82);
    world.elsewhere.add_route(Ipv4Addr::new(10, 88, 0, 0), 16, HOST);
    assert_eq!(pod.namespace.call(ELSEWHERE, 82).ok(), ip(address));
}

#[test]
fn a_pods_first_packet_is_not_lost() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    world.elsewhere.serve_tcp(Ipv4Addr::UNSPECIFIED, 82);
    // A lost packet is sent again after a second.
    let soon = |what: &str, nth: usize, call: &dyn Fn() -> std::io::Result<IpAddr>| {
        let begun = Instant::now();
        call().unwrap();
        assert!(begun.elapsed() < Duration::from_millis(800), "{what} pod {nth}: {:?}", begun.elapsed());
    };
    for nth in 0..10 {
        let pod = Pod::new();
        pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
        let address = daemon.attach(&pod, &[]).unwrap();
        match nth % 2 {
            0 => soon("to", nth, &|| world.host.call(address, 80)),
            _ => soon("from", nth, &|| pod.namespace.call(ELSEWHERE, 82)),
        }
    }
}

#[test]
fn the_pods_link_is_eth0_with_an_address_of_its_own_and_the_hosts_mtu() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    let address = daemon.attach(&pod, &[]).unwrap();
    let eth0 = pod.namespace.run(|| link::in_pod(&mut Socket::open(Family::Route).unwrap()).unwrap().unwrap());
    assert_eq!((eth0.mtu, eth0.up), (1400, true), "the MTU of the link with the default route");
    assert!(world.host.call(address, 80).is_err(), "nobody listens, but the host asks who has the address");
    let neighbours = world.host.run(|| std::fs::read_to_string("/proc/thread-self/net/arp").unwrap());
    assert!(neighbours.contains("0a:58:0a:58:00:02"), "{neighbours}");
}

#[test]
fn host_ports_lead_to_the_pod_from_everywhere() {
    if !is_root() {
        return;
    }
    for (world, case) in both_kinds_of_hosts() {
        let daemon = world.start();
        let (server, other) = (Pod::new(), Pod::new());
        let ports = [tcp(8080, 80), tcp(80, 80), at(HOST, tcp(8081, 80)), at(LOOPBACK, tcp(8082, 80)), tcp(0, 99)];
        let address = daemon.attach(&server, &ports).unwrap();
        let at_other = daemon.attach(&other, &[]).unwrap();
        server.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
        for port in [8080, 80] {
            assert_eq!(world.elsewhere.call(HOST, port).ok(), ip(ELSEWHERE), "from elsewhere, {case}");
            assert_eq!(world.host.call(LOOPBACK, port).ok(), ip(GATEWAY), "from the host at 127.0.0.1, {case}");
            assert_eq!(world.host.call(HOST, port).ok(), ip(HOST), "from the host at its address, {case}");
            assert_eq!(other.namespace.call(HOST, port).ok(), ip(GATEWAY), "from another pod, {case}");
            assert_eq!(
                other.namespace.call(GATEWAY, port).ok(),
                ip(GATEWAY),
                "from another pod at the gateway, {case}"
            );
            assert_eq!(server.namespace.call(HOST, port).ok(), ip(GATEWAY), "from the pod itself, {case}");
        }
        assert_eq!(other.namespace.call(address, 80).ok(), ip(at_other), "not through a host port: unchanged, {case}");
        assert_eq!(world.elsewhere.call(HOST, 8081).ok(), ip(ELSEWHERE));
        assert!(world.host.cannot_call(LOOPBACK, 8081), "open at one address of the host only");
        assert_eq!(world.host.call(LOOPBACK, 8082).ok(), ip(GATEWAY));
        assert!(world.elsewhere.cannot_call(HOST, 8082), "open at 127.0.0.1 only");
        daemon.detach(&server).unwrap();
        assert!(world.host.cannot_call(LOOPBACK, 8080));
        assert!(world.elsewhere.cannot_call(HOST, 8080));
        daemon.detach(&other).unwrap();
        daemon.close();
        world.assert_nothing_left();
    }
}

fn udp(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol: Protocol::Udp, ..tcp(host_port, container_port) }
}

/// Sends until an answer comes; false if none does for a while.
fn is_answered(client: &UdpSocket, address: Ipv4Addr, port: u16, patience: Duration) -> bool {
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let until = Instant::now() + patience;
    while Instant::now() < until {
        // An error is the answer to an earlier datagram: nobody listened.
        let _ = client.send_to(b"?", (address, port));
        if client.recv_from(&mut [0; 16]).is_ok() {
            return true;
        }
    }
    false
}

#[test]
fn a_udp_client_that_never_pauses_reaches_each_pod_in_turn() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let first_of_all = Pod::new();
    daemon.attach(&first_of_all, &[]).unwrap();
    let client = world.elsewhere.udp_client();
    let (long, short) = (Duration::from_secs(5), Duration::from_millis(250));
    assert!(!is_answered(&client, HOST, 5300, short), "there is no pod yet, but now there is a flow");
    for _ in 0..2 {
        let pod = Pod::new();
        pod.namespace.serve_udp(53);
        daemon.attach(&pod, &[udp(5300, 53)]).unwrap();
        assert!(is_answered(&client, HOST, 5300, long));
        daemon.detach(&pod).unwrap();
        assert!(!is_answered(&client, HOST, 5300, short));
    }
}

#[test]
fn a_host_port_of_another_pod_is_refused_with_its_name() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let (first, second) = (Pod::new(), Pod::new());
    daemon.attach(&first, &[tcp(8080, 80)]).unwrap();
    let refused = daemon.attach(&second, &[at(HOST, tcp(8080, 81))]).unwrap_err();
    assert_eq!(refused.class(), Class::Conflict);
    assert!(refused.to_string().contains(first.id.as_str()), "{refused}");
    daemon.detach(&first).unwrap();
    daemon.attach(&second, &[at(HOST, tcp(8080, 81))]).unwrap();
}

#[test]
fn pods_do_not_reach_the_hosts_loopback() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    daemon.attach(&pod, &[tcp(8080, 80)]).unwrap();
    world.host.serve_tcp(LOOPBACK, 9000);
    // A hostile pod: it gives up its own 127.0.0.1 and sends what is for it to the gateway.
    pod.namespace.remove_loopback_address();
    pod.namespace.set_sysctl("ipv4/conf/eth0/route_localnet", "1");
    pod.namespace.add_route(Ipv4Addr::new(127, 0, 0, 0), 8, GATEWAY);
    assert!(pod.namespace.cannot_call(LOOPBACK, 9000));
    // Without our table it would: the test is worth something.
    world.host.run(|| world.table().remove().unwrap());
    pod.namespace.call(LOOPBACK, 9000).unwrap();
}

#[test]
fn a_full_subnet_is_an_error_that_names_it_and_room_is_used_again() {
    if !is_root() {
        return;
    }
    let mut world = World::new();
    world.subnets = vec!["10.88.0.0/30".parse().unwrap(), "10.88.0.4/30".parse().unwrap()];
    let daemon = world.start();
    let pods: Vec<Pod> = (0..3).map(|_| Pod::new()).collect();
    let (first, second) = (daemon.attach(&pods[0], &[]).unwrap(), daemon.attach(&pods[1], &[]).unwrap());
    let full = daemon.attach(&pods[2], &[]).unwrap_err();
    assert_eq!(full.class(), Class::Exhausted);
    assert!(full.to_string().contains("1 of 10.88.0.0/30, 1 of 10.88.0.4/30"), "{full}");
    // Pods of different, here adjacent, subnets of the bridge reach each other with their own addresses.
    pods[1].namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    assert_eq!(pods[0].namespace.call(second, 80).ok(), ip(first));
    daemon.detach(&pods[0]).unwrap();
    assert_eq!(daemon.attach(&pods[2], &[]).unwrap(), first);
}

#[test]
fn a_hundred_pods_at_once_are_connected_and_nothing_is_left_of_them() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pods: Vec<Pod> = (0..100).map(|_| Pod::new()).collect();
    let attachments: Vec<_> = pods.iter().map(|pod| pod.attachment(&[])).collect();
    let attached = daemon.block_on(async {
        let tasks = attachments.into_iter().map(|attachment| {
            let bridge = daemon.bridge.clone();
            tokio::spawn(async move { bridge.attach(attachment).await.unwrap().addresses[0] })
        });
        let mut addresses = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            addresses.push(task.await.unwrap());
        }
        addresses
    });
    assert_eq!(attached.iter().collect::<std::collections::HashSet<_>>().len(), 100);
    assert_eq!(world.lease_files().len(), 100);
    pods[99].namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    let IpAddr::V4(last) = attached[99] else { panic!() };
    for pod in [&pods[0], &pods[50]] {
        assert!(pod.namespace.call(last, 80).is_ok());
    }
    daemon.block_on(async {
        let tasks = pods.iter().map(|pod| {
            let (bridge, id) = (daemon.bridge.clone(), pod.id.clone());
            tokio::spawn(async move { bridge.detach(&id).await.unwrap() })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    daemon.close();
    world.assert_nothing_left();
}

#[test]
fn a_pod_attached_again_keeps_its_address_and_its_connections() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    let ports = [tcp(8080, 80)];
    let address = daemon.attach(&pod, &ports).unwrap();
    let port = link::port_name(&pod.id);
    let index =
        || world.host.run(|| link::by_name(&mut Socket::open(Family::Route).unwrap(), &port).unwrap().unwrap().index);
    let before = index();
    assert_eq!(daemon.attach(&pod, &ports).unwrap(), address);
    assert_eq!(index(), before, "the link was left alone");
    let restarted = world.start();
    assert_eq!(restarted.block_on(restarted.bridge.owners()).unwrap(), std::slice::from_ref(&pod.id));
    assert_eq!(restarted.attach(&pod, &ports).unwrap(), address);
    assert_eq!(index(), before, "also by a daemon started anew");
    pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    assert!(world.elsewhere.call(HOST, 8080).is_ok());
}

#[test]
fn a_pod_detached_and_attached_again_is_connected_anew() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    for _ in 0..3 {
        let address = daemon.attach(&pod, &[]).unwrap();
        assert!(world.host.call(address, 80).is_ok());
        daemon.detach(&pod).unwrap();
        daemon.detach(&pod).unwrap();
    }
}

#[test]
fn a_new_namespace_of_the_same_pod_gets_the_link() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let mut pod = Pod::new();
    let address = daemon.attach(&pod, &[]).unwrap();
    let old = std::mem::replace(&mut pod.namespace, Namespace::new());
    assert_eq!(daemon.attach(&pod, &[]).unwrap(), address);
    assert!(!old.has_link("eth0"));
    pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    assert!(world.host.call(address, 80).is_ok());
}

#[test]
fn a_pod_whose_namespace_is_gone_is_detached_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    let id = pod.id.clone();
    daemon.attach(&pod, &[tcp(8080, 80)]).unwrap();
    drop(pod);
    daemon.block_on(daemon.bridge.detach(&id)).unwrap();
    daemon.close();
    world.assert_nothing_left();
}

#[test]
fn an_eth0_of_somebody_else_is_a_conflict() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    pod.namespace.add_bridge("eth0", None);
    let refused = daemon.attach(&pod, &[]).unwrap_err();
    assert_eq!(refused.class(), Class::Conflict);
    assert!(refused.to_string().contains("eth0"), "{refused}");
    daemon.detach(&pod).unwrap();
    assert!(world.lease_files().is_empty());
}

#[test]
fn bad_port_mappings_are_refused_before_anything_is_done() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let refused = daemon.attach(&Pod::new(), &[tcp(8080, 0)]).unwrap_err();
    assert_eq!(refused.class(), Class::Invalid);
    world.assert_nothing_left();
}

#[test]
fn a_bridge_with_the_right_address_is_used_and_left_in_place() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.host.add_bridge(BRIDGE, Some((GATEWAY, 16)));
    let daemon = world.start();
    daemon.bridge.status().unwrap();
    let pod = Pod::new();
    let address = daemon.attach(&pod, &[]).unwrap();
    pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    assert!(world.host.call(address, 80).is_ok());
    daemon.detach(&pod).unwrap();
    daemon.close();
    assert!(world.host.has_link(BRIDGE));
    assert!(!world.has_table());
}

#[test]
fn what_is_in_the_way_is_named_by_status_until_it_is_gone() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.host.add_bridge(BRIDGE, Some((Ipv4Addr::new(10, 99, 0, 1), 16)));
    let daemon = world.start();
    let trouble = daemon.world.host.run(|| daemon.bridge.status()).unwrap_err();
    assert_eq!(trouble.class(), Class::Conflict);
    assert!(trouble.to_string().contains("not ours, and it has not the address 10.88.0.1/16"), "{trouble}");
    assert_eq!(daemon.attach(&Pod::new(), &[]).unwrap_err().class(), Class::Conflict);
    world.host.remove_link(BRIDGE);
    world.host.add_bridge("other0", Some((Ipv4Addr::new(10, 88, 7, 1), 24)));
    let trouble = daemon.world.host.run(|| daemon.bridge.status()).unwrap_err();
    assert!(trouble.to_string().contains("holds the address 10.88.7.1"), "{trouble}");
    world.host.remove_link("other0");
    daemon.world.host.run(|| daemon.bridge.status()).unwrap();
    daemon.attach(&Pod::new(), &[]).unwrap();
}

#[test]
fn a_bridge_or_table_that_somebody_removed_is_made_anew_with_all_host_ports() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let (first, second, third) = (Pod::new(), Pod::new(), Pod::new());
    let address = daemon.attach(&first, &[tcp(8080, 80)]).unwrap();
    first.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    world.host.run(|| world.table().remove().unwrap());
    assert!(world.elsewhere.cannot_call(HOST, 8080));
    daemon.attach(&second, &[]).unwrap();
    assert!(world.elsewhere.call(HOST, 8080).is_ok(), "the next pod brought the table back");
    world.host.remove_link(BRIDGE);
    let at_third = daemon.attach(&third, &[]).unwrap();
    third.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
    assert!(world.host.call(at_third, 80).is_ok());
    assert!(world.host.call(address, 80).is_ok(), "the pods of the lost bridge are connected to the new one");
    assert!(world.elsewhere.call(HOST, 8080).is_ok());
    assert!(first.namespace.call(HOST, 8080).is_ok(), "also to themselves");
    world.host.run(|| world.table().remove().unwrap());
    for pod in [&first, &second, &third] {
        daemon.detach(pod).unwrap();
    }
    daemon.close();
    world.assert_nothing_left();
}

#[test]
fn the_bridge_goes_a_while_after_the_last_pod_unless_another_comes() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let (one, two) = (Pod::new(), Pod::new());
    let (first, second) = (one.attachment(&[]), two.attachment(&[]));
    daemon.block_on(async {
        daemon.bridge.attach(first).await.unwrap();
        daemon.bridge.detach(&one.id).await.unwrap();
        daemon.bridge.attach(second).await.unwrap();
        tokio::time::sleep(IDLE_BEFORE_REMOVAL + Duration::from_millis(200)).await;
        assert!(world.host.has_link(BRIDGE) && world.has_table(), "a pod is there");
        let released = Instant::now();
        daemon.bridge.detach(&two.id).await.unwrap();
        while world.host.has_link(BRIDGE) || world.has_table() {
            assert!(released.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(released.elapsed() >= IDLE_BEFORE_REMOVAL, "a while after, not at once");
    });
    world.assert_nothing_left();
}

#[test]
fn attachments_race_with_the_removal_of_the_bridge_and_win() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            world.host.run(|| {
                for _ in 0..30 {
                    daemon.network().remove_if_unused().unwrap();
                }
            });
        });
        while !remover.is_finished() {
            let pod = Pod::new();
            pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
            let address = daemon.attach(&pod, &[]).unwrap();
            assert!(world.host.call(address, 80).is_ok());
            daemon.detach(&pod).unwrap();
        }
    });
    daemon.close();
    world.assert_nothing_left();
}

#[test]
fn after_a_reboot_leases_are_void_and_leftovers_go() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    daemon.attach(&pod, &[tcp(8080, 80)]).unwrap();
    drop(pod);
    wait_until(|| world.links() == [BRIDGE], || format!("{:?}", world.links()));
    world.reboot();
    let restarted = world.start();
    assert!(restarted.block_on(restarted.bridge.owners()).unwrap().is_empty());
    world.assert_nothing_left();
}

#[test]
fn a_bridge_that_serves_others_is_not_removed() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let pod = Pod::new();
    daemon.attach(&pod, &[]).unwrap();
    // Another daemon with the same bridge and other leases.
    let elsewhere = tempfile::tempdir().unwrap();
    let config = super::BridgeConfig { leases_dir: elsewhere.path().into(), ..world.config() };
    world.host.run(|| super::Bridge::new(config).unwrap());
    assert!(world.host.has_link(BRIDGE) && world.has_table());
}

/// Ends `attach` and then `detach` at each of their effects in turn, starts anew, and goes on as the engine would.
#[test]
fn an_act_interrupted_at_any_effect_can_be_repeated_or_undone() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let ports = [tcp(8080, 80), udp(5300, 53)];
    let mut tried = 0;
    for interrupted in ["attach", "detach"] {
        for then in ["attach", "detach"] {
            for effects in 0.. {
                let pod = Pod::new();
                let attachment = pod.attachment(&ports);
                let daemon = world.start();
                let finished = world.host.run(|| match interrupted {
                    "attach" => {
                        crash_after(effects, || daemon.network().attach(attachment).unwrap().1.finish()).is_some()
                    }
                    _ => {
                        daemon.network().attach(attachment).unwrap().1.finish();
                        crash_after(effects, || daemon.network().detach(&pod.id).unwrap().finish()).is_some()
                    }
                });
                let case = format!("{interrupted} interrupted after {effects} effects, then {then}");
                let restarted = world.start();
                if then == "attach" {
                    let address = restarted.attach(&pod, &ports).unwrap_or_else(|error| panic!("{case}: {error}"));
                    pod.namespace.serve_tcp(Ipv4Addr::UNSPECIFIED, 80);
                    assert_eq!(world.host.call(address, 80).ok(), ip(GATEWAY), "{case}");
                    assert_eq!(world.host.call(LOOPBACK, 8080).ok(), ip(GATEWAY), "{case}");
                }
                restarted.detach(&pod).unwrap_or_else(|error| panic!("{case}: {error}"));
                assert!(world.lease_files().is_empty(), "{case}");
                restarted.close();
                world.assert_nothing_left();
                tried += 1;
                if finished {
                    break;
                }
            }
        }
    }
    println!("interrupted at {tried} points");
    assert!(tried > 20);
}
