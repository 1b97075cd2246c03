//! Checking a day: entries, snapshots and views against each other.

mod snapshot;
mod tally;

use serde::Serialize;

use self::tally::Tally;
use crate::done::DoneSet;
use crate::error::{Error, FormatError, Result};
use crate::ids::Id;
use crate::log::Log;
use crate::scope::Scope;
use crate::version::VersionKey;
use crate::view::{View, ViewContent};

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
    /// An entry is no entry. Restored from a backup, all is well; put in quarantine
    /// ([`Log::quarantine_entry`]), the ids that only it holds count as new again.
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
    /// A state file cannot be read, and no entry has ids of its facet: it may be the only place
    /// that has them. Restore it from a backup, or delete it to start the day afresh.
    StateUnreadable {
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
    /// A snapshot says other versions of its ids than the entries it speaks of. `rebuild` puts it
    /// right.
    SnapshotVersions {
        /// Its key.
        key: String,
        /// Ids whose version differs, or is there on one side alone.
        differ: u64,
    },
    /// A snapshot's audit trail is not what the entries it speaks of prove. `rebuild` puts it
    /// right. (An execution that added nothing is in no entry, and so cannot be missed here.)
    SnapshotExecutions {
        /// Its key.
        key: String,
        /// Executions of the entries that the snapshot lacks.
        missing: u64,
        /// Executions of which it says fewer duplicates, other entries or other numbers of ids.
        differ: u64,
    },
    /// The rows of an entry were moved to a base, and no base holds them. Restore the base, or the
    /// entry as it was, from a backup.
    RowsMissing {
        /// The entry's key.
        key: String,
        /// The last entry whose rows the newest base holds; 0 if there is no base.
        base: u64,
    },
    /// A view cannot be read. It can be deleted and made anew from the entries.
    ViewUnreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A view lacks entries that should be in it by now, or is absent. A merge puts it right.
    ViewBehind {
        /// Its key.
        key: String,
        /// The last entry that it holds; 0 if it is absent.
        through: u64,
        /// The last entry of the log.
        last: u64,
    },
    /// A view speaks of entries that the log does not have: an entry was deleted, or the view is
    /// another log's. Restore the entries; or delete the view, and a merge makes it anew.
    ViewAhead {
        /// Its key.
        key: String,
        /// The last entry that it speaks of.
        through: u64,
        /// The last entry of the log.
        last: u64,
    },
    /// A view's rows are not those of the entries it claims to hold. Delete it, and a merge makes
    /// it anew.
    ViewIds {
        /// Its key.
        key: String,
        /// Ids of the entries that the view lacks, over all facets.
        missing: u64,
        /// Ids of the view that no entry up to its last one has.
        extra: u64,
        /// Ids whose version is not the latest of the entries.
        other_version: u64,
        /// Its rows.
        rows: u64,
        /// Its different keys: as many as rows, unless some are there twice.
        keys: u64,
    },
}

/// What a view holds, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ViewSummary {
    /// Its key.
    pub key: String,
    /// The last entry that it holds; 0 if it is absent.
    pub through: u64,
    /// Its rows.
    pub rows: u64,
}

/// What a check of a day found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Entries that were read.
    pub entries: u64,
    /// Different ids, over all facets.
    pub ids: u64,
    /// The views that were compared. One may lack the latest entries without being at fault.
    pub views: Vec<ViewSummary>,
    /// What is not as it should be; empty if all is well.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whether all is as it should be.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A view, and the ids of the entries that it claims to hold.
#[derive(Debug)]
struct Compared {
    key: String,
    /// `None` if it is absent; why it cannot be read, if so.
    content: Result<Option<ViewContent>, String>,
    expected: DoneSet,
}

impl Compared {
    fn through(&self) -> u64 {
        match &self.content {
            Ok(Some(content)) => content.through,
            _ => 0,
        }
    }
}

impl Log {
    /// Checks a day: numbers, footers, ids in two entries, and the snapshots against the entries:
    /// ids, versions, and the executions that entries tell of.
    ///
    /// # Errors
    /// [`Error::Store`] if the store failed, [`Error::Newer`] if a later release wrote any of it.
    /// Whatever is wrong with the day itself is a [`Finding`].
    pub async fn verify(&self, scope: &Scope) -> Result<Verification> {
        self.verify_with(scope, &[]).await
    }

