//! What a log must do on any store and in any format: step by step, and under a storm of writers.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};

use super::{Check, FaultStore, Fixed, expect};
use crate::day::{DayLog, Warning};
use crate::error::Error;
use crate::ids::{Id, IdList};
use crate::json::IdRows;
use crate::log::{Execution, Log};
use crate::scope::Scope;
use crate::store::LogStore;
use crate::verify::Finding;

/// Makes the log that is checked, over a store.
pub type LogOf = dyn Fn(Arc<dyn LogStore>) -> Log + Send + Sync;

/// Says which call failed.
fn done<T>(result: Result<T, Error>, what: &str) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

fn rows<'a>(log: &'a Log, texts: &[&str]) -> IdRows<'a> {
    let id = |id| Id {
        facet: 0,
        id,
        version: None,
    };
    let ids: IdList = texts.iter().copied().map(id).collect();
    IdRows::new(ids, &**log.format(), log.layout().facet_names())
}

fn ids(day: &DayLog) -> BTreeSet<String> {
    day.done().ids(0).map(str::to_owned).collect()
}

async fn sound(log: &Log, scope: &Scope, when: &str) -> Check {
    let report = done(log.verify(scope).await, "verify")?;
    expect(report.is_sound(), &format!("sound {when}: {report:?}"))
}

/// Checks that a log over `store` does what it promises: loads, appends, lost races, snapshots that
/// are absent, broken, stale or ahead, gaps, `verify`, `rebuild` and `import`. Uses the source
/// `conformance` in October 1999, and leaves its objects there.
///
/// # Errors
/// What was not as promised.
pub async fn check_log(store: Arc<dyn LogStore>, log_of: &LogOf) -> Check {
    let log = log_of(store.clone()).with_ambient(Arc::new(Fixed::new("n", DateTime::UNIX_EPOCH)));
    let day = |number| NaiveDate::from_ymd_opt(1999, 10, number).unwrap_or_default();
    let of = |number| done(Scope::new("conformance", day(number)), "scope");
    let (first, second) = (of(1)?, of(2)?);
    check_writing(&log, &first).await?;
    check_snapshots(&*store, &log, &first).await?;
    check_gaps(&*store, &log, &first).await?;
    check_import(&*store, &log, &second).await?;
    let next = done(log.load(&of(3)?).await, "load the next day")?;
    expect(next.done().is_empty(), "a day is not another's")
}

async fn check_writing(log: &Log, scope: &Scope) -> Check {
    let mut day = done(log.load(scope).await, "first load")?;
    expect(
        day.last_entry() == 0 && day.done().is_empty() && day.warnings().is_empty(),
        "a day without objects is empty",
    )?;
    let mut stale = day.clone();
    let one = Execution::new("one");
    let appended = done(
        day.append(&rows(log, &["a", "b", "b"]), &one).await,
        "append",
    )?;
    expect(
        appended.entry == Some(1) && appended.placed == [true, true, false],
        "the first append makes entry 1, each id once",
    )?;
    let two = Execution::new("two");
    let appended = done(
        stale.append(&rows(log, &["b", "c"]), &two).await,
        "append of a stale view",
    )?;
    expect(
        appended.entry == Some(2) && appended.placed == [false, true] && appended.races_lost == 1,
        "a lost race drops what the other took",
    )?;
    let nothing = done(
        stale.append(&rows(log, &["a", "c"]), &two).await,
        "append of duplicates",
    )?;
    expect(nothing.entry.is_none(), "all duplicates: no entry")?;
    done(day.finish(&one).await, "finish of a stale view")?;
    done(stale.finish(&two).await, "finish")?;
    let loaded = done(log.load(scope).await, "load")?;
    let whole = done(log.load_entries(scope).await, "load of the entries")?;
    expect(
        loaded.entries().is_empty() && ids(&loaded) == ids(&whole) && ids(&loaded).len() == 3,
        "the snapshot has what the entries have",
    )?;
    let names: Vec<_> = loaded
        .executions(0)
        .into_iter()
        .filter_map(|record| record.execution)
        .collect();
    expect(
        names == ["one", "two"],
        "both executions are in the audit trail",
    )?;
    sound(log, scope, "after two writers").await
}

