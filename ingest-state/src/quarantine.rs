//! Going on without an entry that cannot be read.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::day::Broken;
use crate::done::DoneSet;
use crate::entry::{Counts, EntryHead, FORMAT_VERSION};
use crate::error::{Error, Result, StoreError};
use crate::ids::IdList;
use crate::log::{Execution, Loaded, Log};
use crate::scope::Scope;
use crate::store::{Created, Object};
use crate::verify::chain;

/// An entry that cannot be read, and what going on without it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The entry's number.
    pub number: u64,
    /// Its key.
    pub key: String,
    /// Why it cannot be read.
    pub reason: String,
    /// The bytes that lie there; `None` if there is no such object.
    pub size: Option<u64>,
    /// Where the bytes are kept; `None` if there are none.
    pub kept_at: Option<String>,
    /// Where the bytes of state files are kept that cannot be read either, and that are written
    /// anew: they may be the only place that has the ids of this entry.
    pub states_kept_at: Vec<String>,
    /// How many ids of the snapshots no readable entry has, over all facets: those that count as
    /// new again. `None` if no snapshot speaks of this entry, so that nobody knows.
    pub new_again: Option<u64>,
    /// Whether it was done, and not only shown.
    pub done: bool,
}

impl Log {
    /// Puts the bytes of an unreadable entry in quarantine and an empty entry in its place, so that
    /// the day can be loaded and appended to again. With `dry_run` only says what that would mean.
    ///
    /// A restore of the object from a backup is always the better way: nothing is lost by it. After
    /// a quarantine the ids that only this entry held count as new again, and what the source still
    /// has of them is taken in anew; the object must then not be restored any more, or those ids
    /// are in two entries. Rows that a view holds already stay in it.
    ///
    /// Works for a gap as well. The number is not freed. Nothing else may write to the day
    /// meanwhile. Repeated after a failure at any point, it goes on where it was.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the entry can be read, or is above the last. [`Error::Unreadable`] or
    /// [`Error::Gap`] if another one below it cannot be read either: that one first.
    /// [`Error::Newer`] if a later release wrote it. [`Error::Store`] if the store failed.
    pub async fn quarantine_entry(
        &self,
        scope: &Scope,
        number: u64,
        execution: &Execution,
        dry_run: bool,
    ) -> Result<Quarantined> {
        let mut found = self.unreadable(scope, number).await?;
        let (key, object) = (found.key.clone(), self.store().get(&found.key).await?);
        if let Some(object) = &object {
            let hash = hash_of(&object.bytes);
            found.size = Some(object.head.size);
            found.kept_at = Some(self.layout().quarantine_key(scope, number, &hash[..16]));
        }
        found.new_again = self.new_again(scope, number).await?;
        let states = self.broken_states(scope).await?;
        found.states_kept_at = states.iter().map(|(kept_at, _)| kept_at.clone()).collect();
        if dry_run {
            return Ok(found);
        }
        if let (Some(object), Some(kept_at)) = (&object, &found.kept_at) {
            self.keep(kept_at, &object.bytes).await?;
        }
        for (kept_at, bytes) in &states {
            self.keep(kept_at, bytes).await?;
        }
        // Before the entry becomes readable no snapshot may speak of it any more: what only it
        // held would count as done.
        let mut day = self.load_through(scope, number - 1).await?;
        day.put_snapshots(None, Broken::Replaced).await?;
        let body = self.empty_entry(scope, &found, execution)?;
        self.replace(&key, object.as_ref(), body).await?;
        match self.rebuild(scope, false).await {
            // Another entry above is next: the snapshots stay as they are.
            Ok(_) | Err(Error::Unreadable { .. } | Error::Gap { .. }) => {}
            Err(error) => return Err(error),
        }
        found.done = true;
        tracing::warn!(%scope, number, reason = found.reason, "entry put in quarantine");
        Ok(found)
    }

    /// The state files that cannot be read, with the keys to keep their bytes under.
    async fn broken_states(&self, scope: &Scope) -> Result<Vec<(String, Bytes)>> {
        let mut broken = Vec::new();
        for (facet, name) in self.layout().facet_names().iter().enumerate() {
            let loaded = self.snapshot_alone(scope, facet as u8, name, false).await?;
            let (Loaded::Broken { key, .. }, _) = loaded else {
                continue;
            };
            if let Some(object) = self.store().get(&key).await? {
                let hash = hash_of(&object.bytes);
                let kept_at = self.layout().state_quarantine_key(scope, name, &hash[..16]);
                broken.push((kept_at, object.bytes));
            }
        }
        Ok(broken)
    }

