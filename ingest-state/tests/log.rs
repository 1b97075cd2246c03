//! The log under many writers, faults and crashes, and its edge cases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ingest_state::testing::{
    Fault, FaultStore, Fixed, Storm, check_create_race, check_entry_format, check_log,
    check_log_store,
};
use ingest_state::{
    DayLog, EntryHead, EntryRows, Error, Execution, Filter, Finding, FormatError, Id, IdList,
    IdRows, JsonEntries, Layout, Log, LogStore, MemoryStore, ObjectLogStore, Outcome, Scope,
    Standing, StateManager, Warning,
};
use serde_json::json;

fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, number).unwrap()
}

fn scope() -> Scope {
    Scope::new("pncp", day(22)).unwrap()
}

fn log(store: Arc<dyn LogStore>) -> Log {
    Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap()
}

fn ids<'a>(texts: impl IntoIterator<Item = &'a str>) -> IdList {
    texts
        .into_iter()
        .map(|id| Id {
            facet: 0,
            id,
            version: None,
        })
        .collect()
}

fn rows<'a>(texts: impl IntoIterator<Item = &'a str>) -> IdRows<'static> {
    IdRows::new(ids(texts), &JsonEntries, vec![""])
}

/// Every id and the number of the entry it is in; fails if one is in two.
async fn placed(store: Arc<dyn LogStore>) -> HashMap<String, u64> {
    let log = log(store);
    let report = log.verify(&scope()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    let day = log.load_entries(&scope()).await.unwrap();
    day.done().ids(0).map(|id| (id.to_owned(), 1)).collect()
}

#[tokio::test]
async fn stores_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let stores: [Arc<dyn LogStore>; 3] = [
        Arc::new(MemoryStore::new()),
        Arc::new(ObjectLogStore::new(Arc::new(
            object_store::memory::InMemory::new(),
        ))),
        Arc::new(ObjectLogStore::new(Arc::new(local))),
    ];
    for store in stores {
        check_log_store(&*store, "check").await.unwrap();
        check_create_race(store.clone(), "race/key", 16)
            .await
            .unwrap();
        check_entry_format(&JsonEntries, &*store).await.unwrap();
        check_log(store.clone(), &log).await.unwrap();
        let details = |store| {
            let layout = Layout::details("conformance_details");
            Log::new(store, Arc::new(JsonEntries), layout).unwrap()
        };
        check_log(store, &details).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_found_out() {
    #[derive(Debug)]
    struct Careless(MemoryStore);
    #[async_trait::async_trait]
    impl LogStore for Careless {
        async fn create(
            &self,
            key: &str,
            body: Bytes,
        ) -> Result<ingest_state::Created, ingest_state::StoreError> {
            self.0.overwrite(key, body).await?;
            Ok(ingest_state::Created::Created)
        }
        async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), ingest_state::StoreError> {
            self.0.overwrite(key, body).await
        }
        async fn get(
            &self,
            key: &str,
        ) -> Result<Option<ingest_state::Object>, ingest_state::StoreError> {
            self.0.get(key).await
        }
        async fn head(
            &self,
            key: &str,
        ) -> Result<Option<ingest_state::ObjectHead>, ingest_state::StoreError> {
            self.0.head(key).await
        }
        async fn get_range(
            &self,
            object: &ingest_state::ObjectHead,
            range: std::ops::Range<u64>,
        ) -> Result<Bytes, ingest_state::StoreError> {
            self.0.get_range(object, range).await
        }
        async fn list(
            &self,
            prefix: &str,
        ) -> Result<Vec<ingest_state::Listed>, ingest_state::StoreError> {
            self.0.list(prefix).await
        }
        async fn delete(&self, key: &str) -> Result<(), ingest_state::StoreError> {
            self.0.delete(key).await
        }
    }
    let store = Arc::new(Careless(MemoryStore::new()));
    assert!(check_log_store(&*store, "check").await.is_err());
    assert!(check_create_race(store, "race/key", 4).await.is_err());
}

/// Sixteen tasks at once.
async fn storm(store: Arc<dyn LogStore>, seed: u64, one_in: u64) {
    let storm = Storm {
        writers: 16,
        ids: 60,
        batch: 20,
        one_in,
        seed,
    };
    let tasks = (0..storm.writers).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { storm.write(store, &log, number).await })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.push(task.await.unwrap().unwrap());
    }
    let checked = storm.check(&log(store), &claimed).await;
    checked.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_lose_and_double_nothing() {
    for seed in 0..6 {
        let one_in = if seed == 0 { u64::MAX } else { 9 };
        storm(Arc::new(MemoryStore::new()), seed, one_in).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_on_a_local_folder() {
    let folder = tempfile::tempdir().unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    storm(Arc::new(ObjectLogStore::new(Arc::new(local))), 7, 9).await;
}

/// What one run does: load, two entries, snapshot.
async fn run(store: Arc<dyn LogStore>, name: &str) -> Result<(), Error> {
    let fixed = Fixed::new(name, DateTime::UNIX_EPOCH);
    let log = log(store).with_ambient(Arc::new(fixed));
    let mut day = log.load(&scope()).await?;
    let execution = Execution::new(name);
    day.append(&rows(["a", "b", "c"]), &execution).await?;
    day.append(&rows(["c", "d"]), &execution).await?;
    day.finish(&execution).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_that_got_lost_is_read_back() {
    for fault in [Fault::After, Fault::Unclear, Fault::Before, Fault::Conflict] {
        let memory = Arc::new(MemoryStore::new());
        let once = std::sync::atomic::AtomicBool::new(true);
        let store = FaultStore::new(memory.clone(), move |_, name| {
            let first = name == "create" && once.swap(false, std::sync::atomic::Ordering::SeqCst);
            first.then_some(fault)
        });
        run(Arc::new(store), "only").await.unwrap();
        assert_eq!(placed(memory).await.len(), 4, "{fault:?}");
    }
}

#[tokio::test]
async fn an_append_costs_what_it_adds() {
    let mut costs = Vec::new();
    for held in [1_000, 100_000] {
        let memory = Arc::new(MemoryStore::new());
        let texts: Vec<String> = (0..held)
            .map(|n| format!("07954480000179-1-{n:06}/2025"))
            .collect();
        let mut day = log(memory.clone()).load(&scope()).await.unwrap();
        let execution = Execution::new("first");
        day.append(&rows(texts.iter().map(String::as_str)), &execution)
            .await
            .unwrap();
        day.finish(&execution).await.unwrap();

        let counted = Arc::new(FaultStore::seeded(memory, 0, u64::MAX));
        let fixed = Fixed::new("n", DateTime::UNIX_EPOCH);
        let log = log(counted.clone()).with_ambient(Arc::new(fixed));
        let mut day = log.load(&scope()).await.unwrap();
        assert_eq!(day.done().len(), held);
        let before = counted.calls();
        day.append(&rows(["x", "y", texts[0].as_str()]), &execution)
            .await
            .unwrap();
        costs.push((counted.bytes_written(), counted.calls() - before));
    }
    assert_eq!(
        costs[0], costs[1],
        "bytes and calls at 1,000 and 100,000 ids"
    );
    assert_eq!(costs[0].1, 1, "one call");
    assert!(costs[0].0 < 1_000, "{} bytes", costs[0].0);
}

async fn seeded_day(store: &Arc<MemoryStore>) -> DayLog {
    run(store.clone(), "first").await.unwrap();
    log(store.clone()).load(&scope()).await.unwrap()
}

#[tokio::test]
async fn an_unreadable_snapshot_is_rebuilt_with_a_warning() {
    let store = Arc::new(MemoryStore::new());
    let day = seeded_day(&store).await;
    assert!(day.warnings().is_empty() && day.entries().is_empty());
    let key = Layout::json("pncp").snapshot_key(&scope(), "");
    for broken in [
        "",
        "{",
        "[]",
        "{\"processed_ids\": [\"a\"], \"version\": 1}",
    ] {
        store.overwrite(&key, Bytes::from(broken)).await.unwrap();
        let mut day = log(store.clone()).load(&scope()).await.unwrap();
        assert!(
            matches!(day.warnings(), [Warning::SnapshotUnreadable { .. }]),
            "{broken}"
        );
        assert_eq!(day.done().len(), 4);
        let report = log(store.clone()).verify(&scope()).await.unwrap();
        assert!(
            matches!(report.findings[..], [Finding::Snapshot { .. }]),
            "{report:?}"
        );
        day.finish(&Execution::new("second")).await.unwrap();
        assert!(
            log(store.clone())
                .verify(&scope())
                .await
                .unwrap()
                .is_sound()
        );
    }
}

#[tokio::test]
async fn a_snapshot_ahead_of_the_log_is_discarded() {
    let store = Arc::new(MemoryStore::new());
    seeded_day(&store).await;
    let layout = Layout::json("pncp");
    store.delete(&layout.entry_key(&scope(), 2)).await.unwrap();
    let day = log(store.clone()).load(&scope()).await.unwrap();
    assert_eq!(
        day.warnings(),
        [Warning::SnapshotAhead {
            snapshot: 2,
            last: 1
        }]
    );
    assert_eq!(day.done().len(), 3);
    let report = log(store).verify(&scope()).await.unwrap();
    assert!(
        matches!(report.findings[..], [Finding::Snapshot { .. }]),
        "{report:?}"
    );
}

#[tokio::test]
async fn gaps_and_unreadable_entries_are_refused_by_name() {
    let store = Arc::new(MemoryStore::new());
    seeded_day(&store).await;
    let layout = Layout::json("pncp");
    let first = layout.entry_key(&scope(), 1);
    let snapshot = layout.snapshot_key(&scope(), "");
    let bytes = store.get(&first).await.unwrap().unwrap().bytes;
    store.delete(&snapshot).await.unwrap();

    store.delete(&first).await.unwrap();
    let error = log(store.clone()).load(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Gap { key, number: 1 } if *key == first),
        "{error:?}"
    );
    let report = log(store.clone()).verify(&scope()).await.unwrap();
    assert!(
        matches!(&report.findings[..], [Finding::Gap { number: 1, .. }]),
        "{report:?}"
    );

    store.overwrite(&first, bytes.slice(..20)).await.unwrap();
    let error = log(store.clone()).load(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreadable { key, .. } if *key == first),
        "{error:?}"
    );
    let report = log(store.clone()).verify(&scope()).await.unwrap();
    assert!(
        matches!(&report.findings[..], [Finding::Unreadable { .. }]),
        "{report:?}"
    );

    let newer = String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    store.overwrite(&first, newer.into()).await.unwrap();
    let error = log(store.clone()).load(&scope()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Newer {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error:?}"
    );

    store.overwrite(&first, bytes).await.unwrap();
    assert_eq!(log(store).load(&scope()).await.unwrap().done().len(), 4);
}

#[tokio::test]
async fn verify_finds_an_id_in_two_entries() {
    let store = Arc::new(MemoryStore::new());
    seeded_day(&store).await;
    let layout = Layout::json("pncp");
    let first = store
        .get(&layout.entry_key(&scope(), 1))
        .await
        .unwrap()
        .unwrap();
    store
        .create(&layout.entry_key(&scope(), 3), first.bytes)
        .await
        .unwrap();
    let report = log(store).verify(&scope()).await.unwrap();
    let twice = report.findings.iter().filter(|f| {
        matches!(
            f,
            Finding::Twice {
                first: 1,
                again: 3,
                ..
            }
        )
    });
    assert_eq!(twice.count(), 3, "{report:?}");
    assert!(
        report
            .findings
            .contains(&Finding::SameNonce { first: 1, again: 3 })
    );
}

#[tokio::test]
async fn facets_and_versions_in_one_log() {
    let layout = Layout::details("pncp_details");
    let store = Arc::new(MemoryStore::new());
    let log = Log::new(store, Arc::new(JsonEntries), layout).unwrap();
    let id = |facet, id, version| Id {
        facet,
        id,
        version: Some(version),
    };
    let facets = vec!["itens", "arquivos"];
    let offer =
        |ids: &[Id<'_>]| IdRows::new(ids.iter().copied().collect(), &JsonEntries, facets.clone());
    let execution = Execution::new("x");
    let mut day = log.load(&scope()).await.unwrap();
    let (old, new) = ("2025-10-22T08:00:00#a", "2025-10-22T09:00:00#b");
    day.append(
        &offer(&[
            id(1, "only-arquivos", old),
            id(0, "k", old),
            id(1, "k", old),
        ]),
        &execution,
    )
    .await
    .unwrap();
    day.finish(&execution).await.unwrap();

    let mut day = log.load(&scope()).await.unwrap();
    assert!(day.entries().is_empty(), "all of it from the snapshots");
    assert_eq!(day.standing(id(0, "only-arquivos", old)), Standing::New);
    assert_eq!(
        day.standing(id(1, "only-arquivos", old)),
        Standing::AlreadyProcessed
    );
    assert_eq!(day.standing(id(1, "k", new)), Standing::Updated);
    let appended = day
        .append(&offer(&[id(0, "k", old), id(1, "k", new)]), &execution)
        .await
        .unwrap();
    assert_eq!(appended.placed, [false, true]);
    day.finish(&execution).await.unwrap();
    let day = log.load(&scope()).await.unwrap();
    assert_eq!(day.standing(id(1, "k", new)), Standing::AlreadyProcessed);
    assert_eq!(day.standing(id(0, "k", new)), Standing::Updated);
    assert!(log.verify(&scope()).await.unwrap().is_sound());
    assert_eq!(day.summary().by_facet["itens"], 1);
}

#[tokio::test]
async fn a_later_version_within_one_execution_is_updated() {
    let [v1, v2, v3] = [8, 9, 10].map(|hour| format!("2025-10-22T{hour:02}:00:00#h"));
    let version = |id: &'static str, version: &'static str| (id, version);
    let input = [
        (version("a", "v1"), Outcome::New),
        (version("b", ""), Outcome::New),
        (version("a", "v1"), Outcome::Repeated),
        (version("a", "v2"), Outcome::Updated),
        (version("a", "v1"), Outcome::Repeated),
        (version("a", "v2"), Outcome::Repeated),
        (version("b", ""), Outcome::Repeated),
        (version("in", "v1"), Outcome::AlreadyProcessed),
        (version("in", "v2"), Outcome::Updated),
        (version("in", "v2"), Outcome::Repeated),
        (version("in", "v3"), Outcome::Updated),
        (version("in", "v1"), Outcome::AlreadyProcessed),
    ];
    let text = |name: &str| match name {
        "v1" => Some(v1.as_str()),
        "v2" => Some(v2.as_str()),
        "v3" => Some(v3.as_str()),
        _ => None,
    };
    for layout in [Layout::json("pncp"), Layout::details("pncp")] {
        let store = Arc::new(MemoryStore::new());
        let log = Log::new(store, Arc::new(JsonEntries), layout.clone()).unwrap();
        let id = |(id, version): (&'static str, &str)| Id {
            facet: 0,
            id,
            version: text(version),
        };
        let offer = |ids: &mut dyn Iterator<Item = Id<'_>>| {
            IdRows::new(ids.collect(), &JsonEntries, layout.facet_names())
        };
        let execution = Execution::new("x");
        let mut day = log.load(&scope()).await.unwrap();
        let first = offer(&mut [id(("in", "v1"))].into_iter());
        day.append(&first, &execution).await.unwrap();

        let mut filter = Filter::new(&day, 0);
        for ((id, version), outcome) in input {
            assert_eq!(
                filter.next(Some(id), text(version)),
                outcome,
                "{id} {version}"
            );
        }
        let stats = filter.stats();
        assert_eq!(
            (stats.new_records, stats.updated, stats.repeated),
            (2, 3, 5)
        );

        // A log that takes later versions gets the latest; any other what was new, once.
        let all = offer(&mut input.iter().map(|(record, _)| id(*record)));
        let appended = day.append(&all, &execution).await.unwrap();
        let placed = |(at, placed): (usize, &bool)| placed.then_some(at);
        let placed: Vec<usize> = appended
            .placed
            .iter()
            .enumerate()
            .filter_map(placed)
            .collect();
        let expected = if layout.appends_updates {
            vec![1, 3, 10]
        } else {
            vec![0, 1]
        };
        assert_eq!(placed, expected);
        assert!(log.verify(&scope()).await.unwrap().is_sound());
        let standing = day.standing(id(("a", "v2")));
        assert_eq!(standing == Standing::Updated, !layout.appends_updates);
    }
}

#[tokio::test]
async fn the_manager_filters_updates_and_sums_up() {
    let manager = StateManager::json(Arc::new(MemoryStore::new()));
    let record = |id: &str| json!({"numeroControlePNCP": id, "valor": 1000});
    let field = "numeroControlePNCP";
    let filter = |records| manager.filter_new_records("pncp", day(22), records, field);
    let (new, stats) = filter(vec![]).await.unwrap();
    assert_eq!(
        (new.len(), stats.no_data_reason()),
        (0, Some("no_data_from_api"))
    );

    let (new, stats) = filter(vec![record("001"), record("002"), record("003")])
        .await
        .unwrap();
    assert_eq!(
        (new.len(), stats.new_records, stats.no_data_reason()),
        (3, 3, None)
    );
    let metadata = json!({"duplicates_filtered": 0, "note": "x"})
        .as_object()
        .cloned()
        .unwrap();
    let update = |run, ids| manager.update_state("pncp", day(22), run, ids, metadata.clone());
    update("08h", &["001", "002", "003"][..]).await.unwrap();

    let odd = json!({"numeroControlePNCP": 5});
    let given = vec![
        record("001"),
        record("004"),
        odd.clone(),
        record("004"),
        record("005"),
    ];
    let (new, stats) = filter(given).await.unwrap();
    assert_eq!(
        new,
        [record("004"), odd, record("005")],
        "in their order; no id: kept"
    );
    let parts = (
        stats.new_records,
        stats.already_processed,
        stats.repeated,
        stats.without_id,
    );
    assert_eq!((stats.input, parts), (5, (2, 1, 1, 1)));
    update("12h", &["004", "005", "001", "002", "003"][..])
        .await
        .unwrap();

    let (new, stats) = filter(vec![record("001"), record("005")]).await.unwrap();
    assert_eq!(
        (new.len(), stats.no_data_reason()),
        (0, Some("all_duplicates"))
    );
    update("16h", &[][..]).await.unwrap();

    let summary = manager.get_state_summary("pncp", day(22)).await.unwrap();
    assert_eq!(
        (
            summary.total_processed,
            summary.total_executions,
            summary.last_entry
        ),
        (5, 3, 2)
    );
    assert_eq!(summary.executions[1].new_records, 2);
    assert!((summary.executions[1].filter_rate - 60.0).abs() < f64::EPSILON);
    assert_eq!(summary.executions[0].metadata["note"], "x");
}

#[tokio::test]
async fn midnight_begins_another_state_and_leaves_the_last_untouched() {
    let store = Arc::new(MemoryStore::new());
    let manager = StateManager::json(store.clone());
    let update = |date, run, ids| {
        let none = serde_json::Map::new();
        manager.update_state("pncp", date, run, ids, none)
    };
    update(day(22), "23h", &["001", "002"][..]).await.unwrap();
    update(day(22), "23h30", &["002"][..]).await.unwrap();
    let before = store.dump();
    assert_eq!(before.len(), 2, "an entry and the snapshot");

    // The same ids, in the execution that went on over midnight and in another.
    let next = manager.get_state_summary("pncp", day(23)).await.unwrap();
    assert_eq!((next.total_processed, next.total_executions), (0, 0));
    for run in ["23h30", "00h"] {
        update(day(23), run, &["002", "003"][..]).await.unwrap();
    }
    let after = store.dump();
    for (key, bytes) in &before {
        assert_eq!(after.get(key), Some(bytes), "{key}");
    }
    let own: Vec<&String> = after
        .keys()
        .filter(|key| !before.contains_key(*key))
        .collect();
    assert_eq!(
        own,
        [
            "pncp/_log/year=2025/month=10/day=23/00000001.json",
            "pncp/_state/year=2025/month=10/day=23/state_20251023.json"
        ]
    );
    let snapshot: serde_json::Value = serde_json::from_slice(&after[own[1]]).unwrap();
    assert_eq!(snapshot["date"], "2025-10-23");
    assert_eq!(snapshot["processed_ids"], json!(["002", "003"]));
    assert_eq!(snapshot["executions"].as_array().unwrap().len(), 2);
}

/// Rows that have no encoding.
struct Unencodable(IdList);

impl EntryRows for Unencodable {
    fn ids(&self) -> &IdList {
        &self.0
    }
    fn encode(&self, _: &EntryHead, _: &[bool]) -> Result<Bytes, FormatError> {
        Err(FormatError::Encode {
            reason: "too wide".to_owned(),
            source: None,
        })
    }
}

#[tokio::test]
async fn rows_without_an_encoding_are_refused_by_the_key_they_would_have() {
    let store = Arc::new(MemoryStore::new());
    let mut day = seeded_day(&store).await;
    let before = store.dump();
    let rows = Unencodable(ids(["new"]));
    let error = day.append(&rows, &Execution::new("x")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not be encoded, not written. key=`pncp/_log/year=2025/month=10/day=22/00000003.json`"
    );
    assert!(error.certainly_not_applied() && !error.is_transient());
    assert_eq!(store.dump(), before);
}

#[tokio::test]
async fn the_manager_tells_later_versions() {
    let updating = |source: &str| Layout {
        appends_updates: true,
        ..Layout::json(source)
    };
    let store = || Arc::new(MemoryStore::new());
    let plain = StateManager::json(store());
    let updating = StateManager::new(store(), Arc::new(JsonEntries), updating);
    for manager in [plain, updating] {
        let record = |id: &str, hour: u32| {
            let at = format!("2025-10-22T{hour:02}:00:00");
            json!({"numeroControlePNCP": id, "dataAtualizacaoGlobal": at})
        };
        let filter = |records| {
            let (id, at) = ("numeroControlePNCP", "dataAtualizacaoGlobal");
            manager.filter_new_versions("pncp", day(22), records, id, at)
        };
        let update = |name, ids| {
            let none = serde_json::Map::new();
            manager.update_versions("pncp", day(22), name, ids, none)
        };
        let eight = [("001", Some("2025-10-22T08:00:00")), ("002", None)];
        assert_eq!(update("08h", &eight[..]).await.unwrap().count(), 2);
        let given = vec![
            record("001", 8),
            record("001", 9),
            record("002", 9),
            record("003", 8),
            record("003", 9),
            json!({"numeroControlePNCP": "001"}),
        ];
        let found = filter(given).await.unwrap();
        assert_eq!(found.new, [record("003", 8)]);
        assert_eq!(found.updated, [record("001", 9), record("003", 9)]);
        let stats = found.stats;
        let parts = (stats.new_records, stats.updated, stats.already_processed);
        assert_eq!((parts, stats.repeated), ((1, 2, 3), 0));
        assert_eq!(stats.no_data_reason(), None);
        // Entered where the log takes later versions, and told again where it does not.
        let nine = [("001", Some("2025-10-22T09:00:00"))];
        let entered = update("09h", &nine[..]).await.unwrap().count();
        let again = filter(vec![record("001", 9)]).await.unwrap().updated;
        assert_eq!(entered + again.len(), 1);
    }
}

#[tokio::test]
async fn a_clock_that_jumps_back_changes_no_order() {
    let store = Arc::new(MemoryStore::new());
    let now: DateTime<Utc> = "2025-10-22T12:00:00Z".parse().unwrap();
    for (name, at) in [("noon", now), ("earlier", now - TimeDelta::hours(5))] {
        let log = log(store.clone()).with_ambient(Arc::new(Fixed::new(name, at)));
        let mut day = log.load(&scope()).await.unwrap();
        let execution = Execution::new(name);
        day.append(&rows([name, "both"]), &execution).await.unwrap();
        day.finish(&execution).await.unwrap();
    }
    let day = log(store.clone()).load(&scope()).await.unwrap();
    let summary = day.summary();
    assert_eq!(
        day.done().ids(0).collect::<Vec<_>>(),
        ["noon", "both", "earlier"]
    );
    assert_eq!(
        summary.last_execution.as_deref(),
        Some("2025-10-22T12:00:00Z")
    );
    assert_eq!(summary.total_executions, 2);
}

#[tokio::test]
async fn a_stale_snapshot_over_a_newer_one_does_no_harm() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    let mut stale = log.load(&scope()).await.unwrap();
    stale
        .append(&rows(["a"]), &Execution::new("one"))
        .await
        .unwrap();
    stale.finish(&Execution::new("one")).await.unwrap();
    let key = log.layout().snapshot_key(&scope(), "");
    let old = store.get(&key).await.unwrap().unwrap().bytes;
    let mut day = log.load(&scope()).await.unwrap();
    day.append(&rows(["b"]), &Execution::new("two"))
        .await
        .unwrap();
    day.finish(&Execution::new("two")).await.unwrap();
    store.overwrite(&key, old).await.unwrap();
    let mut day = log.load(&scope()).await.unwrap();
    assert_eq!(day.done().len(), 2);
    day.finish(&Execution::new("three")).await.unwrap();
    let names: Vec<_> = day
        .executions(0)
        .into_iter()
        .filter_map(|r| r.execution)
        .collect();
    assert_eq!(names, ["one", "two", "three"]);
}