/// Where the snapshot of the layout's first facet lies.
fn first_snapshot_key(log: &Log, scope: &Scope) -> String {
    let facets = log.layout().facet_names();
    let facet = facets.first().copied().unwrap_or_default();
    log.layout().snapshot_key(scope, facet)
}

async fn check_snapshots(store: &dyn LogStore, log: &Log, scope: &Scope) -> Check {
    let key = first_snapshot_key(log, scope);
    let failed = |error| format!("snapshot: {error:?}");
    let kept = store.get(&key).await.map_err(failed)?;
    let kept = kept.ok_or("no snapshot after finish")?.bytes;

    store
        .overwrite(&key, kept.slice(..kept.len() / 2))
        .await
        .map_err(failed)?;
    let day = done(log.load(scope).await, "load with a broken snapshot")?;
    expect(
        matches!(day.warnings(), [Warning::SnapshotUnreadable { .. }]) && ids(&day).len() == 3,
        "a broken snapshot is rebuilt from the log, with a warning",
    )?;
    let report = done(log.verify(scope).await, "verify")?;
    expect(
        matches!(report.findings[..], [Finding::Snapshot { .. }]),
        "verify finds the broken snapshot",
    )?;
    for (dry_run, sound) in [(true, false), (false, true)] {
        let changes = done(log.rebuild(scope, dry_run).await, "rebuild")?;
        let change = changes.first().ok_or("rebuild says nothing")?;
        expect(
            (change.added, change.removed, change.written) == (3, 0, !dry_run),
            "rebuild says what it changes",
        )?;
        let report = done(log.verify(scope).await, "verify")?;
        expect(
            report.is_sound() == sound,
            "rebuild changes it, a dry run does not",
        )?;
    }
    store.delete(&key).await.map_err(failed)?;
    let day = done(log.load(scope).await, "load without a snapshot")?;
    expect(ids(&day).len() == 3, "the log is enough")?;
    store.overwrite(&key, kept).await.map_err(failed)
}

async fn check_gaps(store: &dyn LogStore, log: &Log, scope: &Scope) -> Check {
    let failed = |error| format!("entry: {error:?}");
    let (one, two) = (
        log.layout().entry_key(scope, 1),
        log.layout().entry_key(scope, 2),
    );
    for key in [&one, &two] {
        let kept = store.get(key).await.map_err(failed)?;
        let kept = kept.ok_or("no entry")?.bytes;
        store.delete(key).await.map_err(failed)?;
        let loaded = log.load(scope).await;
        let as_said = if *key == one {
            matches!(loaded, Err(Error::Gap { number: 1, .. }))
        } else {
            matches!(loaded, Ok(day) if matches!(day.warnings(), [Warning::SnapshotAhead { .. }]))
        };
        expect(
            as_said,
            "a gap is refused, a snapshot ahead of the log is discarded",
        )?;
        store
            .overwrite(key, kept.slice(..kept.len() / 2))
            .await
            .map_err(failed)?;
        let read = log.load_entries(scope).await;
        expect(
            matches!(read, Err(Error::Unreadable { key: found, .. }) if found == *key),
            "an unreadable entry is refused by its key",
        )?;
        store.overwrite(key, kept).await.map_err(failed)?;
    }
    sound(log, scope, "after a restore").await
}

