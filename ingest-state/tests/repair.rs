//! What is found wrong with a day, and what puts it right: verify, rebuild, import, quarantine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::NaiveDate;
use ingest_state::{
    Error, Execution, Finding, FormatError, Id, IdList, IdRows, JsonEntries, Layout, Log, LogStore,
    MemoryStore, Quarantined, Scope, View, ViewContent, Warning,
};
use serde_json::{Value, json};

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn log(store: Arc<dyn LogStore>) -> Log {
    Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap()
}

fn id<'a>(facet: u8, id: &'a str, version: Option<&'a str>) -> Id<'a> {
    Id { facet, id, version }
}

fn ids(texts: &[&str]) -> IdList {
    texts.iter().map(|text| id(0, text, None)).collect()
}

/// Appends entries with these ids, each by an execution of its own.
async fn append(log: &Log, entries: &[&[&str]]) {
    for (number, texts) in entries.iter().enumerate() {
        let execution = Execution::new(format!("run-{number}"));
        let mut day = log.load(&scope()).await.unwrap();
        let rows = IdRows::new(ids(texts), &JsonEntries, log.layout().facet_names());
        day.append(&rows, &execution).await.unwrap();
        day.finish(&execution).await.unwrap();
    }
}

async fn seeded_day(store: &Arc<MemoryStore>) {
    append(&log(store.clone()), &[&["a", "b", "c"], &["d"]]).await;
}

#[tokio::test]
async fn rebuild_shows_first_and_then_does() {
    let store = Arc::new(MemoryStore::new());
    seeded_day(&store).await;
    let key = Layout::json("pncp").snapshot_key(&scope(), "");
    let text = store.get(&key).await.unwrap().unwrap().bytes;
    let text = String::from_utf8(text.to_vec())
        .unwrap()
        .replace("\"a\"", "\"z\"");
    store.overwrite(&key, text.into()).await.unwrap();
    let log = log(store);
    let report = log.verify(&scope()).await.unwrap();
    assert!(matches!(
        report.findings[..],
        [Finding::SnapshotIds {
            missing: 1,
            extra: 1,
            ..
        }]
    ));
    for (dry_run, sound) in [(true, false), (false, true)] {
        let change = &log.rebuild(&scope(), dry_run).await.unwrap()[0];
        assert_eq!((change.added, change.removed, change.total), (1, 1, 4));
        assert_eq!(log.verify(&scope()).await.unwrap().is_sound(), sound);
    }
}

/// The state file at `key`, changed.
async fn edit(store: &MemoryStore, key: &str, change: impl FnOnce(&mut Value)) {
    let bytes = store.get(key).await.unwrap().unwrap().bytes;
    let mut state: Value = serde_json::from_slice(&bytes).unwrap();
    change(&mut state);
    let bytes = Bytes::from(serde_json::to_vec(&state).unwrap());
    store.overwrite(key, bytes).await.unwrap();
}

