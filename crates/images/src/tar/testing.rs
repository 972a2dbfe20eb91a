//! Makes archives for tests, also such as no honest program writes.

use super::BLOCK;

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

/// An entry in the making: ustar, with PAX records where the fields are too short.
#[derive(Clone)]
pub struct Made {
    path: Vec<u8>,
    flag: u8,
    mode: u32,
    owner: (u32, u32),
    modified: u64,
    link: Vec<u8>,
    content: Vec<u8>,
    device: (u32, u32),
    records: Vec<(String, Vec<u8>)>,
}

impl Made {
    fn new(flag: u8, path: &str) -> Self {
        Made {
            path: path.into(),
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            owner: (0, 0),
            modified: 1_000_000_000,
            link: Vec::new(),
            content: Vec::new(),
            device: (0, 0),
            records: Vec::new(),
        }
    }

    pub fn file(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Made { content: content.into(), ..Made::new(b'0', path) }
    }

    pub fn folder(path: &str) -> Self {
        Made::new(b'5', path)
    }

    pub fn symlink(path: &str, target: &str) -> Self {
        Made { link: target.into(), ..Made::new(b'2', path) }
    }

    pub fn hard_link(path: &str, target: &str) -> Self {
        Made { link: target.into(), ..Made::new(b'1', path) }
    }

    pub fn character_device(path: &str, major: u32, minor: u32) -> Self {
        Made { device: (major, minor), ..Made::new(b'3', path) }
    }

    pub fn fifo(path: &str) -> Self {
        Made::new(b'6', path)
    }

    pub fn with_content(mut self, content: &[u8]) -> Self {
        self.content = content.to_vec();
        self
    }

    /// An entry of any type.
    pub fn of_type(flag: u8, path: &str) -> Self {
        Made::new(flag, path)
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub fn modified(mut self, seconds: u64) -> Self {
        self.modified = seconds;
        self
    }

    pub fn record(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.records.push((key.into(), value.into()));
        self
    }

    pub fn attribute(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }
}

impl Archive {
    /// An archive of these entries, with its end.
    pub fn of(entries: impl IntoIterator<Item = Made>) -> Vec<u8> {
        let mut archive = Archive::default();
        entries.into_iter().for_each(|entry| archive.add(entry));
        archive.finish()
    }

    pub fn add(&mut self, entry: Made) {
        let mut records = entry.records.clone();
        if entry.path.len() > 100 {
            records.push(("path".into(), entry.path.clone()));
        }
        if entry.link.len() > 100 {
            records.push(("linkpath".into(), entry.link.clone()));
        }
        if !records.is_empty() {
            let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            self.add_raw(&header(&Made { content: content.clone(), ..Made::new(b'x', "PaxHeader") }), &content);
        }
        self.add_raw(&header(&entry), &entry.content);
    }

    /// Any header and content, the latter filled up to whole blocks.
    pub fn add_raw(&mut self, header: &[u8; BLOCK], content: &[u8]) {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    /// Without its end.
    pub fn bytes_so_far(self) -> Vec<u8> {
        self.bytes
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// A PAX record, whose length counts itself.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// The header of an entry, with its checksum.
pub fn header(entry: &Made) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &entry.path[..entry.path.len().min(100)]);
    put(100, format!("{:07o}", entry.mode).as_bytes());
    put(108, format!("{:07o}", entry.owner.0).as_bytes());
    put(116, format!("{:07o}", entry.owner.1).as_bytes());
    put(124, format!("{:011o}", entry.content.len()).as_bytes());
    put(136, format!("{:011o}", entry.modified).as_bytes());
    put(156, &[entry.flag]);
    put(157, &entry.link[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", entry.device.0).as_bytes());
    put(337, format!("{:07o}", entry.device.1).as_bytes());
    set_checksum(&mut block);
    block
}

pub fn set_checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
