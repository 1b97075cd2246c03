//! What a run did, in numbers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Finished;

/// How a run ended. What was saved stays saved in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Everything that was planned is done.
    Complete,
    /// Nothing was to do.
    NothingNew,
    /// Some keys failed, now or before, and are set aside; the others are done.
    Partial,
    /// More keys failed than the threshold allows.
    Failed,
    /// The server named an instant to come back at; the rest is still to do.
    Deferred {
        /// The instant.
        until: DateTime<Utc>,
    },
    /// The run was told to stop; the rest is still to do.
    Stopped {
        /// By what.
        reason: StopReason,
    },
}

/// What stopped a run early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The caller.
    Cancelled,
    /// [`crate::Options::deadline`].
    Deadline,
}

/// What one checkpoint took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointMetrics {
    /// Counted from 1 within the run.
    pub number: u32,
    /// Rows it holds.
    pub rows: u64,
    /// Elements (itens, arquivos) by facet.
    pub elements: Vec<FacetCount>,
    /// Bytes of the bodies.
    pub body_bytes: u64,
    /// Bytes written.
    pub saved_bytes: u64,
    /// Requests sent for its rows.
    pub calls: u64,
    /// Those of them that repeated an earlier one.
    pub retries: u64,
    /// From the previous cut to this one.
    #[serde(rename = "fetch_us", with = "micros")]
    pub fetch: Duration,
    /// Turning bodies into what is written.
    #[serde(rename = "encode_us", with = "micros")]
    pub encode: Duration,
    /// Writing and committing it.
    #[serde(rename = "commit_us", with = "micros")]
    pub commit: Duration,
    /// From the cut to the answer, repetitions of the save included.
    #[serde(rename = "save_us", with = "micros")]
    pub save: Duration,
    /// How often the save was tried.
    pub save_attempts: u32,
    /// The bytes accounted for when it was cut: bodies held and the encoding of those being saved.
    pub held_bytes: u64,
    /// Where it lies.
    pub key: String,
}

/// Durations as whole microseconds, for whoever reads a footer.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

/// A number by facet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FacetCount {
    /// The facet.
    pub facet: String,
    /// The number.
    pub count: u64,
}

/// What became of one facet over the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FacetTotals {
    /// The facet.
    pub facet: String,
    /// Keys whose facet was saved.
    pub saved: u64,
    /// Of these, keys whose thing is gone.
    pub gone: u64,
    /// Keys whose facet failed.
    pub failed: u64,
    /// Elements (itens, arquivos) saved.
    pub elements: u64,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Keys in the list that was given.
    pub listed: u64,
    /// Keys that were to do in this run, after every option.
    pub planned: u64,
    /// Keys left out because they were done.
    pub already_done: u64,
    /// Keys with a facet that waits in the quarantine and was not asked for.
    pub set_aside: u64,
    /// Keys saved, wholly or in some of their facets.
    pub processed: u64,
    /// Keys with a facet that failed.
    pub failed: u64,
    /// Keys of the plan that are still to do: neither saved nor failed.
    pub left: u64,
    /// Whether every key of the list now has all its facets.
    pub complete: bool,
    /// By facet, in the source's order.
    pub facets: Vec<FacetTotals>,
    /// Requests sent.
    pub calls: u64,
    /// Those of them that repeated an earlier one.
    pub retries: u64,
    /// Bytes of the bodies saved.
    pub body_bytes: u64,
    /// Bytes written by checkpoints.
    pub saved_bytes: u64,
    /// The most bytes that were accounted for at once.
    pub peak_held_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Each checkpoint.
    pub checkpoints: Vec<CheckpointMetrics>,
    /// What was written at the end.
    pub finished: Finished,
}

impl Report {
    /// Whether running again would do something.
    pub fn is_resumable(&self) -> bool {
        self.left > 0 || self.failed > 0
    }

    /// Elements saved of the named facet.
    pub fn elements(&self, facet: &str) -> u64 {
        self.facets
            .iter()
            .find(|totals| totals.facet == facet)
            .map_or(0, |totals| totals.elements)
    }
}
