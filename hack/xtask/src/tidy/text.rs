//! Rules about every text file: nothing unfinished, nothing of the machine it was written on.

use super::Violation;

/// Words that mark unfinished work. They are put together here so that this file does not contain them.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Places that exist on a developer's machine only.
const FOREIGN: [&str; 5] = [
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/dev"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/."),
    concat!("../sha", "red"),
];

pub fn violations(path: &str, content: &str) -> Vec<Violation> {
    // Names and digests of dependencies are not ours.
    if path == "Cargo.lock" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, line) in content.lines().enumerate() {
        if let Some(word) = UNFINISHED.iter().find(|word| has_word(line, word)) {
            found.push(Violation::new(path, at + 1, format!("{word}: finish it, or write an issue")));
        }
        if let Some(place) = FOREIGN.iter().find(|place| line.contains(*place)) {
            found.push(Violation::new(path, at + 1, format!("{place} exists on one machine only")));
        }
    }
    found
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
pub fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part) && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}
