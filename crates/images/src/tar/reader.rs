//! Walks an archive: headers with what precedes them, then the entry's data, in the order of the stream.

use std::io::{self, BufRead};

use super::extended::{Overrides, RecordError};
use super::header::{Header, HeaderError};
use super::{BLOCK, Entry, Kind, Segment, Time, sparse};
use crate::limits::{EXTENDED_HEADERS_MAX_BYTES, PATH_MAX_BYTES};

/// Reads entries from `R`. After an entry comes its data ([`Reader::data`]); what is left of it is skipped.
pub struct Reader<R> {
    input: R,
    /// Bytes of the current entry's data that are still in the stream.
    data_left: u64,
    /// Bytes that fill its last block.
    padding: u64,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("reading the archive")]
    Read(#[source] io::Error),
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    #[error("a header of the archive is damaged")]
    Header(#[source] HeaderError),
    #[error("a lone block of zeros is in the middle of the archive")]
    LoneZeroBlock,
    #[error("an extended header of the archive is damaged")]
    Record(#[source] RecordError),
    #[error("the entry {entry:?} has a damaged map of its holes")]
    Sparse { entry: String, source: sparse::MapError },
    #[error("the extended headers of one entry are larger than {EXTENDED_HEADERS_MAX_BYTES} bytes")]
    ExtendedTooLarge,
    #[error("the entry {entry:?} has a name or link target of more than {PATH_MAX_BYTES} bytes")]
    NameTooLong { entry: String },
    #[error("the entry {entry:?} has a user or group id that Linux does not know")]
    Owner { entry: String },
    #[error("the entry {entry:?} is of the unknown type {flag:?}")]
    Unknown { entry: String, flag: char },
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Reader { input, data_left: 0, padding: 0 }
    }

    /// Where the archive comes from, read as far as the last entry's header or the data that was consumed.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// The next entry, or none at the archive's end.
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_rest()?;
        let mut overrides = Overrides::default();
        let mut budget = EXTENDED_HEADERS_MAX_BYTES;
        let mut extended = false;
        loop {
            let Some(header) = self.header()? else {
                return if extended { Err(TarError::Truncated) } else { Ok(None) };
            };
            // Each of these headers has a size of its own; a PAX size is that of the entry itself.
            match header.type_flag() {
                b'x' => {
                    let records = self.extended_data(&header, &mut budget)?;
                    overrides.read_records(&records).map_err(TarError::Record)?;
                }
                b'g' => drop(self.extended_data(&header, &mut budget)?),
                b'L' => overrides.path = Some(until_nul(self.extended_data(&header, &mut budget)?)),
                b'K' => overrides.link_target = Some(until_nul(self.extended_data(&header, &mut budget)?)),
                _ => return self.entry(&header, overrides).map(Some),
            }
            extended |= header.type_flag() != b'g';
        }
    }

    /// The next bytes of the current entry's data; empty: there are no more.
    pub fn data(&mut self) -> Result<&[u8], TarError> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let available = self.input.fill_buf().map_err(TarError::Read)?;
        if available.is_empty() {
            return Err(TarError::Truncated);
        }
        let most = usize::try_from(self.data_left).unwrap_or(usize::MAX);
        Ok(&available[..available.len().min(most)])
    }

    /// Tells that `count` bytes of what [`Reader::data`] gave are used.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.data_left -= count as u64;
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        self.data_left = self.data_left.saturating_add(std::mem::take(&mut self.padding));
        loop {
            match self.data()?.len() {
                0 => return Ok(()),
                count => self.consume(count),
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if !Header::is_zero(&block) {
            return Header::parse(block).map(Some).map_err(TarError::Header);
        }
        // Two blocks of zeros are the end; some writers leave one or both out.
        match self.block()? {
            Some(second) if !Header::is_zero(&second) => Err(TarError::LoneZeroBlock),
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.input.fill_buf().map_err(TarError::Read)?;
            if available.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(TarError::Truncated) };
            }
            let count = available.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&available[..count]);
            self.input.consume(count);
            filled += count;
        }
        Ok(Some(block))
    }

    fn extended_data(&mut self, header: &Header, budget: &mut u64) -> Result<Vec<u8>, TarError> {
        let size = header.size().map_err(TarError::Header)?;
        *budget = budget.checked_sub(size.max(BLOCK as u64)).ok_or(TarError::ExtendedTooLarge)?;
        self.begin_data(size);
        let mut content = Vec::new();
        loop {
            let piece = self.data()?;
            let count = piece.len();
            if count == 0 {
                break;
            }
            content.extend_from_slice(piece);
            self.consume(count);
        }
        self.skip_rest()?;
        Ok(content)
    }

    fn begin_data(&mut self, size: u64) {
        self.data_left = size;
        let block = BLOCK as u64;
        self.padding = (block - size % block) % block;
    }

    fn entry(&mut self, header: &Header, mut overrides: Overrides) -> Result<Entry, TarError> {
        let path = overrides.sparse.name.take().or(overrides.path.take()).unwrap_or_else(|| header.path());
        let target = overrides.link_target.take().unwrap_or_else(|| header.link_target());
        let shown = || String::from_utf8_lossy(&path[..path.len().min(PATH_MAX_BYTES)]).into_owned();
        if path.len() > PATH_MAX_BYTES || target.len() > PATH_MAX_BYTES {
            return Err(TarError::NameTooLong { entry: shown() });
        }
        let id = |id: u64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(TarError::Owner { entry: shown() }),
        };
        let uid = id(or_header(overrides.uid, || header.uid())?)?;
        let gid = id(or_header(overrides.gid, || header.gid())?)?;
        let modified = or_header(overrides.modified, || Ok(Time { seconds: header.modified()?, nanos: 0 }))?;
        let kind = match header.type_flag() {
            // A v7 archive marks a folder by the slash alone.
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => self.file(header, &mut overrides, &shown)?,
            b'1' => Kind::HardLink { target },
            b'2' => Kind::Symlink { target },
            b'3' => device(header, |major, minor| Kind::CharacterDevice { major, minor })?,
            b'4' => device(header, |major, minor| Kind::BlockDevice { major, minor })?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            flag => return Err(TarError::Unknown { entry: shown(), flag: char::from(flag) }),
        };
        let mode = header.mode().map_err(TarError::Header)?;
        Ok(Entry { path, kind, mode, uid, gid, modified, attributes: overrides.attributes })
    }

    /// A file's size and holes; the stream is then at the first byte of its data.
    fn file(
        &mut self,
        header: &Header,
        overrides: &mut Overrides,
        shown: &dyn Fn() -> String,
    ) -> Result<Kind, TarError> {
        let damaged = |source| TarError::Sparse { entry: shown(), source };
        let stored = or_header(overrides.size, || header.size())?;
        let (segments, real_size) = if header.type_flag() == b'S' {
            let segments = self.old_sparse_table(header, &damaged)?;
            self.begin_data(stored);
            (segments, header.sparse_real_size().map_err(TarError::Header)?)
        } else if overrides.sparse.major >= 1 {
            self.begin_data(stored);
            let segments = self.leading_sparse_map(&damaged)?;
            (segments, overrides.sparse.real_size.unwrap_or(stored))
        } else {
            self.begin_data(stored);
            let Some(segments) = overrides.sparse.segments.take() else {
                return Ok(Kind::File { size: stored, segments: None });
            };
            (segments, overrides.sparse.real_size.unwrap_or(stored))
        };
        sparse::check(&segments, real_size, self.data_left).map_err(damaged)?;
        Ok(Kind::File { size: real_size, segments: Some(segments) })
    }

    fn old_sparse_table(
        &mut self,
        header: &Header,
        damaged: &dyn Fn(sparse::MapError) -> TarError,
    ) -> Result<Vec<Segment>, TarError> {
        let mut segments = Vec::new();
        let (table, mut more) = header.sparse_table();
        sparse::read_old_table(&mut segments, table).map_err(damaged)?;
        while more {
            let block = self.block()?.ok_or(TarError::Truncated)?;
            let before = segments.len();
            sparse::read_old_table(&mut segments, &block[..504]).map_err(damaged)?;
            // An empty extension block would let an archive of zeros go on for ever.
            more = block[504] != 0 && segments.len() > before;
        }
        Ok(segments)
    }

    /// Version 1.0: decimal numbers, each on a line, in whole blocks before the data: their count, then the pairs.
    fn leading_sparse_map(&mut self, damaged: &dyn Fn(sparse::MapError) -> TarError) -> Result<Vec<Segment>, TarError> {
        let mut used = 0u64;
        let count = self.decimal_line(&mut used).map_err(|error| error.into_tar(damaged))?;
        let mut segments = Vec::new();
        for _ in 0..count {
            let offset = self.decimal_line(&mut used).map_err(|error| error.into_tar(damaged))?;
            let length = self.decimal_line(&mut used).map_err(|error| error.into_tar(damaged))?;
            sparse::push(&mut segments, Segment { offset, length }).map_err(damaged)?;
        }
        let mut fill = used.next_multiple_of(BLOCK as u64) - used;
        while fill > 0 {
            let available = self.data()?.len();
            if available == 0 {
                return Err(TarError::Truncated);
            }
            let count = available.min(usize::try_from(fill).unwrap_or(available));
            self.consume(count);
            fill -= count as u64;
        }
        Ok(segments)
    }

    fn decimal_line(&mut self, used: &mut u64) -> Result<u64, LineError> {
        let mut digits = Vec::with_capacity(20);
        loop {
            let Some(byte) = self.data().map_err(LineError::Tar)?.first().copied() else {
                return Err(LineError::Tar(TarError::Truncated));
            };
            self.consume(1);
            *used += 1;
            if byte == b'\n' {
                return super::extended::decimal(&digits).ok_or(LineError::Map(sparse::MapError::Number));
            }
            if digits.len() == 20 {
                return Err(LineError::Map(sparse::MapError::Number));
            }
            digits.push(byte);
        }
    }
}

enum LineError {
    Tar(TarError),
    Map(sparse::MapError),
}

impl LineError {
    fn into_tar(self, damaged: &dyn Fn(sparse::MapError) -> TarError) -> TarError {
        match self {
            LineError::Tar(error) => error,
            LineError::Map(error) => damaged(error),
        }
    }
}

fn or_header<T>(value: Option<T>, header: impl FnOnce() -> Result<T, HeaderError>) -> Result<T, TarError> {
    value.map_or_else(|| header().map_err(TarError::Header), Ok)
}

fn device(header: &Header, kind: impl FnOnce(u32, u32) -> Kind) -> Result<Kind, TarError> {
    header.device().map(|(major, minor)| kind(major, minor)).map_err(TarError::Header)
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}
