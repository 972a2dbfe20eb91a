//! One header block: fixed fields at fixed offsets, numbers in octal or in base 256.

use super::BLOCK;

/// A header block whose checksum is right.
pub struct Header([u8; BLOCK]);

/// Why a block is no header.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    #[error("the header's checksum is wrong")]
    Checksum,
    #[error("the field {0:?} is not a number")]
    Number(&'static str),
    #[error("the field {0:?} is out of range")]
    Range(&'static str),
}

/// The dialects that use the last 167 bytes differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Gnu,
}

impl Header {
    pub fn parse(block: [u8; BLOCK]) -> Result<Self, HeaderError> {
        let stored = number(&block[148..156]).ok_or(HeaderError::Number("chksum"))?;
        // The field itself counts as spaces.
        let sum = |signed: fn(u8) -> i64| -> i64 {
            let all: i64 = block.iter().map(|byte| signed(*byte)).sum();
            let field: i64 = block[148..156].iter().map(|byte| signed(*byte)).sum();
            all - field + 8 * i64::from(b' ')
        };
        let right = stored == sum(i64::from) || stored == sum(|byte| i64::from(byte.cast_signed()));
        // Some old archives have the sum of signed bytes.
        if right { Ok(Header(block)) } else { Err(HeaderError::Checksum) }
    }

    pub fn is_zero(block: &[u8; BLOCK]) -> bool {
        block.iter().all(|byte| *byte == 0)
    }

    fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            // A few writers leave the version out.
            other if other.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        }
    }

    pub fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// The name, with ustar's prefix.
    pub fn path(&self) -> Vec<u8> {
        let name = text(&self.0[0..100]);
        let prefix = if self.format() == Format::Ustar { text(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub fn link_target(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub fn mode(&self) -> Result<u32, HeaderError> {
        // Some writers put the file type in as well.
        self.unsigned("mode", 100..108).map(|mode| (mode & 0o7777) as u32)
    }

    pub fn uid(&self) -> Result<u64, HeaderError> {
        self.unsigned("uid", 108..116)
    }

    pub fn gid(&self) -> Result<u64, HeaderError> {
        self.unsigned("gid", 116..124)
    }

    pub fn size(&self) -> Result<u64, HeaderError> {
        self.unsigned("size", 124..136)
    }

    /// Seconds since 1970; may be negative.
    pub fn modified(&self) -> Result<i64, HeaderError> {
        number(&self.0[136..148]).ok_or(HeaderError::Number("mtime"))
    }

    /// Major and minor number; v7 archives have none.
    pub fn device(&self) -> Result<(u32, u32), HeaderError> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        let half = |field, range| {
            let value = self.unsigned(field, range)?;
            u32::try_from(value).map_err(|_| HeaderError::Range(field))
        };
        Ok((half("devmajor", 329..337)?, half("devminor", 337..345)?))
    }

    /// The four segments of an old GNU sparse header as raw bytes, and whether extension blocks follow.
    pub fn sparse_table(&self) -> (&[u8], bool) {
        (&self.0[386..482], self.0[482] != 0)
    }

    /// The size of an old GNU sparse file with its holes.
    pub fn sparse_real_size(&self) -> Result<u64, HeaderError> {
        self.unsigned("realsize", 483..495)
    }

    fn unsigned(&self, field: &'static str, range: std::ops::Range<usize>) -> Result<u64, HeaderError> {
        let value = number(&self.0[range]).ok_or(HeaderError::Number(field))?;
        u64::try_from(value).map_err(|_| HeaderError::Range(field))
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits between spaces and NULs, or, with the highest bit set, a big-endian number in two's complement. An
/// empty field is 0, as every reader has it.
pub fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => {
            let negative = first & 0x40 != 0;
            let mut value: i128 = if negative { -1 } else { 0 };
            for (at, byte) in field.iter().enumerate() {
                let byte = if at == 0 && !negative { byte & 0x7f } else { *byte };
                value = (value << 8) | i128::from(byte);
                if !(-(1 << 100)..1 << 100).contains(&value) {
                    return None;
                }
            }
            i64::try_from(value).ok()
        }
        _ => {
            let padding = |byte: &u8| matches!(byte, b' ' | 0);
            let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
            let digits = &field[start..];
            let end = digits.iter().position(padding).unwrap_or(digits.len());
            digits[..end].iter().try_fold(0i64, |value, digit| match digit {
                b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
                _ => None,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"12x\0", None),
            (b"\x80\0\0\0\0\0\0\x01\0\0\0\0", Some(1 << 32)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"77777777777777777777777", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
