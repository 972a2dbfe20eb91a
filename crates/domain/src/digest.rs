//! Content digests: `sha256:` and 64 lowercase hexadecimal digits (OCI image-spec, descriptor.md, Digests).

use std::fmt;
use std::sync::Arc;

/// The digest of a blob. Only sha256 exists here: it is the one algorithm that registries serve.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

/// Text that is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a digest: expected \"sha256:\" and 64 lowercase hexadecimal digits")]
pub struct BadDigest {
    text: String,
}

const PREFIX: &str = "sha256:";

impl Digest {
    /// Reads `sha256:…`.
    pub fn parse(text: &str) -> Result<Self, BadDigest> {
        let bad = || BadDigest { text: text.chars().take(100).collect() };
        let hex = text.strip_prefix(PREFIX).ok_or_else(bad)?;
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() == 64 && hex.bytes().all(digit) { Ok(Digest(text.into())) } else { Err(bad()) }
    }

    /// The digest whose sha256 sum is `sum`.
    pub fn from_sha256(sum: [u8; 32]) -> Self {
        Digest(format!("{PREFIX}{}", crate::id::hex(&sum)).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Self, BadDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_with_64_lowercase_digits_is_a_digest() {
        let digest = Digest::from_sha256([1; 32]);
        assert_eq!(Digest::parse(digest.as_str()), Ok(digest));
        for bad in ["", "sha256:", "sha512:00", &format!("sha256:{}", "F".repeat(64)), "sha256:../../x"] {
            assert!(Digest::parse(bad).is_err(), "{bad:?}");
        }
    }
}
