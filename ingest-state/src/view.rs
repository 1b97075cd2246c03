//! Files that are made from a log, to be compared with it.

use std::fmt;

use async_trait::async_trait;

use crate::error::FormatError;
use crate::ids::IdList;
use crate::scope::Scope;

/// A file that is made from the entries of a log: one sorted file of all their rows, say.
///
/// # Contract
/// `read` sees one version of the file, whole, and never changes anything.
#[async_trait]
pub trait View: fmt::Debug + Send + Sync {
    /// Where the view of `scope` lies.
    fn key(&self, scope: &Scope) -> String;

    /// What it holds, or `None` if there is none.
    ///
    /// # Errors
    /// [`FormatError`] if it is no such file, or the store failed.
    async fn read(&self, scope: &Scope) -> Result<Option<ViewContent>, FormatError>;
}

/// What a view holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewContent {
    /// The last entry that it claims to hold, and with it all before.
    pub through: u64,
    /// Its rows.
    pub rows: u64,
    /// Whether what it lacks should be in it by now: a view may be a little behind.
    pub is_due: bool,
    /// The ids of its rows, with facets and versions.
    pub ids: IdList,
}