#[tokio::test]
async fn versions_and_the_audit_trail_are_compared_and_rebuilt() {
    let layout = Layout::details("pncp");
    let store = Arc::new(MemoryStore::new());
    let log = Log::new(store.clone(), Arc::new(JsonEntries), layout.clone()).unwrap();
    let (old, new) = (Some("2025-10-22T08:00:00#a"), Some("2025-10-22T09:00:00#b"));
    let offers = [
        (
            "one",
            vec![id(0, "a", old), id(1, "a", old), id(0, "b", None)],
        ),
        ("one", vec![id(0, "c", old)]),
        ("two", vec![]),
        (
            "three",
            vec![id(0, "a", new), id(0, "d", old), id(1, "d", old)],
        ),
    ];
    let mut stale = None;
    for (name, offer) in offers {
        let mut day = log.load(&scope()).await.unwrap();
        let offer = offer.into_iter().collect();
        let rows = IdRows::new(offer, &JsonEntries, layout.facet_names());
        let execution = Execution::new(name);
        day.append(&rows, &execution).await.unwrap();
        if name == "three" {
            stale = Some(store.dump());
        }
        day.finish(&execution).await.unwrap();
    }
    let key = layout.snapshot_key(&scope(), "itens");
    let whole = store.get(&key).await.unwrap().unwrap().bytes;
    let sound = || async { log.verify(&scope()).await.unwrap().findings };
    assert_eq!(sound().await, []);
    // A snapshot from before the last entries speaks of the versions that were the latest then.
    let before = stale.unwrap()[&key].clone();
    store.overwrite(&key, before).await.unwrap();
    assert_eq!(sound().await, []);

    let k = || key.clone();
    let differ = |differ| Finding::SnapshotVersions { key: k(), differ };
    let trail = |missing, differ| Finding::SnapshotExecutions {
        key: k(),
        missing,
        differ,
    };
    type Damage = (fn(&mut Value), Vec<Finding>, (u64, u64, u64));
    let damages: [Damage; 6] = [
        (
            |state| {
                let versions = state["processed_versions"].as_array_mut().unwrap();
                versions
                    .iter_mut()
                    .for_each(|v| *v = json!("7:0000000000000007"));
                state["executions"] = json!([]);
            },
            vec![differ(4), trail(2, 0)],
            (4, 2, 0),
        ),
        (
            |state| drop(state.as_object_mut().unwrap().remove("processed_versions")),
            vec![differ(3)],
            (3, 0, 0),
        ),
        (
            |state| drop(state["executions"].as_array_mut().unwrap().remove(0)),
            vec![trail(1, 0)],
            (0, 1, 0),
        ),
        (
            |state| state["executions"][0]["new_records"] = json!(7),
            vec![trail(0, 1)],
            (0, 0, 1),
        ),
        (
            |state| state["executions"][0]["files"] = json!([]),
            vec![trail(0, 1)],
            (0, 0, 1),
        ),
        (
            |state| state["executions"][2]["execution"] = json!("another"),
            vec![trail(1, 0)],
            (0, 1, 0),
        ),
    ];
    for (number, (damage, findings, (versions, added, changed))) in damages.into_iter().enumerate()
    {
        store.overwrite(&key, whole.clone()).await.unwrap();
        edit(&store, &key, damage).await;
        assert_eq!(sound().await, findings, "{number}");
        for dry_run in [true, false] {
            let change = &log.rebuild(&scope(), dry_run).await.unwrap()[0];
            let found = (
                change.versions,
                change.executions_added,
                change.executions_changed,
            );
            assert_eq!(found, (versions, added, changed), "{number}");
            assert_eq!((change.added, change.removed), (0, 0));
            assert_eq!(sound().await.is_empty(), !dry_run, "{number}");
        }
        let again = &log.rebuild(&scope(), true).await.unwrap()[0];
        let found = again.versions + again.executions_added + again.executions_changed;
        assert_eq!(found, 0, "{number}");
    }
}

#[tokio::test]
async fn what_a_ledger_knows_of_executions_comes_back_with_a_rebuild() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    append(&log, &[&["a", "b"], &["b"], &["a", "c"]]).await;
    let trail = log.load(&scope()).await.unwrap().executions(0);
    assert_eq!(trail.len(), 3, "the second found nothing");
    let key = log.layout().snapshot_key(&scope(), "");
    store.delete(&key).await.unwrap();
    let shown = log.rebuild_with(&scope(), &trail, true).await.unwrap();
    assert_eq!((shown[0].executions_added, shown[0].written), (3, false));
    assert!(store.get(&key).await.unwrap().is_none());
    // One that was run again has two records; numbers that entries prove otherwise do not count.
    let mut ledger = trail.clone();
    ledger.push(trail[2].clone());
    ledger[2].new_records = 99;
    ledger[2].timestamp = "2025-10-22T00:00:00Z".to_owned();
    ledger[2].files.clear();
    for _ in 0..2 {
        log.rebuild_with(&scope(), &ledger, false).await.unwrap();
        let day = log.load(&scope()).await.unwrap();
        assert_eq!(day.executions(0), trail);
    }
    assert!(log.verify(&scope()).await.unwrap().is_sound());
    // Without a ledger, what the snapshot has stays.
    log.rebuild(&scope(), false).await.unwrap();
    assert_eq!(log.load(&scope()).await.unwrap().executions(0), trail);
    store.delete(&key).await.unwrap();
    log.rebuild(&scope(), false).await.unwrap();
    assert_eq!(log.load(&scope()).await.unwrap().executions(0).len(), 2);
}

