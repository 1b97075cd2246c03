//! Appending: one create-if-absent under the next number, and what follows from its answer.

use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::day::DayLog;
use crate::entry::{self, EntryHead, EntryRows, FORMAT_VERSION};
use crate::error::{Error, Result, StoreError};
use crate::ids::IdList;
use crate::log::Execution;
use crate::store::Created;
use crate::version::{Standing, VersionKey};

/// How often a number is tried whose fate stays open, before the append gives up.
const MAX_ATTEMPTS: u32 = 4;

/// Where an append put its ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// The entry that was made; `None` if everything was in already.
    pub entry: Option<u64>,
    /// Its key.
    pub key: Option<String>,
    /// For every id that was offered, in order: whether it went into that entry. The others were
    /// in already, or were taken by another writer meanwhile, or came in the offer more than once.
    pub placed: Vec<bool>,
    /// How many races were lost on the way.
    pub races_lost: u32,
}

impl Appended {
    /// How many ids went in.
    pub fn count(&self) -> usize {
        self.placed.iter().filter(|placed| **placed).count()
    }
}

/// What a create was seen to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Created,
    Exists,
    /// An error that leaves open whether the object is there.
    Open,
    /// A transient error that certainly had no effect.
    NotApplied,
    /// A refusal that the same call would meet again.
    Refused,
}

/// What to do next about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The entry is ours: done.
    Ours,
    /// Look at what lies there.
    ReadBack,
    /// Offer the same bytes under the same number.
    SameAgain,
    /// Another's entry: drop what it took, and offer the rest under the next number.
    Rebase,
    /// Report the failure; the outcome may be open.
    GiveUp,
}

/// What follows from the answer to create number `attempt` (from 1) of a number.
pub(crate) fn after_create(seen: Seen, attempt: u32) -> Next {
    match seen {
        Seen::Created => Next::Ours,
        Seen::Exists | Seen::Open => Next::ReadBack,
        Seen::NotApplied if attempt < MAX_ATTEMPTS => Next::SameAgain,
        Seen::NotApplied | Seen::Refused => Next::GiveUp,
    }
}

/// What follows from the nonce that lies under the number, `None` if nothing does.
pub(crate) fn after_read_back(found: Option<&str>, own: &str, attempt: u32) -> Next {
    match found {
        Some(nonce) if nonce == own => Next::Ours,
        Some(_) => Next::Rebase,
        None if attempt < MAX_ATTEMPTS => Next::SameAgain,
        None => Next::GiveUp,
    }
}

/// Which of the offered ids are still to be placed: new ones, later versions if the log takes
/// them, each once. Of an id that is offered in several versions, the latest goes into a log that
/// takes later versions; into any other the first, of which the rest are later versions. Pure.
pub(crate) fn still_to_place(day: &DayLog, ids: &IdList) -> Vec<bool> {
    let updates = day.log.layout.appends_updates;
    let wanted = |standing| match standing {
        Standing::New => true,
        Standing::Updated => updates,
        Standing::AlreadyProcessed => false,
    };
    let mut keep = vec![false; ids.len()];
    let mut latest = HashMap::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        if !wanted(day.done.standing(id)) {
            continue;
        }
        let version = id.version.map(VersionKey::of);
        match latest.entry((id.facet, id.id)) {
            Entry::Vacant(vacant) => {
                vacant.insert((place, version));
                keep[place] = true;
            }
            Entry::Occupied(mut known) if updates && is_later(version, known.get().1) => {
                let (before, _) = known.insert((place, version));
                (keep[before], keep[place]) = (false, true);
            }
            Entry::Occupied(_) => {}
        }
    }
    keep
}

/// Whether both have versions, and the first replaces the second.
fn is_later(version: Option<VersionKey>, known: Option<VersionKey>) -> bool {
    version.is_some_and(|version| known.is_some_and(|known| version.supersedes(known)))
}

