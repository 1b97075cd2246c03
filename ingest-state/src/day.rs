//! A day's log as one process sees it.

use serde_json::{Map, Value};

use crate::done::DoneSet;
use crate::entry::{Entry, EntryHead};
use crate::error::{Error, Result};
use crate::ids::Id;
use crate::log::{Execution, Loaded, Log};
use crate::scope::Scope;
use crate::snapshot::{self, ExecutionRecord, SnapshotHead, instant};
use crate::version::Standing;

/// Something that was put right while a day was loaded, and that somebody may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A snapshot was no state file; the ids were read from the log.
    SnapshotUnreadable {
        /// Its key.
        key: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A snapshot spoke of entries that the log does not have; it was discarded.
    SnapshotAhead {
        /// The entry that the snapshot spoke of.
        snapshot: u64,
        /// The last entry that exists.
        last: u64,
    },
}

/// What becomes of a state file that cannot be read, where a snapshot is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is written over if the view has ids of its facet.
    Checked,
    /// It is written over: its bytes are kept elsewhere.
    Replaced,
}

/// An entry that was read or made since the snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct EntrySummary {
    /// Its number.
    pub number: u64,
    /// Its key.
    pub key: String,
    /// Its footer; without metadata if an earlier entry of the same execution has some.
    pub head: EntryHead,
    /// Ids by facet.
    pub ids: Vec<u64>,
}

/// A day's log: which ids are in, as of when it was loaded or last moved on.
///
/// The view is never ahead of the log. That it may be behind does no harm: an append finds out.
#[derive(Debug, Clone)]
pub struct DayLog {
    pub(crate) log: Log,
    pub(crate) scope: Scope,
    pub(crate) done: DoneSet,
    pub(crate) last: u64,
    pub(crate) entries: Vec<EntrySummary>,
    pub(crate) snapshots: Vec<SnapshotHead>,
    pub(crate) warnings: Vec<Warning>,
}

impl DayLog {
    pub(crate) fn empty(log: Log, scope: Scope) -> Self {
        let snapshots = vec![SnapshotHead::default(); log.layout.facet_names().len()];
        Self {
            log,
            scope,
            done: DoneSet::new(),
            last: 0,
            entries: Vec::new(),
            snapshots,
            warnings: Vec::new(),
        }
    }

    /// The source and day.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The log this day belongs to.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The ids that are in.
    pub fn done(&self) -> &DoneSet {
        &self.done
    }

    /// The number of the last entry that the view covers; 0 if there is none.
    pub fn last_entry(&self) -> u64 {
        self.last
    }

    /// The entries that were read or made since the snapshot, in order.
    pub fn entries(&self) -> &[EntrySummary] {
        &self.entries
    }

    /// What was put right on the way.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How an id relates to what is in.
    pub fn standing(&self, id: Id<'_>) -> Standing {
        self.done.standing(id)
    }

    /// The audit trail of `facet`: the snapshot's, and the entries since.
    pub fn executions(&self, facet: u8) -> Vec<ExecutionRecord> {
        let known = self
            .snapshots
            .get(usize::from(facet))
            .map(|head| head.executions.clone());
        self.with_entries(known.unwrap_or_default(), facet)
    }