async fn check_import(store: &dyn LogStore, log: &Log, scope: &Scope) -> Check {
    let key = first_snapshot_key(log, scope);
    let field = &log.layout().ids_field;
    let old = format!("{{\"date\": \"1999-10-02\", \"{field}\": [\"x\", \"y\"]}}");
    let wrote = store.overwrite(&key, old.into()).await;
    wrote.map_err(|error| format!("state file: {error:?}"))?;
    let refused = log.load(scope).await;
    expect(
        matches!(refused, Err(Error::Legacy { .. })),
        "a state file without a log is refused",
    )?;
    let execution = Execution::new("import");
    let appended = done(log.import(scope, 0, &key, &execution).await, "import")?;
    let day = done(log.load(scope).await, "load after the import")?;
    expect(
        appended.count() == 2 && ids(&day).len() == 2,
        "its ids are in",
    )?;
    sound(log, scope, "after the import").await
}

/// Several writers of the same day, each over a store that fails at random, and every id offered by
/// several of them.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// How many writers there are.
    pub writers: usize,
    /// How many ids each offers.
    pub ids: usize,
    /// How many of them at once.
    pub batch: usize,
    /// Of how many calls one fails, about; `u64::MAX` for none.
    pub one_in: u64,
    /// What the faults are drawn from.
    pub seed: u64,
}

impl Storm {
    /// The day that they write: 22 October 2025 of the source `pncp`.
    ///
    /// # Errors
    /// None, in truth.
    pub fn scope() -> Result<Scope, String> {
        let date = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap_or_default();
        done(Scope::new("pncp", date), "scope")
    }

    /// What writer `number` has to offer.
    pub fn offer(&self, number: usize) -> Vec<String> {
        let universe = self.writers * self.ids / 2 + 1;
        let id = |n: usize| format!("id-{:05}", (number * 37 + n * 7) % universe);
        let mut offer: Vec<String> = (0..self.ids).map(id).collect();
        offer.sort();
        offer.dedup();
        offer
    }

    /// Goes on until all that writer `number` has to offer is in; the ids that it was told were
    /// placed by it.
    ///
    /// # Errors
    /// If it never got through.
    pub async fn write(
        &self,
        store: Arc<dyn LogStore>,
        log_of: &LogOf,
        number: usize,
    ) -> Result<Vec<String>, String> {
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(number as u64);
        let log = log_of(Arc::new(FaultStore::seeded(store, seed, self.one_in)));
        let (scope, execution) = (Self::scope()?, Execution::new(format!("writer-{number}")));
        let mut placed = Vec::new();
        for batch in self.offer(number).chunks(self.batch.max(1)) {
            let texts: Vec<&str> = batch.iter().map(String::as_str).collect();
            let rows = rows(&log, &texts);
            let mut tries = 0;
            loop {
                tries += 1;
                expect(tries < 500, &format!("writer {number} gets through"))?;
                let Ok(mut day) = log.load(&scope).await else {
                    continue;
                };
                let Ok(appended) = day.append(&rows, &execution).await else {
                    continue;
                };
                let mine = batch.iter().zip(&appended.placed).filter(|(_, in_)| **in_);
                placed.extend(mine.map(|(id, _)| id.clone()));
                // The snapshot may fail; the log is as it was.
                let _ = day.finish(&execution).await;
                break;
            }
        }
        Ok(placed)
    }

    /// Checks what they left: the union of the offers, no id in two entries, and none of which two
    /// writers were told that they placed it.
    ///
    /// # Errors
    /// What is not so.
    pub async fn check(&self, log: &Log, claimed: &[Vec<String>]) -> Check {
        let scope = Self::scope()?;
        sound(log, &scope, "after the storm").await?;
        let day = done(log.load_entries(&scope).await, "load")?;
        let expected: BTreeSet<String> = (0..self.writers).flat_map(|n| self.offer(n)).collect();
        expect(ids(&day) == expected, "the union of all offers is in")?;
        let all: Vec<&String> = claimed.iter().flatten().collect();
        let different: BTreeSet<&String> = all.iter().copied().collect();
        expect(
            all.len() == different.len(),
            "no id was placed by two writers",
        )?;
        expect(
            day.last_entry() > self.writers as u64 / 2,
            "several made entries",
        )
    }
}
