//! The line format against a plain model of it.

use super::*;
use proptest::prelude::*;

const ENOUGH: usize = 256;

fn stamp() -> Stamp {
    Stamp::at(1_796_044_851, 123_456_789)
}

/// Runs `pieces` through the formatter as the shim does.
fn format(pieces: &[&[u8]], line_max: usize) -> Vec<u8> {
    let mut lines = Lines::new(Stream::Stdout, line_max);
    let mut written = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let mut out = Vec::new();
            let taken = lines.push(rest, &stamp(), &mut out, ENOUGH);
            assert!(taken > 0, "every call makes progress");
            rest = &rest[taken..];
            written.extend_from_slice(&out);
        }
    }
    lines.finish(&stamp(), &mut written);
    written
}

/// The container's output again, from its lines.
fn reassemble(lines: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    for line in lines.split_inclusive(|b| *b == b'\n') {
        assert_eq!(&line[..31], b"2026-11-30T13:20:51.123456789Z ");
        assert_eq!(&line[31..38], b"stdout ");
        let text = &line[PREFIX_BYTES..line.len() - 1];
        output.extend_from_slice(text);
        match &line[38..40] {
            b"F " => output.push(b'\n'),
            b"P " => {}
            other => panic!("tag {other:?}"),
        }
    }
    output
}

#[test]
fn lines_have_the_form_of_the_cri() {
    let text = format(&[b"hello\n\nlast"], 100);
    let expected = "2026-11-30T13:20:51.123456789Z stdout F hello\n\
                    2026-11-30T13:20:51.123456789Z stdout F \n\
                    2026-11-30T13:20:51.123456789Z stdout P last\n";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn a_line_as_long_as_the_limit_is_whole_and_one_byte_more_is_split() {
    let tags = |input: &[u8]| {
        let lines = format(&[input], 4);
        let lines: Vec<String> = lines
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| String::from_utf8_lossy(&l[38..]).into())
            .collect();
        lines
    };
    assert_eq!(tags(b"1234\n"), ["F 1234"]);
    assert_eq!(tags(b"12345\n"), ["P 1234", "F 5"]);
    assert_eq!(tags(b"12345678\n"), ["P 1234", "F 5678"]);
    assert_eq!(tags(b"1234"), ["P 1234"]);
    assert_eq!(tags(b"12345"), ["P 1234", "P 5"]);
}

#[test]
fn times_are_those_of_the_calendar() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000000007Z"),
        (951_782_400, "2000-02-29T00:00:00.000000007Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000000007Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        (1_796_044_851, "2026-11-30T13:20:51.000000007Z"),
    ] {
        assert_eq!(Stamp::at(seconds, 7).text(), expected);
    }
}

#[test]
fn lost_output_is_counted_without_what_the_shim_adds() {
    let lines = format(&[b"abc\nabcdefgh\nxy"], 4);
    assert_eq!(output_bytes_from(&lines, 0), 4 + 9 + 2);
    assert_eq!(output_bytes_from(&lines, lines.len()), 0);
    // Cut within the first line's prefix, at its text, after one letter of it, and after the whole line.
    for (cut, left) in [(10, 15), (PREFIX_BYTES, 15), (PREFIX_BYTES + 1, 14), (PREFIX_BYTES + 4, 11)] {
        assert_eq!(output_bytes_from(&lines, cut), left, "cut at {cut}");
    }
}

fn output() -> impl Strategy<Value = Vec<u8>> {
    // Line ends are frequent, so that all lengths around the limit occur.
    prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..600)
}

proptest! {
    #[test]
    fn any_cut_of_the_output_gives_the_same_lines(
        output in output(),
        cuts in prop::collection::vec(0_usize..600, 0..20),
        line_max in 1_usize..40,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(output.len())).collect();
        cuts.extend([0, output.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &output[pair[0]..pair[1]]).collect();
        prop_assert_eq!(format(&pieces, line_max), format(&[&output], line_max));
    }

    #[test]
    fn the_lines_put_together_are_the_output(output in output(), line_max in 1_usize..40) {
        let lines = format(&[&output], line_max);
        prop_assert_eq!(reassemble(&lines), output.clone());
        prop_assert_eq!(output_bytes_from(&lines, 0), output.len() as u64);
        for line in lines.split_inclusive(|b| *b == b'\n') {
            prop_assert!(line.len() <= PREFIX_BYTES + line_max + 1);
        }
    }
}
