//! What a log is about: a source and a calendar day of its data.

use std::fmt;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A source and a calendar day of its data; one log each.
///
/// The source's name is one path segment: ASCII letters, digits, `_`, `-` and `.`, at most 64
/// bytes, not starting with `.` or `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Scope {
    source: String,
    date: NaiveDate,
}

/// A scope as it lies in an entry, before it is checked.
#[derive(Deserialize)]
struct Parts {
    source: String,
    date: NaiveDate,
}

impl TryFrom<Parts> for Scope {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        Self::new(parts.source, parts.date)
    }
}

impl Scope {
    /// The scope of `source` on `date`, in years 1 to 9999.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the source is not one safe path segment or the year is out of range.
    pub fn new(source: impl Into<String>, date: NaiveDate) -> Result<Self> {
        let source = source.into();
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let starts_well = source
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        if !starts_well || source.len() > 64 || !source.bytes().all(safe) {
            let reason = format!("not one safe path segment: {source:?}");
            return Err(Error::Invalid {
                argument: "source",
                reason,
            });
        }
        if !(1..=9999).contains(&chrono::Datelike::year(&date)) {
            let reason = format!("year out of range: {date}");
            return Err(Error::Invalid {
                argument: "date",
                reason,
            });
        }
        Ok(Self { source, date })
    }

    /// The source's name, such as `pncp`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The calendar day of the data.
    pub fn date(&self) -> NaiveDate {
        self.date
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.date)
    }
}
