//! Maps of sparse files in GNU tar's four ways of writing them down.

use super::Segment;
use super::extended::decimal;
use super::header::number;
use crate::limits::SPARSE_SEGMENTS_MAX;

/// Why a map cannot be right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MapError {
    #[error("it holds something that is not a number")]
    Number,
    #[error("it has more than {SPARSE_SEGMENTS_MAX} segments")]
    TooMany,
    #[error("segments overlap, or are out of order, or reach beyond the file's end")]
    Order,
    #[error("its segments have {segments} bytes, the archive has {stored}")]
    Length { segments: u64, stored: u64 },
}

pub fn push(segments: &mut Vec<Segment>, segment: Segment) -> Result<(), MapError> {
    if segments.len() == SPARSE_SEGMENTS_MAX {
        return Err(MapError::TooMany);
    }
    segments.push(segment);
    Ok(())
}

/// Version 0.1: `offset,length,offset,length…`.
pub fn read_comma_map(value: &[u8]) -> Result<Vec<Segment>, MapError> {
    let mut segments = Vec::new();
    if value.is_empty() {
        return Ok(segments);
    }
    let mut numbers = value.split(|byte| *byte == b',');
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or(MapError::Number)?;
        let (Some(offset), Some(length)) = (decimal(offset), decimal(length)) else { return Err(MapError::Number) };
        push(&mut segments, Segment { offset, length })?;
    }
    Ok(segments)
}

/// The old GNU tables in headers and extension blocks: 12 bytes offset and 12 bytes length; an empty one ends it.
pub fn read_old_table(segments: &mut Vec<Segment>, table: &[u8]) -> Result<(), MapError> {
    for pair in table.chunks_exact(24) {
        if pair[0] == 0 && pair[12] == 0 {
            break;
        }
        let read = |field| number(field).and_then(|value| u64::try_from(value).ok()).ok_or(MapError::Number);
        push(segments, Segment { offset: read(&pair[..12])?, length: read(&pair[12..])? })?;
    }
    Ok(())
}

/// Segments ascend, lie within the file and are as long together as the data in the archive.
pub fn check(segments: &[Segment], real_size: u64, stored: u64) -> Result<(), MapError> {
    let (mut end, mut total) = (0u64, 0u64);
    for segment in segments {
        if segment.offset < end {
            return Err(MapError::Order);
        }
        end = segment.offset.checked_add(segment.length).ok_or(MapError::Order)?;
        total += segment.length;
    }
    if end > real_size {
        return Err(MapError::Order);
    }
    if total == stored { Ok(()) } else { Err(MapError::Length { segments: total, stored }) }
}
