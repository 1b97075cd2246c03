//! A source's logs: where they are, and how a day's is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};

use crate::ambient::{Ambient, System};
use crate::day::{DayLog, Warning};
use crate::done::{DoneSet, MAX_FACETS};
use crate::entry::{Counts, Entry, EntryFormat, FORMAT_VERSION};
use crate::error::{Error, Result, StoreError};
use crate::layout::Layout;
use crate::scope::Scope;
use crate::snapshot::{SnapshotHead, SnapshotReader};
use crate::store::{LogStore, ObjectHead};

/// How many entries are read at once while a day is loaded.
const READS_AT_ONCE: usize = 8;
/// How much of a snapshot is fetched at once while it is read, and how many such pieces.
const PIECE_BYTES: u64 = 256 * 1024;
const PIECES_AT_ONCE: usize = 2;
/// How often a snapshot is read anew that is replaced under the reader.
const SNAPSHOT_ATTEMPTS: u32 = 5;

/// One run of a pipeline, as its entries and snapshots name it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Execution {
    /// Its id; any text, the same for every entry and worker of the run.
    pub id: String,
    /// Whatever else the audit trail should say of it.
    pub metadata: Map<String, Value>,
    /// What it counted up to now.
    pub counts: Counts,
    /// When it ended, where something else says so too (a ledger); otherwise the clock tells when
    /// the snapshot is written.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Execution {
    /// An execution that has counted nothing yet.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }
}

/// The logs of one source: a store, a format of entries, and a layout of keys.
#[derive(Debug, Clone)]
pub struct Log {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) format: Arc<dyn EntryFormat>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) ambient: Arc<dyn Ambient>,
}

impl Log {
    /// The logs with this layout in `store`, their entries in `format`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the layout has more than eight facets.
    pub fn new(
        store: Arc<dyn LogStore>,
        format: Arc<dyn EntryFormat>,
        layout: Layout,
    ) -> Result<Self> {
        if layout.facets.len() > MAX_FACETS {
            let reason = format!("more than {MAX_FACETS}");
            return Err(Error::Invalid {
                argument: "facets",
                reason,
            });
        }
        Ok(Self {
            store,
            format,
            layout: Arc::new(layout),
            ambient: Arc::new(System),
        })
    }