#[tokio::test]
async fn the_previous_systems_state_is_imported() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    let key = log.layout().snapshot_key(&scope(), "");
    let old = include_str!("golden/legacy_state_20251022.json");
    store.overwrite(&key, Bytes::from(old)).await.unwrap();
    let refused = log.load(&scope()).await.unwrap_err();
    assert!(matches!(refused, Error::Legacy { .. }), "{refused:?}");

    let execution = Execution::new("import");
    let appended = log.import(&scope(), 0, &key, &execution).await.unwrap();
    assert_eq!(appended.count(), 3);
    let day = log.load(&scope()).await.unwrap();
    assert_eq!(day.done().len(), 3);
    assert_eq!(
        day.summary().total_executions,
        3,
        "two of the old system, and the import"
    );
    assert!(log.verify(&scope()).await.unwrap().is_sound());
    let kept = store
        .get(&format!("{key}.imported"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.bytes, old);
    // Again, as after a crash: nothing is added twice.
    store.overwrite(&key, Bytes::from(old)).await.unwrap();
    assert_eq!(
        log.import(&scope(), 0, &key, &execution)
            .await
            .unwrap()
            .count(),
        0
    );
    assert_eq!(log.load(&scope()).await.unwrap().done().len(), 3);
}

#[tokio::test]
async fn a_broken_state_file_is_all_there_is_where_the_log_has_none_of_its_ids() {
    let old = include_str!("golden/legacy_state_20251022.json");
    for (layout, broken_facet) in [
        (Layout::json("pncp"), ""),
        (Layout::details("pncp"), "itens"),
        (Layout::details("pncp"), "arquivos"),
    ] {
        let store = Arc::new(MemoryStore::new());
        let log = Log::new(store.clone(), Arc::new(JsonEntries), layout.clone()).unwrap();
        let key = layout.snapshot_key(&scope(), broken_facet);
        for broken in ["", "{", &old[..old.len() / 2]] {
            store.overwrite(&key, Bytes::from(broken)).await.unwrap();
            let before = store.dump();
            let is_it = |error: Error| {
                let text = error.to_string();
                assert!(text.contains("restore it") && text.contains("delete it"));
                assert!(!error.is_transient() && error.certainly_not_applied());
                matches!(error, Error::StateUnreadable { key: found, .. } if found == key)
            };
            assert!(is_it(log.load(&scope()).await.unwrap_err()), "{broken:?}");
            for dry_run in [true, false] {
                let rebuilt = log.rebuild(&scope(), dry_run).await;
                assert!(is_it(rebuilt.unwrap_err()), "{broken:?}");
            }
            let execution = Execution::new("import");
            let imported = log.import(&scope(), 0, &key, &execution).await.unwrap_err();
            assert!(imported.to_string().contains("no state file"), "{imported}");
            let found = log.verify(&scope()).await.unwrap().findings;
            assert!(
                matches!(&found[..], [Finding::StateUnreadable { key: found, .. }] if *found == key)
            );
            assert_eq!(store.dump(), before, "nothing was changed");
        }
        // Another facet's ids do not stand in for it; its own do.
        let facets = layout.facet_names();
        let broken_facet = facets.iter().position(|name| *name == broken_facet);
        let broken_facet = broken_facet.unwrap() as u8;
        for facet in (0..facets.len() as u8).filter(|facet| *facet != broken_facet) {
            let entry = log.layout().entry_key(&scope(), 1);
            let bytes = store.get(&key).await.unwrap().unwrap().bytes;
            store.delete(&key).await.unwrap();
            let mut day = log.load(&scope()).await.unwrap();
            let one = [id(facet, "a", None)].into_iter().collect();
            let rows = IdRows::new(one, &JsonEntries, facets.clone());
            day.append(&rows, &Execution::new("x")).await.unwrap();
            store.overwrite(&key, bytes).await.unwrap();
            let refused = log.load(&scope()).await.unwrap_err();
            assert!(matches!(refused, Error::StateUnreadable { .. }));
            store.delete(&entry).await.unwrap();
        }
        store.delete(&key).await.unwrap();
        let mut day = log.load(&scope()).await.unwrap();
        let one = [id(broken_facet, "a", None)].into_iter().collect();
        let rows = IdRows::new(one, &JsonEntries, facets);
        day.append(&rows, &Execution::new("x")).await.unwrap();
        store.overwrite(&key, Bytes::from("{")).await.unwrap();
        let day = log.load(&scope()).await.unwrap();
        assert_eq!((day.done().len(), day.warnings().len()), (1, 1));
    }
}

