//! From a profile to a program of classic BPF.
//!
//! The program looks at the machine's interface first (32-bit programs have other numbers), then finds the number of
//! the system call by bisection among ranges of numbers with the same outcome: seven comparisons where a list would
//! need hundreds. The kernel moreover remembers the numbers that are always allowed and does not run the program for
//! them; it can do so as nothing but the number and the interface is looked at before such an answer.

use cradle_domain::{Class, Classified};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

use super::Architecture;
use super::assemble::{Assembler, Compare, Label};
use super::rules::{Condition, Decision, KILL_PROCESS, Operator, Rules};
use super::syscalls::{Abi, X32_BIT};

/// A filter, ready to be installed with [`cradle_sys::bpf::install_seccomp_filter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Classic BPF, one `struct sock_filter` in each number, in the memory layout of the kernel.
    pub filter: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// A profile that cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeccompError {
    #[error("a rule of the seccomp profile is about argument {index}: a system call has arguments 0 to 5")]
    Argument { index: usize },
    #[error("the seccomp profile answers with error number {errno}: the largest is 4095")]
    Errno { errno: u32 },
    #[error("the seccomp profile asks for SCMP_ACT_NOTIFY")]
    Notify,
    #[error("the seccomp profile needs {length} instructions: the kernel takes 4096")]
    TooLong { length: usize },
}

impl Classified for SeccompError {
    fn class(&self) -> Class {
        match self {
            SeccompError::Notify => Class::Unimplemented,
            SeccompError::Argument { .. } | SeccompError::Errno { .. } | SeccompError::TooLong { .. } => Class::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SeccompError::Notify => Some("there is no listener for it; use another action".to_owned()),
            SeccompError::Argument { .. } | SeccompError::Errno { .. } | SeccompError::TooLong { .. } => None,
        }
    }
}

/// The longest program that the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS_MAX: usize = 4096;

/// `struct seccomp_data` (linux/seccomp.h): number, interface, instruction pointer, six arguments of 64 bits.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_INTERFACE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// Interfaces as the kernel names them (linux/audit.h, AUDIT_ARCH_*).
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_X86: u32 = 0x4000_0003;
const AUDIT_AARCH64: u32 = 0xc000_00b7;

/// The number that a tracer sets to skip a call.
const SKIPPED: u32 = u32::MAX;

/// Compiles a profile for a machine. Names that the machine's interfaces do not have are passed over, as in libseccomp,
/// and so are interfaces that it cannot offer. A call through an interface that the profile does not list kills, and so
/// does one of a 32-bit ARM program on aarch64, whose numbers are not in the table.
pub fn compile(profile: &LinuxSeccomp, architecture: Architecture) -> Result<Program, SeccompError> {
    if profile.listener_path().is_some() {
        return Err(SeccompError::Notify);
    }
    let mut assembler = Assembler::default();
    let mut next = assembler.give(KILL_PROCESS);
    // Written backwards: what a call of the machine's own interface runs comes first in the end.
    for (audit, ranges) in interfaces(profile, architecture)?.iter().rev() {
        let search = search(&mut assembler, ranges);
        let section = assembler.load(OFFSET_NUMBER, search);
        next = assembler.branch(Compare::Equal, *audit, section, next);
    }
    let first = assembler.load(OFFSET_INTERFACE, next);
    let filter = assembler.finish(first);
    if filter.len() > INSTRUCTIONS_MAX {
        return Err(SeccompError::TooLong { length: filter.len() });
    }
    Ok(Program { filter, flags: flags(profile) })
}

/// Numbers from `first` up to the next range, all with the same outcome.
#[derive(Debug)]
struct Range {
    first: u32,
    outcome: Decision,
}

/// The interfaces that the profile covers, the machine's own first, each with all numbers from 0.
fn interfaces(profile: &LinuxSeccomp, architecture: Architecture) -> Result<Vec<(u32, Vec<Range>)>, SeccompError> {
    let lists = |arch: Arch| profile.architectures().as_ref().is_some_and(|listed| listed.contains(&arch));
    match architecture {
        Architecture::Aarch64 => Ok(vec![(AUDIT_AARCH64, ranges(&[(0, &Rules::new(profile, Abi::Aarch64)?)]))]),
        Architecture::X86_64 => {
            let x86_64 = Rules::new(profile, Abi::X86_64)?;
            let native = if lists(Arch::ScmpArchX32) {
                ranges(&[(0, &x86_64), (X32_BIT, &Rules::new(profile, Abi::X32)?)])
            } else {
                let mut native = ranges(&[(0, &x86_64)]);
                native.push(Range { first: X32_BIT, outcome: always(KILL_PROCESS) });
                native.push(Range { first: SKIPPED, outcome: always(x86_64.default) });
                native
            };
            let mut all = vec![(AUDIT_X86_64, native)];
            if lists(Arch::ScmpArchX86) {
                all.push((AUDIT_X86, ranges(&[(0, &Rules::new(profile, Abi::X86)?)])));
            }
            Ok(all)
        }
    }
}

