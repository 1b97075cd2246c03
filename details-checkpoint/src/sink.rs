//! Where details go, and what is there already.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{CheckpointMetrics, DetailKey, FailureKind, Fetched, Outcome};

/// Saves checkpoints and knows what is done.
///
/// # Contract
/// - `save` is atomic: rows and the record that they are done appear together, or not at all.
/// - `save` is idempotent: saving a checkpoint whose first save took effect and reported an error doubles nothing.
/// - What another writer saved in the meantime is dropped, not doubled ([`Saved::dropped`]), except facets marked
///   [`FacetRow::replaces`], which win over what was there.
/// - A facet counts as done exactly if a saved row holds it; a facet that failed is in no row.
/// - Nothing here retries; errors answer [`SinkError::is_transient`].
/// - Any call may be dropped at any await: readers see the state before or after, never between.
#[async_trait]
pub trait CheckpointSink: fmt::Debug + Send + Sync + 'static {
    /// What is done, read anew.
    async fn load(&self) -> Result<Box<dyn Done>, SinkError>;

    /// Saves the rows of one checkpoint.
    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Saved, SinkError>;

    /// The most bytes that saving `body_bytes` of bodies holds at once, those bodies included.
    fn peak_bytes(&self, body_bytes: u64) -> u64;

    /// Sets a failure aside, outside of the rows; returns where it lies.
    async fn quarantine(&self, failure: &FailedFacet) -> Result<String, SinkError>;

    /// Called once at the end of every run that did not fail in the sink: snapshots, merges.
    async fn finish(&self, finish: &Finish) -> Result<Finished, SinkError>;
}

/// What is done, by key and facet.
pub trait Done: fmt::Debug + Send + Sync {
    /// How a facet of a key stands, given the version that its thing has now, if that is known.
    fn standing(&self, key: &str, facet: &str, version: Option<&str>) -> Standing;
}

/// How a facet of a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not done.
    Pending,
    /// Done.
    Done {
        /// When it was fetched, where the sink knows.
        fetched_at: Option<DateTime<Utc>>,
    },
    /// Done, but its thing has a later version by now.
    Moved,
    /// Not done; it failed before and waits in the quarantine.
    SetAside {
        /// Until when; from then on it is pending.
        until: DateTime<Utc>,
    },
}

/// The rows to be saved together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// Counted from 1 within the run.
    pub number: u32,
    /// One or more rows, in the order in which they were completed; each key once.
    pub rows: Vec<Row>,
    /// What getting them took; the sink keeps it beside the rows. What saving takes is not known yet and 0.
    pub metrics: CheckpointMetrics,
    /// What the checkpoint before took, saving included; the sink keeps it beside the rows too.
    pub previous: Option<CheckpointMetrics>,
}

/// The facets of one key that this run got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose they are.
    pub key: DetailKey,
    /// One or more facets, in the source's order.
    pub facets: Vec<FacetRow>,
}

impl Row {
    /// The bytes of its bodies and of its key.
    pub fn size_bytes(&self) -> u64 {
        self.key.size_bytes() + self.facets.iter().map(FacetRow::size_bytes).sum::<u64>()
    }

    /// The facet of that name, if this run got it.
    pub fn facet(&self, name: &str) -> Option<&FacetRow> {
        self.facets.iter().find(|facet| facet.facet == name)
    }
}

/// One facet of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetRow {
    /// Its name.
    pub facet: &'static str,
    /// What it turned out to be.
    pub fetched: Fetched,
    /// When it was got.
    pub fetched_at: DateTime<Utc>,
    /// Whether it was done before and takes the place of what was there.
    pub replaces: bool,
}

impl FacetRow {
    /// The bytes of its bodies.
    pub fn size_bytes(&self) -> u64 {
        match &self.fetched {
            Fetched::Present(payload) => payload.size_bytes(),
            Fetched::Gone(_) => 0,
        }
    }

    /// How many elements it holds.
    pub fn count(&self) -> u32 {
        match &self.fetched {
            Fetched::Present(payload) => payload.count,
            Fetched::Gone(_) => 0,
        }
    }
}

/// What a save did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Where the rows lie; empty if another writer had taken every one of them.
    pub key: String,
    /// Bytes written.
    pub bytes: u64,
    /// Rows written.
    pub rows: u64,
    /// Facets that another writer had saved first.
    pub dropped: u64,
    /// Time to turn bodies into what is written.
    pub encode: Duration,
    /// Time to write and commit it.
    pub commit: Duration,
}

/// A facet of a key that could not be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedFacet {
    /// The key.
    pub key: String,
    /// Its version, where the list gave one.
    pub version: Option<String>,
    /// The facet.
    pub facet: String,
    /// In words.
    pub reason: String,
    /// What the failure asks for.
    pub kind: FailureKind,
    /// Requests sent for it; in the quarantine, over all runs.
    pub attempts: u32,
    /// Runs that gave it up; 1 from the ingester, a sink adds earlier ones.
    pub runs: u32,
    /// The bytes that could not be read, as text, at most [`FailedFacet::MAX_PAYLOAD_BYTES`] of them.
    pub payload: Option<String>,
    /// When it was given up.
    pub at: DateTime<Utc>,
}

impl FailedFacet {
    /// How many bytes of a payload are kept.
    pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
}

/// What the sink is told at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// How the run ended.
    pub outcome: Outcome,
    /// Whether every candidate of the whole list now has all its facets, as far as this run could tell.
    pub complete: bool,
    /// Rows that this run saved.
    pub saved_rows: u64,
    /// What the last checkpoint took, saving included.
    pub last_checkpoint: Option<CheckpointMetrics>,
    /// When the run ended.
    pub at: DateTime<Utc>,
}

/// What the sink did at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Finished {
    /// Where the merged view lies, if it was written.
    pub merged: Option<String>,
    /// Bytes written by the end of the run: snapshots and merge.
    pub bytes: u64,
    /// Other objects written.
    pub written: Vec<String>,
}

/// Why the sink could not do it.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint sink failed. operation=`{operation}`")]
pub struct SinkError {
    operation: &'static str,
    transient: bool,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SinkError {
    /// An error that a repetition may not meet.
    pub fn transient(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            operation,
            transient: true,
            source: source.into(),
        }
    }

    /// An error that repeats itself.
    pub fn permanent(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            operation,
            transient: false,
            source: source.into(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Which call failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }
}
