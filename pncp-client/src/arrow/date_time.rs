use chrono::NaiveDateTime;

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS`, as if it were UTC. Any other spelling has
/// no place in the column, because it could not be spelled back.
pub(super) fn date_time(text: &str) -> Option<i64> {
    let b: &[u8; 19] = text.as_bytes().try_into().ok()?;
    let separators = (b[4], b[7], b[10], b[13], b[16]) == (b'-', b'-', b'T', b':', b':');
    let digits = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18];
    if !separators || !digits.iter().all(|&at| b[at].is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| i64::from(b[at] - b'0') * 10 + i64::from(b[at + 1] - b'0');
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; years count from March, so that the leap day
/// is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The way back.
pub(super) fn date_time_text(micros: i64) -> Option<String> {
    let time: NaiveDateTime = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    Some(time.format("%Y-%m-%dT%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn date_times_are_spelled_back() {
        for text in [
            "2026-06-04T00:00:03",
            "0000-03-01T00:00:00",
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59",
            "2024-02-29T12:00:00",
        ] {
            assert_eq!(
                date_time(text).and_then(date_time_text).as_deref(),
                Some(text)
            );
        }
        for text in [
            "2026-06-04",
            "2026-06-04T00:00:03Z",
            "2026-06-04 00:00:03",
            "2025-02-29T12:00:00",
            "2026-06-04T24:00:00",
            "2026-06-04T00:00:60",
            "2026-06-04T00:00:0é",
            "2026-06-04T00:00:0/",
        ] {
            assert_eq!(date_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(year in 0..=9999, month in 0..14, day in 0..33, hour in 0..25, minute in 0..61, second in 0..61) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
            let theirs = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S").ok();
            // Theirs takes the leap second 60, which no column can spell back.
            let theirs = theirs.filter(|_| second < 60).map(|time| time.and_utc().timestamp_micros());
            prop_assert_eq!(date_time(&text), theirs, "{}", text);
        }
    }
}
