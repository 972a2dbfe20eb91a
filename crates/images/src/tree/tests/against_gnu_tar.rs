//! Generated archives, unpacked by us and by GNU tar: the results are the same.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// One step of making an archive: what, which name, and a number for the details.
type Step = (u8, usize, u16);

const NAMES: [&str; 14] =
    ["a", "b", "a/c", "a/d", "b/c", "a/c/e", "a/c/f", "b/c/e", "g", "g/h", "a/d/i", "a/d/i/j", "k", "b/l"];

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Folder,
    File,
    Other,
}

/// Whether a folder has an entry before those within it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parents {
    HaveEntries,
    AreImplied,
}

/// Entries that any unpacker can apply, with names that are used again and again.
fn entries(steps: &[Step], parents: Parents) -> Vec<Made> {
    let mut tree: BTreeMap<&'static str, Is> = BTreeMap::new();
    let mut entries = Vec::new();
    for (kind, name, detail) in steps {
        let name = NAMES[name % NAMES.len()];
        let mut above = name.match_indices('/').map(|(at, _)| &name[..at]);
        if above.any(|above| tree.get(above).is_some_and(|is| *is != Is::Folder)) {
            continue;
        }
        let details = |made: Made| {
            let made = made.mode(u32::from(detail % 0o10000)).owner(u32::from(detail % 3), u32::from(detail % 5));
            let made = made.modified(1_000_000 + u64::from(*detail));
            if detail % 4 == 0 { made.attribute("user.t", detail.to_string()) } else { made }
        };
        let files: Vec<&str> = tree.iter().filter(|(_, is)| **is == Is::File).map(|(name, _)| *name).collect();
        let (is, made) = match kind % 7 {
            0 | 1 => (Is::File, details(Made::file(name, vec![b'x'; usize::from(*detail)]))),
            2 => (Is::Folder, details(Made::folder(name))),
            3 => (Is::Other, Made::symlink(name, "a/c").owner(1, 2).modified(5)),
            4 => (Is::Other, details(Made::fifo(name)).mode(0o640)),
            5 => (Is::Other, Made::character_device(name, 1, 1 + u32::from(*detail))),
            _ => match files.iter().find(|file| **file != name) {
                Some(file) => (Is::File, Made::hard_link(name, file)),
                None => continue,
            },
        };
        if is != Is::Folder {
            // GNU tar replaces empty folders only.
            if tree.keys().any(|known| known.starts_with(&format!("{name}/"))) {
                continue;
            }
        }
        for (at, _) in name.match_indices('/') {
            let above = &name[..at];
            if tree.insert(above, Is::Folder).is_none() && parents == Parents::HaveEntries {
                entries.push(Made::folder(above).modified(7));
            }
        }
        tree.insert(name, is);
        entries.push(made);
    }
    entries
}

#[expect(clippy::disallowed_methods, reason = "a test may start GNU tar, and has no daemon to fork")]
fn unpack_with_gnu_tar(archive: &[u8], into: &Path) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), archive).unwrap();
    let output = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner"])
        .args(["--xattrs", "--xattrs-include=*", "--delay-directory-restore", "--file"])
        .arg(file.path())
        .arg("--directory")
        .arg(into)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn generated_archives_give_the_tree_that_gnu_tar_makes(
        steps in proptest::collection::vec((any::<u8>(), any::<usize>(), any::<u16>()), 1..40),
        complete in any::<bool>(),
    ) {
        if !is_root() {
            return Ok(());
        }
        let parents = if complete { Parents::HaveEntries } else { Parents::AreImplied };
        let archive = Archive::of(entries(&steps, parents));
        let (ours, theirs) = (Ground::new(), Ground::new());
        let grown = ours.grow(&archive).unwrap();
        unpack_with_gnu_tar(&archive, theirs.root());
        let comparable = |mut listing: BTreeMap<String, String>| {
            // An implied folder has the time at which it was made.
            for text in listing.values_mut().filter(|text| text.starts_with('4') && !complete) {
                *text = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            }
            listing
        };
        prop_assert_eq!(comparable(ours.listing()), comparable(theirs.listing()));
        prop_assert_eq!(grown.usage, measure(ours.handle()).unwrap());
    }
}
