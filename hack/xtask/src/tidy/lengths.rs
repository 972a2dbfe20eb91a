//! Lengths that only tighten: a function, a file, a program's `main.rs`. Tests may be longer; they are tables.

use super::Violation;
use super::source::Source;

const FUNCTION_MAX_LINES: usize = 70;
const FILE_MAX_LINES: usize = 600;
const MAIN_MAX_LINES: usize = 200;

pub fn violations(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let limit = if source.path.ends_with("/main.rs") { MAIN_MAX_LINES } else { FILE_MAX_LINES };
    let lines = source.lines.len();
    if lines > limit && !source.is_test(0) {
        found.push(Violation::new(source.path, 0, format!("{lines} lines; at most {limit}: split it by concept")));
    }
    for function in functions(&source.code) {
        let lines = function.last - function.first + 1;
        if lines > FUNCTION_MAX_LINES && !source.is_test(function.first) {
            let message = format!("a function of {lines} lines; at most {FUNCTION_MAX_LINES}");
            found.push(Violation::new(source.path, function.first + 1, message));
        }
    }
    found
}

/// The lines (from 0) of a function, from its `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub first: usize,
    pub last: usize,
}

/// The functions with a body in `code`, which has no comments and strings.
pub fn functions(code: &[String]) -> Vec<Function> {
    let starts = code.iter().enumerate().filter_map(|(at, line)| name_at(line).map(|column| (at, column)));
    starts.filter_map(|(first, column)| body_end(code, first, column).map(|last| Function { first, last })).collect()
}

/// Where the name of a function begins that is declared in this line; the type `fn(…)` has none.
fn name_at(line: &str) -> Option<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices("fn ").map(|(at, keyword)| (at, at + keyword.len())).find_map(|(at, name)| {
        let begins = !line[..at].chars().next_back().is_some_and(is_name);
        (begins && line[name..].chars().next().is_some_and(is_name)).then_some(name)
    })
}

/// The line of the brace that closes the body of the function whose name begins at `first` and `column`; none if a
/// semicolon comes before a body, as in a trait.
fn body_end(code: &[String], first: usize, column: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, line) in code.iter().enumerate().skip(first) {
        let text = if at == first { &line[column..] } else { line };
        for c in text.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.checked_sub(1)?,
                '{' => braces += 1,
                '}' if braces == 1 => return Some(at),
                '}' => braces = braces.checked_sub(1)?,
                ';' if braces == 0 && brackets == 0 => return None,
                _ => {}
            }
        }
    }
    None
}
