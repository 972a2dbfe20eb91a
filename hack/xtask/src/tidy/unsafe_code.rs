//! Unsafe code: in `crates/sys` only, and each with the reason why it is sound.

use super::Violation;
use super::source::Source;
use super::text::has_word;

const HOME: &str = "crates/sys/";

/// How many lines above an `unsafe` its reason may begin.
const REASON_WITHIN_LINES: usize = 16;

pub fn violations(source: &Source) -> Vec<Violation> {
    let is_sys = source.path.starts_with(HOME);
    let mut found = Vec::new();
    for (at, line) in source.code.iter().enumerate() {
        if !has_word(line, "unsafe") {
            continue;
        }
        if !is_sys {
            found.push(Violation::new(source.path, at + 1, "unsafe code lives in crates/sys"));
        } else if !has_reason(source, at) {
            found.push(Violation::new(source.path, at + 1, "say in a `SAFETY:` comment above why this is sound"));
        }
    }
    found
}

/// Whether a comment in the statement, or right above it, says why the `unsafe` at `at` is sound.
fn has_reason(source: &Source, at: usize) -> bool {
    let says = |line: usize| source.lines[line].contains("SAFETY:") || source.lines[line].contains("# Safety");
    let ends_statement = |line: usize| source.code[line].trim_end().ends_with([';', '}']);
    let above = (at.saturating_sub(REASON_WITHIN_LINES)..at).rev();
    says(at) || above.take_while(|line| !ends_statement(*line)).any(says)
}
