//! Device rules as a program for cgroup v2 (BPF_PROG_TYPE_CGROUP_DEVICE), which has no file for them.
//!
//! The kernel calls the program with the kind of device, its numbers and the access that is asked for; 1 lets it pass.
//! The program walks the rules from the last to the first and keeps the bits of access that no rule has decided yet:
//! a matching rule that denies one of them ends it with 0, one that allows the rest of them with 1.

use super::device::{DeviceKind, DeviceRule, DeviceRules, Verdict};

/// Registers by number: R0 is the result, R1 the context.
const RESULT: u64 = 0;
const CONTEXT: u64 = 1;
const KIND: u64 = 2;
const UNDECIDED: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
const SCRATCH: u64 = 6;

/// `struct bpf_cgroup_dev_ctx`: three u32, the first with the access in its upper and the kind in its lower half.
const OFFSET_ACCESS_AND_KIND: u64 = 0;
const OFFSET_MAJOR: u64 = 4;
const OFFSET_MINOR: u64 = 8;

/// `BPF_DEVCG_DEV_*`.
const KIND_BLOCK: u32 = 1;
const KIND_CHARACTER: u32 = 2;

/// Operation codes (linux/bpf.h and bpf_common.h): class, operation and source in one byte.
const LOAD_WORD: u64 = 0x61; // LDX | MEM | W
const MOVE: u64 = 0xb7; // ALU64 | MOV | K
const MOVE_REGISTER: u64 = 0xbf; // ALU64 | MOV | X
const AND: u64 = 0x57; // ALU64 | AND | K
const SHIFT_RIGHT: u64 = 0x77; // ALU64 | RSH | K
const JUMP_IF_EQUAL: u64 = 0x15; // JMP | JEQ | K
const JUMP_IF_NOT_EQUAL: u64 = 0x55; // JMP | JNE | K
const EXIT: u64 = 0x95; // JMP | EXIT

/// One `struct bpf_insn`: operation, registers, offset and immediate value from the lowest bits up.
fn instruction(operation: u64, destination: u64, source: u64, offset: u64, immediate: u32) -> u64 {
    operation | destination << 8 | source << 12 | offset << 16 | u64::from(immediate) << 32
}

fn load(destination: u64, offset: u64) -> u64 {
    instruction(LOAD_WORD, destination, CONTEXT, offset, 0)
}

fn finish(verdict: Verdict) -> [u64; 2] {
    let result = u32::from(verdict == Verdict::Allow);
    [instruction(MOVE, RESULT, 0, 0, result), instruction(EXIT, 0, 0, 0, 0)]
}

/// The program for these rules, one instruction in each number.
pub(super) fn assemble(rules: &DeviceRules) -> Vec<u64> {
    let mut program = vec![
        load(KIND, OFFSET_ACCESS_AND_KIND),
        instruction(MOVE_REGISTER, UNDECIDED, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, UNDECIDED, 0, 0, 16),
        load(MAJOR, OFFSET_MAJOR),
        load(MINOR, OFFSET_MINOR),
    ];
    for rule in rules.exceptions.iter().rev() {
        append_rule(&mut program, rule);
    }
    program.extend(finish(rules.base));
    program
}

/// Compares, then acts; every comparison that fails jumps behind the action.
fn append_rule(program: &mut Vec<u64>, rule: &DeviceRule) {
    let kind = match rule.kind {
        DeviceKind::Block => KIND_BLOCK,
        DeviceKind::Character => KIND_CHARACTER,
    };
    let bits = u32::from(rule.access.bits());
    let [result, exit] = finish(rule.verdict);
    let action = match rule.verdict {
        Verdict::Deny => vec![
            instruction(MOVE_REGISTER, SCRATCH, UNDECIDED, 0, 0),
            instruction(AND, SCRATCH, 0, 0, bits),
            instruction(JUMP_IF_EQUAL, SCRATCH, 0, 2, 0),
            result,
            exit,
        ],
        Verdict::Allow => vec![
            instruction(AND, UNDECIDED, 0, 0, !bits),
            instruction(JUMP_IF_NOT_EQUAL, UNDECIDED, 0, 2, 0),
            result,
            exit,
        ],
    };
    let comparisons: Vec<(u64, u32)> = [(KIND, Some(kind)), (MAJOR, rule.major), (MINOR, rule.minor)]
        .into_iter()
        .filter_map(|(register, value)| Some((register, value?)))
        .collect();
    for (at, (register, value)) in comparisons.iter().enumerate() {
        let behind_the_action = comparisons.len() - at - 1 + action.len();
        program.push(instruction(JUMP_IF_NOT_EQUAL, *register, 0, behind_the_action as u64, *value));
    }
    program.extend(action);
}
