//! The names of objects: sources, hive partitions, what a key may be.

use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};

use crate::error::{Error, Result};

/// The longest key that S3 takes, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Refuses a key that some store would bend: empty or dotted segments, control characters,
/// backslashes, more than [`MAX_KEY_BYTES`].
///
/// # Errors
/// [`Error::Name`].
pub fn validate(key: &str) -> Result<()> {
    let refuse = |reason: &str| {
        Err(Error::Name {
            name: key.chars().take(200).collect(),
            reason: reason.to_owned(),
        })
    };
    if key.is_empty() {
        return refuse("a key is not empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return refuse("a key has at most 1024 bytes");
    }
    if key
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return refuse("a key has no empty and no dotted segments");
    }
    if key.chars().any(|c| c.is_control() || c == '\\') {
        return refuse("a key has no control characters and no backslashes");
    }
    Ok(())
}

/// A key as the store's path, taken literally.
pub(crate) fn path(key: &str) -> Result<object_store::path::Path> {
    validate(key)?;
    object_store::path::Path::parse(key).map_err(|error| Error::Name {
        name: key.to_owned(),
        reason: error.to_string(),
    })
}

/// The name of a source of data, the first segment of its keys: `pncp`, `pncp_details`.
///
/// 1 to 64 of `a-z`, `0-9`, `_`, `-`; it does not start with `_`, which marks what is not data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(String);

impl Source {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn new(name: &str) -> Result<Self> {
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) || name.starts_with('_')
        {
            return Err(Error::Name {
                name: name.chars().take(200).collect(),
                reason: "a source is 1 to 64 of a-z, 0-9, _ and -, and does not start with _"
                    .to_owned(),
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Source {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// The folder of a source's day: `pncp/year=2025/month=10/day=22`.
pub fn day_prefix(source: &Source, date: NaiveDate) -> String {
    format!("{source}/{}", hive_day(date))
}

/// A day as hive partitions: `year=2025/month=10/day=22`.
pub fn hive_day(date: NaiveDate) -> String {
    format!(
        "year={:04}/month={:02}/day={:02}",
        date.year(),
        date.month(),
        date.day()
    )
}

/// The key of an upload that is named by time:
/// `pncp/year=2025/month=10/day=22/pncp_20251022_120000.parquet`.
pub fn timed_key(source: &Source, date: NaiveDate, time: NaiveTime, extension: &str) -> String {
    format!(
        "{}/{source}_{}_{:02}{:02}{:02}.{extension}",
        day_prefix(source, date),
        date.format("%Y%m%d"),
        time.hour(),
        time.minute(),
        time.second(),
    )
}

/// The day of a key below its source's hive folders, if it is one of that source's data files:
/// directly in a `year=/month=/day=` folder.
pub fn day_of(source: &Source, key: &str) -> Option<NaiveDate> {
    let rest = key.strip_prefix(source.as_str())?.strip_prefix('/')?;
    let mut segments = rest.split('/');
    let mut part = |name: &str, digits: usize| {
        let value = segments.next()?.strip_prefix(name)?;
        (value.len() == digits && value.bytes().all(|b| b.is_ascii_digit()))
            .then(|| value.parse::<u32>().ok())?
    };
    let (year, month, day) = (part("year=", 4)?, part("month=", 2)?, part("day=", 2)?);
    let file = segments.next()?;
    if file.is_empty() || file.starts_with(['_', '.']) || segments.next().is_some() {
        return None;
    }
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(y: i32, m: u32, d: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(y, m, d).unwrap()
    }

    #[test]
    fn keys_are_those_of_the_design() {
        let source = Source::new("pncp").unwrap();
        let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
        let key = timed_key(&source, day(2025, 10, 22), noon, "parquet");
        assert_eq!(
            key,
            "pncp/year=2025/month=10/day=22/pncp_20251022_120000.parquet"
        );
        assert_eq!(day_of(&source, &key), Some(day(2025, 10, 22)));
    }

    #[test]
    fn foreign_keys_have_no_day() {
        let source = Source::new("pncp").unwrap();
        for key in [
            "pncp/_state/year=2025/month=10/day=22/state.json",
            "pncp_details/year=2025/month=10/day=22/a.parquet",
            "pncp/year=2025/month=13/day=22/a.parquet",
            "pncp/year=2025/month=1/day=2/a.parquet",
            "pncp/year=2025/month=10/day=22/sub/a.parquet",
            "pncp/year=2025/month=10/day=22/_a.parquet",
            "pncp/readme.txt",
        ] {
            assert_eq!(day_of(&source, key), None, "{key}");
        }
    }

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        for key in [
            "",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "./a",
            "a\\b",
            "a\nb",
            &"a".repeat(1025),
        ] {
            assert!(matches!(validate(key), Err(Error::Name { .. })), "{key:?}");
        }
        for source in ["", "_temp", "a/b", "..", "A", &"a".repeat(65)] {
            assert!(
                matches!(Source::new(source), Err(Error::Name { .. })),
                "{source:?}"
            );
        }
    }
}
