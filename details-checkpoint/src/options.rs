//! What the caller chooses.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Error, Shard};

/// How a run goes. Plain data; [`Options::validate`] says what is out of range, by the setting's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Saves after so many keys. 50 by default.
    pub checkpoint_every: u32,
    /// Saves once the bodies waiting reach so many bytes. 4 MiB by default.
    pub checkpoint_bytes: u64,
    /// Saves what is there after so long, if anything is. 60 s by default; [`None`] switches it off.
    pub checkpoint_interval: Option<Duration>,
    /// At most so many keys that are still to do.
    pub batch_size: Option<u64>,
    /// Cuts the list itself, before anything is subtracted from it.
    pub max_contratacoes: Option<u64>,
    /// Only keys that came in at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Skips what is done. On by default; off, everything in the list is fetched again and replaces what was there.
    pub auto_resume: bool,
    /// Calls in flight at once. 8 by default.
    pub concurrency: u32,
    /// Only these facets; all if empty.
    pub only: Vec<String>,
    /// Only this part of the keys.
    pub shard: Option<Shard>,
    /// The share of the run's keys, 0 to 1, whose failure turns the run into a failure. 0.1 by default.
    pub failure_threshold: f64,
    /// A run with fewer failed keys than this is no failure whatever their share, unless it is the whole list that
    /// failed: the last two keys of a day that nobody can read must not raise an alarm every hour. 10 by default.
    pub failure_minimum: u64,
    /// Stops asking after so long, saves and ends resumable.
    pub deadline: Option<Duration>,
    /// How long calls in flight may go on once the run is told to stop. 10 s by default.
    pub grace: Duration,
    /// The bytes that bodies, rows and their encoding may take together. 24 MiB by default.
    ///
    /// A single key larger than that goes over it, alone.
    pub memory_bytes: u64,
    /// How often a save is tried. 3 by default.
    pub save_attempts: u32,
    /// The wait before the second try of a save; doubled for each further one. 1 s by default.
    pub save_backoff: Duration,
    /// Tries what waits in the quarantine before its time has come. Off by default.
    pub retry_set_aside: bool,
    /// Only what waits in the quarantine; everything else that is pending is left to another run. Off by default.
    pub only_set_aside: bool,
    /// Fetches again what is done but has moved.
    pub refresh: Option<Refresh>,
}

/// When details that are done are fetched again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refresh {
    /// Those whose version in the list is later than the one they were fetched at. On by default.
    pub moved: bool,
    /// Those fetched longer ago than this whose situation is not final. Off by default.
    pub older_than: Option<Duration>,
    /// Those fetched before this instant whose situation is not final. Off by default.
    ///
    /// For a schedule of ages: with the publication and 7 and 30 days in mind, the latest of these instants that has
    /// passed. Each is then fetched again once after 7 days and once after 30.
    pub fetched_before: Option<DateTime<Utc>>,
    /// At most so many calls for refreshing, pending keys not counted.
    pub max_calls: Option<u64>,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            moved: true,
            older_than: None,
            fetched_before: None,
            max_calls: None,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checkpoint_every: 50,
            checkpoint_bytes: 4 << 20,
            checkpoint_interval: Some(Duration::from_secs(60)),
            batch_size: None,
            max_contratacoes: None,
            since: None,
            auto_resume: true,
            concurrency: 8,
            only: Vec::new(),
            shard: None,
            failure_threshold: 0.1,
            failure_minimum: 10,
            deadline: None,
            grace: Duration::from_secs(10),
            memory_bytes: 24 << 20,
            save_attempts: 3,
            save_backoff: Duration::from_secs(1),
            retry_set_aside: false,
            only_set_aside: false,
            refresh: None,
        }
    }
}

impl Options {
    /// The highest `concurrency`.
    pub const MAX_CONCURRENCY: u32 = 1024;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the first setting that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let positive = |value: u64, field: &'static str| match value {
            0 => Err(Error::invalid(field, "must be 1 or more, not 0")),
            _ => Ok(()),
        };
        positive(u64::from(self.checkpoint_every), "checkpoint_every")?;
        positive(self.checkpoint_bytes, "checkpoint_bytes")?;
        positive(u64::from(self.concurrency), "concurrency")?;
        positive(self.memory_bytes, "memory_bytes")?;
        positive(u64::from(self.save_attempts), "save_attempts")?;
        positive(self.batch_size.unwrap_or(1), "batch_size")?;
        positive(self.max_contratacoes.unwrap_or(1), "max_contratacoes")?;
        if self.checkpoint_interval == Some(Duration::ZERO) {
            return Err(Error::invalid(
                "checkpoint_interval",
                "must be longer than 0",
            ));
        }
        if self.concurrency > Self::MAX_CONCURRENCY {
            return Err(Error::invalid(
                "concurrency",
                format!(
                    "must be {} or less, not {}",
                    Self::MAX_CONCURRENCY,
                    self.concurrency
                ),
            ));
        }
        if !(0.0..=1.0).contains(&self.failure_threshold) {
            return Err(Error::invalid(
                "failure_threshold",
                format!("must lie between 0 and 1, not {}", self.failure_threshold),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_survive_a_round_trip() {
        let options = Options {
            shard: Some(Shard::new(2, 3).unwrap()),
            refresh: Some(Refresh::default()),
            ..Options::default()
        };
        options.validate().unwrap();
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), options);
    }

    #[test]
    fn each_bad_setting_is_named() {
        let bad: [(&str, Options); 9] = [
            (
                "checkpoint_every",
                Options {
                    checkpoint_every: 0,
                    ..Options::default()
                },
            ),
            (
                "checkpoint_bytes",
                Options {
                    checkpoint_bytes: 0,
                    ..Options::default()
                },
            ),
            (
                "checkpoint_interval",
                Options {
                    checkpoint_interval: Some(Duration::ZERO),
                    ..Options::default()
                },
            ),
            (
                "concurrency",
                Options {
                    concurrency: 0,
                    ..Options::default()
                },
            ),
            (
                "concurrency",
                Options {
                    concurrency: 2_000,
                    ..Options::default()
                },
            ),
            (
                "batch_size",
                Options {
                    batch_size: Some(0),
                    ..Options::default()
                },
            ),
            (
                "max_contratacoes",
                Options {
                    max_contratacoes: Some(0),
                    ..Options::default()
                },
            ),
            (
                "failure_threshold",
                Options {
                    failure_threshold: 1.5,
                    ..Options::default()
                },
            ),
            (
                "failure_threshold",
                Options {
                    failure_threshold: f64::NAN,
                    ..Options::default()
                },
            ),
        ];
        for (name, options) in bad {
            let error = options.validate().unwrap_err();
            assert!(
                matches!(error, Error::Invalid { field, .. } if field == name),
                "{name}: {error}"
            );
        }
    }
}
