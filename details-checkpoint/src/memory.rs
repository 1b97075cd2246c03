//! In-memory twins of source and sink.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{
    CallStats, Checkpoint, CheckpointSink, DetailKey, DetailSource, Done, FacetRow, FailedFacet,
    FetchFailure, Fetched, Finish, Finished, Meter, Payload, Saved, SinkError, Standing,
};

/// A source of prepared answers; what was not prepared is gone.
#[derive(Debug, Default)]
pub struct MemorySource {
    facets: Vec<&'static str>,
    answers: HashMap<String, HashMap<&'static str, Result<Fetched, FetchFailure>>>,
    asked: Mutex<BTreeMap<(String, &'static str), u32>>,
}

impl MemorySource {
    /// A source of these facets, empty.
    pub fn new(facets: &[&'static str]) -> Self {
        Self {
            facets: facets.to_vec(),
            ..Self::default()
        }
    }

    /// With a facet of one page that holds `count` elements.
    #[must_use]
    pub fn with(self, key: &str, facet: &'static str, count: u32, body: impl Into<Bytes>) -> Self {
        let payload = Payload {
            pages: vec![body.into()],
            count,
            stats: CallStats::new(1, 0),
            ..Payload::default()
        };
        self.with_answer(key, facet, Ok(Fetched::Present(payload)))
    }

    /// With any answer.
    #[must_use]
    pub fn with_answer(
        mut self,
        key: &str,
        facet: &'static str,
        answer: Result<Fetched, FetchFailure>,
    ) -> Self {
        self.answers
            .entry(key.to_owned())
            .or_default()
            .insert(facet, answer);
        self
    }

    /// How often each facet of each key was asked for.
    pub fn asked(&self) -> BTreeMap<(String, &'static str), u32> {
        lock(&self.asked).clone()
    }
}

#[async_trait]
impl DetailSource for MemorySource {
    fn facets(&self) -> &[&'static str] {
        &self.facets
    }

    async fn fetch(
        &self,
        key: &DetailKey,
        facet: &'static str,
        _meter: &Meter,
    ) -> Result<Fetched, FetchFailure> {
        *lock(&self.asked)
            .entry((key.key.to_string(), facet))
            .or_default() += 1;
        let answer = self
            .answers
            .get(&*key.key)
            .and_then(|facets| facets.get(facet));
        answer
            .cloned()
            .unwrap_or(Ok(Fetched::Gone(CallStats::new(1, 0))))
    }
}

/// A sink that keeps everything in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    state: Arc<Mutex<MemoryState>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    entries: Vec<Vec<(DetailKey, FacetRow)>>,
    quarantine: Vec<FailedFacet>,
    finishes: Vec<Finish>,
}

impl MemoryState {
    fn current(&self) -> BTreeMap<(String, &'static str), (DetailKey, FacetRow)> {
        let rows = self.entries.iter().flatten().cloned();
        rows.map(|(key, row)| ((key.key.to_string(), row.facet), (key, row)))
            .collect()
    }
}

impl MemorySink {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every facet as a reader of the merged view sees it: the latest of each key.
    pub fn rows(&self) -> BTreeMap<(String, &'static str), FacetRow> {
        lock(&self.state)
            .current()
            .into_iter()
            .map(|(id, (_, row))| (id, row))
            .collect()
    }

    /// How many facets each entry holds, in the order in which they were saved.
    pub fn entry_sizes(&self) -> Vec<usize> {
        lock(&self.state).entries.iter().map(Vec::len).collect()
    }

    /// What was set aside.
    pub fn quarantined(&self) -> Vec<FailedFacet> {
        lock(&self.state).quarantine.clone()
    }

    /// What the ends of runs told.
    pub fn finishes(&self) -> Vec<Finish> {
        lock(&self.state).finishes.clone()
    }
}

#[async_trait]
impl CheckpointSink for MemorySink {
    async fn load(&self) -> Result<Box<dyn Done>, SinkError> {
        let mut marks = MemoryDone::default();
        for ((key, facet), (owner, row)) in lock(&self.state).current() {
            let mark = (owner.version, row.fetched_at);
            marks.0.entry(key).or_default().insert(facet, mark);
        }
        Ok(Box::new(marks))
    }

    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Saved, SinkError> {
        let mut state = lock(&self.state);
        let taken = state.current();
        let mut saved = Saved {
            rows: checkpoint.rows.len() as u64,
            ..Saved::default()
        };
        let mut entry = Vec::new();
        for row in &checkpoint.rows {
            for facet in &row.facets {
                if facet.replaces || !taken.contains_key(&(row.key.key.to_string(), facet.facet)) {
                    saved.bytes += facet.size_bytes();
                    entry.push((row.key.clone(), facet.clone()));
                } else {
                    saved.dropped += 1;
                }
            }
        }
        if !entry.is_empty() {
            state.entries.push(entry);
            saved.key = format!("memory/{:08}", state.entries.len());
        }
        Ok(saved)
    }

    fn peak_bytes(&self, body_bytes: u64) -> u64 {
        body_bytes
    }

    async fn quarantine(&self, failure: &FailedFacet) -> Result<String, SinkError> {
        let mut state = lock(&self.state);
        state.quarantine.push(failure.clone());
        Ok(format!("memory/quarantine/{:08}", state.quarantine.len()))
    }

    async fn finish(&self, finish: &Finish) -> Result<Finished, SinkError> {
        lock(&self.state).finishes.push(finish.clone());
        Ok(Finished::default())
    }
}

#[derive(Debug, Default)]
struct MemoryDone(HashMap<String, HashMap<&'static str, Mark>>);

/// The version that was fetched, and when.
type Mark = (Option<Box<str>>, DateTime<Utc>);

impl Done for MemoryDone {
    fn standing(&self, key: &str, facet: &str, version: Option<&str>) -> Standing {
        let Some((then, fetched_at)) = self.0.get(key).and_then(|facets| facets.get(facet)) else {
            return Standing::Pending;
        };
        match (version, then.as_deref()) {
            (Some(version), Some(then)) if version > then => Standing::Moved,
            _ => Standing::Done {
                fetched_at: Some(*fetched_at),
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
