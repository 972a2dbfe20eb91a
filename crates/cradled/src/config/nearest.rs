//! The known name that an unknown one was probably meant to be.

/// The candidate with the smallest edit distance. A forgotten or wrong table costs no more than a letter.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let own_last = name.rsplit('.').next().unwrap_or(name);
    candidates.min_by_key(|candidate| distance(name, candidate).min(1 + distance(own_last, last(candidate))))
}

/// How many letters must be inserted, removed or replaced to make `a` of `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_the_one_with_the_fewest_edits() {
        let keys = ["root", "state", "network.bridge", "network.subnets"];
        for (unknown, expected) in
            [("rot", "root"), ("network.brigde", "network.bridge"), ("bridge", "network.bridge"), ("stat", "state")]
        {
            assert_eq!(nearest(unknown, keys.into_iter()), Some(expected), "{unknown}");
        }
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
