//! Paths of archives, made relative to the layer's root.

/// A path that climbs above the root.
#[derive(Debug, PartialEq, Eq)]
pub struct ClimbsAboveRoot;

/// Removes empty and `.` components, a leading slash (the layer's root is `/`) and `name/..`; the root itself is empty.
pub fn clean(path: &[u8]) -> Result<Vec<u8>, ClimbsAboveRoot> {
    let mut cleaned = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if cleaned.is_empty() => return Err(ClimbsAboveRoot),
            b".." => cleaned.truncate(split(&cleaned).0.len()),
            name => push(&mut cleaned, name),
        }
    }
    Ok(cleaned)
}

/// Appends a component.
pub fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    push(&mut joined, name);
    joined
}

/// The folder and the last component of a cleaned path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// The folders above a cleaned path, the nearest first, without the root.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(split(path).0), |above| Some(split(above).0)).take_while(|above| !above.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_to_the_root_and_never_climbs() {
        for (written, expected) in [
            (&b"./a/b/"[..], Ok(&b"a/b"[..])),
            (b"/etc//passwd", Ok(b"etc/passwd")),
            (b"a/../b", Ok(b"b")),
            (b"./", Ok(b"")),
            (b"a/b/../../c", Ok(b"c")),
            (b"..", Err(ClimbsAboveRoot)),
            (b"a/../../b", Err(ClimbsAboveRoot)),
            (b"/../etc", Err(ClimbsAboveRoot)),
            (b"..a/...", Ok(b"..a/...")),
        ] {
            assert_eq!(
                clean(written).as_deref(),
                expected.as_ref().map(|p| *p),
                "{}",
                String::from_utf8_lossy(written)
            );
        }
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(ancestors(b"a/b/c").collect::<Vec<_>>(), [&b"a/b"[..], b"a"]);
        assert_eq!(ancestors(b"a").count(), 0);
    }
}
