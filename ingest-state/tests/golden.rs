//! Every persisted format, byte by byte: what was written once is read for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use ingest_state::testing::Fixed;
use ingest_state::{
    Counts, Execution, Id, IdRows, JsonEntries, Layout, Log, LogStore, MemoryStore, Scope,
};
use serde_json::json;

const ENTRY: &str = include_str!("golden/v1_entry.json");
const SNAPSHOT: &str = include_str!("golden/v1_state_20251022.json");

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn log(store: Arc<MemoryStore>) -> Log {
    let now: DateTime<Utc> = "2025-10-22T12:00:00Z".parse().unwrap();
    let log = Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap();
    log.with_ambient(Arc::new(Fixed::new("nonce", now)))
}

#[tokio::test]
async fn what_is_written_is_the_golden_file() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    let ids = [
        Id {
            facet: 0,
            id: "07954480000179-1-022746/2025",
            version: Some("2025-10-22T08:00:00#9f2c"),
        },
        Id {
            facet: 0,
            id: "any \"text\" à",
            version: None,
        },
    ];
    let rows = IdRows::new(ids.into_iter().collect(), &JsonEntries, vec![""]);
    let execution = Execution {
        id: "scheduled__2025-10-22T12:00:00+00:00".to_owned(),
        metadata: json!({"custom_field": "value"})
            .as_object()
            .cloned()
            .unwrap(),
        counts: Counts {
            input: 5,
            duplicates_filtered: 3,
        },
    };
    let mut day = log.load(&scope()).await.unwrap();
    day.append(&rows, &execution).await.unwrap();
    day.finish(&execution).await.unwrap();
    let text = |key: String| {
        let store = store.clone();
        async move {
            let bytes = store.get(&key).await.unwrap().unwrap().bytes;
            String::from_utf8(bytes.to_vec()).unwrap()
        }
    };
    assert_eq!(
        text(log.layout().entry_key(&scope(), 1)).await,
        ENTRY.trim_end()
    );
    assert_eq!(
        text(log.layout().snapshot_key(&scope(), "")).await,
        SNAPSHOT
    );
}

#[tokio::test]
async fn the_golden_files_are_read() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    store
        .create(&log.layout().entry_key(&scope(), 1), Bytes::from(ENTRY))
        .await
        .unwrap();
    let from_entries = log.load(&scope()).await.unwrap();
    assert_eq!(
        from_entries.entries()[0].head.execution,
        "scheduled__2025-10-22T12:00:00+00:00"
    );
    let key = log.layout().snapshot_key(&scope(), "");
    store.create(&key, Bytes::from(SNAPSHOT)).await.unwrap();
    let from_snapshot = log.load(&scope()).await.unwrap();
    assert!(from_snapshot.entries().is_empty() && from_snapshot.warnings().is_empty());
    for day in [&from_entries, &from_snapshot] {
        let ids: Vec<&str> = day.done().ids(0).collect();
        assert_eq!(ids, ["07954480000179-1-022746/2025", "any \"text\" à"]);
        let later = Id {
            facet: 0,
            id: ids[0],
            version: Some("2025-10-22T09:00:00#9f2c"),
        };
        assert_eq!(day.standing(later), ingest_state::Standing::Updated);
        let record = &day.executions(0)[0];
        assert_eq!((record.new_records, record.duplicates_filtered), (2, 3));
        assert!((record.filter_rate - 60.0).abs() < f64::EPSILON);
        assert_eq!(record.metadata["custom_field"], "value");
        assert_eq!(record.files, [log.layout().entry_key(&scope(), 1)]);
    }
}
