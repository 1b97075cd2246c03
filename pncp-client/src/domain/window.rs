use std::fmt;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Calendar days asked for, both ends included.
///
/// # Invariants
/// - `first <= last`;
/// - `first` is not before 2021-04-01, the first day that the API accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Ends")]
pub struct Window {
    first: NaiveDate,
    last: NaiveDate,
}

/// What a window is read from, before it is one.
#[derive(Deserialize)]
struct Ends {
    first: NaiveDate,
    last: NaiveDate,
}

impl TryFrom<Ends> for Window {
    type Error = Error;

    fn try_from(ends: Ends) -> Result<Self> {
        Self::new(ends.first, ends.last)
    }
}

/// The most days that the API takes in one query.
const DAYS_MAX: u64 = 365;

impl Window {
    /// One day.
    ///
    /// # Errors
    /// [`Error::Invalid`] before 2021-04-01.
    pub fn day(day: NaiveDate) -> Result<Self> {
        Self::new(day, day)
    }

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `last` is earlier, or `first` before 2021-04-01.
    pub fn new(first: NaiveDate, last: NaiveDate) -> Result<Self> {
        if last < first {
            return Err(Error::invalid(
                "dataFinal",
                "must not be before dataInicial",
            ));
        }
        let earliest = NaiveDate::from_ymd_opt(2021, 4, 1).unwrap_or(NaiveDate::MIN);
        if first < earliest {
            return Err(Error::invalid(
                "dataInicial",
                "must not be before 2021-04-01",
            ));
        }
        Ok(Self { first, last })
    }

    /// The first day.
    pub fn first(&self) -> NaiveDate {
        self.first
    }

    /// The last day.
    pub fn last(&self) -> NaiveDate {
        self.last
    }

    /// Whether `day` lies inside.
    pub fn contains(&self, day: NaiveDate) -> bool {
        self.first <= day && day <= self.last
    }

    /// Itself in pieces of at most 365 days, ascending, gapless.
    pub fn split(&self) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut first = self.first;
        loop {
            let last = match first.checked_add_days(Days::new(DAYS_MAX - 1)) {
                Some(last) if last < self.last => last,
                _ => self.last,
            };
            pieces.push(Self { first, last });
            match last.succ_opt() {
                Some(next) if next <= self.last => first = next,
                _ => return pieces,
            }
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn split_covers_gapless(offset in 0_u64..2000, days in 0_u64..3000) {
            let first = NaiveDate::from_ymd_opt(2021, 4, 1).unwrap() + Days::new(offset);
            let window = Window::new(first, first + Days::new(days)).unwrap();
            let pieces = window.split();
            prop_assert_eq!(pieces[0].first(), window.first());
            prop_assert_eq!(pieces[pieces.len() - 1].last(), window.last());
            for pair in pieces.windows(2) {
                prop_assert_eq!(pair[0].last().succ_opt().unwrap(), pair[1].first());
            }
            for piece in pieces {
                prop_assert!((piece.last() - piece.first()).num_days() < 365);
            }
        }

        #[test]
        fn holds_its_days_and_no_others(offset in 0_u64..2000, days in 0_u64..800, probe in 0_u64..3000) {
            let earliest = NaiveDate::from_ymd_opt(2021, 4, 1).unwrap();
            let first = earliest + Days::new(offset);
            let window = Window::new(first, first + Days::new(days)).unwrap();
            let inside = (offset..=offset + days).contains(&probe);
            let probe = earliest + Days::new(probe);
            prop_assert_eq!(window.contains(probe), inside);
            let holding = window.split().into_iter().filter(|piece| piece.contains(probe)).count();
            prop_assert_eq!(holding, usize::from(inside));
        }

        /// Reading one checks what making one checks.
        #[test]
        fn travels_and_is_checked(first in -1500_i64..4000, days in -3_i64..800) {
            let earliest = NaiveDate::from_ymd_opt(2021, 4, 1).unwrap();
            let first = earliest + chrono::TimeDelta::days(first);
            let last = first + chrono::TimeDelta::days(days);
            let json = format!(r#"{{"first":"{first}","last":"{last}"}}"#);
            let read = serde_json::from_str::<Window>(&json).ok();
            prop_assert_eq!(read, Window::new(first, last).ok());
            if let Some(window) = read {
                prop_assert_eq!(serde_json::to_string(&window).unwrap(), json);
                prop_assert_eq!(window.to_string(), format!("{first}..={last}"));
            }
        }
    }

    #[test]
    fn refused() {
        let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).unwrap();
        assert!(Window::day(day(2021, 3, 31)).is_err());
        assert!(Window::new(day(2025, 1, 2), day(2025, 1, 1)).is_err());
    }
}
