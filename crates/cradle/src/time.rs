//! Times as people and programs read them. The CRI counts nanoseconds since 1970; 0 is never.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS: i64 = 1_000_000_000;

/// How long ago a time was, as "3 minutes".
pub fn since(nanos: i64) -> String {
    let then = UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    in_words(SystemTime::now().duration_since(then).unwrap_or_default().as_secs())
}

fn in_words(seconds: u64) -> String {
    let count = |number: u64, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    match seconds {
        0..60 => count(seconds, "second"),
        60..3600 => count(seconds / 60, "minute"),
        3600..86_400 => count(seconds / 3600, "hour"),
        _ => count(seconds / 86_400, "day"),
    }
}

/// A time in the form of RFC 3339; none for never.
pub fn rfc3339(nanos: i64) -> Option<String> {
    if nanos <= 0 {
        return None;
    }
    let (seconds, fraction) = (nanos / NANOS, nanos % NANOS);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z"))
}

/// The seconds since 1970 of a time in the form of RFC 3339, as image configurations have it; none: it is no such time.
pub fn seconds_of(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    let is_date = text.get(4..5) == Some("-") && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// How long ago that was, as "3 minutes ago"; nothing for a time that is none, or that builders write in place of one.
pub fn ago(text: &str) -> String {
    match seconds_of(text).filter(|seconds| *seconds > 0) {
        Some(seconds) => format!("{} ago", since(seconds.saturating_mul(NANOS))),
        None => String::new(),
    }
}

/// The day since 1970 of a date; [`date`] the other way round.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day since 1970. Each year is counted from March here, so that leap days come last.
fn date(days: i64) -> (i64, i64, i64) {
    const FROM_YEAR_0: i64 = 719_468;
    let days = days + FROM_YEAR_0;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next_year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (951_868_799, "2000-02-29T23:59:59.000000007Z"),
            (951_868_800, "2000-03-01T00:00:00.000000007Z"),
            (1_796_083_261, "2026-12-01T00:01:01.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(rfc3339(seconds * NANOS + 7).as_deref(), Some(text));
        }
        assert_eq!(rfc3339(0), None);
    }

    #[test]
    fn a_time_is_read_as_it_is_written() {
        for seconds in [0, 951_782_400, 951_868_799, 951_868_800, 1_796_083_261, 4_107_542_400] {
            let text = rfc3339(seconds * NANOS + 7).unwrap_or_else(|| "1970-01-01T00:00:00Z".into());
            assert_eq!(seconds_of(&text), Some(seconds), "{text}");
        }
        assert_eq!(seconds_of("1970-01-01T02:00:00.5+01:30"), Some(1800));
        assert_eq!(seconds_of("0001-01-01T00:00:00Z"), Some(-62_135_596_800));
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-12-01T00:00:00", "2026-12-01T00:00:00é"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(in_words(0), "0 seconds");
        assert_eq!(in_words(61), "1 minute");
        assert_eq!(in_words(7200), "2 hours");
        assert_eq!(in_words(300_000), "3 days");
    }
}