    /// The same with another clock and source of nonces.
    #[must_use]
    pub fn with_ambient(mut self, ambient: Arc<dyn Ambient>) -> Self {
        self.ambient = ambient;
        self
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn LogStore> {
        &self.store
    }

    /// The format of entries.
    pub fn format(&self) -> &Arc<dyn EntryFormat> {
        &self.format
    }

    /// Reads a day: the snapshots, the listing, and the ids of the entries above the snapshots.
    ///
    /// Snapshots that cannot be read, or that are ahead of the log, are discarded with a
    /// [`Warning`], and the ids are read from the entries.
    ///
    /// # Errors
    /// [`Error::Unreadable`] with the key of an entry that is no entry, [`Error::Gap`] if a number
    /// has no object, [`Error::Newer`] if a later release wrote any of it, [`Error::Legacy`] if
    /// there is a state file of the previous system, [`Error::StateUnreadable`] if there is one
    /// that cannot be read and no entry has ids of its facet, [`Error::Store`] if the store failed.
    pub async fn load(&self, scope: &Scope) -> Result<DayLog> {
        self.load_from(scope, true).await
    }

    /// Reads a day from its entries alone, as if there were no snapshot.
    ///
    /// # Errors
    /// As [`Log::load`], but for [`Error::Legacy`] and [`Error::StateUnreadable`].
    pub async fn load_entries(&self, scope: &Scope) -> Result<DayLog> {
        self.load_from(scope, false).await
    }

    async fn load_from(&self, scope: &Scope, snapshots: bool) -> Result<DayLog> {
        let mut day = DayLog::empty(self.clone(), scope.clone());
        let mut broken = Vec::new();
        if snapshots {
            broken = self.load_snapshots(&mut day).await?;
        }
        let last = self.last_number(scope).await?;
        if day.last > last {
            let (snapshot, entry) = (day.last, last);
            tracing::warn!(%scope, snapshot, entry, "snapshot is ahead of the log, discarded");
            day.discard_snapshots(Warning::SnapshotAhead {
                snapshot,
                last: entry,
            });
        }
        self.absorb_through(&mut day, last).await?;
        for state in broken {
            day.check_rebuilt(state.facet, &state.key, &state.reason)?;
            let Broken { key, reason, .. } = state;
            tracing::warn!(key, reason, "snapshot cannot be read, rebuilt from the log");
            day.warnings
                .push(Warning::SnapshotUnreadable { key, reason });
        }
        Ok(day)
    }

    /// Reads the entries up to `last`, as if there were no others and no snapshot.
    pub(crate) async fn load_through(&self, scope: &Scope, last: u64) -> Result<DayLog> {
        let mut day = DayLog::empty(self.clone(), scope.clone());
        self.absorb_through(&mut day, last).await?;
        Ok(day)
    }

    async fn absorb_through(&self, day: &mut DayLog, last: u64) -> Result<()> {
        let scope = day.scope.clone();
        let reads = stream::iter(day.last + 1..=last).map(|number| {
            let scope = &scope;
            async move {
                let entry = self.read_entry(scope, number).await;
                entry.map(|entry| (number, entry))
            }
        });
        let mut reads = reads.buffered(READS_AT_ONCE);
        while let Some((number, entry)) = reads.try_next().await? {
            let key = self.layout.entry_key(&scope, number);
            let entry = entry.ok_or(Error::Gap { key, number })?;
            day.absorb(number, &entry);
        }
        Ok(())
    }

    /// The highest number, after a proof that every number below it has an object.
    ///
    /// A listing is no snapshot: what it misses is looked up by key, and so is what follows it.
    ///
    /// # Errors
    /// [`Error::Gap`] if a number has no object, [`Error::Store`] if the store failed.
    pub async fn last_number(&self, scope: &Scope) -> Result<u64> {
        let listed = self.numbers(scope).await?;
        let mut last = listed.last().copied().unwrap_or(0);
        let missing = (1..last).filter(|number| !listed.contains(number));
        let lookups = stream::iter(missing).map(|number| async move {
            let key = self.layout.entry_key(scope, number);
            match self.store.head(&key).await? {
                Some(_) => Ok(()),
                None => Err(Error::Gap { key, number }),
            }
        });
        lookups.buffered(READS_AT_ONCE).try_collect::<()>().await?;
        while self
            .store
            .head(&self.layout.entry_key(scope, last + 1))
            .await?
            .is_some()
        {
            last += 1;
        }
        Ok(last)
    }

    /// The numbers that the listing shows.
    pub(crate) async fn numbers(&self, scope: &Scope) -> Result<BTreeSet<u64>> {
        Ok(self.listing(scope).await?.numbers)
    }

    /// The entries and bases that the listing shows.
    pub(crate) async fn listing(&self, scope: &Scope) -> Result<Listing> {
        let listed = self.store.list(&self.layout.entries_prefix(scope)).await?;
        let keys = || listed.iter().map(|object| object.key.as_str());
        let bases = keys().filter_map(|key| self.layout.base_number(scope, key));
        Ok(Listing {
            base: bases.max().unwrap_or(0),
            numbers: keys()
                .filter_map(|key| self.layout.entry_number(scope, key))
                .collect(),
        })
    }

    /// The head and ids of entry `number`, or `None` if there is no such object.
    pub(crate) async fn read_entry(&self, scope: &Scope, number: u64) -> Result<Option<Entry>> {
        let key = self.layout.entry_key(scope, number);
        let Some(object) = self.store.head(&key).await? else {
            return Ok(None);
        };
        self.read_object(scope, &object).await.map(Some)
    }

    async fn read_object(&self, scope: &Scope, object: &ObjectHead) -> Result<Entry> {
        let facets = self.layout.facet_names();
        let read = self.format.read(&*self.store, object, &facets).await;
        let entry = read.map_err(|source| Error::reading(&object.key, source))?;
        if entry.head.version > FORMAT_VERSION {
            return Err(Error::Newer {
                key: object.key.clone(),
                found: entry.head.version,
                supported: FORMAT_VERSION,
            });
        }
        let of = entry.head.check_scope(scope);
        of.map_err(|source| Error::reading(&object.key, source))?;
        Ok(entry)
    }

    /// Fills an empty day with what its snapshots say; leaves it empty if any cannot be used, and
    /// tells which.
    async fn load_snapshots(&self, day: &mut DayLog) -> Result<Vec<Broken>> {
        let mut attempt = 1;
        loop {
            match self.try_snapshots(day).await {
                Err(error) if is_changed(&error) && attempt < SNAPSHOT_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_snapshots(&self, day: &mut DayLog) -> Result<Vec<Broken>> {
        let facets = self.layout.facet_names();
        let mut done = DoneSet::new();
        let mut heads = Vec::with_capacity(facets.len());
        let mut broken = Vec::new();
        for (facet, name) in facets.iter().enumerate() {
            let facet = facet as u8;
            match self
                .load_snapshot(&day.scope, facet, name, Some(&mut done))
                .await?
            {
                Loaded::Absent => heads.push(SnapshotHead::default()),
                Loaded::Head(head) => heads.push(head),
                Loaded::Broken { key, reason } => broken.push(Broken { facet, key, reason }),
            }
        }
        if broken.is_empty() {
            // The entries above the oldest are read again for all: adding an id twice does nothing.
            day.last = heads.iter().map(|head| head.last_entry).min().unwrap_or(0);
            day.snapshots = heads;
            day.done = done;
        }
        Ok(broken)
    }

    /// One facet's snapshot and, if asked for, the set of its ids.
    pub(crate) async fn snapshot_alone(
        &self,
        scope: &Scope,
        facet: u8,
        name: &str,
        with_ids: bool,
    ) -> Result<(Loaded, DoneSet)> {
        let mut attempt = 1;
        loop {
            let mut ids = DoneSet::new();
            let done = with_ids.then_some(&mut ids);
            match self.load_snapshot(scope, facet, name, done).await {
                Err(error) if is_changed(&error) && attempt < SNAPSHOT_ATTEMPTS => attempt += 1,
                loaded => return Ok((loaded?, ids)),
            }
        }
    }

    /// One facet's snapshot, its ids added to `done`, which after an error holds part of them.
    async fn load_snapshot(
        &self,
        scope: &Scope,
        facet: u8,
        name: &str,
        done: Option<&mut DoneSet>,
    ) -> Result<Loaded> {
        let key = self.layout.snapshot_key(scope, name);
        let head = match self.read_snapshot(&key, facet, done).await? {
            None => return Ok(Loaded::Absent),
            Some(Ok(head)) => head,
            Some(Err(reason)) => return Ok(Loaded::Broken { key, reason }),
        };
        if let Some(reason) = head.of_another_day(scope.date()) {
            return Ok(Loaded::Broken { key, reason });
        }
        match head.version {
            None => Err(Error::Legacy { key }),
            Some(found) if found > FORMAT_VERSION => Err(Error::Newer {
                key,
                found,
                supported: FORMAT_VERSION,
            }),
            Some(_) => Ok(Loaded::Head(head)),
        }
    }

    /// Reads the state file at `key` piece by piece: `None` without a file, and why it is no state
    /// file if it is none.
    async fn read_snapshot(
        &self,
        key: &str,
        facet: u8,
        done: Option<&mut DoneSet>,
    ) -> Result<Option<Result<SnapshotHead, String>>> {
        let Some(object) = self.store.head(key).await? else {
            return Ok(None);
        };
        let field = &self.layout.ids_field;
        let mut reader = SnapshotReader::new(field, facet, done, object.size);
        let object = &object;
        let starts = (0..object.size.div_ceil(PIECE_BYTES)).map(|piece| piece * PIECE_BYTES);
        let reads = stream::iter(starts).map(|at| async move {
            let end = object.size.min(at + PIECE_BYTES);
            self.store.get_range(object, at..end).await
        });
        let mut reads = reads.buffered(PIECES_AT_ONCE);
        while let Some(piece) = reads.try_next().await? {
            if let Err(reason) = reader.feed(&piece) {
                return Ok(Some(Err(reason)));
            }
        }
        Ok(Some(reader.end()))
    }
}

/// Whether an object was replaced while it was read.
fn is_changed(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Changed { .. }))
}

/// What a day's folder shows.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) numbers: BTreeSet<u64>,
    /// The last entry whose rows the newest base holds; 0 if there is none.
    pub(crate) base: u64,
}

impl Listing {
    pub(crate) fn last(&self) -> u64 {
        self.numbers.last().copied().unwrap_or(0)
    }
}

/// A facet's state file that cannot be used.
#[derive(Debug)]
struct Broken {
    facet: u8,
    key: String,
    reason: String,
}

/// What there was of a snapshot.
#[derive(Debug)]
pub(crate) enum Loaded {
    Absent,
    Head(SnapshotHead),
    Broken { key: String, reason: String },
}