    /// Why entry `number` cannot be read.
    async fn unreadable(&self, scope: &Scope, number: u64) -> Result<Quarantined> {
        let key = self.layout().entry_key(scope, number);
        let invalid = |reason: String| Error::Invalid {
            argument: "number",
            reason,
        };
        let last = self.numbers(scope).await?.last().copied().unwrap_or(0);
        let reason = match self.read_entry(scope, number).await {
            Ok(Some(_)) => {
                let reason = format!("entry {number} can be read: nothing to put in quarantine");
                return Err(invalid(reason));
            }
            Ok(None) if number == 0 || number >= last => {
                return Err(invalid(format!("no entry {number}, the last is {last}")));
            }
            Ok(None) => "there is no such object".to_owned(),
            Err(Error::Unreadable { source, .. }) => chain(&source),
            Err(error) => return Err(error),
        };
        Ok(Quarantined {
            number,
            key,
            reason,
            size: None,
            kept_at: None,
            states_kept_at: Vec::new(),
            new_again: None,
            done: false,
        })
    }

    /// How many ids of the snapshots no readable entry has, if a snapshot speaks of `number`.
    async fn new_again(&self, scope: &Scope, number: u64) -> Result<Option<u64>> {
        let mut snapshots = Vec::new();
        let mut last = 0;
        for (facet, name) in self.layout().facet_names().iter().enumerate() {
            let loaded = self.snapshot_alone(scope, facet as u8, name, true).await?;
            if let (Loaded::Head(head), ids) = loaded
                && head.last_entry >= number
            {
                last = last.max(head.last_entry);
                snapshots.push((facet as u8, ids));
            }
        }
        if snapshots.is_empty() {
            return Ok(None);
        }
        let mut readable = DoneSet::new();
        for number in 1..=last {
            match self.read_entry(scope, number).await {
                Ok(Some(entry)) => entry.ids.iter().for_each(|id| readable.insert(id)),
                Ok(None) | Err(Error::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let lost = |(facet, ids): &(u8, DoneSet)| {
            let gone = ids.ids(*facet).filter(|id| !readable.contains(*facet, id));
            gone.count() as u64
        };
        Ok(Some(snapshots.iter().map(lost).sum()))
    }

    /// Creates the object with the bytes; its name tells their hash, so there may be one already.
    async fn keep(&self, key: &str, bytes: &Bytes) -> Result<()> {
        match self.store().create(key, bytes.clone()).await {
            Ok(Created::Created | Created::Exists) => {}
            Err(error) if error.certainly_not_applied() => return Err(error.into()),
            Err(_) => {}
        }
        let kept = self.store().get(key).await?;
        if kept.is_some_and(|object| object.bytes == bytes) {
            return Ok(());
        }
        Err(Error::Contended {
            key: key.to_owned(),
            attempts: 1,
        })
    }

    fn empty_entry(
        &self,
        scope: &Scope,
        found: &Quarantined,
        execution: &Execution,
    ) -> Result<Bytes> {
        let why = json!({ "reason": found.reason, "kept_at": found.kept_at });
        let mut metadata = Map::new();
        metadata.insert("quarantined".to_owned(), why);
        let head = EntryHead {
            version: FORMAT_VERSION,
            scope: Some(scope.clone()),
            nonce: self.ambient.nonce(),
            execution: execution.id.clone(),
            created_at: self.ambient.now(),
            ids: 0,
            rows: 0,
            counts: Counts::default(),
            metadata,
            stub: false,
        };
        let facets = self.layout().facet_names();
        let body = self.format().encode_ids(&head, &IdList::new(), &facets);
        body.map_err(|source| Error::Encode {
            key: found.key.clone(),
            source,
        })
    }

    /// Puts `body` where `object` lay, unless something else lies there by now.
    async fn replace(&self, key: &str, object: Option<&Object>, body: Bytes) -> Result<()> {
        let changed = || StoreError::Changed {
            key: key.to_owned(),
        };
        let Some(object) = object else {
            return match self.store().create(key, body).await? {
                Created::Created => Ok(()),
                Created::Exists => Err(changed().into()),
            };
        };
        let now = self.store().head(key).await?;
        if now.is_none_or(|now| now.version != object.head.version) {
            return Err(changed().into());
        }
        Ok(self.store().overwrite(key, body).await?)
    }
}

/// The SHA-256 of `bytes`, in hexadecimal.
fn hash_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
