//! Checking a day, making its snapshot anew, and taking over the previous system's state.

use std::collections::HashMap;

use serde::Serialize;

use crate::append::Appended;
use crate::done::DoneSet;
use crate::entry::Entry;
use crate::error::{Error, FormatError, Result};
use crate::ids::{Id, IdList};
use crate::json::IdRows;
use crate::log::{Execution, Loaded, Log};
use crate::scope::Scope;
use crate::snapshot::SnapshotReader;
use crate::version::Standing;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// A number below the last has no object. Restore it from a backup; nothing is appended or
    /// loaded before that.
    Gap {
        /// The number.
        number: u64,
        /// The key that should exist.
        key: String,
    },
    /// An entry is no entry. Restored from a backup, all is well; put aside, the ids that only it
    /// holds are given up, and its number becomes a gap.
    Unreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An id is in two entries.
    Twice {
        /// The id.
        id: String,
        /// Its facet; empty in a log without facets.
        facet: String,
        /// The entry that had it first.
        first: u64,
        /// The entry that has it again.
        again: u64,
    },
    /// A nonce is in two entries: one writer's rows were taken for two.
    SameNonce {
        /// The first entry.
        first: u64,
        /// The second.
        again: u64,
    },
    /// A snapshot cannot be read, or is ahead of the log. `rebuild` puts it right.
    Snapshot {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A snapshot's ids are not those of the entries it speaks of. `rebuild` puts it right.
    SnapshotIds {
        /// Its key.
        key: String,
        /// Ids of the entries that the snapshot lacks.
        missing: u64,
        /// Ids of the snapshot that no entry up to it has.
        extra: u64,
    },
}

/// What a check of a day found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Entries that were read.
    pub entries: u64,
    /// Different ids, over all facets.
    pub ids: u64,
    /// What is not as it should be; empty if all is well.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whether all is as it should be.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What a rebuild of a snapshot changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The snapshot's key.
    pub key: String,
    /// Ids that the entries have and the old snapshot had not.
    pub added: u64,
    /// Ids that the old snapshot had and the entries have not.
    pub removed: u64,
    /// Ids of the new snapshot.
    pub total: u64,
    /// Whether it was written.
    pub written: bool,
}

impl Log {
    /// Checks a day: numbers, footers, ids in two entries, and the snapshots against the entries.
    ///
    /// # Errors
    /// [`Error::Store`] if the store failed, [`Error::Newer`] if a later release wrote any of it.
    /// Whatever is wrong with the day itself is a [`Finding`].
    pub async fn verify(&self, scope: &Scope) -> Result<Verification> {
        let mut report = Verification::default();
        let facets = self.layout().facet_names();
        let last = self.numbers(scope).await?.last().copied().unwrap_or(0);
        let mut done = DoneSet::new();
        let mut holders: HashMap<(u8, String), u64> = HashMap::new();
        let mut nonces: HashMap<String, u64> = HashMap::new();
        let mut number = 0;
        loop {
            number += 1;
            let key = self.layout().entry_key(scope, number);
            let entry = match self.read_entry(scope, number).await {
                Ok(Some(entry)) => entry,
                Ok(None) if number > last => break,
                Ok(None) => {
                    report.findings.push(Finding::Gap { number, key });
                    continue;
                }
                Err(Error::Unreadable { key, source }) => {
                    let reason = chain(&source);
                    report.findings.push(Finding::Unreadable { key, reason });
                    continue;
                }
                Err(error) => return Err(error),
            };
            report.entries += 1;
            if let Some(first) = nonces.insert(entry.head.nonce.clone(), number) {
                report.findings.push(Finding::SameNonce {
                    first,
                    again: number,
                });
            }
            self.note_ids(
                number,
                &entry,
                &mut done,
                &mut holders,
                &mut report.findings,
            );
        }
        report.ids = done.len() as u64;
        for (facet, name) in facets.iter().enumerate() {
            let finding = self.verify_snapshot(scope, facet as u8, name, &holders, number - 1);
            report.findings.extend(finding.await?);
        }
        Ok(report)
    }

