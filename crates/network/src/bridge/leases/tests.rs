//! Leases, with real files and no network.

use std::collections::HashSet;

use cradle_engine::spec::Protocol;

use super::*;

const BOOT: &str = "boot-1";

fn pod(number: u8) -> PodId {
    PodId::from_random([number; 32])
}

fn port(host_port: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, host_ip: None, host_port, pod_port: 80 }
}

fn load(dir: &Path, subnets: &[&str]) -> Leases {
    let subnets: Vec<Subnet> = subnets.iter().map(|text| text.parse().unwrap()).collect();
    Leases::load(dir, BOOT, &subnets).unwrap()
}

fn last_octets(leases: &Leases, pods: impl IntoIterator<Item = u8>) -> Vec<u8> {
    pods.into_iter().map(|number| leases.take(&pod(number), &[]).unwrap().address.octets()[3]).collect()
}

#[test]
fn addresses_go_round_and_a_released_one_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/29"]);
    assert_eq!(last_octets(&leases, 1..=2), [2, 3]);
    leases.release(&pod(1)).unwrap();
    assert_eq!(last_octets(&leases, 3..=6), [4, 5, 6, 2]);
}

#[test]
fn a_pod_keeps_its_address_through_repeats_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/24"]);
    let first = leases.take(&pod(1), &[port(80)]).unwrap();
    assert_eq!(leases.take(&pod(1), &[port(80)]).unwrap(), first);
    assert!(matches!(leases.take(&pod(1), &[port(81)]), Err(LeaseError::OtherPorts { .. })));
    let leases = load(dir.path(), &["10.0.0.0/24"]);
    assert_eq!(leases.owners(), [pod(1)]);
    assert_eq!(leases.of(&pod(1)).unwrap().ports, [port(80)]);
    assert_eq!(leases.take(&pod(1), &[port(80)]).unwrap(), first);
    assert_eq!(last_octets(&leases, [2]), [3]);
}

#[test]
fn a_full_subnet_gives_way_to_the_next_and_then_to_an_error_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/30", "10.0.1.0/29"]);
    assert_eq!(last_octets(&leases, 1..=3), [2, 2, 3]);
    last_octets(&leases, 4..=6);
    let error = leases.take(&pod(7), &[]).unwrap_err();
    assert_eq!(error.to_string(), "all addresses for pods are in use: 1 of 10.0.0.0/30, 5 of 10.0.1.0/29");
    assert_eq!(error.class(), Class::Exhausted);
    assert!(!leases.owners().contains(&pod(7)));
    leases.release(&pod(1)).unwrap();
    assert_eq!(leases.take(&pod(7), &[]).unwrap().subnet.to_string(), "10.0.0.0/30");
}

#[test]
fn a_taken_host_port_is_refused_with_its_holder_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/24"]);
    leases.take(&pod(1), &[port(80)]).unwrap();
    let error = leases.take(&pod(2), &[port(81), port(80)]).unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert!(error.to_string().contains(pod(1).as_str()), "{error}");
    assert!(leases.of(&pod(2)).is_none(), "a refused pod holds nothing");
    leases.retire(&pod(1));
    assert!(leases.open_ports().is_empty(), "a port that is being closed is not to be open");
    assert!(leases.take(&pod(2), &[port(80)]).is_err(), "but it still excludes others");
    leases.release(&pod(1)).unwrap();
    leases.take(&pod(2), &[port(80)]).unwrap();
    assert_eq!(leases.open_ports().len(), 1);
}

#[test]
fn leases_of_another_boot_are_void() {
    let dir = tempfile::tempdir().unwrap();
    let subnets = ["10.0.0.0/24".parse().unwrap()];
    Leases::load(dir.path(), "boot-0", &subnets).unwrap().take(&pod(1), &[]).unwrap();
    assert!(load(dir.path(), &["10.0.0.0/24"]).is_empty());
    assert!(!dir.path().join("boot-0").exists());
}

#[test]
fn an_empty_lease_is_removed_and_a_damaged_one_keeps_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let boot = dir.path().join(BOOT);
    fs::create_dir(&boot).unwrap();
    let write = |name: &str, content: &str| fs::write(boot.join(name), content).unwrap();
    write("10.0.0.2", "");
    write("10.0.0.3", "{\"version\":1,");
    write("10.0.0.4", &format!("{{\"version\":9,\"pod\":\"{}\",\"ports\":[]}}", pod(9)));
    write("notes", "hello");
    let leases = load(dir.path(), &["10.0.0.0/29"]);
    assert!(leases.is_empty());
    assert_eq!(last_octets(&leases, 1..=3), [5, 6, 2]);
    assert!(matches!(leases.take(&pod(4), &[]), Err(LeaseError::Exhausted { .. })));
}

#[test]
fn a_file_that_the_index_does_not_know_is_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/29"]);
    fs::write(dir.path().join(BOOT).join("10.0.0.2"), "?").unwrap();
    assert_eq!(last_octets(&leases, 1..=2), [3, 4]);
}

#[test]
fn a_lease_that_cannot_be_written_takes_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/30"]);
    fs::remove_dir(dir.path().join(BOOT)).unwrap();
    assert!(matches!(leases.take(&pod(1), &[]), Err(LeaseError::Write { .. })));
    fs::create_dir(dir.path().join(BOOT)).unwrap();
    assert_eq!(last_octets(&leases, [2]), [2]);
}

#[test]
fn many_threads_get_different_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let leases = load(dir.path(), &["10.0.0.0/24"]);
    let taken: HashSet<Ipv4Addr> = std::thread::scope(|scope| {
        let leases = &leases;
        let take = |number| scope.spawn(move || leases.take(&pod(number), &[]).unwrap().address);
        let threads: Vec<_> = (0..100).map(take).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), 100);
    assert_eq!(fs::read_dir(dir.path().join(BOOT)).unwrap().count(), 100);
}

#[test]
fn a_lease_written_by_version_1_is_read_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let boot = dir.path().join(BOOT);
    fs::create_dir(&boot).unwrap();
    let ports = r#"[{"protocol":"Udp","host_ip":"192.0.2.1","host_port":53,"pod_port":5353}]"#;
    fs::write(boot.join("10.0.0.9"), format!(r#"{{"version":1,"pod":"{}","ports":{ports}}}"#, pod(1))).unwrap();
    let lease = load(dir.path(), &["10.0.0.0/24"]).of(&pod(1)).unwrap();
    let expected =
        HostPort { protocol: Protocol::Udp, host_ip: Some(Ipv4Addr::new(192, 0, 2, 1)), host_port: 53, pod_port: 5353 };
    assert_eq!((lease.address, lease.ports), (Ipv4Addr::new(10, 0, 0, 9), vec![expected]));
}
