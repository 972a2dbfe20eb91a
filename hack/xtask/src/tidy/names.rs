//! Names of files: by what one would search for, never a drawer for anything.

use super::Violation;

const BANNED: [&str; 9] = ["utils", "util", "common", "helpers", "helper", "manager", "types", "misc", "stuff"];

pub fn violations(path: &str) -> Option<Violation> {
    let banned = path.split('/').find(|part| {
        let stem = part.split('.').next().unwrap_or_default();
        BANNED.contains(&stem)
    })?;
    Some(Violation::new(path, 0, format!("{banned:?} says nothing: name it by what one would search for")))
}