    fn note_ids(
        &self,
        number: u64,
        entry: &Entry,
        done: &mut DoneSet,
        holders: &mut HashMap<(u8, String), u64>,
        findings: &mut Vec<Finding>,
    ) {
        for id in entry.ids.iter() {
            let fine = match done.standing(id) {
                Standing::New => true,
                Standing::Updated => self.layout().appends_updates,
                Standing::AlreadyProcessed => false,
            };
            done.insert(id);
            let first = *holders
                .entry((id.facet, id.id.to_owned()))
                .or_insert(number);
            if !fine {
                let names = self.layout().facet_names();
                let facet = names
                    .get(usize::from(id.facet))
                    .copied()
                    .unwrap_or_default();
                let (id, facet) = (id.id.to_owned(), facet.to_owned());
                findings.push(Finding::Twice {
                    id,
                    facet,
                    first,
                    again: number,
                });
            }
        }
    }

    async fn verify_snapshot(
        &self,
        scope: &Scope,
        facet: u8,
        name: &str,
        holders: &HashMap<(u8, String), u64>,
        last: u64,
    ) -> Result<Option<Finding>> {
        let key = self.layout().snapshot_key(scope, name);
        let (head, ids) = match self.snapshot_alone(scope, facet, name, true).await {
            Ok((Loaded::Absent, _)) => return Ok(None),
            Ok((Loaded::Head(head), ids)) => (head, ids),
            Ok((Loaded::Broken { key, reason }, _)) => {
                return Ok(Some(Finding::Snapshot { key, reason }));
            }
            Err(Error::Legacy { key }) => {
                let reason = "of the previous system, to be imported".to_owned();
                return Ok(Some(Finding::Snapshot { key, reason }));
            }
            Err(error) => return Err(error),
        };
        if head.last_entry > last {
            let reason = format!("speaks of entry {}, the last is {last}", head.last_entry);
            return Ok(Some(Finding::Snapshot { key, reason }));
        }
        let of_facet = holders.iter().filter(|((of, _), _)| *of == facet);
        let due = of_facet.filter(|(_, first)| **first <= head.last_entry);
        let missing = due.filter(|((_, id), _)| !ids.contains(facet, id)).count() as u64;
        let covered = |id: &&str| {
            let first = holders.get(&(facet, (*id).to_owned()));
            first.is_some_and(|first| *first <= head.last_entry)
        };
        let extra = ids.ids(facet).filter(|id| !covered(id)).count() as u64;
        let differs = missing + extra > 0;
        Ok(differs.then_some(Finding::SnapshotIds {
            key,
            missing,
            extra,
        }))
    }

    /// Makes the snapshots from the entries alone; with `dry_run` only says what would change.
    ///
    /// # Errors
    /// As [`Log::load`]; a state file of the previous system is refused, not overwritten.
    pub async fn rebuild(&self, scope: &Scope, dry_run: bool) -> Result<Vec<Rebuilt>> {
        let mut day = self.load_entries(scope).await?;
        let names: Vec<String> = self
            .layout()
            .facet_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut changes = Vec::with_capacity(names.len());
        for (facet, name) in names.iter().enumerate() {
            let facet = facet as u8;
            let old = match self.snapshot_alone(scope, facet, name, true).await? {
                (Loaded::Head(_) | Loaded::Absent, old) => old,
                (Loaded::Broken { .. }, _) => DoneSet::new(),
            };
            let new = day.done();
            changes.push(Rebuilt {
                key: self.layout().snapshot_key(scope, name),
                added: new.ids(facet).filter(|id| !old.contains(facet, id)).count() as u64,
                removed: old.ids(facet).filter(|id| !new.contains(facet, id)).count() as u64,
                total: new.count(facet) as u64,
                written: !dry_run,
            });
        }
        if !dry_run {
            day.save_snapshots().await?;
        }
        Ok(changes)
    }

    /// Takes over the previous system's state file at `key`: its ids become an entry of ids, as
    /// those of `facet`. Ids that are in already are left out. The file itself is kept under the
    /// same name with `.imported` after it, and a snapshot of the log takes its place.
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
        let names = self.layout().facet_names();
        let name = names.get(usize::from(facet)).copied().unwrap_or_default();
        if key == self.layout().snapshot_key(scope, name) {
            self.store().delete(key).await?;
        }
        day.import_executions(facet, head.executions, head.created_at);
        day.finish(execution).await?;
        Ok(appended)
    }
}

/// An error and its causes, in one line.
fn chain(error: &FormatError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
