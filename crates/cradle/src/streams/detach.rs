//! Keys that end the connection and leave what it is connected to, as docker has them: `ctrl-p,ctrl-q`.

use std::str::FromStr;

/// The keys, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl FromStr for DetachKeys {
    type Err = String;

    /// Letters and `ctrl-` with a letter or one of `@[\]^_`, separated by commas; nothing: no keys.
    fn from_str(text: &str) -> Result<Self, String> {
        let keys = text.split(',').filter(|key| !key.is_empty()).map(|key| match key.as_bytes() {
            [plain] if plain.is_ascii_graphic() => Ok(*plain),
            [b'c', b't', b'r', b'l', b'-', with @ (b'a'..=b'z' | b'@'..=b'_')] => Ok(with.to_ascii_uppercase() & 0x1f),
            _ => Err(format!("{key:?} is no key: expected a letter, or ctrl- with a letter, separated by commas")),
        });
        keys.collect::<Result<_, _>>().map(DetachKeys)
    }
}

/// Looks for the keys in what is typed.
pub struct Matcher {
    keys: Vec<u8>,
    /// So many of them were typed, and not sent.
    held: usize,
}

impl Matcher {
    pub fn new(keys: &DetachKeys) -> Self {
        Matcher { keys: keys.0.clone(), held: 0 }
    }

    /// What is to be sent of `typed`, and whether the keys are complete.
    pub fn pass(&mut self, typed: Vec<u8>) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (typed, false);
        }
        let mut sent = Vec::with_capacity(typed.len());
        for byte in typed {
            while self.held > 0 && self.keys[self.held] != byte {
                self.release(byte, &mut sent);
            }
            if self.keys[self.held] != byte {
                sent.push(byte);
                continue;
            }
            self.held += 1;
            if self.held == self.keys.len() {
                self.held = 0;
                return (sent, true);
            }
        }
        (sent, false)
    }

    /// Sends the fewest of the held keys so that those that are left, with `byte`, may still begin the keys.
    fn release(&mut self, byte: u8, sent: &mut Vec<u8>) {
        let held = &self.keys[..self.held];
        let shorter = (1..=self.held).find(|&count| {
            let left = &held[count..];
            self.keys.starts_with(left) && (left.is_empty() || self.keys[left.len()] == byte)
        });
        let count = shorter.unwrap_or(self.held);
        sent.extend_from_slice(&held[..count]);
        self.held -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> DetachKeys {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        assert_eq!(keys("ctrl-p,ctrl-q"), DetachKeys(vec![16, 17]));
        assert_eq!(keys("ctrl-],x,ctrl-@"), DetachKeys(vec![29, b'x', 0]));
        assert_eq!(keys(""), DetachKeys(Vec::new()));
        for bad in ["ctrl-", "ctrl-1", "pq", "ctrl-é"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_the_keys_is_sent_in_its_order() {
        for (keys_text, typed, sent, leaves) in [
            ("a,b", &["xyz"][..], "xyz", false),
            ("a,b", &["xab"], "x", true),
            ("a,b", &["xa", "b"], "x", true),
            ("a,b", &["a", "cb"], "acb", false),
            ("a,b", &["aab"], "a", true),
            ("a,a,b", &["aaab"], "a", true),
            ("a,b,a,c", &["ababac"], "ab", true),
            ("", &["ab"], "ab", false),
        ] {
            let mut matcher = Matcher::new(&keys(keys_text));
            let mut passed = (Vec::new(), false);
            for typed in typed {
                let (bytes, leaves) = matcher.pass(typed.as_bytes().to_vec());
                passed.0.extend(bytes);
                passed.1 |= leaves;
            }
            assert_eq!(passed, (sent.as_bytes().to_vec(), leaves), "{keys_text} {typed:?}");
        }
    }
}
