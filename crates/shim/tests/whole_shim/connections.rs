//! Daemons that come, go and talk nonsense, and connections into the pod.

use super::*;

#[test]
fn a_daemon_that_comes_back_learns_of_exits_in_between() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let (short, pid) = shim.start_logged("sleep 0.2; echo done; exit 9", "log");
    let (long, _) = shim.start(&script("exec sleep 1000"));
    shim.client = Client::new(
        rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
        .0,
    );
    eventually("the record", || exit_record(&shim, &short).is_some());
    shim.reconnect();
    let reports = shim.client.hello().containers;
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0].container.clone(), reports[0].pid), (short, pid));
    assert_eq!(reports[0].exit.unwrap().code, 9);
    assert!(reports[1].exit.is_none());
    assert_eq!(shim.log_lines("log"), ["stdout F done"]);

    // A second daemon takes over; the first sees the end of its connection.
    let mut second = shim.second_client();
    second.hello();
    std::mem::swap(&mut shim.client, &mut second);
    assert!(second.is_closed());
    shim.client.done(Request::KillContainer { container: long.clone() });
    assert_eq!(shim.client.container_exit(&long).code, 137);
    shim.shut_down();
}

#[test]
fn garbage_closes_the_connection_and_the_next_one_is_served() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let garbage: [&[u8]; 4] = [&[0xff; 100], &[0], &[1, 0, 0], &[7; 70_000]];
    for bytes in garbage {
        cradle_sys::seqpacket::send(shim.client.socket(), bytes, &[]).unwrap();
        assert!(shim.client.is_closed());
        shim.reconnect();
        assert!(shim.client.hello().set_up);
    }
    // A request of a later version is refused, and the connection stays.
    cradle_sys::seqpacket::send(shim.client.socket(), &[0, 42, 1, b'r', 99], &[]).unwrap();
    assert_eq!(shim.client.answer(42).unwrap_err().class, Class::Unimplemented);
    // Descriptors that nobody asked for are closed, not kept.
    let open = || std::fs::read_dir(format!("/proc/{}/fd", shim.pid.as_raw_nonzero())).unwrap().count();
    let before = open();
    for _ in 0..20 {
        let (_reader, writer) = pipe();
        let sequence = shim.client.send(Request::Hello { version: 1 }, vec![writer]);
        shim.client.answer(sequence).unwrap();
    }
    eventually("they are closed", || open() == before);
    shim.shut_down();
}

#[test]
fn a_connection_that_does_not_say_hello_does_not_cost_the_daemon_its_own() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let silent = shim.second_client();
    let said: [&[u8]; 3] = [&[0xff; 100], &[0, 42, 1, b'r', 99], &[0, 1, 0, 11]];
    for bytes in said {
        let mut stranger = shim.second_client();
        cradle_sys::seqpacket::send(stranger.socket(), bytes, &[]).unwrap();
        assert!(stranger.is_closed());
        assert!(shim.client.hello().set_up);
    }
    drop(silent);
    drop(shim.second_client());
    let (id, _) = shim.start(&script("exit 4"));
    assert_eq!(shim.client.container_exit(&id).code, 4);
    shim.shut_down();
}

#[test]
fn the_daemon_gets_connections_into_the_pod() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
        let port = listener.local_addr().unwrap().port();
        let (reply, mut descriptors) = shim.client.call(Request::Dial { port }).unwrap();
        assert!(matches!(reply, Reply::Done));
        let mut ours = std::net::TcpStream::from(descriptors.pop().unwrap());
        ours.set_nonblocking(false).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.write_all(b"hello").unwrap();
        drop(theirs);
        assert_eq!(text(&mut ours), "hello");
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refusal = shim.client.call(Request::Dial { port: unused }).unwrap_err();
    assert!(refusal.message.contains(&unused.to_string()), "{refusal:?}");
    shim.shut_down();
}

#[test]
fn a_pod_with_its_own_network_hands_it_over_and_is_dialled_within() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::launch();
    let dial = shim.client.call(Request::Dial { port: 1 }).unwrap_err();
    assert_eq!(dial.class, Class::Refused, "before the pod is set up this would be the host");
    let plan = PodPlan { hostname: "pod".into(), pid: PidShare::Pod, shm_size_bytes: 1 << 20, ..PodPlan::default() };
    let (reply, descriptors) = shim.client.call(Request::SetUpPod(Box::new(plan.clone()))).unwrap();
    assert!(matches!(reply, Reply::PodReady));
    assert_eq!(descriptors.len(), 2);
    let namespace = |path: &str| std::fs::read_link(path).unwrap();
    let pods = namespace(&format!("/proc/{}/ns/net", shim.pid.as_raw_nonzero()));
    assert_ne!(pods, namespace("/proc/self/ns/net"));
    let handed = rustix::fs::fstat(&descriptors[1]).unwrap();
    assert_eq!(pods.to_str().unwrap(), format!("net:[{}]", handed.st_ino));

    // A listener of the host is not reached from within.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(shim.client.call(Request::Dial { port }).is_err());
    let again = shim.client.call(Request::SetUpPod(Box::new(plan))).unwrap_err();
    assert_eq!(again.class, Class::Refused);
    shim.shut_down();
}

#[test]
fn a_shim_without_descriptors_refuses_and_works_again_when_there_are_some() {
    if !is_root() {
        return;
    }
    let mut shim = TestShim::with_host_pod();
    let limit = |current| rustix::process::Rlimit { current: Some(current), maximum: Some(1024) };
    let set =
        |pid, current| rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit(current)).unwrap();
    let (kept, _) = shim.start(&script("exec sleep 1000"));
    // What is open stays open; nothing more can be.
    set(shim.pid, 3);
    let (_, sequence) = shim.begin(&script("true"));
    assert_eq!(shim.client.answer(sequence).unwrap_err().class, Class::Exhausted);
    let attach = Request::Attach { container: kept.clone(), stdin: false, stdout: true, stderr: true };
    assert_eq!(shim.client.call(attach).unwrap_err().class, Class::Exhausted);
    let sequence = shim.client.send(Request::Hello { version: 1 }, vec![pipe().1]);
    assert_eq!(shim.client.answer(sequence).unwrap_err().class, Class::Exhausted);

    // A connection that cannot be accepted waits, and the shim does not run in circles meanwhile.
    let mut second = shim.second_client();
    let before = cpu_ticks(&shim);
    std::thread::sleep(Duration::from_millis(300));
    assert!(cpu_ticks(&shim) - before <= 2, "it spins");
    set(shim.pid, 1024);
    assert_eq!(second.hello().containers.len(), 1);
    shim.client = second;
    let (id, _) = shim.start(&script("exit 2"));
    assert_eq!(shim.client.container_exit(&id).code, 2);
    shim.shut_down();
}

/// User and system time, in ticks of 10 ms.
fn cpu_ticks(shim: &TestShim) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", shim.pid.as_raw_nonzero())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
