//! Whatever is done to a log stops after every single call to the store, once before the call took
//! effect and once after, and is done again: nothing is lost, nothing is doubled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use futures::FutureExt;
use ingest_state::testing::{Fault, FaultStore, Fixed};
use ingest_state::{
    DayLog, Error, Execution, Id, IdList, IdRows, JsonEntries, Layout, Log, LogStore, MemoryStore,
    Scope,
};

type Done<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;
/// What is done, over a store, by an execution of this name.
type Action = dyn Fn(Arc<dyn LogStore>, &'static str) -> Done<'static>;
/// What must hold after each crash, and at the end.
type Holds = dyn Fn(Result<&DayLog, &Error>, bool);

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn log(store: Arc<dyn LogStore>, layout: Layout, name: &str) -> Log {
    let log = Log::new(store, Arc::new(JsonEntries), layout).unwrap();
    log.with_ambient(Arc::new(Fixed::new(name, DateTime::UNIX_EPOCH)))
}

fn ids(given: &[(u8, &str, Option<&str>)]) -> IdList {
    let id = |(facet, id, version): &(u8, _, _)| (*facet, *id, *version);
    let ids = given.iter().map(id);
    // One text for each, borrowed from the caller.
    ids.map(|(facet, id, version)| Id { facet, id, version })
        .collect()
}

fn found(day: &DayLog, facet: u8) -> BTreeSet<&str> {
    day.done().ids(facet).collect()
}

/// Stops `action` at every call, looks, does it again, looks again. How many calls there are.
async fn crash(start: &MemoryStore, layout: &Layout, action: &Action, holds: &Holds) -> u64 {
    let whole = Arc::new(FaultStore::seeded(Arc::new(start.fork()), 0, u64::MAX));
    action(whole.clone(), "whole").await.unwrap();
    let calls = whole.calls();
    for died_at in 0..calls {
        for after in [false, true] {
            let memory = Arc::new(start.fork());
            let dying = FaultStore::new(memory.clone(), move |call, _| match call {
                call if call < died_at => None,
                call if call == died_at && after => Some(Fault::After),
                _ => Some(Fault::Before),
            });
            let died = action(Arc::new(dying), "first").await;
            assert!(died.is_err(), "call {died_at}, after {after}");
            let seen = log(memory.clone(), layout.clone(), "eye");
            let day = seen.load(&scope()).await;
            holds(day.as_ref(), false);
            let again = action(memory.clone(), "second").await;
            again.unwrap_or_else(|error| panic!("call {died_at}, after {after}: {error:?}"));
            let report = seen.verify(&scope()).await.unwrap();
            assert!(
                report.is_sound(),
                "call {died_at}, after {after}: {report:?}"
            );
            let day = seen.load(&scope()).await;
            holds(day.as_ref(), true);
        }
    }
    calls
}

async fn append(store: Arc<dyn LogStore>, layout: Layout, name: &str) -> Result<(), Error> {
    let facets = layout.facet_names().len() as u8;
    let log = log(store, layout, name);
    let mut day = log.load(&scope()).await?;
    let execution = Execution::new(name);
    let names = log.layout().facet_names();
    for version in ["2025-10-22T08:00:00#a", "2025-10-22T09:00:00#b"] {
        for facet in 0..facets {
            let some = [
                (facet, "a", Some(version)),
                (facet, "b", Some(version)),
                (facet, "c", None),
            ];
            let rows = IdRows::new(ids(&some), &JsonEntries, names.clone());
            day.append(&rows, &execution).await?;
        }
    }
    day.finish(&execution).await?;
    Ok(())
}

#[tokio::test]
async fn append_and_snapshot() {
    for (layout, facets) in [
        (Layout::json("pncp"), 1),
        (Layout::versions("pncp"), 1),
        (Layout::details("pncp"), 2),
    ] {
        let of = layout.clone();
        let action =
            move |store, name| -> Done<'static> { Box::pin(append(store, of.clone(), name)) };
        let holds = move |day: Result<&DayLog, &Error>, end: bool| {
            let day = day.unwrap();
            for facet in (0..facets).filter(|_| end) {
                assert_eq!(found(day, facet), BTreeSet::from(["a", "b", "c"]));
            }
            let versions = if day.log().layout().appends_updates {
                2
            } else {
                1
            };
            assert!(day.last_entry() <= versions * u64::from(facets));
        };
        let calls = crash(&MemoryStore::new(), &layout, &action, &holds).await;
        assert!(calls >= 6, "{calls} calls");
    }
}

/// A day of two entries and a snapshot.
async fn two_entries() -> (Arc<MemoryStore>, Layout) {
    let (store, layout) = (Arc::new(MemoryStore::new()), Layout::json("pncp"));
    for (name, some) in [("one", ["a", "b"]), ("two", ["b", "c"])] {
        let log = log(store.clone(), layout.clone(), name);
        let mut day = log.load(&scope()).await.unwrap();
        let some = some.map(|id| (0, id, None));
        let rows = IdRows::new(ids(&some), &JsonEntries, vec![""]);
        day.append(&rows, &Execution::new(name)).await.unwrap();
        day.finish(&Execution::new(name)).await.unwrap();
    }
    (store, layout)
}

#[tokio::test]
async fn rebuild() {
    let (store, layout) = two_entries().await;
    let key = layout.snapshot_key(&scope(), "");
    store.overwrite(&key, Bytes::from("{")).await.unwrap();
    let of = layout.clone();
    let action = move |store, name| -> Done<'static> {
        let log = log(store, of.clone(), name);
        Box::pin(async move { log.rebuild(&scope(), false).await.map(drop) })
    };
    let holds = |day: Result<&DayLog, &Error>, _| {
        assert_eq!(found(day.unwrap(), 0), BTreeSet::from(["a", "b", "c"]));
    };
    let calls = crash(&store, &layout, &action, &holds).await;
    assert!(calls >= 6, "{calls} calls");
}

