//! A reader whose sink gets what passes: to hash it, to keep it, to copy it.

use std::io::{self, BufRead, Read, Write};

/// Reads from `inner`; `sink` is given each byte once and in order, before it is seen outside.
pub struct Tee<R, S> {
    inner: R,
    sink: S,
    /// How much of the inner reader's buffer the sink has already.
    given: usize,
    /// Bytes that were used up.
    passed: u64,
}

impl<R, S> Tee<R, S> {
    pub fn new(inner: R, sink: S) -> Self {
        Tee { inner, sink, given: 0, passed: 0 }
    }

    /// How many bytes were read.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    pub fn into_parts(self) -> (R, S) {
        (self.inner, self.sink)
    }
}

impl<R: BufRead, S: Write> Tee<R, S> {
    /// Reads on to the end of the stream.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            match self.fill_buf()?.len() {
                0 => return Ok(()),
                count => self.consume(count),
            }
        }
    }
}

impl<R: BufRead, S: Write> BufRead for Tee<R, S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let available = self.inner.fill_buf()?;
        if self.given == 0 {
            self.sink.write_all(available)?;
            self.given = available.len();
        }
        Ok(available)
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.given -= count;
        self.passed += count as u64;
    }
}

impl<R: BufRead, S: Write> Read for Tee<R, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

/// What `read` of a [`BufRead`] is.
pub fn read_buffered(from: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let count = from.fill_buf()?.read(into)?;
    from.consume(count);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn the_sink_gets_each_byte_once_whatever_is_taken_at_a_time() {
        let content: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let mut tee = Tee::new(BufReader::with_capacity(100, &*content), Vec::new());
        let mut some = [0; 7];
        tee.read_exact(&mut some).unwrap();
        assert_eq!((some.as_slice(), tee.passed()), (&content[..7], 7));
        let ahead = tee.fill_buf().unwrap().len();
        assert_eq!(ahead, 93);
        tee.consume(10);
        tee.drain().unwrap();
        assert_eq!(tee.passed(), 10_000);
        assert_eq!(tee.into_parts().1, content);
    }

    #[test]
    fn a_sink_that_fails_fails_the_reader() {
        let mut full = [0; 2];
        let mut tee = Tee::new(&b"content"[..], &mut full[..]);
        assert_eq!(tee.drain().unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
