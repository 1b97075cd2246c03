//! Every persisted format, byte by byte: what was written once is read for ever.
//!
//! The first release's entries (`v1_*entry*`) do not say their source and day; those written now
//! do (`v1_scoped_*`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use ingest_state::testing::Fixed;
use ingest_state::{
    Counts, Execution, Id, IdRows, JsonEntries, Layout, Log, LogStore, MemoryStore, Scope,
};
use serde_json::json;

const FIRST_ENTRY: &str = include_str!("golden/v1_entry.json");
const ENTRY: &str = include_str!("golden/v1_scoped_entry.json");
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
        ended_at: None,
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
    same(
        "v1_scoped_entry.json",
        &text(log.layout().entry_key(&scope(), 1)).await,
    );
    same(
        "v1_state_20251022.json",
        &text(log.layout().snapshot_key(&scope(), "")).await,
    );
}

/// Compares with the golden file, or writes it where the environment says `WRITE_GOLDEN=1`.
fn same(name: &str, text: &str) {
    let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("WRITE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{name}");
}

/// The other layouts: two facets with versions, the log of versions, and what a quarantine leaves.
/// Each is written, compared, and read from the golden files alone.
#[tokio::test]
async fn facets_versions_and_a_quarantine() {
    let at = |version| Some(version);
    let (old, new) = (at("2025-10-22T08:00:00#a"), at("2025-10-22T09:00:00.5#b"));
    let id = |facet, id, version| Id { facet, id, version };
    let details = Layout::details("pncp_details");
    let both = [
        vec![
            id(0, "1|2025|2", old),
            id(1, "1|2025|2", old),
            id(1, "3|2025|4", None),
        ],
        vec![id(0, "1|2025|2", new)],
    ];
    let versions = Layout::versions("pncp");
    let one = [vec![id(
        0,
        "07954480000179-1-022746/2025@2025-10-22T09:00:00#b",
        new,
    )]];
    for (layout, entries, names) in [
        (
            details.clone(),
            &both[..],
            &["details_entry_1.json", "details_entry_2.json"][..],
        ),
        (versions.clone(), &one[..], &["versions_entry_1.json"]),
    ] {
        let now: DateTime<Utc> = "2025-10-22T12:00:00Z".parse().unwrap();
        let store = Arc::new(MemoryStore::new());
        let log = Log::new(store.clone(), Arc::new(JsonEntries), layout.clone()).unwrap();
        let log = log.with_ambient(Arc::new(Fixed::new("nonce", now)));
        let mut day = log.load(&scope()).await.unwrap();
        let execution = Execution::new("scheduled__2025-10-22T12:00:00+00:00");
        for ids in entries {
            let rows = IdRows::new(
                ids.iter().copied().collect(),
                &JsonEntries,
                layout.facet_names(),
            );
            day.append(&rows, &execution).await.unwrap();
        }
        day.finish(&execution).await.unwrap();
        let dump = store.dump();
        let text = |key: &str| String::from_utf8(dump[key].to_vec()).unwrap();
        for (number, name) in names.iter().enumerate() {
            let key = layout.entry_key(&scope(), number as u64 + 1);
            same(&format!("v1_scoped_{name}"), &text(&key));
        }
        for facet in layout.facet_names() {
            let key = layout.snapshot_key(&scope(), facet);
            same(&snapshot_name(facet), &text(&key));
        }
        for form in ["v1_scoped_", "v1_"] {
            let files = names.iter().map(|name| format!("{form}{name}"));
            all_is_known(&layout, files, entries).await;
        }
    }
}

/// The golden snapshot of a facet of those layouts.
fn snapshot_name(facet: &str) -> String {
    let kind = if facet.is_empty() { "versions" } else { facet };
    format!("v1_{kind}_state_20251022.json")
}

