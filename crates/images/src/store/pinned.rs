//! Images that garbage collection of the kubelet should leave alone, by patterns of their names.

use cradle_domain::Reference;

/// Patterns of names; `*` stands for any characters.
#[derive(Debug, Default, Clone)]
pub struct Pinned {
    patterns: Vec<String>,
}

impl Pinned {
    /// A pattern without `*` is a reference and is normalised as one.
    pub fn new(patterns: &[String]) -> Self {
        let normal = |pattern: &String| match Reference::parse(pattern) {
            Ok(reference) if !pattern.contains('*') => reference.to_string(),
            _ => pattern.clone(),
        };
        Pinned { patterns: patterns.iter().map(normal).collect() }
    }

    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    // Taking the first place for each part leaves the most for those after it.
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let pinned = Pinned::new(&["registry.k8s.io/*".into(), "nginx".into(), "*/kube-*:v1*9".into()]);
        for (name, expected) in [
            ("registry.k8s.io/pause:3.9", true),
            ("docker.io/library/nginx:latest", true),
            ("docker.io/library/nginx:1.0", false),
            ("example.com/kube-proxy:v1.29", true),
            ("example.com/kube-proxy:v2.9", false),
            ("registry.k8s.io", false),
        ] {
            assert_eq!(pinned.matches(name), expected, "{name}");
        }
        assert!(!Pinned::new(&["a*a".into()]).matches("a"));
    }
}