/// The day after.
fn next_day() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 23).unwrap()).unwrap()
}

#[tokio::test]
async fn a_state_file_of_another_day_is_no_state_of_this_one() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    seeded_day(&store).await;
    let [here, there] = [scope(), next_day()].map(|day| log.layout().snapshot_key(&day, ""));
    let bytes = store.get(&here).await.unwrap().unwrap().bytes;
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let other = text.replacen("2025-10-22", "2025-10-23", 1);
    let more = other.replace("\"a\"", "\"z\"");
    store.overwrite(&here, more.into()).await.unwrap();

    let day = log.load(&scope()).await.unwrap();
    let said = "a state of 2025-10-23, not of 2025-10-22";
    let warned = |warning: &Warning| matches!(warning, Warning::SnapshotUnreadable { key, reason } if *key == here && reason == said);
    assert!(
        matches!(day.warnings(), [warning] if warned(warning)),
        "{:?}",
        day.warnings()
    );
    assert!(day.done().contains(0, "a") && !day.done().contains(0, "z"));
    let found = log.verify(&scope()).await.unwrap().findings;
    let key = here.clone();
    let reason = said.to_owned();
    assert_eq!(found, [Finding::Snapshot { key, reason }]);
    assert_eq!(log.rebuild(&scope(), false).await.unwrap()[0].added, 4);
    assert!(log.verify(&scope()).await.unwrap().is_sound());

    // Where there is no log it stands alone, whoever wrote it.
    let legacy = include_str!("golden/legacy_state_20251022.json");
    for foreign in [&bytes[..], legacy.as_bytes()] {
        let foreign = Bytes::copy_from_slice(foreign);
        store.overwrite(&there, foreign).await.unwrap();
        let refused = log.load(&next_day()).await.unwrap_err();
        assert!(matches!(refused, Error::StateUnreadable { .. }));
        let execution = Execution::new("import");
        let refused = log.import(&next_day(), 0, &there, &execution).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("of 2025-10-22, not of"), "{refused}");
    }
}

