//! Fuzz target: what may stand in a record's file.

use cradle_domain::failure::Chain;
use cradle_engine::ports::{ContainerRecord, PodRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::form::{checksum, decode, encode};

/// A record, after a byte: one bit says of what kind, another whether its header is made to fit its content.
pub fn record(data: &[u8]) {
    let Some((&form, data)) = data.split_first() else { return };
    let kind = if form & 1 == 0 { "pod" } else { "container" };
    let with_header = [format!("cradle {kind} 1 {:016x}\n", checksum(data)).as_bytes(), data].concat();
    let bytes = if form & 2 == 0 { data } else { &with_header };
    if form & 1 == 0 { read::<PodRecord>(kind, bytes) } else { read::<ContainerRecord>(kind, bytes) }
}

/// What is understood is written and understood again as the same.
fn read<T: Serialize + DeserializeOwned + PartialEq>(kind: &'static str, bytes: &[u8]) {
    match decode::<T>(kind, bytes) {
        Ok(record) => {
            let written = encode(kind, &record).unwrap();
            assert!(decode::<T>(kind, &written).unwrap() == record);
        }
        Err(error) => assert!(!Chain(&error).to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    #[test]
    fn records_do_no_harm() {
        let files = [include_bytes!("../tests/v1/pod").as_slice(), include_bytes!("../tests/v1/container")];
        let content = |file: &'static [u8]| &file[1 + file.iter().position(|byte| *byte == b'\n').unwrap()..];
        let as_they_are = files.into_iter().zip([0, 1]);
        let contents = files.map(content).into_iter().zip([2, 3]);
        let samples = as_they_are.chain(contents).map(|(bytes, form)| [&[form], bytes].concat());
        Replay::new("record").run(samples, super::record);
    }
}