fn always(answer: u32) -> Decision {
    Decision { guarded: Vec::new(), otherwise: answer }
}

/// Cuts the numbers into ranges; each set of rules begins at its offset.
fn ranges(sets: &[(u32, &Rules)]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut put = |first: u32, outcome: Decision| {
        // The range behind the number before ends where it began.
        ranges.pop_if(|last| last.first == first);
        if ranges.last().is_none_or(|last| last.outcome != outcome) {
            ranges.push(Range { first, outcome });
        }
    };
    for (offset, rules) in sets {
        put(*offset, always(rules.default));
        for (number, decision) in &rules.decisions {
            put(offset + number, decision.clone());
            put(offset + number + 1, always(rules.default));
        }
        if let Some((newest, answer)) = rules.newer {
            put(offset + newest + 1, always(answer));
        }
    }
    ranges
}

/// Finds the range of the number in the accumulator. There is at least one range.
fn search(assembler: &mut Assembler, ranges: &[Range]) -> Label {
    let middle = ranges.len() / 2;
    match ranges {
        [] => assembler.give(KILL_PROCESS),
        [only] => decide(assembler, &only.outcome),
        _ => {
            let upper = search(assembler, &ranges[middle..]);
            let lower = search(assembler, &ranges[..middle]);
            assembler.branch(Compare::GreaterOrEqual, ranges[middle].first, upper, lower)
        }
    }
}

fn decide(assembler: &mut Assembler, decision: &Decision) -> Label {
    let mut next = assembler.give(decision.otherwise);
    for (conditions, answer) in decision.guarded.iter().rev() {
        let mut holds = assembler.give(*answer);
        for condition in conditions.iter().rev() {
            holds = compare(assembler, condition, holds, next);
        }
        next = holds;
    }
    next
}

/// Compares an argument, of which the accumulator holds half at a time: first the upper, then the lower half.
fn compare(assembler: &mut Assembler, condition: &Condition, holds: Label, fails: Label) -> Label {
    let (compare, yes, no) = match condition.operator {
        Operator::Equal => return equal(assembler, condition, holds, fails),
        Operator::NotEqual => return equal(assembler, condition, fails, holds),
        Operator::Greater => (Compare::Greater, holds, fails),
        Operator::GreaterOrEqual => (Compare::GreaterOrEqual, holds, fails),
        Operator::LessOrEqual => (Compare::Greater, fails, holds),
        Operator::Less => (Compare::GreaterOrEqual, fails, holds),
    };
    let (upper, lower) = halves(condition.value);
    let offset = OFFSET_ARGUMENTS + 8 * condition.index;
    let at_lower = assembler.branch(compare, lower, yes, no);
    let at_lower = assembler.load(offset, at_lower);
    if halves(condition.mask).0 == 0 {
        return at_lower;
    }
    let same = assembler.branch(Compare::Equal, upper, at_lower, no);
    let at_upper = assembler.branch(Compare::Greater, upper, yes, same);
    assembler.load(offset + 4, at_upper)
}

fn equal(assembler: &mut Assembler, condition: &Condition, yes: Label, no: Label) -> Label {
    let ((upper, lower), (upper_mask, lower_mask)) = (halves(condition.value), halves(condition.mask));
    let offset = OFFSET_ARGUMENTS + 8 * condition.index;
    let mut half = |offset: u32, mask: u32, value: u32, yes: Label| match mask {
        0 => yes,
        u32::MAX => {
            let at = assembler.branch(Compare::Equal, value, yes, no);
            assembler.load(offset, at)
        }
        _ => {
            let at = assembler.branch(Compare::Equal, value, yes, no);
            let at = assembler.mask(mask, at);
            assembler.load(offset, at)
        }
    };
    let at_lower = half(offset, lower_mask, lower, yes);
    half(offset + 4, upper_mask, upper, at_lower)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Without flags in the profile, the filter does not slow the container down with a mitigation of speculation that
/// Linux tied to seccomp until 5.16.
fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(listed) = profile.flags() else { return SPEC_ALLOW };
    listed.iter().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                // Only for a listener, of which there is none.
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
            }
    })
}

/// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
const TSYNC: u32 = 1;
const LOG: u32 = 2;
const SPEC_ALLOW: u32 = 4;
