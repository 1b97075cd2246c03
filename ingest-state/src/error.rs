//! What can go wrong, told apart by what a caller would do about it.

/// A foreign error, boxed so that no foreign type is part of this crate's interface.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of everything in this crate that decides about a log.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a [`LogStore`](crate::LogStore) did not answer a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A pinned read found another version than the one that was pinned, or nothing.
    #[error("object changed while it was read. key=`{key}`")]
    Changed {
        /// The object's key.
        key: String,
    },
    /// The store failed or refused.
    #[error("store call failed. operation=`{operation}`, key=`{key}`")]
    Failed {
        /// The call, such as `create`.
        operation: &'static str,
        /// The object's key or prefix.
        key: String,
        /// Whether the same call may succeed later.
        transient: bool,
        /// Whether it is certain that the call had no effect.
        not_applied: bool,
        /// What the store said.
        #[source]
        source: BoxError,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Changed { .. } => true,
            Self::Failed { transient, .. } => *transient,
        }
    }

    /// Whether it is certain that a write had no effect. `false` means: read back and look.
    pub fn certainly_not_applied(&self) -> bool {
        match self {
            Self::Changed { .. } => true,
            Self::Failed { not_applied, .. } => *not_applied,
        }
    }
}

/// Why an [`EntryFormat`](crate::EntryFormat) could not read or write an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The store failed meanwhile; the bytes are not to blame.
    #[error("entry could not be fetched")]
    Store(#[from] StoreError),
    /// The bytes are not an entry of this format.
    #[error("not a valid entry: {reason}")]
    Invalid {
        /// What is wrong with them.
        reason: String,
        /// The parser's error, if a parser found it.
        #[source]
        source: Option<BoxError>,
    },
    /// The entry was written by a later release.
    #[error("entry has a newer format. found={found}, supported={supported}")]
    Newer {
        /// The version that was found.
        found: u32,
        /// The latest version that this release reads.
        supported: u32,
    },
    /// The rows cannot be encoded.
    #[error("rows cannot be encoded: {reason}")]
    Encode {
        /// Why not.
        reason: String,
        /// The encoder's error, if it gave one.
        #[source]
        source: Option<BoxError>,
    },
}

impl FormatError {
    /// Bytes that are not an entry, with a reason and no further cause.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
            source: None,
        }
    }
}

/// Why a log could not be loaded, appended to, or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Refused before anything was read or written.
    #[error("invalid argument: {reason}. argument=`{argument}`")]
    Invalid {
        /// The argument's name.
        argument: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed. After an append the outcome may be open; a new load tells.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// An entry exists and cannot be read. It is never taken for an empty one: a restore of that
    /// object from a backup heals the log; putting it aside gives up the ids only it holds.
    #[error("log entry cannot be read. key=`{key}`")]
    Unreadable {
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// An entry or a snapshot could not be encoded; it was not written.
    #[error("could not be encoded, not written. key=`{key}`")]
    Encode {
        /// The key that it was to have.
        key: String,
        /// Why not.
        #[source]
        source: FormatError,
    },
    /// A number below the last entry has no object: the log is refused.
    #[error("log has a gap. missing=`{key}`, number={number}")]
    Gap {
        /// The key that should exist.
        key: String,
        /// Its number.
        number: u64,
    },
    /// An object was written by a later release of this crate.
    #[error("newer format version. key=`{key}`, found={found}, supported={supported}")]
    Newer {
        /// The object's key.
        key: String,
        /// The version that was found.
        found: u32,
        /// The latest version that this release reads.
        supported: u32,
    },
    /// A state file of the previous system, whose ids no log entry holds: `import` it first.
    #[error("state file of the previous system, to be imported first. key=`{key}`")]
    Legacy {
        /// The state file's key.
        key: String,
    },
    /// A state file cannot be read, and no entry holds an id of its facet: it may be the only place
    /// that has them. Restored from a backup it can be used or imported; deleted, the day starts
    /// afresh.
    #[error(
        "state file cannot be read, and the log has none of its ids: restore it from a backup, or \
         delete it to start the day afresh. key=`{key}`, reason=`{reason}`"
    )]
    StateUnreadable {
        /// The state file's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry could not be placed within the bounded number of tries.
    #[error("entry could not be placed. key=`{key}`, attempts={attempts}")]
    Contended {
        /// The key of the last try.
        key: String,
        /// How many times it was tried.
        attempts: u32,
    },
}

impl Error {
    /// Whether the same call may succeed later, without anybody repairing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(source) => source.is_transient(),
            Self::Contended { .. } => true,
            Self::Unreadable {
                source: FormatError::Store(source),
                ..
            } => source.is_transient(),
            Self::Invalid { .. }
            | Self::Unreadable { .. }
            | Self::Encode { .. }
            | Self::Gap { .. }
            | Self::Newer { .. }
            | Self::Legacy { .. }
            | Self::StateUnreadable { .. } => false,
        }
    }

    /// Whether it is certain that nothing was written.
    pub fn certainly_not_applied(&self) -> bool {
        match self {
            Self::Store(source) => source.certainly_not_applied(),
            Self::Contended { .. } | Self::Unreadable { .. } => false,
            Self::Invalid { .. }
            | Self::Encode { .. }
            | Self::Gap { .. }
            | Self::Newer { .. }
            | Self::Legacy { .. }
            | Self::StateUnreadable { .. } => true,
        }
    }

    /// Names `key` as the entry that could not be read, keeping store failures apart.
    pub(crate) fn reading(key: &str, source: FormatError) -> Self {
        match source {
            FormatError::Store(source) => Self::Store(source),
            FormatError::Newer { found, supported } => Self::Newer {
                key: key.to_owned(),
                found,
                supported,
            },
            source => Self::Unreadable {
                key: key.to_owned(),
                source,
            },
        }
    }
}
