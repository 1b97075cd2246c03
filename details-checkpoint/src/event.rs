//! What a run tells while it goes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{CheckpointMetrics, FacetCount, FailedFacet, Outcome, Report};

/// Takes what a run tells.
///
/// # Contract
/// Called from within the run, in order, one call at a time; it should return at once and must not panic.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes one event.
    fn on_event(&self, event: &Event<'_>);
}

/// What a run tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The plan is made.
    Started(&'a Started),
    /// A key is through: all its facets got or given up.
    Progress(Progress),
    /// A facet was given up and set aside.
    Failed {
        /// What and why.
        failure: &'a FailedFacet,
        /// Where it was set aside.
        quarantined_at: &'a str,
    },
    /// A save failed and will be tried again.
    SaveRetried {
        /// The checkpoint's number.
        number: u32,
        /// The try that failed, from 1.
        attempt: u32,
        /// Why.
        reason: &'a str,
        /// The wait before the next.
        wait: Duration,
    },
    /// A checkpoint is safe.
    CheckpointSaved(&'a CheckpointSaved),
    /// No more calls are started; those in flight have the grace time.
    Stopping {
        /// Why.
        outcome: Outcome,
        /// Calls in flight.
        in_flight: u32,
    },
    /// The run is over.
    Finished(&'a Report),
}

/// The plan of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// What the run is about, for people (for PNCP the date).
    pub label: String,
    /// Keys in the list that was given.
    pub listed: u64,
    /// Keys to do in this run.
    pub planned: u64,
    /// Keys left out because they were done.
    pub already_done: u64,
    /// [`crate::Options::checkpoint_every`].
    pub checkpoint_every: u32,
    /// [`crate::Options::batch_size`].
    pub batch_size: Option<u64>,
    /// [`crate::Options::auto_resume`].
    pub auto_resume: bool,
    /// The facets that are fetched.
    pub facets: Vec<&'static str>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Keys through, failed ones included.
    pub done: u64,
    /// Keys planned.
    pub planned: u64,
    /// Keys with a facet that failed.
    pub failed: u64,
    /// Since the start.
    pub elapsed: Duration,
}

/// A checkpoint that is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointSaved {
    /// What it took.
    pub metrics: CheckpointMetrics,
    /// Keys saved so far in this run, these included.
    pub saved_total: u64,
    /// Keys planned.
    pub planned: u64,
    /// Elements saved so far in this run, by facet.
    pub elements_total: Vec<FacetCount>,
    /// Whether it is the last one, cut because nothing more was coming.
    pub is_final: bool,
    /// Since the start.
    pub elapsed: Duration,
}

/// Takes events and does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&self, _event: &Event<'_>) {}
}

/// Hands each event to several observers, in order.
#[derive(Debug, Clone, Default)]
pub struct Tee {
    observers: Vec<Arc<dyn Observer>>,
}

impl Tee {
    /// To these observers.
    pub fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        Self { observers }
    }
}

impl Observer for Tee {
    fn on_event(&self, event: &Event<'_>) {
        for observer in &self.observers {
            observer.on_event(event);
        }
    }
}