#[tokio::test]
async fn an_entry_of_another_day_or_source_is_refused_by_name() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    seeded_day(&store).await;
    let [here, there] = [scope(), next_day()].map(|day| log.layout().entry_key(&day, 1));
    let bytes = store.get(&here).await.unwrap().unwrap().bytes;
    let other_source = Scope::new("ohlcv", scope().date()).unwrap();
    let other_log = Log::new(store.clone(), Arc::new(JsonEntries), Layout::json("ohlcv")).unwrap();
    let abroad = other_log.layout().entry_key(&other_source, 1);
    for key in [&there, &abroad] {
        store.create(key, bytes.clone()).await.unwrap();
    }
    for (log, scope, key) in [
        (&log, next_day(), there),
        (&other_log, other_source, abroad),
    ] {
        let reason = format!("not a valid entry: an entry of pncp 2025-10-22, not of {scope}");
        match log.load(&scope).await.unwrap_err() {
            Error::Unreadable { key: found, source } => {
                assert_eq!((found, source.to_string()), (key.clone(), reason.clone()));
            }
            error => panic!("{error:?}"),
        }
        let found = log.verify(&scope).await.unwrap().findings;
        assert_eq!(found, [Finding::Unreadable { key, reason }]);
    }
    // Written by the first release, which did not say it: taken for what its key says.
    let head = include_str!("golden/v1_entry.json");
    let key = log.layout().entry_key(&next_day(), 1);
    store.overwrite(&key, head.into()).await.unwrap();
    assert_eq!(log.load(&next_day()).await.unwrap().done().len(), 2);
}

/// A view that says what it is told to.
#[derive(Debug)]
struct Told(Option<ViewContent>);

#[async_trait]
impl View for Told {
    fn key(&self, _: &Scope) -> String {
        "view".to_owned()
    }

    async fn read(&self, _: &Scope) -> Result<Option<ViewContent>, FormatError> {
        match &self.0 {
            Some(content) if content.rows == 99 => Err(FormatError::invalid("no such file")),
            content => Ok(content.clone()),
        }
    }
}

#[tokio::test]
async fn a_view_is_compared_with_the_entries_that_it_claims_to_hold() {
    let layout = Layout::details("pncp");
    let store = Arc::new(MemoryStore::new());
    let log = Log::new(store, Arc::new(JsonEntries), layout).unwrap();
    let (old, new) = (Some("2025-10-22T08:00:00#a"), Some("2025-10-22T09:00:00#b"));
    let first = [id(0, "a", old), id(1, "a", old), id(0, "b", old)];
    let second = [id(0, "a", new), id(1, "b", old)];
    let empty = Told(None);
    let report = log.verify_with(&scope(), &[&empty]).await.unwrap();
    assert!(report.is_sound(), "no log, no view");
    for entry in [&first[..], &second[..]] {
        let mut day = log.load(&scope()).await.unwrap();
        let list: IdList = entry.iter().copied().collect();
        let rows = IdRows::new(list, &JsonEntries, log.layout().facet_names());
        day.append(&rows, &Execution::new("x")).await.unwrap();
    }
    let whole = [
        id(0, "a", new),
        id(1, "a", old),
        id(0, "b", old),
        id(1, "b", old),
    ];
    let content = |through, rows, is_due, ids: &[Id<'_>]| {
        let ids = ids.iter().copied().collect();
        Told(Some(ViewContent {
            through,
            rows,
            is_due,
            ids,
        }))
    };
    let key = || "view".to_owned();
    let ids = |missing, extra, other_version, rows, keys| Finding::ViewIds {
        key: key(),
        missing,
        extra,
        other_version,
        rows,
        keys,
    };
    let behind = |through| Finding::ViewBehind {
        key: key(),
        through,
        last: 2,
    };
    let cases = [
        ("whole", content(2, 2, false, &whole), vec![]),
        ("a little behind", content(1, 2, false, &first), vec![]),
        ("due", content(1, 2, true, &first), vec![behind(1)]),
        ("absent", Told(None), vec![behind(0)]),
        (
            "ahead",
            content(3, 2, false, &whole),
            vec![Finding::ViewAhead {
                key: key(),
                through: 3,
                last: 2,
            }],
        ),
        (
            "lacks one half",
            content(2, 2, false, &whole[..3]),
            vec![ids(1, 0, 0, 2, 2)],
        ),
        (
            "older than it says",
            content(2, 2, false, &first),
            vec![ids(1, 0, 1, 2, 2)],
        ),
        (
            "newer than it says",
            content(1, 2, false, &whole),
            vec![ids(0, 1, 1, 2, 2)],
        ),
        (
            "a row twice",
            content(2, 3, false, &whole),
            vec![ids(0, 0, 0, 3, 2)],
        ),
        (
            "unreadable",
            content(2, 99, false, &whole),
            vec![Finding::ViewUnreadable {
                key: key(),
                reason: "not a valid entry: no such file".to_owned(),
            }],
        ),
    ];
    for (what, view, findings) in cases {
        let report = log.verify_with(&scope(), &[&view]).await.unwrap();
        assert_eq!(report.findings, findings, "{what}");
        assert_eq!(report.views.len(), 1);
    }
}

