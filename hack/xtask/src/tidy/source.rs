//! Rust source as the rules see it: code with comments and strings blanked out, and which lines are tests; and the rules
//! that need no more than that.

use super::Violation;
use super::text::has_word;

/// A Rust file.
pub struct Source<'a> {
    pub path: &'a str,
    pub lines: Vec<&'a str>,
    /// The lines again, with spaces for comments and for what stands in strings and character literals.
    pub code: Vec<String>,
    /// Line numbers (from 0) from which on there are tests, if any.
    tests_from: usize,
}

impl<'a> Source<'a> {
    pub fn new(path: &'a str, content: &'a str) -> Self {
        let code: Vec<String> = blank(content).lines().map(str::to_owned).collect();
        let opens_tests = |at: usize| {
            // `mod tests;` is another file.
            let module =
                code.get(at + 1).is_some_and(|next| next.starts_with("mod ") && next.trim_end().ends_with('{'));
            code[at].trim() == "#[cfg(test)]" && module
        };
        let tests_from = match (0..code.len()).find(|at| opens_tests(*at)) {
            _ if is_test_file(path) => 0,
            Some(at) => at,
            None => usize::MAX,
        };
        Source { path, lines: content.lines().collect(), code, tests_from }
    }

    /// Whether the line (from 0) belongs to tests.
    pub fn is_test(&self, line: usize) -> bool {
        line >= self.tests_from
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        if !self.lines.first().is_some_and(|line| line.starts_with("//!")) {
            found.push(Violation::new(self.path, 1, "begin with `//!`: what the file owns, what it leaves to whom"));
        }
        for (at, line) in self.code.iter().enumerate() {
            let mut report = |message: &str| found.push(Violation::new(self.path, at + 1, message));
            if line.contains("todo!(") || line.contains("unimplemented!(") {
                report("unfinished code does not land");
            }
            if has_word(line, "unbounded_channel") {
                report("every queue has a bound with a name");
            }
            if !self.is_test(at) && (line.contains(".unwrap()") || line.contains(".expect(\"")) {
                report("no unwrap or expect outside tests: return an error that says what was being done");
            }
        }
        found
    }
}

/// Code that a program wrote says so in its first line.
pub fn is_generated(content: &str) -> bool {
    content.lines().next().is_some_and(|line| line.contains("@generated"))
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("crates/testkit/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/testing.rs")
        || path.ends_with("/fuzz.rs")
        || path.split('/').any(|part| part == "tests")
}

/// `content` with spaces for comments and for what stands in string and character literals; line breaks stay.
pub fn blank(content: &str) -> String {
    let chars: Vec<char> = content.chars().collect();
    let mut out = String::with_capacity(content.len());
    let mut at = 0;
    while at < chars.len() {
        let (end, keep_ends) = token_end(&chars, at);
        for (offset, c) in chars[at..end].iter().enumerate() {
            let kept = match keep_ends {
                Keep::All => true,
                Keep::Nothing => false,
                Keep::Quotes => offset == 0 || at + offset + 1 == end,
            };
            out.push(if kept || *c == '\n' { *c } else { ' ' });
        }
        at = end;
    }
    out
}

/// What of a token is shown.
enum Keep {
    All,
    Nothing,
    Quotes,
}

/// The end of the comment, literal or single character that begins at `at`.
fn token_end(chars: &[char], at: usize) -> (usize, Keep) {
    let next = chars.get(at + 1).copied();
    match (chars[at], next) {
        ('/', Some('/')) => (position(chars, at, |c| c == '\n'), Keep::Nothing),
        ('/', Some('*')) => (block_comment_end(chars, at), Keep::Nothing),
        ('r', Some('"' | '#')) if !is_part_of_name(chars, at) => match raw_string_end(chars, at) {
            Some(end) => (end, Keep::Nothing),
            None => (at + 1, Keep::All),
        },
        ('"', _) => (quoted_end(chars, at, '"'), Keep::Quotes),
        ('\'', Some('\\')) => (quoted_end(chars, at, '\''), Keep::Quotes),
        // One character and a quote: a literal. Anything else after a quote is a lifetime.
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => (at + 3, Keep::Quotes),
        _ => (at + 1, Keep::All),
    }
}

/// Whether the letter at `at` continues a name, as in `for"`; the `b` of `br"…"` and the `c` of `cr"…"` do not count.
fn is_part_of_name(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| chars.get(at));
    let name = |c: &char| c.is_alphanumeric() || *c == '_';
    match before(1) {
        Some('b' | 'c') => before(2).is_some_and(name),
        other => other.is_some_and(name),
    }
}

fn position(chars: &[char], from: usize, found: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|c| found(*c)).map_or(chars.len(), |offset| from + offset)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// The end of `r"…"` or `r#"…"#`; none for a raw name as `r#type`.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |from: usize| {
        chars[from] == '"' && chars[from + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let close = (open + 1..chars.len()).find(|from| closes(*from)).unwrap_or(chars.len());
    Some((close + 1 + hashes).min(chars.len()))
}
