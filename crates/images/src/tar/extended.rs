//! What comes before an entry and overrides its header: PAX records and GNU long names.

use super::{Attribute, Segment, Time, sparse};

/// The overrides for the next entry.
#[derive(Debug, Default)]
pub struct Overrides {
    pub path: Option<Vec<u8>>,
    pub link_target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub modified: Option<Time>,
    pub attributes: Vec<Attribute>,
    pub sparse: Sparse,
}

/// What PAX records say of holes (GNU tar manual, Appendix D.2, "Storing Sparse Files", versions 0.0, 0.1 and 1.0).
#[derive(Debug, Default)]
pub struct Sparse {
    /// From version 1.0 on, the map stands before the data.
    pub major: u64,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    pub segments: Option<Vec<Segment>>,
    /// An offset of version 0.0 that waits for its length.
    pending_offset: Option<u64>,
}

/// Why a PAX record cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    #[error("a PAX record is not \"length key=value\\n\"")]
    Syntax,
    #[error("the PAX record {0:?} has the bad value {1:?}")]
    Value(String, String),
    #[error("the PAX record {0:?} has a NUL in it")]
    Nul(String),
    #[error("the map of a sparse file: {0}")]
    Sparse(#[from] sparse::MapError),
}

impl Overrides {
    /// Takes in the records of one PAX header.
    pub fn read_records(&mut self, mut data: &[u8]) -> Result<(), RecordError> {
        while !data.is_empty() {
            let (key, value, rest) = split_record(data).ok_or(RecordError::Syntax)?;
            self.set(key, value)?;
            data = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
        let bad = || RecordError::Value(shown(key), shown(value));
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return Err(RecordError::Nul(shown(key)));
            }
            self.attributes.retain(|known| known.name != name);
            self.attributes.push(Attribute { name: name.to_vec(), value: value.to_vec() });
            return Ok(());
        }
        let text = || if value.contains(&0) { Err(RecordError::Nul(shown(key))) } else { Ok(value.to_vec()) };
        let integer = || decimal(value).ok_or_else(bad);
        // An empty value takes an earlier record back (POSIX.1-2008, pax, "path"…).
        let empty = value.is_empty();
        match key {
            b"path" => self.path = if empty { None } else { Some(text()?) },
            b"linkpath" => self.link_target = if empty { None } else { Some(text()?) },
            b"size" => self.size = if empty { None } else { Some(integer()?) },
            b"uid" => self.uid = if empty { None } else { Some(integer()?) },
            b"gid" => self.gid = if empty { None } else { Some(integer()?) },
            b"mtime" => self.modified = if empty { None } else { Some(time(value).ok_or_else(bad)?) },
            b"GNU.sparse.major" => self.sparse.major = integer()?,
            b"GNU.sparse.name" => self.sparse.name = Some(text()?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(integer()?),
            b"GNU.sparse.map" => self.sparse.segments = Some(sparse::read_comma_map(value)?),
            b"GNU.sparse.offset" => self.sparse.pending_offset = Some(integer()?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.pending_offset.take().ok_or_else(bad)?;
                let segment = Segment { offset, length: integer()? };
                sparse::push(self.sparse.segments.get_or_insert_default(), segment)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Splits `length key=value\n` off; the length counts the whole record.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    if length > data.len() || length < space + 2 {
        return None;
    }
    let record = data[space + 1..length].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

/// A number of decimal digits only.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds with an optional fraction and sign; what is finer than a nanosecond is cut off towards the past.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0u32, |nanos, at| nanos * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanos) {
        (false, nanos) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos: 0 },
        (true, nanos) => Time { seconds: (-seconds).checked_sub(1)?, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::record;
    use super::*;

    fn read(data: &[u8]) -> Result<Overrides, RecordError> {
        let mut overrides = Overrides::default();
        overrides.read_records(data).map(|()| overrides)
    }

    #[test]
    fn records_override_what_they_name() {
        let records = [("path", &b"a/b"[..]), ("mtime", b"-1.250"), ("size", b"12"), ("SCHILY.xattr.u", b"\0x")];
        let overrides = read(&records.map(|(key, value)| record(key, value)).concat()).unwrap();
        assert_eq!(overrides.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(overrides.modified, Some(Time { seconds: -2, nanos: 750_000_000 }));
        assert_eq!(overrides.size, Some(12));
        assert_eq!(overrides.attributes, [Attribute { name: b"u".to_vec(), value: b"\0x".to_vec() }]);
        assert_eq!(read(b"12 path=a/b\n8 path=\n").unwrap().path, None);
    }

    #[test]
    fn bad_records_are_refused() {
        for bad in [
            &b"12 path=a/b"[..],
            b"99 path=a\n",
            b"0 path=a\n",
            b"x path=a\n",
            b"2 \n",
            b"10 size=-1\n",
            b"11 path=a\0b\n",
            b"9 path a\n",
            b"12 mtime=1.x\n",
            b"99999999999999999999999 a=b\n",
        ] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
