//! A snapshot compared with the entries it speaks of.

use super::Finding;
use super::tally::Tally;
use crate::done::DoneSet;
use crate::error::{Error, Result};
use crate::log::{Loaded, Log};
use crate::scope::Scope;
use crate::snapshot::ExecutionRecord;

impl Log {
    pub(super) async fn verify_snapshot(
        &self,
        scope: &Scope,
        facet: u8,
        name: &str,
        tally: &Tally,
    ) -> Result<Vec<Finding>> {
        let key = self.layout().snapshot_key(scope, name);
        let (head, ids) = match self.snapshot_alone(scope, facet, name, true).await {
            Ok((Loaded::Absent, _)) => return Ok(Vec::new()),
            Ok((Loaded::Head(head), ids)) => (head, ids),
            Ok((Loaded::Broken { key, reason }, _)) if tally.done.count(facet) == 0 => {
                return Ok(vec![Finding::StateUnreadable { key, reason }]);
            }
            Ok((Loaded::Broken { key, reason }, _)) => {
                return Ok(vec![Finding::Snapshot { key, reason }]);
            }
            Err(Error::Legacy { key }) => {
                let reason = "of the previous system, to be imported".to_owned();
                return Ok(vec![Finding::Snapshot { key, reason }]);
            }
            Err(error) => return Err(error),
        };
        // A run that goes on may have written entries and a snapshot since the entries were read.
        if head.last_entry > tally.last && head.last_entry > self.last_listed(scope).await? {
            let last = tally.last;
            let reason = format!("speaks of entry {}, the last is {last}", head.last_entry);
            return Ok(vec![Finding::Snapshot { key, reason }]);
        }
        if head.last_entry > tally.last {
            return Ok(Vec::new());
        }
        let last = head.last_entry;
        let proven = tally.executions_through(facet, last);
        let mut found = ids_differ(&key, facet, last, tally, &ids);
        found.extend(executions_differ(&key, &proven, &head.executions));
        Ok(found)
    }
}

/// What the ids and versions of a snapshot that speaks of the entries up to `last` differ in.
fn ids_differ(key: &str, facet: u8, last: u64, tally: &Tally, ids: &DoneSet) -> Vec<Finding> {
    let (mut missing, mut common, mut differ) = (0, 0, 0);
    for (id, version) in tally.ids_through(facet, last) {
        if ids.contains(facet, id) {
            common += 1;
            differ += u64::from(ids.version_of(facet, id) != version);
        } else {
            missing += 1;
        }
    }
    let extra = ids.count(facet) as u64 - common;
    let key = || key.to_owned();
    let ids = (missing + extra > 0).then(|| Finding::SnapshotIds {
        key: key(),
        missing,
        extra,
    });
    let versions = (differ > 0).then(|| Finding::SnapshotVersions { key: key(), differ });
    ids.into_iter().chain(versions).collect()
}

/// What a snapshot's audit trail says less than, or other than, the entries prove.
fn executions_differ(
    key: &str,
    proven: &[ExecutionRecord],
    said: &[ExecutionRecord],
) -> Option<Finding> {
    let (mut missing, mut differ) = (0, 0);
    for proven in proven {
        match said.iter().find(|record| record.is_same(proven)) {
            Some(record) => differ += u64::from(!record.agrees_with(proven)),
            None => missing += 1,
        }
    }
    let found = missing + differ > 0;
    found.then(|| Finding::SnapshotExecutions {
        key: key.to_owned(),
        missing,
        differ,
    })
}
