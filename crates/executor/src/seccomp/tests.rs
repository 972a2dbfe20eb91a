//! Programs, run by an interpreter, against the profiles that they were compiled from; profiles and their files.

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::syscalls::{self, Abi, X32_BIT};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
struct Call {
    abi: Abi,
    number: u32,
    arguments: [u64; 6],
}

impl Call {
    fn named(name: &str, abi: Abi, arguments: &[u64]) -> Call {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        Call { abi, number: syscalls::number(name, abi).unwrap(), arguments: all }
    }

    /// `struct seccomp_data`, in words.
    fn data(&self) -> Vec<u32> {
        let (audit, bit) = match self.abi {
            Abi::X86_64 => (0xc000_003e, 0),
            Abi::X32 => (0xc000_003e, X32_BIT),
            Abi::X86 => (0x4000_0003, 0),
            Abi::Aarch64 => (0xc000_00b7, 0),
        };
        let words = self.arguments.iter().flat_map(|argument| [*argument as u32, (*argument >> 32) as u32]);
        [self.number | bit, audit, 0, 0].into_iter().chain(words).collect()
    }
}

fn run(program: &Program, call: Call) -> u32 {
    trace(program, call).0
}

/// Runs a program as linux/filter.h describes it: its answer and the number of instructions until then.
fn trace(program: &Program, call: Call) -> (u32, usize) {
    let data = call.data();
    let (mut accumulator, mut at) = (0, 0);
    for steps in 1.. {
        let word = program.filter[at];
        let (yes, no, value) = ((word >> 16 & 255) as usize, (word >> 24 & 255) as usize, (word >> 32) as u32);
        at += 1;
        let mut jump = |condition: bool| at += if condition { yes } else { no };
        match word as u16 {
            0x20 => accumulator = data[value as usize / 4],
            0x54 => accumulator &= value,
            0x05 => at += value as usize,
            0x15 => jump(accumulator == value),
            0x25 => jump(accumulator > value),
            0x35 => jump(accumulator >= value),
            0x06 => return (value, steps),
            other => panic!("operation {other:#x}"),
        }
    }
    unreachable!("every program ends")
}

/// The kernel's own checks (seccomp_check_filter): known operations, every jump inside, a return at the end.
fn assert_is_sound(program: &Program) {
    let length = program.filter.len();
    assert!(length <= 4096);
    assert_eq!(*program.filter.last().unwrap() as u16, 0x06);
    for (at, word) in program.filter.iter().enumerate() {
        let (yes, no, value) = ((word >> 16 & 255) as usize, (word >> 24 & 255) as usize, (word >> 32) as usize);
        match *word as u16 {
            0x15 | 0x25 | 0x35 => assert!(at + 1 + yes.max(no) < length),
            0x05 => assert!(at + 1 + value < length),
            0x20 => assert!(value < 64 && value % 4 == 0),
            _ => {}
        }
    }
}

fn holds(condition: &LinuxSeccompArg, call: Call) -> bool {
    let width = if call.abi == Abi::X86 { u64::from(u32::MAX) } else { u64::MAX };
    let (argument, value) = (call.arguments[condition.index()] & width, condition.value() & width);
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpEq => argument == value,
        LinuxSeccompOperator::ScmpCmpNe => argument != value,
        LinuxSeccompOperator::ScmpCmpLt => argument < value,
        LinuxSeccompOperator::ScmpCmpLe => argument <= value,
        LinuxSeccompOperator::ScmpCmpGt => argument > value,
        LinuxSeccompOperator::ScmpCmpGe => argument >= value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => argument & value == condition.value_two().unwrap_or(0) & value & width,
    }
}

/// What the module's introduction promises, read off the profile for one call.
fn evaluate(profile: &LinuxSeccomp, call: Call) -> u32 {
    let answer = |action: LinuxSeccompAction, errno: Option<u32>| action.as_u32(errno);
    let default = answer(profile.default_action(), profile.default_errno_ret());
    let lists = |arch| profile.architectures().as_ref().is_some_and(|list| list.contains(&arch));
    match call.abi {
        Abi::X32 if !lists(Arch::ScmpArchX32) => return KILL_PROCESS,
        Abi::X86 if !lists(Arch::ScmpArchX86) => return KILL_PROCESS,
        _ => {}
    }
    let rules = profile.syscalls().as_ref().unwrap();
    let number = |name: &String| syscalls::number(name, call.abi);
    let newest = rules.iter().flat_map(|rule| rule.names().iter().filter_map(number)).max();
    let about: Vec<&LinuxSyscall> = rules
        .iter()
        .filter(|rule| rule.names().iter().any(|name| number(name) == Some(call.number)))
        .filter(|rule| answer(rule.action(), rule.errno_ret()) != default)
        .collect();
    let arguments = |rule: &LinuxSyscall| rule.args().clone().unwrap_or_default();
    if let Some(rule) = about.iter().find(|rule| arguments(rule).is_empty()) {
        return answer(rule.action(), rule.errno_ret());
    }
    for rule in about {
        let conditions = arguments(rule);
        let mut indices: Vec<usize> = conditions.iter().map(LinuxSeccompArg::index).collect();
        indices.sort_unstable();
        indices.dedup();
        let is_met = if indices.len() < conditions.len() {
            conditions.iter().any(|condition| holds(condition, call))
        } else {
            conditions.iter().all(|condition| holds(condition, call))
        };
        if is_met {
            return answer(rule.action(), rule.errno_ret());
        }
    }
    let permissive = matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    );
    if !permissive && newest.is_some_and(|newest| call.number > newest) { ENOSYS } else { default }
}

