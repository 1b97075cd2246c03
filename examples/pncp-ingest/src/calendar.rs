//! Days as the PNCP counts them: in Brasília time, UTC-3 all year since 2019.

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};

/// The first day that the API answers for (API.md section 2).
const FIRST_DAY: NaiveDate = match NaiveDate::from_ymd_opt(2021, 4, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};

/// The calendar day at `now` in UTC-3.
pub(crate) fn today(now: DateTime<Utc>) -> NaiveDate {
    let brasilia = FixedOffset::west_opt(3 * 3600);
    brasilia.map_or_else(
        || now.date_naive(),
        |zone| now.with_timezone(&zone).date_naive(),
    )
}

/// Reads `2025-10-22` or `20251022`.
pub(crate) fn parse_day(text: &str) -> Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .or_else(|error| match text.len() {
            8 => NaiveDate::parse_from_str(text, "%Y%m%d"),
            _ => Err(error),
        })
        .map_err(|_| format!("`{text}` is no day: write it as 2025-10-22 or 20251022"))
}

/// Reads `2025-10-22T12:00:00Z`, with any offset, or a day, which stands for its beginning in Brasília.
pub(crate) fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    let day = parse_day(text)
        .map_err(|_| format!("`{text}` is no instant: write it as 2025-10-22T12:00:00Z"))?;
    Ok(begin(day))
}

/// The instant at which `day` begins in Brasília.
pub(crate) fn begin(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc() + chrono::Duration::hours(3)
}

/// Refuses days that cannot have been published yet, or that the API does not serve.
pub(crate) fn check_day(day: NaiveDate, today: NaiveDate) -> Result<(), String> {
    if day > today {
        return Err(format!(
            "{day} lies in the future: today is {today} in Brasília (UTC-3)"
        ));
    }
    if day < FIRST_DAY {
        return Err(format!(
            "{day} is before {FIRST_DAY}, the first day that the API serves"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_three_hours_after_midnight_utc() {
        let late = "2025-10-23T02:59:59Z".parse().unwrap();
        let early = "2025-10-23T03:00:00Z".parse().unwrap();
        assert_eq!(today(late), parse_day("2025-10-22").unwrap());
        assert_eq!(today(early), parse_day("20251023").unwrap());
    }

    #[test]
    fn instants_are_read_with_their_offset() {
        let noon: DateTime<Utc> = "2025-10-22T12:00:00Z".parse().unwrap();
        assert_eq!(parse_instant("2025-10-22T09:00:00-03:00").unwrap(), noon);
        let begin: DateTime<Utc> = "2025-10-22T03:00:00Z".parse().unwrap();
        assert_eq!(parse_instant("2025-10-22").unwrap(), begin);
        assert!(parse_instant("2025-10-22T09:00:00").is_err());
    }

    #[test]
    fn impossible_days_are_refused() {
        for text in ["2025-02-30", "22/10/2025", "2025-1", "", "20251322", "hoje"] {
            assert!(parse_day(text).is_err(), "{text}");
        }
        let today = parse_day("2025-10-22").unwrap();
        assert!(check_day(today, today).is_ok());
        assert!(check_day(parse_day("2025-10-23").unwrap(), today).is_err());
        assert!(check_day(parse_day("2021-03-31").unwrap(), today).is_err());
    }
}