#[tokio::test]
async fn import() {
    let (store, layout) = (MemoryStore::new(), Layout::details("pncp"));
    for facet in ["itens", "arquivos"] {
        let key = layout.snapshot_key(&scope(), facet);
        let old = format!(
            "{{\"date\": \"2025-10-22\", \"processed_keys\": [\"{facet}\", \"both\"],
              \"executions\": [{{\"timestamp\": \"2025-10-22T08:00:00Z\", \"new_records\": 2}}]}}"
        );
        store.overwrite(&key, old.into()).await.unwrap();
    }
    let of = layout.clone();
    let action = move |store: Arc<dyn LogStore>, name| -> Done<'static> {
        let log = log(store, of.clone(), name);
        Box::pin(async move {
            for (number, facet) in ["itens", "arquivos"].into_iter().enumerate() {
                let key = log.layout().snapshot_key(&scope(), facet);
                // As the command does: what is imported already is left alone.
                match log.load(&scope()).await {
                    Err(Error::Legacy { key: found }) if found == key => {
                        let execution = Execution::new("import");
                        log.import(&scope(), number as u8, &key, &execution).await?;
                    }
                    Err(Error::Legacy { .. }) | Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
            log.load(&scope()).await.map(drop)
        })
    };
    let holds = |day: Result<&DayLog, &Error>, end: bool| match day {
        Ok(day) => {
            for (facet, name) in ["itens", "arquivos"].into_iter().enumerate() {
                let facet = facet as u8;
                assert_eq!(found(day, facet), BTreeSet::from([name, "both"]));
                let old = day.executions(facet);
                assert_eq!(old[0].timestamp, "2025-10-22T08:00:00Z", "the old trail");
            }
        }
        Err(error) => assert!(!end && matches!(error, Error::Legacy { .. }), "{error:?}"),
    };
    let calls = crash(&store, &layout, &action, &holds).await;
    assert!(calls >= 15, "{calls} calls");
}

#[tokio::test]
async fn quarantine() {
    let (store, layout) = two_entries().await;
    let key = layout.entry_key(&scope(), 1);
    store.overwrite(&key, Bytes::from("{\"he")).await.unwrap();
    let of = layout.clone();
    let action = move |store: Arc<dyn LogStore>, name| -> Done<'static> {
        let log = log(store, of.clone(), name);
        Box::pin(async move {
            let execution = Execution::new("repair");
            match log.quarantine_entry(&scope(), 1, &execution, false).await {
                // Done but for the snapshot, which is a cache.
                Err(Error::Invalid { .. }) => log.rebuild(&scope(), false).await.map(drop),
                result => result.map(drop),
            }
        })
    };
    // The day is as it was while the entry is, or refused; then what only it held is new again.
    let holds = move |day: Result<&DayLog, &Error>, end: bool| match day {
        Ok(day) => {
            let entry = day.log().store().get(&key).now_or_never().unwrap();
            let broken = entry.unwrap().is_some_and(|object| object.bytes == "{\"he");
            let expected = if broken { &["a", "b", "c"][..] } else { &["c"] };
            assert_eq!(found(day, 0), expected.iter().copied().collect());
            assert!(!end || !broken);
        }
        Err(error) => assert!(
            !end && matches!(error, Error::Unreadable { .. }),
            "{error:?}"
        ),
    };
    let calls = crash(&store, &layout, &action, &holds).await;
    assert!(calls >= 15, "{calls} calls");
    let kept = layout.quarantine_key(&scope(), 1, "");
    let done = Arc::new(store.fork());
    action(done.clone(), "once").await.unwrap();
    let dump = done.dump();
    let kept: Vec<_> = dump.iter().filter(|(k, _)| k.starts_with(&kept)).collect();
    assert!(
        matches!(kept[..], [(_, bytes)] if bytes == "{\"he"),
        "{kept:?}"
    );
}
