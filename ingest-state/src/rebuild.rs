//! Making snapshots anew from the entries, and taking over the previous system's state.

use serde::Serialize;

use crate::append::Appended;
use crate::day::{DayLog, proven};
use crate::done::DoneSet;
use crate::error::{Error, Result};
use crate::ids::{Id, IdList};
use crate::json::IdRows;
use crate::log::{Execution, Loaded, Log};
use crate::scope::Scope;
use crate::snapshot::{ExecutionRecord, SnapshotHead, SnapshotReader};

/// What a rebuild of a snapshot changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The snapshot's key.
    pub key: String,
    /// Ids that the entries have and the old snapshot had not.
    pub added: u64,
    /// Ids that the old snapshot had and the entries have not.
    pub removed: u64,
    /// Ids that are in both, and whose version changes.
    pub versions: u64,
    /// Executions that the new audit trail has and the old one had not.
    pub executions_added: u64,
    /// Executions that are in both, and of which something changes.
    pub executions_changed: u64,
    /// Ids of the new snapshot.
    pub total: u64,
    /// Whether it was written.
    pub written: bool,
}

impl Log {
    /// Makes the snapshots from the entries alone; with `dry_run` only says what would change.
    ///
    /// Of the audit trail the entries prove the executions that added something. The others are
    /// taken from the old snapshot, as far as it can be read; where it cannot, and there is a
    /// ledger of executions, [`Log::rebuild_with`] has them again.
    ///
    /// # Errors
    /// As [`Log::load`]; a state file of the previous system is refused, not overwritten, and so
    /// is one that cannot be read where no entry has ids of its facet.
    pub async fn rebuild(&self, scope: &Scope, dry_run: bool) -> Result<Vec<Rebuilt>> {
        self.rebuild_with(scope, &[], dry_run).await
    }

    /// The same, with what is known elsewhere of the day's executions: a ledger's records, oldest
    /// first. They replace the old snapshot's of the same execution. Several of one execution (it
    /// was run again) become one. What the entries prove of entries and numbers of ids is taken
    /// from them.
    ///
    /// # Errors
    /// As [`Log::rebuild`].
    pub async fn rebuild_with(
        &self,
        scope: &Scope,
        ledger: &[ExecutionRecord],
        dry_run: bool,
    ) -> Result<Vec<Rebuilt>> {
        let mut day = self.load_entries(scope).await?;
        let names: Vec<String> = self
            .layout()
            .facet_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut changes = Vec::with_capacity(names.len());
        let mut stored = Vec::with_capacity(names.len());
        for (facet, name) in names.iter().enumerate() {
            let at = facet;
            let facet = facet as u8;
            let (head, old) = match self.snapshot_alone(scope, facet, name, true).await? {
                (Loaded::Head(head), old) => (head, old),
                (Loaded::Absent, old) => (SnapshotHead::default(), old),
                (Loaded::Broken { key, reason }, _) => {
                    day.check_rebuilt(facet, &key, &reason)?;
                    (SnapshotHead::default(), DoneSet::new())
                }
            };
            let trail = trail(&day, facet, ledger, &head.executions);
            let key = self.layout().snapshot_key(scope, name);
            changes.push(Rebuilt {
                written: !dry_run,
                ..compared(key, facet, day.done(), &old, &trail, &head.executions)
            });
            day.snapshots[at].executions = trail;
            stored.push(SnapshotHead {
                created_at: head.created_at,
                ..SnapshotHead::default()
            });
        }
        if !dry_run {
            day.catch_up().await?;
            for (facet, stored) in stored.into_iter().enumerate() {
                day.write_snapshot(facet as u8, stored, None).await?;
            }
        }
        Ok(changes)
    }

