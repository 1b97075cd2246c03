//! Why a merge did not happen.

use ingest_state::{FormatError, StoreError};

use super::sparse::is_changed;

/// Why a merge did not happen. The file is as it was, or a valid one that holds fewer entries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The log could not be read.
    #[error("log cannot be read")]
    Log(#[from] ingest_state::Error),
    /// The log's store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// A source is no valid entry, or not sorted.
    #[error("cannot be merged. key=`{key}`")]
    Source {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// A column has another type than in a newer source, and none that holds both: one of the two
    /// must be written anew. (Columns that only some sources have are no error.)
    #[error(
        "a column has another type than in newer sources. \
         key=`{key}`, column=`{column}`, found=`{found}`, newer=`{newer}`"
    )]
    Schema {
        /// The object whose column it is.
        key: String,
        /// The column's path, `itens.valorTotal`.
        column: String,
        /// The column's type in this object.
        found: String,
        /// Its type in the newer sources.
        newer: String,
    },
    /// The file speaks of entries that the log does not have.
    #[error("merged file is ahead of its log. key=`{key}`, through={through}, last={last}")]
    Ahead {
        /// The file's key.
        key: String,
        /// The entry that the file speaks of.
        through: u64,
        /// The last entry that exists.
        last: u64,
    },
    /// The rows of an entry were moved to a base, which is not there.
    #[error("an archived entry whose base is missing. key=`{key}`")]
    Stub {
        /// The entry's key.
        key: String,
    },
    /// The file changed each time.
    #[error("merged file kept changing. key=`{key}`, restarts={restarts}")]
    Contended {
        /// The file's key.
        key: String,
        /// How often the merge started again.
        restarts: u32,
    },
    /// The merged file could not be written.
    #[error("merged file cannot be written")]
    Write(#[from] crate::Error),
}

impl MergeError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(source) => source.is_transient(),
            Self::Store(source) => source.is_transient(),
            Self::Source {
                source: FormatError::Store(source),
                ..
            } => source.is_transient(),
            Self::Write(source) => source.is_transient(),
            Self::Contended { .. } => true,
            Self::Source { .. } | Self::Schema { .. } | Self::Ahead { .. } | Self::Stub { .. } => {
                false
            }
        }
    }

    /// Whether an object was replaced while it was read, so that the merge starts again.
    pub(super) fn is_changed(&self) -> bool {
        match self {
            Self::Store(StoreError::Changed { .. }) => true,
            Self::Source { source, .. } => is_changed(source),
            // An archiver came after the listing: the next one shows its base.
            Self::Stub { .. } => true,
            Self::Log(_)
            | Self::Store(_)
            | Self::Schema { .. }
            | Self::Ahead { .. }
            | Self::Contended { .. }
            | Self::Write(_) => false,
        }
    }
}
