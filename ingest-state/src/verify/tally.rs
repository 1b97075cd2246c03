//! What the entries of a day say, as they are read one after another.

use std::collections::HashMap;

use super::Finding;
use crate::day::{EntrySummary, proven};
use crate::done::DoneSet;
use crate::entry::{Entry, EntryHead};
use crate::layout::Layout;
use crate::snapshot::ExecutionRecord;
use crate::version::{Standing, VersionKey};

/// What the entries say. Holds the ids once, and four bytes more of each for each facet.
#[derive(Debug)]
pub(super) struct Tally {
    /// The last entry, whether it can be read or not.
    pub(super) last: u64,
    pub(super) done: DoneSet,
    /// By facet, then by index in `done`: the entry that had the id first, 0 if none had.
    first: Vec<Vec<u32>>,
    /// By facet and index, which entries changed a version, and from which.
    replaced: HashMap<(u8, u32), Vec<Replaced>>,
    nonces: HashMap<String, u64>,
    entries: Vec<EntrySummary>,
}

/// The version that an entry changed.
#[derive(Debug)]
struct Replaced {
    number: u64,
    before: Option<VersionKey>,
}

impl Tally {
    pub(super) fn new(facets: usize) -> Self {
        Self {
            last: 0,
            done: DoneSet::new(),
            first: vec![Vec::new(); facets],
            replaced: HashMap::new(),
            nonces: HashMap::new(),
            entries: Vec::new(),
        }
    }

    /// Takes the entry at `key`, whose number is the last.
    pub(super) fn note(
        &mut self,
        key: String,
        entry: &Entry,
        layout: &Layout,
        findings: &mut Vec<Finding>,
    ) {
        let again = self.last;
        let nonce = entry.head.nonce.clone();
        if let Some(first) = self.nonces.insert(nonce, again) {
            findings.push(Finding::SameNonce { first, again });
        }
        let names = layout.facet_names();
        let mut ids = vec![0; self.first.len()];
        for id in entry.ids.iter() {
            let facet = usize::from(id.facet);
            let standing = self.done.standing(id);
            let before = self.done.version_of(id.facet, id.id);
            let index = self
                .done
                .insert_key(id.facet, id.id, id.version.map(VersionKey::of));
            if standing != Standing::New && self.done.version_of(id.facet, id.id) != before {
                let replaced = self.replaced.entry((id.facet, index)).or_default();
                replaced.push(Replaced {
                    number: again,
                    before,
                });
            }
            let (Some(first), Some(count)) = (self.first.get_mut(facet), ids.get_mut(facet)) else {
                continue;
            };
            *count += 1;
            let index = index as usize;
            if first.len() <= index {
                first.resize(index + 1, 0);
            }
            if first[index] == 0 {
                first[index] = u32::try_from(again).unwrap_or(u32::MAX);
            }
            let is_fine = match standing {
                Standing::New => true,
                Standing::Updated => layout.appends_updates,
                Standing::AlreadyProcessed => false,
            };
            if !is_fine {
                findings.push(Finding::Twice {
                    id: id.id.to_owned(),
                    facet: names.get(facet).copied().unwrap_or_default().to_owned(),
                    first: u64::from(first[index]),
                    again,
                });
            }
        }
        self.entries.push(EntrySummary {
            number: again,
            key,
            head: EntryHead {
                metadata: serde_json::Map::new(),
                ..entry.head.clone()
            },
            ids,
        });
    }

    /// The ids that the entries up to `last` have for `facet`, with the version that they had then.
    pub(super) fn ids_through(
        &self,
        facet: u8,
        last: u64,
    ) -> impl Iterator<Item = (&str, Option<VersionKey>)> + '_ {
        let first = self.first.get(usize::from(facet)).into_iter().flatten();
        let first = (0_u32..).zip(first).filter(|(_, first)| **first > 0);
        // Both leave out the ids that only other facets have, and go by index.
        let ids = self.done.with_versions(facet).zip(first);
        let ids = ids.filter(move |(_, (_, first))| u64::from(**first) <= last);
        ids.map(move |((id, version), (index, _))| {
            let replaced = self.replaced.get(&(facet, index));
            let since = replaced.and_then(|all| all.iter().find(|one| one.number > last));
            (id, since.map_or(version, |one| one.before))
        })
    }

    /// The audit trail that the entries up to `last` prove for `facet`.
    pub(super) fn executions_through(&self, facet: u8, last: u64) -> Vec<ExecutionRecord> {
        let entries = self.entries.iter().filter(|entry| entry.number <= last);
        proven(entries, facet)
    }
}
