//! An assembler for classic BPF that writes a program from its end to its beginning.
//!
//! All jumps of classic BPF go forward, so every target exists when the jump to it is written, and its distance is
//! known. A conditional jump reaches 255 instructions; where that is too short, an unconditional one is put between.

/// Operation codes (linux/bpf_common.h): class, size or operation, mode or source.
const LOAD_ABSOLUTE: u16 = 0x20; // LD | W | ABS
const JUMP: u16 = 0x05; // JMP | JA
const AND: u16 = 0x54; // ALU | AND | K
const RETURN: u16 = 0x06; // RET | K

/// A comparison of the accumulator with a constant (JMP | … | K).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

/// An instruction, as its distance from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// How far a conditional jump may reach here: one less than it can, as a detour for its other target may come between.
const REACH: usize = 254;

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last instruction first, each packed as `struct sock_filter`: code, jt, jf, k from the lowest bits up.
    reversed: Vec<u64>,
    /// The latest instruction that returns each of these values.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    fn push(&mut self, code: u16, yes: usize, no: usize, value: u32) -> Label {
        let word = u64::from(code) | (yes as u64) << 16 | (no as u64) << 24 | u64::from(value) << 32;
        self.reversed.push(word);
        Label(self.reversed.len())
    }

    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0
    }

    /// The target, or a detour to it that a conditional jump can reach.
    fn within_reach(&mut self, target: Label) -> Label {
        match self.distance(target) {
            near if near <= REACH => target,
            far => self.push(JUMP, 0, 0, u32::try_from(far).unwrap_or(u32::MAX)),
        }
    }

    /// Ends the program with `value`.
    pub(super) fn give(&mut self, value: u32) -> Label {
        match self.returns.iter().find(|(known, _)| *known == value) {
            Some((_, label)) if self.distance(*label) < REACH / 2 => *label,
            _ => {
                let label = self.push(RETURN, 0, 0, value);
                self.returns.retain(|(known, _)| *known != value);
                self.returns.push((value, label));
                label
            }
        }
    }

    /// Compares the accumulator and goes on at one of two places.
    pub(super) fn branch(&mut self, compare: Compare, value: u32, yes: Label, no: Label) -> Label {
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let (yes, no) = (self.distance(yes), self.distance(no));
        self.push(compare as u16, yes, no, value)
    }

    /// Loads a word of `struct seccomp_data` into the accumulator and goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.go_on_at(next);
        self.push(LOAD_ABSOLUTE, 0, 0, offset)
    }

    /// Masks the accumulator and goes on at `next`.
    pub(super) fn mask(&mut self, mask: u32, next: Label) -> Label {
        self.go_on_at(next);
        self.push(AND, 0, 0, mask)
    }

    /// What is pushed next will be followed by `next`.
    fn go_on_at(&mut self, next: Label) {
        if let distance @ 1.. = self.distance(next) {
            self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX));
        }
    }

    /// The program, with `first` at its beginning.
    pub(super) fn finish(mut self, first: Label) -> Vec<u64> {
        self.go_on_at(first);
        self.reversed.reverse();
        self.reversed
    }
}
