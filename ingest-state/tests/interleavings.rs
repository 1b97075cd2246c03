//! An explicit-state check of the real load, append and snapshot code.
//!
//! Two or three writers run over a store whose every call waits for the test. The test tries every
//! order of the calls, and at each call that it works, that it takes effect but the answer is
//! lost, that it fails, or that the writer is killed and its call takes effect now, later or
//! never. States that were seen before (same objects, same answers to each writer) are not tried
//! again. Planted mistakes show that the check would find them.
//!
//! Two writers are tried with two faults, three without; with `INTERLEAVINGS=2` three have one,
//! which takes minutes. `.ci/run` does it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use futures::FutureExt;
use ingest_state::testing::{Actor, Explored, Fixed, Scenario, ScriptedStore, Wrong};
use ingest_state::{
    EntryHead, EntryRows, Execution, FormatError, Id, IdList, IdRows, JsonEntries, Layout, Log,
    MemoryStore, Scope,
};

/// A mistake that is planted to see whether the check finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The store ignores the condition of a create.
    CarelessCreate,
    /// All writers use the same nonce.
    SharedNonce,
    /// After a lost race, the rows that another took are offered again.
    KeepsTaken,
}

/// Rows that are encoded whole, whatever is to be kept.
struct Stubborn(IdRows<'static>);

impl EntryRows for Stubborn {
    fn ids(&self) -> &IdList {
        self.0.ids()
    }
    fn encode(&self, head: &EntryHead, _: &[bool]) -> Result<Bytes, FormatError> {
        let all = vec![true; self.0.ids().len()];
        let head = EntryHead {
            ids: all.len() as u64,
            ..head.clone()
        };
        self.0.encode(&head, &all)
    }
}

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn layout() -> Layout {
    Layout::json("pncp")
}

/// A writer: loads, appends its ids, ends its execution. Whether the append said `Ok`.
async fn writer(
    store: ScriptedStore,
    name: String,
    ids: &'static [&'static str],
    plant: Mistake,
) -> bool {
    let nonce = if plant == Mistake::SharedNonce {
        "same".to_owned()
    } else {
        name.clone()
    };
    let ambient = Arc::new(Fixed::new(nonce, DateTime::UNIX_EPOCH));
    let log = Log::new(Arc::new(store), Arc::new(JsonEntries), layout()).unwrap();
    let log = log.with_ambient(ambient);
    let Ok(mut day) = log.load(&scope()).await else {
        return false;
    };
    let list: IdList = ids
        .iter()
        .map(|id| Id {
            facet: 0,
            id,
            version: None,
        })
        .collect();
    let rows = IdRows::new(list, &JsonEntries, vec![""]);
    let execution = Execution::new(name);
    let appended = if plant == Mistake::KeepsTaken {
        day.append(&Stubborn(rows), &execution).await
    } else {
        day.append(&rows, &execution).await
    };
    let done = appended.is_ok();
    if done {
        // The snapshot may fail; the log is as it was.
        let _ = day.finish(&execution).await;
    }
    done
}

/// What must hold at any instant.
fn check(objects: &MemoryStore, said_ok: &[bool], offers: &[&[&str]]) -> Result<(), String> {
    let log = Log::new(Arc::new(objects.clone()), Arc::new(JsonEntries), layout());
    let report = log.unwrap().verify(&scope()).now_or_never().unwrap();
    let report = report.map_err(|error| format!("{error:?}"))?;
    if !report.is_sound() {
        return Err(format!("{:?}", report.findings));
    }
    let mut found = BTreeSet::new();
    for (key, bytes) in objects.dump() {
        if key.contains("_log/") {
            let entry: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let ids = entry["entries"].as_array().unwrap().iter();
            found.extend(ids.map(|line| line["id"].as_str().unwrap().to_owned()));
        }
    }
    for (offer, _) in offers.iter().zip(said_ok).filter(|(_, ok)| **ok) {
        if let Some(lost) = offer.iter().find(|id| !found.contains(**id)) {
            return Err(format!("lost {lost}"));
        }
    }
    Ok(())
}

/// Tries everything.
fn explore(
    offers: &[&'static [&'static str]],
    faults: usize,
    plant: Mistake,
) -> Result<Explored, Wrong> {
    let spawn = |at: usize, store: ScriptedStore| -> Actor {
        // Snapshots are caches: reading one later is another order of the rest.
        let store = store.with_free_reads(|key| key.contains("/_state/"));
        Box::pin(writer(store, format!("w{at}"), offers[at], plant))
    };
    let explored = Scenario {
        actors: offers.len(),
        spawn: &spawn,
        check: &|objects, said_ok| check(objects, said_ok, offers),
        objects: MemoryStore::new(),
        faults,
        careless: plant == Mistake::CarelessCreate,
        // Entries never change here: a write between a head and the read is another order.
        gate_ranges: false,
    }
    .explore()?;
    let all = explored.ends.get(&offers.len());
    assert!(all.is_some_and(|count| *count > 0), "{explored:?}");
    Ok(explored)
}

/// How much is tried: 1 unless `INTERLEAVINGS` says more.
fn depth() -> usize {
    let asked = std::env::var("INTERLEAVINGS").map_or(1, |text| text.parse().unwrap());
    asked.max(1)
}

#[test]
fn two_writers_with_two_faults() {
    let explored = explore(&[&["a", "b"], &["b", "c"]], 2, Mistake::None).unwrap();
    assert!(explored.states > 2_000, "{explored:?}");
}

#[test]
fn three_writers() {
    let offers: [&[&str]; 3] = [&["a", "b"], &["b", "c"], &["c", "a"]];
    let explored = explore(&offers, depth() - 1, Mistake::None).unwrap();
    assert!(explored.states > 2_000, "{explored:?}");
}

#[test]
fn planted_mistakes_are_found() {
    for plant in [
        Mistake::CarelessCreate,
        Mistake::SharedNonce,
        Mistake::KeepsTaken,
    ] {
        let wrong = explore(&[&["a", "b"], &["b", "c"]], 1, plant).unwrap_err();
        assert!(
            !wrong.path.is_empty() && !wrong.what.is_empty(),
            "{plant:?}"
        );
    }
}