    /// Reads entries that were added since, by this process or another.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn catch_up(&mut self) -> Result<()> {
        while let Some(entry) = self.log.read_entry(&self.scope, self.last + 1).await? {
            self.absorb(self.last + 1, &entry);
        }
        Ok(())
    }

    /// Ends an execution: catches up and rewrites the snapshot of every facet, with the execution
    /// in its audit trail, also if it added nothing. Returns the snapshots' keys.
    ///
    /// Safe to call any number of times and from any number of processes. A failure, or never
    /// calling it, costs the next load time and nothing else.
    ///
    /// # Errors
    /// [`Error::Store`] if the store failed, [`Error::StateUnreadable`] if a state file broke since
    /// the day was loaded and the view has no id of its facet; the log is as it was.
    pub async fn finish(&mut self, execution: &Execution) -> Result<Vec<String>> {
        self.write_snapshots(Some(execution)).await
    }

    /// Rewrites the snapshots from this view, without an execution of its own.
    ///
    /// # Errors
    /// As [`DayLog::finish`].
    pub async fn save_snapshots(&mut self) -> Result<Vec<String>> {
        self.write_snapshots(None).await
    }

    async fn write_snapshots(&mut self, execution: Option<&Execution>) -> Result<Vec<String>> {
        self.catch_up().await?;
        self.put_snapshots(execution, Broken::Checked).await
    }

    /// Rewrites the snapshots as of this view, whatever was appended since.
    pub(crate) async fn put_snapshots(
        &mut self,
        execution: Option<&Execution>,
        broken: Broken,
    ) -> Result<Vec<String>> {
        let mut keys = Vec::with_capacity(self.snapshots.len());
        for facet in 0..self.snapshots.len() {
            let facet = facet as u8;
            let name = self.facet_name(facet);
            let stored = self.log.snapshot_alone(&self.scope, facet, &name, false);
            let stored = match stored.await?.0 {
                Loaded::Head(head) => head,
                Loaded::Absent => SnapshotHead::default(),
                Loaded::Broken { key, reason } => {
                    if broken == Broken::Checked {
                        self.check_rebuilt(facet, &key, &reason)?;
                    }
                    SnapshotHead::default()
                }
            };
            keys.push(self.write_snapshot(facet, stored, execution).await?);
        }
        Ok(keys)
    }

    /// Rewrites the snapshot of one facet, given what lies there now.
    pub(crate) async fn write_snapshot(
        &mut self,
        facet: u8,
        stored: SnapshotHead,
        execution: Option<&Execution>,
    ) -> Result<String> {
        let head = self.snapshot_head(facet, stored, execution);
        let bytes = self.encode_snapshot(facet, &head)?;
        let name = self.facet_name(facet);
        let key = self.log.layout.snapshot_key(&self.scope, &name);
        self.log.store.overwrite(&key, bytes.into()).await?;
        self.snapshots[usize::from(facet)] = head;
        Ok(key)
    }

    fn facet_name(&self, facet: u8) -> String {
        let names = self.log.layout.facet_names();
        let name = names.get(usize::from(facet)).copied();
        name.unwrap_or_default().to_owned()
    }

    /// The snapshot of `facet` as [`DayLog::save_snapshots`] would write it from this view alone:
    /// for people, where the store has none that can be read.
    ///
    /// # Errors
    /// [`Error::Encode`] if it has no encoding.
    pub fn to_snapshot(&self, facet: u8) -> Result<Vec<u8>> {
        let head = self.snapshot_head(facet, SnapshotHead::default(), None);
        self.encode_snapshot(facet, &head)
    }

    /// The bytes of a facet's snapshot with this head.
    pub(crate) fn encode_snapshot(&self, facet: u8, head: &SnapshotHead) -> Result<Vec<u8>> {
        let (date, field) = (self.scope.date(), &self.log.layout.ids_field);
        snapshot::encode(date, field, facet, &self.done, head).map_err(|source| {
            let name = self.facet_name(facet);
            Error::Encode {
                key: self.log.layout.snapshot_key(&self.scope, &name),
                source: crate::FormatError::Encode {
                    reason: "snapshot".to_owned(),
                    source: Some(source.into()),
                },
            }
        })
    }

    /// The head of the snapshot to write, given the one that lies there now.
    pub(crate) fn snapshot_head(
        &self,
        facet: u8,
        stored: SnapshotHead,
        execution: Option<&Execution>,
    ) -> SnapshotHead {
        let now = instant(self.log.ambient.now());
        let loaded = &self.snapshots[usize::from(facet)];
        let known = union(&loaded.executions, stored.executions);
        let mut executions = self.with_entries(known, facet);
        if let Some(execution) = execution {
            note(&mut executions, execution, &now);
        }
        let newest = executions
            .iter()
            .map(|record| &record.timestamp)
            .max()
            .cloned();
        let created = [stored.created_at, loaded.created_at.clone()]
            .into_iter()
            .flatten()
            .min();
        SnapshotHead {
            date: Some(self.scope.date().to_string()),
            version: Some(crate::FORMAT_VERSION),
            last_entry: self.last,
            created_at: Some(created.unwrap_or(now)),
            last_execution: newest,
            total_processed: self.done.count(facet) as u64,
            executions,
        }
    }

    /// `known` and what the entries since the snapshot say, each entry once.
    pub(crate) fn with_entries(
        &self,
        known: Vec<ExecutionRecord>,
        facet: u8,
    ) -> Vec<ExecutionRecord> {
        let mut records = known;
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.ids[usize::from(facet)] > 0)
        {
            add_entry(&mut records, entry, facet);
        }
        records
    }

    /// Takes over an audit trail of the previous system.
    pub(crate) fn import_executions(
        &mut self,
        facet: u8,
        executions: Vec<ExecutionRecord>,
        created_at: Option<String>,
    ) {
        if let Some(head) = self.snapshots.get_mut(usize::from(facet)) {
            head.executions = union(&head.executions, executions);
            head.created_at = created_at;
        }
    }

    /// Whether the entries can stand in for the state file of `facet` at `key`, which cannot be
    /// read. Where they have no id of it, the file may be all there is: one of the previous system
    /// that was never imported, say.
    pub(crate) fn check_rebuilt(&self, facet: u8, key: &str, reason: &str) -> Result<()> {
        if self.done.count(facet) > 0 {
            return Ok(());
        }
        Err(Error::StateUnreadable {
            key: key.to_owned(),
            reason: reason.to_owned(),
        })
    }

    /// Forgets everything that came from snapshots.
    pub(crate) fn discard_snapshots(&mut self, warning: Warning) {
        self.done = DoneSet::new();
        self.last = 0;
        self.snapshots
            .iter_mut()
            .for_each(|head| *head = SnapshotHead::default());
        self.warnings.push(warning);
    }

    /// Moves on to entry `number`, the one after the last.
    pub(crate) fn absorb(&mut self, number: u64, entry: &Entry) {
        let mut ids = vec![0; self.snapshots.len()];
        for id in entry.ids.iter() {
            self.done.insert(id);
            if let Some(count) = ids.get_mut(usize::from(id.facet)) {
                *count += 1;
            }
        }
        let key = self.log.layout.entry_key(&self.scope, number);
        let mut head = entry.head.clone();
        // An execution's record takes its metadata from its first entry; a thousand others need not be held.
        let is_known = self.entries.iter().rev().any(|known| {
            let mut facets = known.ids.iter().zip(&ids);
            known.head.execution == head.execution && facets.all(|(k, n)| *k > 0 || *n == 0)
        });
        if is_known {
            head.metadata = Map::new();
        }
        self.entries.push(EntrySummary {
            number,
            key,
            head,
            ids,
        });
        self.last = number;
    }
}

