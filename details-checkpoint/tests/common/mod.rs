//! A slow source, a slow sink with faults, and a recorder of events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use details_checkpoint::{
    CallStats, Checkpoint, CheckpointSink, DetailKey, DetailSource, Done, Event, FailedFacet,
    FetchFailure, Fetched, Finish, Finished, KeyList, MemorySink, Meter, Observer, Payload, Saved,
    SinkError,
};

pub(crate) const FACETS: [&str; 2] = ["itens", "arquivos"];

pub(crate) fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_761_000_000, 0).unwrap()
}

pub(crate) fn key(n: usize) -> String {
    format!("k{n:05}")
}

pub(crate) fn keys(count: usize) -> KeyList {
    KeyList::from_keys((0..count).map(key)).unwrap()
}

/// Every facet of every key is there once, with the body that the source gives.
pub(crate) fn assert_exact(sink: &MemorySink, count: usize) {
    let rows = sink.rows();
    let expected: BTreeSet<(String, &str)> = (0..count)
        .flat_map(|n| FACETS.map(|facet| (key(n), facet)))
        .collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for ((key, facet), row) in rows {
        if let Fetched::Present(payload) = row.fetched {
            assert!(payload.pages[0].starts_with(format!("{key}/{facet}").as_bytes()));
        }
    }
}

