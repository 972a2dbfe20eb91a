//! The sizes of its terminal that a client tells: JSON objects, one after the other, whatever pieces they come in.

use serde::Deserialize;

use crate::limits::RESIZE_MAX_BYTES;

#[derive(Default)]
pub(super) struct Sizes {
    /// The beginning of an object.
    begun: Vec<u8>,
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width")]
    columns: u16,
    #[serde(rename = "Height", alias = "height")]
    rows: u16,
}

impl Sizes {
    /// Takes bytes; gives the last size, columns and rows, that is complete. What is no size is dropped.
    pub fn read(&mut self, bytes: &[u8]) -> Option<(u16, u16)> {
        if self.begun.len() + bytes.len() > RESIZE_MAX_BYTES {
            self.begun.clear();
        }
        self.begun.extend_from_slice(&bytes[bytes.len().saturating_sub(RESIZE_MAX_BYTES)..]);
        let mut objects = serde_json::Deserializer::from_slice(&self.begun).into_iter::<Size>();
        let mut last = None;
        let mut rest = 0;
        loop {
            match objects.next() {
                Some(Ok(Size { columns, rows })) => {
                    last = Some((columns, rows));
                    rest = objects.byte_offset();
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) | None => {
                    rest = self.begun.len();
                    break;
                }
            }
        }
        self.begun.drain(..rest);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complete_size_counts_however_the_text_is_cut() {
        let text = b"{\"Width\":100,\"Height\":30}\n{\"Width\":120,\"Height\":40}\n";
        for cut in 0..text.len() {
            let mut sizes = Sizes::default();
            let (first, second) = (sizes.read(&text[..cut]), sizes.read(&text[cut..]));
            assert_eq!(second.or(first), Some((120, 40)), "{cut}");
        }
    }

    #[test]
    fn what_is_no_size_is_dropped() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.read(b"vi\n"), None);
        assert_eq!(sizes.read(b"{\"Width\":-1,\"Height\":2}"), None);
        assert_eq!(sizes.read(&[b'['; 5000]), None);
        assert_eq!(sizes.read(b"]"), None);
        assert_eq!(sizes.read(&[b' '; 5000]), None);
        assert_eq!(sizes.read(b"{\"width\":1,\"height\":2}"), Some((1, 2)));
    }
}
