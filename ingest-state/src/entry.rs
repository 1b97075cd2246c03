//! What an entry says about itself, and who reads and writes its bytes.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::FormatError;
use crate::ids::IdList;
use crate::scope::Scope;
use crate::store::{LogStore, ObjectHead};

/// The version of entries and snapshots that this release writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What an execution counted up to an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records that the execution was given.
    pub input: u64,
    /// Records that were in already, and so are in no entry of this execution.
    pub duplicates_filtered: u64,
}

/// An entry's footer: everything about it but its rows, its ids and its number.
///
/// The number is in the key alone, so that the same bytes can be offered under the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryHead {
    /// The format of the entry; [`FORMAT_VERSION`] when written by this release.
    pub version: u32,
    /// The source and day that it is of: an entry that was copied to another day's folder is none.
    /// `None` in entries of the first release, which are taken for what their key says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Fresh for every append of every process: tells whose entry it is.
    pub nonce: String,
    /// The execution that made the entry; any text.
    pub execution: String,
    /// When the entry was encoded, by the writer's clock. Nothing is ordered by it.
    pub created_at: DateTime<Utc>,
    /// Ids in the entry.
    pub ids: u64,
    /// Rows in the entry; 0 for entries that hold ids only.
    pub rows: u64,
    /// What the execution counted.
    #[serde(default)]
    pub counts: Counts,
    /// The execution's own metadata.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Whether the rows were moved to a base, and only the ids are left.
    #[serde(default)]
    pub stub: bool,
}

impl EntryHead {
    /// Refuses an entry that says that it is of another source or day than `scope`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`]: the object was copied there, and is none of that log.
    pub fn check_scope(&self, scope: &Scope) -> Result<(), FormatError> {
        match &self.scope {
            Some(other) if other != scope => Err(FormatError::invalid(format!(
                "an entry of {other}, not of {scope}"
            ))),
            _ => Ok(()),
        }
    }
}

/// An entry without its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its footer.
    pub head: EntryHead,
    /// Its ids.
    pub ids: IdList,
}

/// How entries are laid out in bytes.
///
/// # Contract
/// - `read` of what `encode_ids` or [`EntryRows::encode`] made yields the same head and ids.
/// - `read` pins every ranged read to `object`'s version, and fetches no more than it needs.
/// - Bytes that are not a whole valid entry are an error, never an empty entry.
#[async_trait]
pub trait EntryFormat: fmt::Debug + Send + Sync + 'static {
    /// The head and ids of an entry. `facets` are the log's facet names, by index.
    async fn read(
        &self,
        store: &dyn LogStore,
        object: &ObjectHead,
        facets: &[&str],
    ) -> Result<Entry, FormatError>;

    /// An entry that holds ids and no rows: an import, or a stub.
    fn encode_ids(
        &self,
        head: &EntryHead,
        ids: &IdList,
        facets: &[&str],
    ) -> Result<Bytes, FormatError>;
}

/// What a writer offers: rows, their ids, and how they become an entry.
///
/// A row may stand for several ids (both facets of a contratação).
pub trait EntryRows: Send + Sync {
    /// The ids of the rows, in their order.
    fn ids(&self) -> &IdList;

    /// The entry with those ids whose place in `keep` (as long as [`ids`](Self::ids)) is true;
    /// `head.ids` is set to their number already, `head.rows` is the encoder's to set in the
    /// bytes. Called again with fewer after a lost race; at least one place is true.
    ///
    /// # Errors
    /// [`FormatError::Encode`] if the rows have no encoding.
    fn encode(&self, head: &EntryHead, keep: &[bool]) -> Result<Bytes, FormatError>;
}