/// The audit trail that `entries` prove for `facet`, and nothing more.
pub(crate) fn proven<'a>(
    entries: impl Iterator<Item = &'a EntrySummary>,
    facet: u8,
) -> Vec<ExecutionRecord> {
    let mut records = Vec::new();
    for entry in entries.filter(|entry| entry.ids[usize::from(facet)] > 0) {
        add_entry(&mut records, entry, facet);
    }
    records
}

/// Both lists, executions that are in both taken from where they have more entries.
fn union(ours: &[ExecutionRecord], theirs: Vec<ExecutionRecord>) -> Vec<ExecutionRecord> {
    let mut records = theirs;
    for record in ours {
        match records.iter_mut().find(|other| other.is_same(record)) {
            Some(other) if record.files.len() > other.files.len() => *other = record.clone(),
            Some(_) => {}
            None => records.push(record.clone()),
        }
    }
    records
}

/// Adds what `entry` says to its execution's record, once.
fn add_entry(records: &mut Vec<ExecutionRecord>, entry: &EntrySummary, facet: u8) {
    let head = &entry.head;
    let found = records
        .iter_mut()
        .find(|r| r.execution.as_ref() == Some(&head.execution));
    let record = match found {
        Some(record) => record,
        None => {
            records.push(fresh(
                &head.execution,
                &head.metadata,
                &instant(head.created_at),
            ));
            let last = records.len() - 1;
            &mut records[last]
        }
    };
    if record.files.contains(&entry.key) {
        return;
    }
    record.files.push(entry.key.clone());
    record.new_records += entry.ids[usize::from(facet)];
    record.duplicates_filtered = record
        .duplicates_filtered
        .max(head.counts.duplicates_filtered);
    record.set_rate();
}

/// Adds what the execution itself says to its record.
fn note(records: &mut Vec<ExecutionRecord>, execution: &Execution, now: &str) {
    let found = records
        .iter_mut()
        .find(|r| r.execution.as_ref() == Some(&execution.id));
    let record = match found {
        Some(record) => record,
        None => {
            records.push(fresh(&execution.id, &execution.metadata, now));
            let last = records.len() - 1;
            &mut records[last]
        }
    };
    record.timestamp = execution.ended_at.map_or_else(|| now.to_owned(), instant);
    record.metadata.extend(own_fields(&execution.metadata));
    let filtered = execution.counts.duplicates_filtered;
    record.duplicates_filtered = record.duplicates_filtered.max(filtered);
    record.set_rate();
}

fn fresh(execution: &str, metadata: &Map<String, Value>, at: &str) -> ExecutionRecord {
    ExecutionRecord {
        timestamp: at.to_owned(),
        new_records: 0,
        duplicates_filtered: 0,
        filter_rate: 0.0,
        execution: Some(execution.to_owned()),
        files: Vec::new(),
        metadata: own_fields(metadata),
    }
}

/// Metadata without the fields that a record has anyway: a key twice would be no valid record.
fn own_fields(metadata: &Map<String, Value>) -> Map<String, Value> {
    let reserved = [
        "timestamp",
        "new_records",
        "duplicates_filtered",
        "filter_rate",
        "execution",
        "files",
    ];
    let own = metadata
        .iter()
        .filter(|(key, _)| !reserved.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