/// 100 ms a call.
#[derive(Debug, Default)]
pub(crate) struct SlowSource {
    body_bytes: usize,
    huge: BTreeMap<String, usize>,
    failures: Mutex<BTreeMap<(String, &'static str), FetchFailure>>,
    gone: BTreeSet<String>,
    stuck: BTreeSet<(String, &'static str)>,
    in_flight: AtomicU32,
    highest: AtomicU32,
    pub(crate) ended: AtomicU32,
    asked: Mutex<BTreeMap<(String, &'static str), u32>>,
}

impl SlowSource {
    pub(crate) fn with_body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    pub(crate) fn with_huge(mut self, key: &str, bytes: usize) -> Self {
        self.huge.insert(key.to_owned(), bytes);
        self
    }

    pub(crate) fn failing(self, key: &str, facet: &'static str, failure: FetchFailure) -> Self {
        self.failures
            .lock()
            .unwrap()
            .insert((key.to_owned(), facet), failure);
        self
    }

    pub(crate) fn gone(mut self, key: &str) -> Self {
        self.gone.insert(key.to_owned());
        self
    }

    pub(crate) fn stuck(mut self, key: &str, facet: &'static str) -> Self {
        self.stuck.insert((key.to_owned(), facet));
        self
    }

    pub(crate) fn heal(&self) {
        self.failures.lock().unwrap().clear();
    }

    pub(crate) fn highest_in_flight(&self) -> u32 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Calls beyond the first for each facet.
    pub(crate) fn repeated(&self) -> u32 {
        self.asked
            .lock()
            .unwrap()
            .values()
            .map(|times| times - 1)
            .sum()
    }
}

struct InFlight<'a>(&'a AtomicU32);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl DetailSource for SlowSource {
    fn facets(&self) -> &[&'static str] {
        &FACETS
    }

    async fn fetch(
        &self,
        key: &DetailKey,
        facet: &'static str,
        meter: &Meter,
    ) -> Result<Fetched, FetchFailure> {
        *self
            .asked
            .lock()
            .unwrap()
            .entry((key.key.to_string(), facet))
            .or_default() += 1;
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let _guard = InFlight(&self.in_flight);
        self.highest.fetch_max(in_flight, Ordering::Relaxed);
        let bytes = self.huge.get(&*key.key).copied().unwrap_or(self.body_bytes);
        meter.grow(bytes as u64).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let id = (key.key.to_string(), facet);
        if self.stuck.contains(&id) {
            std::future::pending::<()>().await;
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = self.failures.lock().unwrap().get(&id) {
            return Err(failure.clone());
        }
        let stats = CallStats::new(1, 0);
        if self.gone.contains(&id.0) {
            return Ok(Fetched::Gone(stats));
        }
        let mut body = format!("{}/{facet}", key.key);
        while body.len() < bytes {
            body.push('.');
        }
        Ok(Fetched::Present(Payload {
            pages: vec![body.into()],
            count: 2,
            stats,
            ..Payload::default()
        }))
    }
}

/// A memory sink that takes its time and fails when told to.
#[derive(Debug)]
pub(crate) struct SlowSink {
    pub(crate) inner: MemorySink,
    save_time: Duration,
    peak_factor: u64,
    /// Saves to let through, then saves to fail.
    faults: Mutex<(u32, u32)>,
    transient: AtomicBool,
    after_effect: AtomicBool,
    /// Calls ended when each save began and ended.
    saves: Mutex<Vec<(u32, u32)>>,
    source: Mutex<Option<Arc<SlowSource>>>,
}

impl Default for SlowSink {
    fn default() -> Self {
        Self {
            inner: MemorySink::new(),
            save_time: Duration::from_millis(50),
            peak_factor: 1,
            faults: Mutex::default(),
            transient: AtomicBool::default(),
            after_effect: AtomicBool::default(),
            saves: Mutex::default(),
            source: Mutex::default(),
        }
    }
}

impl SlowSink {
    pub(crate) fn with_save_time(mut self, time: Duration) -> Self {
        self.save_time = time;
        self
    }

    pub(crate) fn with_peak_factor(mut self, factor: u64) -> Self {
        self.peak_factor = factor;
        self
    }

    pub(crate) fn fail_saves(&self, count: u32, transient: bool, after_effect: bool) {
        *self.faults.lock().unwrap() = (0, count);
        self.transient.store(transient, Ordering::Relaxed);
        self.after_effect.store(after_effect, Ordering::Relaxed);
    }

    pub(crate) fn fail_saves_after(&self, good: u32, count: u32, transient: bool) {
        self.fail_saves(count, transient, false);
        self.faults.lock().unwrap().0 = good;
    }

    pub(crate) fn watching(self, source: &Arc<SlowSource>) -> Self {
        *self.source.lock().unwrap() = Some(source.clone());
        self
    }

    /// Saves during which calls ended.
    pub(crate) fn overlapping_fetches(&self) -> usize {
        self.saves
            .lock()
            .unwrap()
            .iter()
            .filter(|(begin, end)| end > begin)
            .count()
    }

    /// The most calls that ended and were not yet safe.
    pub(crate) fn most_calls_unsaved(&self) -> u32 {
        let saves = self.saves.lock().unwrap();
        let ends = saves.iter().map(|(_, end)| *end);
        ends.enumerate()
            .map(|(n, end)| end - self.inner.entry_sizes()[..n].iter().sum::<usize>() as u32)
            .max()
            .unwrap_or(0)
    }

    fn calls_ended(&self) -> u32 {
        self.source
            .lock()
            .unwrap()
            .as_ref()
            .map_or(0, |source| source.ended.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl CheckpointSink for SlowSink {
    async fn load(&self) -> Result<Box<dyn Done>, SinkError> {
        self.inner.load().await
    }

    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Saved, SinkError> {
        let begin = self.calls_ended();
        tokio::time::sleep(self.save_time / 2).await;
        let fails = {
            let mut faults = self.faults.lock().unwrap();
            match &mut *faults {
                (0, 0) => false,
                (0, left) => {
                    *left -= 1;
                    true
                }
                (good, _) => {
                    *good -= 1;
                    false
                }
            }
        };
        if fails && !self.after_effect.load(Ordering::Relaxed) {
            return Err(self.error());
        }
        let saved = self.inner.save(checkpoint).await;
        tokio::time::sleep(self.save_time / 2).await;
        self.saves.lock().unwrap().push((begin, self.calls_ended()));
        if fails { Err(self.error()) } else { saved }
    }

    fn peak_bytes(&self, body_bytes: u64) -> u64 {
        body_bytes * self.peak_factor
    }

    async fn quarantine(&self, failure: &FailedFacet) -> Result<String, SinkError> {
        self.inner.quarantine(failure).await
    }

    async fn finish(&self, finish: &Finish) -> Result<Finished, SinkError> {
        self.inner.finish(finish).await
    }
}

impl SlowSink {
    fn error(&self) -> SinkError {
        if self.transient.load(Ordering::Relaxed) {
            SinkError::transient("save", "injected")
        } else {
            SinkError::permanent("save", "injected")
        }
    }
}

/// Keeps what a run tells.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    headlines: Mutex<Vec<String>>,
    retries: AtomicU32,
}

impl Recorder {
    pub(crate) fn headlines(&self) -> Vec<String> {
        self.headlines.lock().unwrap().clone()
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::CheckpointSaved(saved) => {
                let mark = if saved.is_final { "final " } else { "" };
                let line = format!("{mark}{}/{}", saved.saved_total, saved.planned);
                self.headlines.lock().unwrap().push(line);
            }
            Event::SaveRetried { .. } => {
                self.retries.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}