async fn quarantine(log: &Log, number: u64, dry_run: bool) -> Result<Quarantined, Error> {
    let execution = Execution::new("repair");
    log.quarantine_entry(&scope(), number, &execution, dry_run)
        .await
}

#[tokio::test]
async fn an_unreadable_entry_is_put_in_quarantine() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    append(&log, &[&["a", "b"], &["b", "c"], &["d"]]).await;
    let key = log.layout().entry_key(&scope(), 2);
    let whole = store.get(&key).await.unwrap().unwrap().bytes;
    for number in [0, 2, 4] {
        let refused = quarantine(&log, number, false);
        assert!(
            matches!(refused.await, Err(Error::Invalid { .. })),
            "{number}"
        );
    }
    store.overwrite(&key, whole.slice(..30)).await.unwrap();
    let before = store.dump();
    let shown = quarantine(&log, 2, true).await.unwrap();
    assert_eq!(
        (shown.size, shown.new_again, shown.done),
        (Some(30), Some(1), false)
    );
    assert_eq!(store.dump(), before, "only shown");

    let done = quarantine(&log, 2, false).await.unwrap();
    let kept = store.get(done.kept_at.as_ref().unwrap()).await.unwrap();
    assert_eq!((kept.unwrap().bytes, done.done), (whole.slice(..30), true));
    assert!(log.verify(&scope()).await.unwrap().is_sound());
    let day = log.load(&scope()).await.unwrap();
    let left: Vec<&str> = day.done().ids(0).collect();
    assert_eq!((left, day.last_entry()), (vec!["a", "b", "d"], 3));
    assert_eq!(day.executions(0).len(), 3, "the audit trail stays");
    let entries = log.load_entries(&scope()).await.unwrap();
    let head = &entries.entries()[1].head;
    assert_eq!(
        head.metadata["quarantined"]["kept_at"],
        done.kept_at.unwrap()
    );
    // What only it held is taken in again.
    append(&log, &[&["b", "c"]]).await;
    let day = log.load(&scope()).await.unwrap();
    assert_eq!((day.done().len(), day.last_entry()), (4, 4));
    assert!(log.verify(&scope()).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_gap_and_two_unreadable_entries_are_put_right_from_below() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    append(&log, &[&["a"], &["b"], &["c"]]).await;
    let keys = [1, 2].map(|number| log.layout().entry_key(&scope(), number));
    let snapshot = log.layout().snapshot_key(&scope(), "");
    store.delete(&keys[0]).await.unwrap();
    store.overwrite(&keys[1], Bytes::new()).await.unwrap();
    store.delete(&snapshot).await.unwrap();
    let run = |number| quarantine(&log, number, false);
    let first = run(2).await.unwrap_err();
    assert!(matches!(first, Error::Gap { number: 1, .. }), "{first:?}");
    let gap = run(1).await.unwrap();
    assert_eq!((gap.size, gap.kept_at, gap.new_again), (None, None, None));
    assert!(matches!(
        log.load(&scope()).await,
        Err(Error::Unreadable { .. })
    ));
    run(2).await.unwrap();
    assert!(log.verify(&scope()).await.unwrap().is_sound());
    let day = log.load(&scope()).await.unwrap();
    assert_eq!(day.done().ids(0).collect::<Vec<_>>(), ["c"]);
}