    /// Takes over the previous system's state file at `key`: its ids become an entry of ids, as
    /// those of `facet`. Ids that are in already are left out. The file itself is kept under the
    /// same name with `.imported` after it, and a snapshot of the log takes its place, with the
    /// old audit trail in it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such file or it is no state file; as [`Log::load`] and
    /// [`append`](crate::DayLog::append) otherwise. Safe to repeat.
    pub async fn import(
        &self,
        scope: &Scope,
        facet: u8,
        key: &str,
        execution: &Execution,
    ) -> Result<Appended> {
        let invalid = |reason: String| Error::Invalid {
            argument: "key",
            reason,
        };
        let object = self.store().get(key).await?;
        let object = object.ok_or_else(|| invalid(format!("no object {key:?}")))?;
        let mut ids = DoneSet::new();
        let field = &self.layout().ids_field;
        let mut reader = SnapshotReader::new(field, facet, Some(&mut ids), object.head.size);
        let head = reader.feed(&object.bytes).and_then(|()| reader.end());
        let head = head.map_err(|error| invalid(format!("no state file: {error}")))?;
        if let Some(reason) = head.of_another_day(scope.date()) {
            return Err(invalid(reason));
        }
        if head.version.is_some() {
            return Err(invalid("a snapshot of this system".to_owned()));
        }
        let mut day = self.load_entries(scope).await?;
        let list: IdList = ids
            .ids(facet)
            .map(|id| Id {
                facet,
                id,
                version: None,
            })
            .collect();
        let rows = IdRows::new(list, &**self.format(), self.layout().facet_names());
        let appended = day.append(&rows, execution).await?;
        self.store()
            .overwrite(&format!("{key}.imported"), object.bytes)
            .await?;
        day.import_executions(facet, head.executions, head.created_at);
        let names = self.layout().facet_names();
        let name = names.get(usize::from(facet)).copied().unwrap_or_default();
        if key == self.layout().snapshot_key(scope, name) {
            // In one step, so that until then the import can be repeated; and of this facet only,
            // since the others may be of the previous system still.
            let none = SnapshotHead::default();
            day.catch_up().await?;
            day.write_snapshot(facet, none, Some(execution)).await?;
        } else {
            day.finish(execution).await?;
        }
        Ok(appended)
    }
}

/// What becomes of a snapshot with these ids and executions, not written yet.
fn compared(
    key: String,
    facet: u8,
    new: &DoneSet,
    old: &DoneSet,
    trail: &[ExecutionRecord],
    old_trail: &[ExecutionRecord],
) -> Rebuilt {
    let (mut added, mut versions) = (0, 0);
    for (id, version) in new.with_versions(facet) {
        if old.contains(facet, id) {
            versions += u64::from(old.version_of(facet, id) != version);
        } else {
            added += 1;
        }
    }
    let (mut executions_added, mut executions_changed) = (0, 0);
    for record in trail {
        match old_trail.iter().find(|other| other.is_same(record)) {
            Some(other) => executions_changed += u64::from(other != record),
            None => executions_added += 1,
        }
    }
    Rebuilt {
        key,
        added,
        removed: old.ids(facet).filter(|id| !new.contains(facet, id)).count() as u64,
        versions,
        executions_added,
        executions_changed,
        total: new.count(facet) as u64,
        written: false,
    }
}

/// The audit trail of a day that was read from its entries: the old one in its order, what the
/// ledger says instead of what it said, and of all of it what the entries prove. Pure.
fn trail(
    day: &DayLog,
    facet: u8,
    ledger: &[ExecutionRecord],
    old: &[ExecutionRecord],
) -> Vec<ExecutionRecord> {
    let told = |old| ledger.iter().find(|record| record.is_same(old));
    let first = old.iter().map(|old| told(old).unwrap_or(old));
    let mut records: Vec<ExecutionRecord> = first.cloned().collect();
    for record in ledger {
        match records.iter_mut().find(|other| other.is_same(record)) {
            Some(known) => known.follow_up(record),
            None => records.push(record.clone()),
        }
    }
    let proven = proven(day.entries.iter(), facet);
    for record in &mut records {
        let Some(proven) = proven.iter().find(|proven| proven.is_same(record)) else {
            continue;
        };
        // Unless it knows of an entry that was put in quarantine since.
        if record.files.iter().all(|file| proven.files.contains(file)) {
            record.files.clone_from(&proven.files);
            record.new_records = proven.new_records;
        }
        let duplicates = proven.duplicates_filtered;
        record.duplicates_filtered = record.duplicates_filtered.max(duplicates);
        record.set_rate();
    }
    day.with_entries(records, facet)
}