    /// The same, and compares these views of the log with its entries.
    ///
    /// Holds the ids of the day in memory: once for the entries, once for the snapshot that is
    /// compared, and three times for each view.
    ///
    /// # Errors
    /// As [`Log::verify`].
    pub async fn verify_with(&self, scope: &Scope, views: &[&dyn View]) -> Result<Verification> {
        let mut report = Verification::default();
        // The views first: what is merged while the entries are read is no view ahead of its log.
        let mut compared = Vec::with_capacity(views.len());
        for view in views {
            compared.push(read_view(*view, scope).await?);
        }
        let tally = self.verify_entries(scope, &mut compared, &mut report);
        let tally = tally.await?;
        report.ids = tally.done.len() as u64;
        for (facet, name) in self.layout().facet_names().iter().enumerate() {
            let found = self.verify_snapshot(scope, facet as u8, name, &tally);
            report.findings.extend(found.await?);
        }
        let facets = self.layout().facet_names().len() as u8;
        for view in compared {
            report.views.push(ViewSummary {
                key: view.key.clone(),
                through: view.through(),
                rows: match &view.content {
                    Ok(Some(content)) => content.rows,
                    _ => 0,
                },
            });
            verify_view(view, tally.last, facets, &mut report.findings);
        }
        Ok(report)
    }

    async fn verify_entries(
        &self,
        scope: &Scope,
        views: &mut [Compared],
        report: &mut Verification,
    ) -> Result<Tally> {
        let mut tally = Tally::new(self.layout().facet_names().len());
        let listing = self.listing(scope).await?;
        let (listed, base) = (listing.last(), listing.base);
        loop {
            let number = tally.last + 1;
            let key = self.layout().entry_key(scope, number);
            let entry = match self.read_entry(scope, number).await {
                Ok(Some(entry)) => Some(entry),
                Ok(None) if number > listed => return Ok(tally),
                Ok(None) => {
                    report.findings.push(Finding::Gap { number, key });
                    None
                }
                Err(Error::Unreadable { key, source }) => {
                    let reason = chain(&source);
                    report.findings.push(Finding::Unreadable { key, reason });
                    None
                }
                Err(error) => return Err(error),
            };
            tally.last = number;
            let Some(entry) = entry else { continue };
            report.entries += 1;
            // A base that was made meanwhile is none that the listing shows.
            if entry.head.stub && number > base && number > self.listing(scope).await?.base {
                let key = self.layout().entry_key(scope, number);
                report.findings.push(Finding::RowsMissing { key, base });
            }
            for view in views.iter_mut().filter(|view| number <= view.through()) {
                entry.ids.iter().for_each(|id| view.expected.insert(id));
            }
            let key = self.layout().entry_key(scope, number);
            tally.note(key, &entry, self.layout(), &mut report.findings);
        }
    }

    /// The highest number that there is now, whatever is missing below it.
    async fn last_listed(&self, scope: &Scope) -> Result<u64> {
        match self.last_number(scope).await {
            Ok(last) => Ok(last),
            Err(Error::Gap { .. }) => Ok(self.numbers(scope).await?.last().copied().unwrap_or(0)),
            Err(error) => Err(error),
        }
    }
}

async fn read_view(view: &dyn View, scope: &Scope) -> Result<Compared> {
    let key = view.key(scope);
    let content = match view.read(scope).await.map_err(|e| Error::reading(&key, e)) {
        Ok(content) => Ok(content),
        Err(Error::Unreadable { source, .. }) => Err(chain(&source)),
        Err(error) => return Err(error),
    };
    Ok(Compared {
        key,
        content,
        expected: DoneSet::new(),
    })
}

fn verify_view(view: Compared, last: u64, facets: u8, findings: &mut Vec<Finding>) {
    let (key, through) = (view.key.clone(), view.through());
    let content = match view.content {
        Err(reason) => return findings.push(Finding::ViewUnreadable { key, reason }),
        Ok(None) if last == 0 => return,
        Ok(None) => return findings.push(Finding::ViewBehind { key, through, last }),
        Ok(Some(content)) => content,
    };
    if through > last {
        return findings.push(Finding::ViewAhead { key, through, last });
    }
    if through < last && content.is_due {
        let key = key.clone();
        findings.push(Finding::ViewBehind { key, through, last });
    }
    let mut held = DoneSet::new();
    let (mut extra, mut other_version) = (0, 0);
    for id in content.ids.iter() {
        held.insert(id);
        extra += u64::from(!view.expected.contains(id.facet, id.id));
        other_version += u64::from(is_other_version(&view.expected, id));
    }
    let lacks = |facet: u8| {
        let ids = view.expected.ids(facet);
        ids.filter(|id| !held.contains(facet, id)).count() as u64
    };
    let missing = (0..facets).map(lacks).sum();
    let (rows, keys) = (content.rows, held.len() as u64);
    if missing + extra + other_version > 0 || rows != keys {
        findings.push(Finding::ViewIds {
            key,
            missing,
            extra,
            other_version,
            rows,
            keys,
        });
    }
}

/// Whether both the entries and the row say which version it is, and do not agree.
fn is_other_version(expected: &DoneSet, id: Id<'_>) -> bool {
    let row = id.version.map(VersionKey::of);
    match (expected.version_of(id.facet, id.id), row) {
        (Some(expected), Some(row)) => expected != row,
        _ => false,
    }
}

/// The error and its causes, on one line.
pub(crate) fn chain(error: &FormatError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
