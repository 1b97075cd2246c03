//! Where details come from.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{DetailKey, Meter};

/// Something slow to get for each key, in one or more facets.
///
/// # Contract
/// - `facets` is constant: the same names in the same order for the life of the source, 1 to 32 of them.
/// - `fetch` gets one facet of one key whole, or says that it is absent for good, or fails; facets are independent.
/// - The source retries by itself whatever is worth retrying; a failure that it returns is final for this run.
/// - Bytes beyond the first page of a facet are announced to the `meter` before they are asked for.
/// - `fetch` may be dropped at any await; it then leaves nothing behind.
#[async_trait]
pub trait DetailSource: fmt::Debug + Send + Sync + 'static {
    /// The names of the facets.
    fn facets(&self) -> &[&'static str];

    /// Gets one facet of one key.
    ///
    /// # Errors
    /// [`FetchFailure`], final for this run. An error never turns into an empty [`Payload`].
    async fn fetch(
        &self,
        key: &DetailKey,
        facet: &'static str,
        meter: &Meter,
    ) -> Result<Fetched, FetchFailure>;
}

/// What a facet turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is there, possibly with nothing in it.
    Present(Payload),
    /// The thing itself is gone: an answer for good, not a failure.
    Gone(CallStats),
}

impl Fetched {
    /// What getting it took.
    pub fn stats(&self) -> CallStats {
        match self {
            Self::Present(payload) => payload.stats,
            Self::Gone(stats) => *stats,
        }
    }
}

/// A facet as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The bodies of its pages, in order, byte for byte.
    pub pages: Vec<Bytes>,
    /// How many elements (itens, arquivos) the pages hold together.
    pub count: u32,
    /// Where it came from (URL path and query), for the lineage of the rows.
    pub source: Option<Box<str>>,
    /// When the last page arrived.
    pub fetched_at: Option<DateTime<Utc>>,
    /// What getting it took.
    pub stats: CallStats,
}

impl Payload {
    /// The bytes of all pages.
    pub fn size_bytes(&self) -> u64 {
        self.pages.iter().map(|page| page.len() as u64).sum()
    }
}

/// What one fetch took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallStats {
    /// Requests sent, repeated ones included.
    pub calls: u32,
    /// Those of them that repeated an earlier one.
    pub retries: u32,
}

impl CallStats {
    /// `calls` requests of which `retries` were repetitions.
    pub fn new(calls: u32, retries: u32) -> Self {
        Self { calls, retries }
    }
}

/// Why one facet of one key could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchFailure {
    /// What to do about it.
    pub kind: FailureKind,
    /// In words, with its chain of causes; no secrets.
    pub reason: String,
    /// What was sent before giving up.
    pub stats: CallStats,
    /// The bytes that could not be read, where an answer came.
    pub payload: Option<Bytes>,
}

/// What a failure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A later run may succeed: no answer, 5xx.
    Transient,
    /// The same answer will come again until somebody looks at it.
    Permanent,
    /// The server named an instant before which nothing should be asked: the whole run ends there.
    Deferred {
        /// The instant.
        until: DateTime<Utc>,
    },
}

impl FetchFailure {
    /// A failure that a later run may not meet.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Transient,
            reason: reason.into(),
            stats: CallStats::new(1, 0),
            payload: None,
        }
    }

    /// A failure that repeats itself.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Permanent,
            ..Self::transient(reason)
        }
    }

    /// The server said when to come back.
    pub fn deferred(until: DateTime<Utc>, reason: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Deferred { until },
            ..Self::transient(reason)
        }
    }

    /// With the requests it took.
    #[must_use]
    pub fn with_stats(mut self, stats: CallStats) -> Self {
        self.stats = stats;
        self
    }

    /// With the bytes that could not be read.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into());
        self
    }
}
