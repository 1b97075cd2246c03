//! The lines that operators look for, as a subscriber gets them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::NaiveDate;
use ingest_state::{
    Execution, JsonEntries, Layout, Log, LogStore, MemoryStore, Scope, StateManager,
};
use serde_json::{Map, Value, json};
use tracing_subscriber::fmt::MakeWriter;

/// What was written, line by line.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Collects this thread's lines until the guard is dropped.
fn lines() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    (lines, guard)
}

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

fn records(ids: std::ops::Range<u32>) -> Vec<Value> {
    ids.map(|id| json!({"numeroControlePNCP": format!("{id:03}")}))
        .collect()
}

#[tokio::test]
async fn filter_update_and_nothing_new() {
    let (lines, _guard) = lines();
    let manager = StateManager::json(Arc::new(MemoryStore::new()));
    let filter = |records| manager.filter_new_records("pncp", day(), records, "numeroControlePNCP");
    let ids: Vec<String> = (0..75).map(|id| format!("{id:03}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let update = |ids| manager.update_state("pncp", day(), "run", ids, Map::new());
    update(&ids).await.unwrap();
    assert_eq!(
        lines.take(),
        ["INFO State updated: 75 new IDs added scope=pncp 2025-10-22 number=1"]
    );
    filter(records(0..100)).await.unwrap();
    assert_eq!(
        lines.take(),
        ["INFO State Filtering: 100 input → 25 new (75 duplicates filtered)"]
    );
    filter(records(0..75)).await.unwrap();
    assert_eq!(
        lines.take(),
        [
            "INFO State Filtering: 75 input → 0 new (75 duplicates filtered)",
            "WARN No new records to process (all duplicates)"
        ]
    );
    // Neither without any records nor without a new one is anything updated.
    filter(vec![]).await.unwrap();
    update(&ids[..1]).await.unwrap();
    assert_eq!(
        lines.take(),
        ["INFO State Filtering: 0 input → 0 new (0 duplicates filtered)"]
    );
    filter(vec![json!({"valor": 1})]).await.unwrap();
    assert_eq!(
        lines.take(),
        [
            "INFO State Filtering: 1 input → 0 new (0 duplicates filtered)",
            "WARN records without an id records=1"
        ]
    );
}

#[tokio::test]
async fn what_was_put_right_is_a_warning_with_its_key() {
    let (lines, _guard) = lines();
    let store = Arc::new(MemoryStore::new());
    let manager = StateManager::json(store.clone());
    let update = manager.update_state("pncp", day(), "run", &["a"], Map::new());
    update.await.unwrap();
    let log = Log::new(store.clone(), Arc::new(JsonEntries), Layout::json("pncp")).unwrap();
    let scope = Scope::new("pncp", day()).unwrap();
    let snapshot = log.layout().snapshot_key(&scope, "");
    let whole = store.get(&snapshot).await.unwrap().unwrap().bytes;
    lines.take();

    store.overwrite(&snapshot, Bytes::from("{")).await.unwrap();
    log.load(&scope).await.unwrap();
    let line = lines.take().join("\n");
    let said = "WARN snapshot cannot be read, rebuilt from the log";
    assert!(line.starts_with(said) && line.contains(&snapshot), "{line}");

    let entry = log.layout().entry_key(&scope, 1);
    let bytes = store.get(&entry).await.unwrap().unwrap().bytes;
    store.overwrite(&snapshot, whole).await.unwrap();
    store.delete(&entry).await.unwrap();
    log.load(&scope).await.unwrap();
    let line = lines.take().join("\n");
    let said = "WARN snapshot is ahead of the log, discarded";
    assert!(
        line.starts_with(said) && line.contains("snapshot=1"),
        "{line}"
    );

    store.overwrite(&entry, bytes.slice(..9)).await.unwrap();
    let execution = Execution::new("repair");
    log.quarantine_entry(&scope, 1, &execution, false)
        .await
        .unwrap();
    let line = lines.take().join("\n");
    let said = "WARN entry put in quarantine";
    assert!(line.contains(said) && line.contains("number=1"), "{line}");
}
