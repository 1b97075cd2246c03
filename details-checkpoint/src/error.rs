//! Why a run did not come to its end.

use crate::{Report, SinkError};

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Refused before anything was asked or written.
    #[error("invalid setting: {reason}. field=`{field}`")]
    Invalid {
        /// The setting's name.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What is done could not be read, so nothing was asked.
    #[error("cannot read what is done")]
    Load {
        /// Why.
        #[source]
        source: SinkError,
    },
    /// A checkpoint could not be saved; the ones before it stand.
    #[error("checkpoint not saved. checkpoint={number}, attempts={attempts}, keys_saved_before={}", report.processed)]
    Save {
        /// The checkpoint's number.
        number: u32,
        /// How often it was tried.
        attempts: u32,
        /// What the run did before.
        report: Box<Report>,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// A failure could not be set aside.
    #[error("failure not set aside. key=`{key}`, facet=`{facet}`")]
    Quarantine {
        /// The key that had failed.
        key: String,
        /// Its facet.
        facet: String,
        /// What the run did before.
        report: Box<Report>,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// All checkpoints were saved, but not what comes after them.
    #[error("cannot finish; every checkpoint is saved. checkpoints={}", report.checkpoints.len())]
    Finish {
        /// What the run did.
        report: Box<Report>,
        /// Why.
        #[source]
        source: SinkError,
    },
}

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }

    /// Whether the same run may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Invalid { .. } => false,
            Self::Load { source }
            | Self::Save { source, .. }
            | Self::Quarantine { source, .. }
            | Self::Finish { source, .. } => source.is_transient(),
        }
    }

    /// What the run had done when it ended.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Invalid { .. } | Self::Load { .. } => None,
            Self::Save { report, .. }
            | Self::Quarantine { report, .. }
            | Self::Finish { report, .. } => Some(report),
        }
    }
}