#[tokio::test]
async fn an_entry_whose_rows_are_in_no_base_is_found() {
    let layout = Layout::details("pncp");
    let store = Arc::new(MemoryStore::new());
    let log = Log::new(store.clone(), Arc::new(JsonEntries), layout).unwrap();
    for key in ["a", "b"] {
        let mut day = log.load(&scope()).await.unwrap();
        let ids = [id(0, key, None)].into_iter().collect();
        let rows = IdRows::new(ids, &JsonEntries, log.layout().facet_names());
        day.append(&rows, &Execution::new(key)).await.unwrap();
    }
    let keys = [1, 2].map(|number| log.layout().entry_key(&scope(), number));
    let text = store.get(&keys[1]).await.unwrap().unwrap().bytes;
    let stub = String::from_utf8(text.to_vec()).unwrap();
    let stub = stub.replace("\"stub\":false", "\"stub\":true");
    store.overwrite(&keys[1], stub.into()).await.unwrap();
    let base = log.layout().base_key(&scope(), 1);
    store.create(&base, Bytes::from("base")).await.unwrap();
    let report = log.verify(&scope()).await.unwrap();
    let expected = Finding::RowsMissing {
        key: keys[1].clone(),
        base: 1,
    };
    assert_eq!(report.findings, [expected]);
    let base = log.layout().base_key(&scope(), 2);
    store.create(&base, Bytes::from("base")).await.unwrap();
    assert!(log.verify(&scope()).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_quarantine_keeps_a_state_file_that_cannot_be_read_either() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    append(&log, &[&["a", "b"]]).await;
    let entry = log.layout().entry_key(&scope(), 1);
    let state = log.layout().snapshot_key(&scope(), "");
    store.overwrite(&entry, "no entry".into()).await.unwrap();
    let cut = store.get(&state).await.unwrap().unwrap().bytes.slice(..70);
    store.overwrite(&state, cut.clone()).await.unwrap();
    let shown = quarantine(&log, 1, true).await.unwrap();
    assert_eq!(store.get(&state).await.unwrap().unwrap().bytes, cut);
    let done = quarantine(&log, 1, false).await.unwrap();
    assert_eq!(done.states_kept_at, shown.states_kept_at);
    let [kept_at] = &done.states_kept_at[..] else {
        panic!("{done:?}");
    };
    assert_eq!(store.get(kept_at).await.unwrap().unwrap().bytes, cut);
    assert!(log.verify(&scope()).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_state_file_that_breaks_after_the_load_is_not_written_over_by_a_run_without_ids() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    let state = log.layout().snapshot_key(&scope(), "");
    let mut day = log.load(&scope()).await.unwrap();
    store
        .overwrite(&state, "{\"processed_".into())
        .await
        .unwrap();
    let before = store.dump();
    let ended = day.finish(&Execution::new("e")).await;
    assert!(
        matches!(ended, Err(Error::StateUnreadable { .. })),
        "{ended:?}"
    );
    assert_eq!(store.dump(), before);
}

#[tokio::test]
async fn a_newer_entry_is_never_put_in_quarantine() {
    let store = Arc::new(MemoryStore::new());
    let log = log(store.clone());
    append(&log, &[&["a"]]).await;
    let key = log.layout().entry_key(&scope(), 1);
    let text = store.get(&key).await.unwrap().unwrap().bytes;
    let newer = String::from_utf8(text.to_vec()).unwrap();
    let newer = newer.replace("\"version\":1", "\"version\":2");
    store.overwrite(&key, newer.into()).await.unwrap();
    let refused = quarantine(&log, 1, false);
    assert!(matches!(refused.await, Err(Error::Newer { .. })));
}