/// Without socket calls and the like, which have a test of their own.
const NAMES: [&str; 12] = [
    "read",
    "write",
    "open",
    "clone",
    "personality",
    "futex",
    "openat2",
    "mseal",
    "mmap2",
    "arch_prctl",
    "listns",
    "no_such",
];

fn action() -> impl Strategy<Value = LinuxSeccompAction> {
    prop::sample::select(vec![
        LinuxSeccompAction::ScmpActAllow,
        LinuxSeccompAction::ScmpActErrno,
        LinuxSeccompAction::ScmpActKillProcess,
        LinuxSeccompAction::ScmpActKill,
        LinuxSeccompAction::ScmpActTrap,
        LinuxSeccompAction::ScmpActLog,
        LinuxSeccompAction::ScmpActTrace,
    ])
}

/// Values near each other and near the borders of the two halves.
fn word() -> impl Strategy<Value = u64> {
    let borders =
        vec![0, 1, 2, 5, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, 0x7e02_0000, 0xffff_ffff_0000_0000, u64::MAX];
    prop_oneof![4 => prop::sample::select(borders), 1 => any::<u64>()]
}

prop_compose! {
    fn condition()(index in 0_usize..3, op in 1_u8..8, value in word(), two in prop::option::of(word())) -> LinuxSeccompArg {
        let op = match op {
            1 => LinuxSeccompOperator::ScmpCmpNe,
            2 => LinuxSeccompOperator::ScmpCmpLt,
            3 => LinuxSeccompOperator::ScmpCmpLe,
            4 => LinuxSeccompOperator::ScmpCmpEq,
            5 => LinuxSeccompOperator::ScmpCmpGe,
            6 => LinuxSeccompOperator::ScmpCmpGt,
            _ => LinuxSeccompOperator::ScmpCmpMaskedEq,
        };
        let built = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
        if let Some(two) = two { built.value_two(two) } else { built }.build().unwrap()
    }
}

prop_compose! {
    fn rule()(
        names in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4),
        action in action(),
        errno in prop::option::of(0_u32..4096),
        args in prop::option::of(prop::collection::vec(condition(), 0..4)),
    ) -> LinuxSyscall {
        let mut rule = LinuxSyscall::default();
        rule.set_names(names.into_iter().map(str::to_owned).collect()).set_action(action).set_errno_ret(errno).set_args(args);
        rule
    }
}

prop_compose! {
    fn profile()(
        action in action(),
        errno in prop::option::of(0_u32..4096),
        architectures in prop::sample::subsequence(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32], 0..4),
        rules in prop::collection::vec(rule(), 0..8),
    ) -> LinuxSeccomp {
        let mut profile = LinuxSeccomp::default();
        profile.set_default_action(action).set_default_errno_ret(errno).set_architectures(Some(architectures));
        profile.set_syscalls(Some(rules));
        profile
    }
}