impl DayLog {
    /// Appends what of `rows` is not in yet, as one entry.
    ///
    /// Creates the entry after the last one it knows of. If another writer was there first, drops
    /// the ids that it took and offers the rest under the next number, for as long as there are
    /// any. All or nothing: on `Ok` every id is in, here or elsewhere, exactly once.
    ///
    /// # Errors
    /// [`Error::Store`] if the store failed; whether the entry appeared is open unless
    /// [`Error::certainly_not_applied`]. Offering the same rows again later is always safe.
    /// [`Error::Unreadable`] if another's entry cannot be read, [`Error::Encode`] if the rows have
    /// no encoding.
    ///
    /// # Cancellation
    /// The entry may still appear. Later loads and appends see it.
    pub async fn append(
        &mut self,
        rows: &dyn EntryRows,
        execution: &Execution,
    ) -> Result<Appended> {
        let nonce = self.log.ambient.nonce();
        let mut races_lost = 0;
        loop {
            let keep = still_to_place(self, rows.ids());
            if !keep.contains(&true) {
                return Ok(Appended {
                    entry: None,
                    key: None,
                    placed: keep,
                    races_lost,
                });
            }
            let entry = self.own_entry(rows.ids(), &keep, execution, &nonce);
            let number = self.last + 1;
            let body = rows.encode(&entry.head, &keep);
            let body = body.map_err(|source| Error::Encode {
                key: self.log.layout.entry_key(&self.scope, number),
                source,
            })?;
            match self.place(number, &nonce, body).await? {
                Placed::Ours => {
                    self.absorb(number, &entry);
                    let key = Some(self.log.layout.entry_key(&self.scope, number));
                    tracing::info!(
                        scope = %self.scope, number,
                        "State updated: {} new IDs added", entry.ids.len()
                    );
                    return Ok(Appended {
                        entry: Some(number),
                        key,
                        placed: keep,
                        races_lost,
                    });
                }
                Placed::Taken(other) => {
                    races_lost += 1;
                    self.absorb(number, &other);
                }
            }
        }
    }

    /// Offers `body` under `number` until it is known whose the number is.
    async fn place(&self, number: u64, nonce: &str, body: Bytes) -> Result<Placed> {
        let key = self.log.layout.entry_key(&self.scope, number);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let answer = self.log.store.create(&key, body.clone()).await;
            let (seen, failure) = classify(answer);
            let mut next = after_create(seen, attempt);
            let mut found = None;
            if next == Next::ReadBack {
                found = self.log.read_entry(&self.scope, number).await?;
                let found = found.as_ref().map(|entry| entry.head.nonce.as_str());
                next = after_read_back(found, nonce, attempt);
            }
            match (next, found) {
                (Next::Ours, _) => return Ok(Placed::Ours),
                (Next::Rebase, Some(other)) => return Ok(Placed::Taken(Box::new(other))),
                (Next::GiveUp, _) => {
                    let attempts = attempt;
                    return Err(failure.map_or(Error::Contended { key, attempts }, Error::Store));
                }
                (Next::SameAgain | Next::ReadBack | Next::Rebase, _) => {}
            }
        }
    }

    fn own_entry(
        &self,
        ids: &IdList,
        keep: &[bool],
        execution: &Execution,
        nonce: &str,
    ) -> entry::Entry {
        let ids = ids.kept(keep);
        let head = EntryHead {
            version: FORMAT_VERSION,
            scope: Some(self.scope.clone()),
            nonce: nonce.to_owned(),
            execution: execution.id.clone(),
            created_at: self.log.ambient.now(),
            ids: ids.len() as u64,
            rows: 0,
            counts: execution.counts,
            metadata: execution.metadata.clone(),
            stub: false,
        };
        entry::Entry { head, ids }
    }
}

enum Placed {
    Ours,
    Taken(Box<entry::Entry>),
}

fn classify(answer: Result<Created, StoreError>) -> (Seen, Option<StoreError>) {
    match answer {
        Ok(Created::Created) => (Seen::Created, None),
        Ok(Created::Exists) => (Seen::Exists, None),
        Err(error) => {
            let seen = match (error.certainly_not_applied(), error.is_transient()) {
                (false, _) => Seen::Open,
                (true, true) => Seen::NotApplied,
                (true, false) => Seen::Refused,
            };
            (seen, Some(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_one_consequence() {
        assert_eq!(after_create(Seen::Created, 1), Next::Ours);
        assert_eq!(after_create(Seen::Exists, 1), Next::ReadBack);
        assert_eq!(after_create(Seen::Open, MAX_ATTEMPTS), Next::ReadBack);
        assert_eq!(after_create(Seen::NotApplied, 1), Next::SameAgain);
        assert_eq!(after_create(Seen::NotApplied, MAX_ATTEMPTS), Next::GiveUp);
        assert_eq!(after_create(Seen::Refused, 1), Next::GiveUp);
    }

    #[test]
    fn reading_back_tells_whose_it_is() {
        assert_eq!(after_read_back(Some("own"), "own", 9), Next::Ours);
        assert_eq!(after_read_back(Some("other"), "own", 1), Next::Rebase);
        assert_eq!(after_read_back(None, "own", 1), Next::SameAgain);
        assert_eq!(after_read_back(None, "own", MAX_ATTEMPTS), Next::GiveUp);
    }
}