/// Reads a day from golden files, with and without its snapshots.
async fn all_is_known(
    layout: &Layout,
    files: impl Iterator<Item = String>,
    entries: &[Vec<Id<'_>>],
) {
    let store = Arc::new(MemoryStore::new());
    let golden = |name: &str| {
        let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        Bytes::from(std::fs::read(file).unwrap())
    };
    for (number, name) in files.enumerate() {
        let key = layout.entry_key(&scope(), number as u64 + 1);
        store.create(&key, golden(&name)).await.unwrap();
    }
    for facet in layout.facet_names() {
        let key = layout.snapshot_key(&scope(), facet);
        let bytes = golden(&snapshot_name(facet));
        store.create(&key, bytes).await.unwrap();
    }
    let log = Log::new(store, Arc::new(JsonEntries), layout.clone()).unwrap();
    assert!(log.verify(&scope()).await.unwrap().is_sound());
    let from_snapshots = log.load(&scope()).await.unwrap();
    assert!(from_snapshots.entries().is_empty() && from_snapshots.warnings().is_empty());
    for day in [from_snapshots, log.load_entries(&scope()).await.unwrap()] {
        for id in entries.iter().flatten() {
            let known = day.standing(*id);
            assert_eq!(known, ingest_state::Standing::AlreadyProcessed, "{id:?}");
        }
    }
}

/// Later versions as a pipeline enters them: the id is the record's with its version.
#[tokio::test]
async fn later_versions_as_they_are_entered() {
    let layout = Layout::versions("pncp");
    let store = Arc::new(MemoryStore::new());
    let now: DateTime<Utc> = "2025-10-22T12:00:00Z".parse().unwrap();
    let log = Log::new(store.clone(), Arc::new(JsonEntries), layout.clone()).unwrap();
    let log = log.with_ambient(Arc::new(Fixed::new("nonce", now)));
    let versions = ["2025-10-22T09:00:00#9f2c", "2025-10-22T10:30:00.25#07ab"];
    let texts = versions.map(|version| format!("07954480000179-1-022746/2025@{version}"));
    let ids = texts.iter().zip(versions).map(|(id, version)| Id {
        facet: 0,
        id,
        version: Some(version),
    });
    let ids: Vec<Id<'_>> = ids.collect();
    let rows = IdRows::new(ids.iter().copied().collect(), &JsonEntries, vec![""]);
    let execution = Execution::new("scheduled__2025-10-22T12:00:00+00:00");
    let mut day = log.load(&scope()).await.unwrap();
    day.append(&rows, &execution).await.unwrap();
    day.finish(&execution).await.unwrap();
    let dump = store.dump();
    for (name, key) in [
        (
            "v1_scoped_later_versions_entry.json",
            layout.entry_key(&scope(), 1),
        ),
        (
            "v1_later_versions_state_20251022.json",
            layout.snapshot_key(&scope(), ""),
        ),
    ] {
        same(name, std::str::from_utf8(&dump[&key]).unwrap());
    }
    let day = log.load(&scope()).await.unwrap();
    for id in ids {
        assert_eq!(
            day.standing(id),
            ingest_state::Standing::AlreadyProcessed,
            "{id:?}"
        );
    }
}

/// An execution that found nothing leaves a snapshot and no entry; an import an entry, a snapshot,
/// and the old file as it was.
#[tokio::test]
async fn nothing_found_and_an_import() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    let key = log.layout().snapshot_key(&scope(), "");
    let text = |key: String| {
        let store = store.clone();
        async move {
            let bytes = store.get(&key).await.unwrap().unwrap().bytes;
            String::from_utf8(bytes.to_vec()).unwrap()
        }
    };
    let execution = Execution {
        counts: Counts {
            input: 3,
            duplicates_filtered: 3,
        },
        ended_at: Some("2025-10-22T11:59:58.7Z".parse().unwrap()),
        ..Execution::new("nothing")
    };
    let mut day = log.load(&scope()).await.unwrap();
    day.finish(&execution).await.unwrap();
    same("v1_empty_state_20251022.json", &text(key.clone()).await);
    let day = log.load(&scope()).await.unwrap();
    assert_eq!((day.executions(0).len(), day.last_entry()), (1, 0));

    let old = include_str!("golden/legacy_state_20251022.json");
    store.overwrite(&key, Bytes::from(old)).await.unwrap();
    let execution = Execution::new("import");
    log.import(&scope(), 0, &key, &execution).await.unwrap();
    let entry = log.layout().entry_key(&scope(), 1);
    same("v1_imported_entry.json", &text(entry).await);
    same("v1_imported_state_20251022.json", &text(key.clone()).await);
    assert_eq!(text(format!("{key}.imported")).await, old);
}

#[tokio::test]
async fn what_a_quarantine_leaves() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    let key = log.layout().entry_key(&scope(), 1);
    store.create(&key, Bytes::from("no entry")).await.unwrap();
    let execution = Execution::new("repair");
    let done = log
        .quarantine_entry(&scope(), 1, &execution, false)
        .await
        .unwrap();
    let entry = store.get(&key).await.unwrap().unwrap().bytes;
    same(
        "v1_scoped_quarantined_entry.json",
        std::str::from_utf8(&entry).unwrap(),
    );
    assert_eq!(
        done.kept_at.as_deref(),
        Some("pncp/_quarantine/entries/year=2025/month=10/day=22/00000001.json.d99f230e059018e6")
    );
    let first = include_str!("golden/v1_quarantined_entry.json");
    for form in [entry, Bytes::from(first)] {
        store.overwrite(&key, form).await.unwrap();
        let day = log.load_entries(&scope()).await.unwrap();
        assert_eq!((day.last_entry(), day.done().len()), (1, 0));
        assert!(day.entries()[0].head.metadata.contains_key("quarantined"));
    }
}

#[tokio::test]
async fn the_golden_files_are_read() {
    for entry in [FIRST_ENTRY, ENTRY] {
        is_read(entry).await;
    }
}

async fn is_read(entry: &'static str) {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    store
        .create(&log.layout().entry_key(&scope(), 1), Bytes::from(entry))
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