fn call() -> impl Strategy<Value = Call> {
    let abi = prop::sample::select(vec![Abi::X86_64, Abi::X86, Abi::X32]);
    let arguments = [word(), word(), word(), word(), word(), word()];
    (abi, prop::sample::select(NAMES.to_vec()), 0_u32..600, arguments).prop_map(|(abi, name, other, arguments)| Call {
        abi,
        number: syscalls::number(name, abi).unwrap_or(other),
        arguments,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_program_decides_as_its_profile_says(profile in profile(), calls in prop::collection::vec(call(), 1..24)) {
        let program = compile(&profile, Architecture::X86_64).unwrap();
        assert_is_sound(&program);
        for call in calls {
            prop_assert_eq!(run(&program, call), evaluate(&profile, call), "{:?}", call);
        }
    }
}

#[test]
fn every_number_of_the_default_profile_is_decided_as_it_says() {
    for capabilities in [&[][..], &[Capability::SysAdmin, Capability::SysTime]] {
        for (architecture, abis) in
            [(Architecture::X86_64, &[Abi::X86_64, Abi::X86, Abi::X32][..]), (Architecture::Aarch64, &[Abi::Aarch64])]
        {
            let profile = runtime_default(capabilities, architecture);
            let program = compile(&profile, architecture).unwrap();
            assert_is_sound(&program);
            for abi in abis {
                let by_argument = ["socket", "clone", "personality"].map(|name| syscalls::number(name, *abi));
                let socketcall = syscalls::number("socketcall", *abi);
                for number in (0..600).filter(|number| Some(*number) != socketcall) {
                    let count = if by_argument.contains(&Some(number)) { 7 } else { 1 };
                    for first in [0, 8, 38, 40, 0x1_0000_0026, 0x1000_0000, u64::from(u32::MAX)].into_iter().take(count)
                    {
                        let call = Call { abi: *abi, number, arguments: [first, 0, 0, 0, 0, 0] };
                        assert_eq!(run(&program, call), evaluate(&profile, call), "{call:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_default_profile_keeps_what_containers_rely_on() {
    let answers = |capabilities: &[Capability], name: &str, arguments: &[u64]| {
        let program = compile(&runtime_default(capabilities, Architecture::X86_64), Architecture::X86_64).unwrap();
        run(&program, Call::named(name, Abi::X86_64, arguments))
    };
    for name in
        ["read", "openat2", "clone", "ptrace", "arch_prctl", "statx", "futex_waitv", "fchmodat2", "memfd_create"]
    {
        assert_eq!(answers(&[], name, &[]), ALLOW, "{name}");
    }
    for name in ["mount", "unshare", "setns", "bpf", "keyctl", "add_key", "io_uring_setup", "userfaultfd", "kexec_load"]
    {
        assert_eq!(answers(&[], name, &[]), EPERM, "{name}");
    }
    assert_eq!(answers(&[], "clone3", &[]), ENOSYS);
    assert_eq!(answers(&[], "clone", &[0x1000_0000]), EPERM);
    assert_eq!(answers(&[Capability::SysAdmin], "clone", &[0x1000_0000]), ALLOW);
    assert_eq!(answers(&[Capability::SysAdmin], "mount", &[]), ALLOW);
    assert_eq!(answers(&[Capability::SysChroot], "chroot", &[]), ALLOW);
    // Unix, IPv4, IPv6, netlink, packet; not the kernel's cryptography and the hypervisor, also with an upper bit set.
    for family in [1, 2, 10, 16, 17, 37, 39, 41, 44] {
        assert_eq!(answers(&[], "socket", &[family]), ALLOW, "{family}");
    }
    for family in [38, 40, 0x1_0000_0026, 0x1_0000_0028] {
        assert_eq!(answers(&[], "socket", &[family]), EPERM, "{family}");
    }
    assert_eq!(answers(&[], "personality", &[8]), ALLOW);
    assert_eq!(answers(&[], "personality", &[0x40_0000]), EPERM);
}

#[test]
fn the_default_profile_is_found_in_few_steps() {
    let program = compile(&runtime_default(&[], Architecture::X86_64), Architecture::X86_64).unwrap();
    let steps = |name| trace(&program, Call::named(name, Abi::X86_64, &[])).1;
    assert!(program.filter.len() < 700, "{}", program.filter.len());
    for name in ["read", "futex", "mseal", "kexec_load"] {
        assert!(steps(name) <= 16, "{name}: {}", steps(name));
    }
    let copy: Program = postcard::from_bytes(&postcard::to_allocvec(&program).unwrap()).unwrap();
    assert_eq!(copy, program);
}

fn compiled(profile: Value) -> Result<Program, SeccompError> {
    let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
    compile(&profile, Architecture::X86_64)
}

#[test]
fn socket_calls_of_32_bit_programs_are_seen_through() {
    let program = compiled(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["connect", "shmget"], "action": "SCMP_ACT_ERRNO"}]}))
    .unwrap();
    let answer = |name: &str, first| run(&program, Call::named(name, Abi::X86, &[first]));
    assert_eq!(answer("socketcall", 3), EPERM);
    assert_eq!(answer("socketcall", 2), ALLOW);
    assert_eq!(answer("connect", 0), EPERM);
    assert_eq!(answer("ipc", 0x1_0017), EPERM);
    assert_eq!(answer("ipc", 24), ALLOW);
}

#[test]
fn other_interfaces_and_skipped_calls_are_told_apart() {
    let program = compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "syscalls": []})).unwrap();
    let none = [0; 6];
    assert_eq!(run(&program, Call { abi: Abi::X86, number: 1, arguments: none }), KILL_PROCESS);
    assert_eq!(run(&program, Call { abi: Abi::X32, number: 1, arguments: none }), KILL_PROCESS);
    assert_eq!(run(&program, Call { abi: Abi::Aarch64, number: 1, arguments: none }), KILL_PROCESS);
    assert_eq!(run(&program, Call { abi: Abi::X86_64, number: u32::MAX, arguments: none }), 0x0005_0005);
}

#[test]
fn profiles_that_cannot_be_kept_are_refused() {
    let rule = |rule: Value| compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})).unwrap_err();
    let argument = json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"});
    assert_eq!(
        rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [argument]})),
        SeccompError::Argument { index: 6 }
    );
    assert_eq!(
        rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
        SeccompError::Errno { errno: 4096 }
    );
    assert_eq!(rule(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})), SeccompError::Notify);
    let many: Vec<Value> = (0..3000)
        .map(|value| {
            let argument = json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"});
            json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [argument]})
        })
        .collect();
    let long = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many})).unwrap_err();
    assert!(matches!(long, SeccompError::TooLong { .. }), "{long:?}");
}

