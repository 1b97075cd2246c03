//! Making snapshots anew from the entries, and taking over the previous system's state.

use serde::Serialize;

use crate::append::Appended;
use crate::done::DoneSet;
use crate::error::{Error, Result};
use crate::ids::{Id, IdList};
use crate::json::IdRows;
use crate::log::{Execution, Loaded, Log};
use crate::scope::Scope;
use crate::snapshot::{SnapshotHead, SnapshotReader};

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
    /// Makes the snapshots from the entries alone; with `dry_run` only says what would change.
    ///
    /// # Errors
    /// As [`Log::load`]; a state file of the previous system is refused, not overwritten, and so
    /// is one that cannot be read where no entry has ids of its facet.
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
                (Loaded::Broken { key, reason }, _) => {
                    day.check_rebuilt(facet, &key, &reason)?;
                    DoneSet::new()
                }
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
