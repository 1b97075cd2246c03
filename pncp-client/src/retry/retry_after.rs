use std::time::Duration;

use chrono::{DateTime, Utc};

/// A year: beyond it, a pause means the same.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long to wait according to `Retry-After`, in seconds or as a date. A date is taken
/// relative to the server's own `Date`, so that clocks need not agree; without one, to `now`.
pub(crate) fn retry_after(value: &str, date: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(
            value
                .parse()
                .map_or(LONGEST, Duration::from_secs)
                .min(LONGEST),
        );
    }
    let until = http_date(value)?;
    let from = date.and_then(http_date).unwrap_or(now);
    // A date in the past means now.
    Some(
        (until - from)
            .to_std()
            .unwrap_or(Duration::ZERO)
            .min(LONGEST),
    )
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text.trim())
        .ok()
        .map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let now = DateTime::from_timestamp(1_792_000_000, 0).unwrap();
        let read = |value, date| retry_after(value, date, now).map(|wait| wait.as_secs());
        assert_eq!(read("120", None), Some(120));
        assert_eq!(read(" 0 ", None), Some(0));
        assert_eq!(read("99999999999999999999", None), Some(LONGEST.as_secs()));
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(read("Wed, 21 Oct 2026 07:28:30 GMT", Some(date)), Some(30));
        assert_eq!(read("Wed, 21 Oct 2026 07:27:30 GMT", Some(date)), Some(0));
        let later = (now + chrono::Duration::seconds(9))
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        assert_eq!(retry_after(&later, None, now), Some(Duration::from_secs(9)));
        for value in ["", "-1", "soon", "1.5"] {
            assert_eq!(read(value, None), None, "{value}");
        }
    }
}