#[test]
fn flags_are_passed_on_and_default_to_no_mitigation() {
    let flags = |flags: Value| {
        let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        if !flags.is_null() {
            profile["flags"] = flags;
        }
        compiled(profile).unwrap().flags
    };
    assert_eq!(flags(Value::Null), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])), 3);
}

#[test]
fn conditions_of_docker_profiles_are_decided_when_they_are_read() {
    let json = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "", "includes": {}, "excludes": {}},
            {"name": "mount", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["listns"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.19"}},
            {"names": ["futex"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "6.1"}}]});
    let names = |capabilities: &[Capability]| {
        let context = ProfileContext { capabilities, architecture: Architecture::X86_64, kernel: (6, 1) };
        let profile = parse_profile(json.to_string().as_bytes(), &context).unwrap();
        assert_eq!(profile.architectures().as_ref().unwrap(), &[Arch::ScmpArchX86_64, Arch::ScmpArchX86]);
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["read", "clone", "arch_prctl", "ptrace"]);
    assert_eq!(names(&[Capability::SysAdmin]), ["read", "mount", "arch_prctl", "ptrace"]);
}

#[test]
fn profiles_of_the_oci_are_read_as_they_are_and_broken_ones_refused() {
    let context = ProfileContext { capabilities: &[], architecture: Architecture::X86_64, kernel: (6, 1) };
    let json = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                      "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}]});
    let expected: LinuxSeccomp = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(parse_profile(json.to_string().as_bytes(), &context).unwrap(), expected);
    for (bad, message) in [
        ("{", "reading a seccomp profile"),
        ("{}", "reading a seccomp profile"),
        (r#"{"defaultAction": "SCMP_ACT_NONSENSE"}"#, "reading a seccomp profile"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#,
            "a seccomp profile has both architectures and archMap",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}"#,
            "a seccomp profile has both name and names",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]}"#,
            "a rule of a seccomp profile needs the kernel \"new\": expected major.minor",
        ),
    ] {
        assert_eq!(parse_profile(bad.as_bytes(), &context).unwrap_err().to_string(), message, "{bad}");
    }
}

/// Runs in a thread of its own, which takes the filter with it when it ends.
fn with_filter<T: Send + 'static>(program: Program, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        cradle_sys::bpf::install_seccomp_filter(&program.filter, program.flags).unwrap();
        run()
    });
    thread.join().unwrap()
}

#[test]
fn the_kernel_takes_a_filter_and_keeps_to_it() {
    let profile: LinuxSeccomp = serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
                      "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}]}))
    .unwrap();
    let program = compile(&profile, Architecture::native()).unwrap();
    let (process, group) =
        with_filter(program, || (rustix::process::getpriority_process(None), rustix::process::getpriority_pgrp(None)));
    assert_eq!(process.unwrap_err().raw_os_error(), 99);
    group.unwrap();
}

#[test]
fn the_kernel_takes_the_default_profile() {
    let architecture = Architecture::native();
    let program = compile(&runtime_default(&[], architecture), architecture).unwrap();
    let (mount, directory) = with_filter(program, || {
        let mount = rustix::mount::unmount("/nonexistent", rustix::mount::UnmountFlags::empty());
        (mount, rustix::fs::stat("/").map(drop))
    });
    assert_eq!(mount, Err(rustix::io::Errno::PERM));
    directory.unwrap();
}
