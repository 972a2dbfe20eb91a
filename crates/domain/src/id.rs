//! Identifiers of pods and containers: 64 lowercase hexadecimal digits, as every CRI runtime and its users know them.

use std::fmt;
use std::sync::Arc;

/// Digits of an identifier.
pub const ID_DIGITS: usize = 64;

/// Text that is not an identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not an id: expected {ID_DIGITS} lowercase hexadecimal digits")]
pub struct BadId {
    text: String,
}

fn parse(text: &str) -> Result<Arc<str>, BadId> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() == ID_DIGITS && text.bytes().all(hex) {
        Ok(text.into())
    } else {
        Err(BadId { text: text.chars().take(80).collect() })
    }
}

/// `bytes` as lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        text
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads an identifier; anything but 64 lowercase hexadecimal digits is refused.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                parse(text).map(Self)
            }

            /// The identifier with these random bytes.
            pub fn from_random(bytes: [u8; ID_DIGITS / 2]) -> Self {
                Self(hex(&bytes).into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 digits, as people write it.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }
    };
}

id! {
    /// Names one pod sandbox.
    PodId
}

id! {
    /// Names one container of a pod.
    ContainerId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lowercase_hexadecimal_digits_are_an_id() {
        let id = PodId::from_random([0xab; 32]);
        assert_eq!(PodId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(id.short(), "abababababab");
        for bad in ["", "../../etc", &"A".repeat(64), &"0".repeat(63)] {
            assert!(PodId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
