//! The stages alone: what each makes of good and bad streams.

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::decompress::{InflateError, inflate};
use super::pieces::{Piece, Pieces};
use super::verify::{Digesting, check_blob, verify_archive};
use super::*;
use crate::manifest::{Compression, LayerFormat};

const BY_CONTENT: LayerFormat = LayerFormat::ByContent;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(data, 1).unwrap()
}

/// What inflating gives: the archive, if its end was sent.
fn inflated(blob: &[u8], format: LayerFormat, limit: u64) -> (Result<(), InflateError>, Option<Vec<u8>>, bool) {
    let (output, input) = mpsc::channel(1);
    let reader = std::thread::spawn(move || {
        let mut archive = Vec::new();
        Pieces::new(input).read_to_end(&mut archive).ok().map(|_| archive)
    });
    let result = inflate(Digesting::of(Cursor::new(blob)), format, &output, limit);
    drop(output);
    let whole = result.blob.is_some_and(|sum| check_blob(&digest_of(blob), blob.len() as u64, &sum).is_ok());
    (result.outcome, reader.join().unwrap(), whole)
}

#[test]
fn every_form_of_a_layer_gives_its_archive() {
    let archive: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7) as u8).collect();
    let (first, second) = archive.split_at(1_000_001);
    // A skippable frame, as zstd:chunked has for its table of contents.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..]].concat();
    for (name, blob) in [
        ("plain", archive.clone()),
        ("gzip", gzip(&archive)),
        ("gzip of several members, the last empty", [gzip(first), gzip(second), gzip(b"")].concat()),
        ("zstd", zstd(&archive)),
        ("zstd of several frames", [zstd(first), skippable.clone(), zstd(second), skippable.clone()].concat()),
        ("zstd after a skippable frame", [skippable, zstd(&archive)].concat()),
    ] {
        let (outcome, result, whole) = inflated(&blob, BY_CONTENT, u64::MAX);
        assert!(outcome.is_ok() && whole, "{name}: {outcome:?}");
        assert!(result.as_ref() == Some(&archive), "{name}");
    }
    assert_eq!(inflated(b"", BY_CONTENT, 10).1, Some(Vec::new()));
}

#[test]
fn a_blob_that_is_not_what_its_type_says_is_refused_but_hashed() {
    for (blob, stated) in [
        (zstd(b"x"), Compression::Gzip),
        (gzip(b"x"), Compression::Zstd),
        (gzip(b"x"), Compression::None),
        (b"plain".to_vec(), Compression::Gzip),
    ] {
        let (outcome, archive, whole) = inflated(&blob, LayerFormat::Stated(stated), 100);
        assert!(matches!(outcome, Err(InflateError::OtherCompression { .. })), "{outcome:?}");
        assert!(archive.is_none() && whole);
    }
}

#[test]
fn damaged_blobs_never_pass_for_whole_ones() {
    let data = vec![7; 100_000];
    let mut flipped = gzip(&data);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let cut = |blob: Vec<u8>| blob[..blob.len() - 3].to_vec();
    let mut window = zstd(b"x");
    // A frame that asks for a window of 2 GiB.
    window[4] = 0;
    window[5] = 0xa8;
    for (name, blob) in [
        ("flipped", flipped),
        ("cut gzip", cut(gzip(&data))),
        ("cut zstd", cut(zstd(&data))),
        ("garbage after gzip", [gzip(&data), vec![1, 2, 3]].concat()),
        ("huge window", window),
    ] {
        let (outcome, archive, whole) = inflated(&blob, BY_CONTENT, u64::MAX);
        assert!(matches!(outcome, Err(InflateError::Damaged(_))), "{name}: {outcome:?}");
        assert!(archive.is_none() && whole, "{name}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let (outcome, archive, _) = inflated(&gzip(&vec![0; 50 << 20]), BY_CONTENT, 10 << 20);
    assert!(matches!(outcome, Err(InflateError::TooLarge { limit }) if limit == 10 << 20));
    assert!(archive.is_none());
}

#[test]
fn a_sender_that_is_gone_is_not_the_end() {
    let (output, input) = mpsc::channel(2);
    output.blocking_send(Piece::Data(Bytes::from_static(b"half"))).unwrap();
    drop(output);
    let mut read = Vec::new();
    assert!(Pieces::new(input).read_to_end(&mut read).is_err());
    let (output, input) = mpsc::channel(1);
    drop(output);
    assert!(Digesting::of(Pieces::new(input)).finish().is_err());
}

#[test]
fn only_the_promised_content_is_verified() {
    let sum = Digesting::of(Cursor::new(b"content")).finish().unwrap();
    let digest = digest_of(b"content");
    assert!(check_blob(&digest, 7, &sum).is_ok());
    assert!(check_blob(&digest, 8, &sum).is_err());
    assert!(check_blob(&digest_of(b"other"), 7, &sum).is_err());
    assert!(verify_archive((), &digest, &sum).is_ok());
    assert!(verify_archive((), &digest_of(b"other"), &sum).is_err());
}
