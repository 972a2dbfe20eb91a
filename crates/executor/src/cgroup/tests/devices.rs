//! The device program does what the rules say: run by an interpreter here, by the kernel in `v2_tree`.

use proptest::prelude::*;

use super::super::device::{Access, DeviceKind, DeviceRule, DeviceRules, Verdict};
use super::super::device_program::assemble;

/// What a process wants: kind, numbers and bits of access.
#[derive(Debug, Clone, Copy)]
struct Request {
    kind: DeviceKind,
    major: u32,
    minor: u32,
    access: u8,
}

/// Each bit of access is decided by the last rule that names it.
fn is_allowed(rules: &DeviceRules, request: Request) -> bool {
    let matches = |rule: &&DeviceRule, bit: u8| {
        rule.kind == request.kind
            && rule.major.is_none_or(|major| major == request.major)
            && rule.minor.is_none_or(|minor| minor == request.minor)
            && rule.access.bits() & bit != 0
    };
    [1, 2, 4].into_iter().filter(|bit| request.access & bit != 0).all(|bit| {
        let last = rules.exceptions.iter().rev().find(|rule| matches(rule, bit));
        last.map_or(rules.base, |rule| rule.verdict) == Verdict::Allow
    })
}

/// Runs the few instructions that `assemble` uses, as linux/bpf.h describes them.
fn run(program: &[u64], request: Request) -> u64 {
    let kind = match request.kind {
        DeviceKind::Block => 1,
        DeviceKind::Character => 2,
    };
    let context = [u32::from(request.access) << 16 | kind, request.major, request.minor];
    let mut registers = [0_u64; 11];
    let mut at = 0;
    loop {
        let word = program[at];
        at += 1;
        let (destination, source) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
        let offset = (word >> 16) as i16;
        // Immediate values are extended with their sign.
        let immediate = i64::from((word >> 32) as i32).cast_unsigned();
        let mut jump_if = |condition: bool| at += if condition { usize::try_from(offset).unwrap() } else { 0 };
        match word as u8 {
            0x61 => registers[destination] = u64::from(context[offset as usize / 4]),
            0xb7 => registers[destination] = immediate,
            0xbf => registers[destination] = registers[source],
            0x57 => registers[destination] &= immediate,
            0x77 => registers[destination] >>= immediate,
            0x15 => jump_if(registers[destination] == immediate),
            0x55 => jump_if(registers[destination] != immediate),
            0x95 => return registers[0],
            other => panic!("operation {other:#x}"),
        }
    }
}

fn kind() -> impl Strategy<Value = DeviceKind> {
    prop_oneof![Just(DeviceKind::Block), Just(DeviceKind::Character)]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Allow), Just(Verdict::Deny)]
}

fn access() -> impl Strategy<Value = Access> {
    let all = [Access::MKNOD, Access::READ, Access::WRITE, Access::ALL];
    prop::sample::select(all.to_vec())
}

prop_compose! {
    fn rule()(
        verdict in verdict(),
        kind in kind(),
        major in prop::option::of(0_u32..3),
        minor in prop::option::of(0_u32..3),
        access in access(),
    ) -> DeviceRule {
        DeviceRule { verdict, kind, major, minor, access }
    }
}

prop_compose! {
    fn request()(kind in kind(), major in 0_u32..4, minor in 0_u32..4, access in 1_u8..8) -> Request {
        Request { kind, major, minor, access }
    }
}

proptest! {
    #[test]
    fn the_program_decides_as_the_rules_do(
        base in verdict(),
        exceptions in prop::collection::vec(rule(), 0..12),
        requests in prop::collection::vec(request(), 1..20),
    ) {
        let rules = DeviceRules { base, exceptions };
        let program = assemble(&rules);
        for request in requests {
            prop_assert_eq!(run(&program, request) == 1, is_allowed(&rules, request), "{:?}", request);
        }
    }
}

#[test]
fn the_largest_numbers_are_compared_as_they_are() {
    let exact = DeviceRule {
        verdict: Verdict::Allow,
        kind: DeviceKind::Character,
        major: Some(4095),
        minor: Some(0xf_ffff),
        access: Access::ALL,
    };
    let program = assemble(&DeviceRules { base: Verdict::Deny, exceptions: vec![exact] });
    let request = Request { kind: DeviceKind::Character, major: 4095, minor: 0xf_ffff, access: 7 };
    assert_eq!(run(&program, request), 1);
    assert_eq!(run(&program, Request { minor: 0, ..request }), 0);
    assert_eq!(run(&program, Request { kind: DeviceKind::Block, ..request }), 0);
}
