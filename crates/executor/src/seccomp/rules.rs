//! A profile's rules by system call number: what [`super::compile`] makes a program of.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use super::compile::SeccompError;
use super::syscalls::{self, Abi};

/// Answers of a filter (linux/seccomp.h, SECCOMP_RET_*).
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// The largest error number that a filter can answer with.
const ERRNO_MAX: u32 = 4095;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// A system call has six arguments.
const ARGUMENTS: usize = 6;

/// A comparison of one argument, `argument & mask OP value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) operator: Operator,
    pub(super) mask: u64,
    pub(super) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// The first of these whose conditions all hold decides.
    pub(super) guarded: Vec<(Vec<Condition>, u32)>,
    pub(super) otherwise: u32,
}

/// The rules of one interface.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) decisions: BTreeMap<u32, Decision>,
    /// For calls that no rule is about.
    pub(super) default: u32,
    /// The largest number that the profile names, and what the calls behind it get.
    pub(super) newer: Option<(u32, u32)>,
}

impl Rules {
    /// The rules of `profile` for the calls that `abi` has.
    pub(super) fn new(profile: &LinuxSeccomp, abi: Abi) -> Result<Self, SeccompError> {
        let default = answer(profile.default_action(), profile.default_errno_ret())?;
        let mut rules = Rules { decisions: BTreeMap::new(), default, newer: None };
        let mut unconditional = BTreeMap::new();
        let mut newest = None;
        for rule in profile.syscalls().iter().flatten() {
            let answer = answer(rule.action(), rule.errno_ret())?;
            let alternatives = alternatives(rule, abi)?;
            for name in rule.names() {
                let number = syscalls::number(name, abi);
                newest = newest.max(number);
                if answer == default {
                    continue;
                }
                match number {
                    Some(number) if alternatives.is_empty() => {
                        unconditional.entry(number).or_insert(answer);
                    }
                    Some(number) => rules.guard(number, &alternatives, answer),
                    None => {}
                }
                if let Some((number, call)) = multiplexed(name, abi)
                    && alternatives.is_empty()
                {
                    newest = newest.max(Some(number));
                    rules.guard(number, &[vec![call]], answer);
                }
            }
        }
        for (number, answer) in unconditional {
            rules.decisions.insert(number, Decision { guarded: Vec::new(), otherwise: answer });
        }
        let refuses = !matches!(default, ALLOW | LOG) && default & 0xffff_0000 != TRACE;
        rules.newer = newest.filter(|_| refuses).map(|newest| (newest, ERRNO | ENOSYS));
        Ok(rules)
    }

    fn guard(&mut self, number: u32, alternatives: &[Vec<Condition>], answer: u32) {
        let otherwise = self.default;
        let decision = self.decisions.entry(number).or_insert(Decision { guarded: Vec::new(), otherwise });
        decision.guarded.extend(alternatives.iter().map(|conditions| (conditions.clone(), answer)));
    }
}

/// The conditions of a rule. Two that are about the same argument could hardly both hold: as in runc and docker, each
/// condition of such a rule is a rule of its own.
fn alternatives(rule: &LinuxSyscall, abi: Abi) -> Result<Vec<Vec<Condition>>, SeccompError> {
    let arguments = rule.args().as_deref().unwrap_or_default();
    let conditions: Vec<Condition> =
        arguments.iter().map(|argument| condition(argument, abi)).collect::<Result<_, _>>()?;
    let is_repeated = |at: usize| conditions[..at].iter().any(|earlier| earlier.index == conditions[at].index);
    Ok(if conditions.is_empty() {
        Vec::new()
    } else if (0..conditions.len()).any(is_repeated) {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    })
}

fn condition(argument: &LinuxSeccompArg, abi: Abi) -> Result<Condition, SeccompError> {
    let index = argument.index();
    if index >= ARGUMENTS {
        return Err(SeccompError::Argument { index });
    }
    // A register of a 32-bit program has 32 bits; -1 is written with 64 in profiles.
    let width = if abi == Abi::X86 { u64::from(u32::MAX) } else { u64::MAX };
    let (operator, mask, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => (Operator::Equal, u64::MAX, argument.value()),
        LinuxSeccompOperator::ScmpCmpNe => (Operator::NotEqual, u64::MAX, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Operator::Less, u64::MAX, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Operator::LessOrEqual, u64::MAX, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Operator::Greater, u64::MAX, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Operator::GreaterOrEqual, u64::MAX, argument.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let mask = argument.value();
            (Operator::Equal, mask, argument.value_two().unwrap_or(0) & mask)
        }
    };
    let index = u32::try_from(index).map_err(|_| SeccompError::Argument { index })?;
    Ok(Condition { index, operator, mask: mask & width, value: value & width })
}

/// What the filter returns for an action.
fn answer(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    let errno = errno.unwrap_or(EPERM);
    if errno > ERRNO_MAX {
        return Err(SeccompError::Errno { errno });
    }
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => ERRNO | errno,
        LinuxSeccompAction::ScmpActTrace => TRACE | errno,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActNotify => return Err(SeccompError::Notify),
    })
}

/// On x86 these calls can also be made through one that takes the wanted call as its first argument; a rule for them
/// is one for that as well, unless it has conditions (the arguments lie in memory there, out of a filter's sight).
fn multiplexed(name: &str, abi: Abi) -> Option<(u32, Condition)> {
    if abi != Abi::X86 {
        return None;
    }
    let (through, calls, mask) = match name {
        _ if SOCKET_CALLS.iter().any(|(known, _)| *known == name) => {
            ("socketcall", &SOCKET_CALLS[..], u64::from(u32::MAX))
        }
        // The upper half carries a version.
        _ => ("ipc", &IPC_CALLS[..], 0xffff),
    };
    let (_, value) = calls.iter().find(|(known, _)| *known == name)?;
    let condition = Condition { index: 0, operator: Operator::Equal, mask, value: *value };
    Some((syscalls::number(through, abi)?, condition))
}

/// linux/net.h, SYS_*.
const SOCKET_CALLS: [(&str, u64); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// linux/ipc.h.
const IPC_CALLS: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];
