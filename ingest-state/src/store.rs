//! What the log asks of a store, and no more.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;

/// The answer to [`LogStore::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is there now, whole, and was not there before.
    Created,
    /// There was an object already; it is untouched.
    Exists,
}

/// What identifies one content of an object: an ETag, or size and time where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub String);

/// An object's key, size and version, as one call saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// The object's key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version, to pin later reads to.
    pub version: Version,
}

/// An object's bytes and what identifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Key, size and version.
    pub head: ObjectHead,
    /// The whole content.
    pub bytes: Bytes,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object's key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// An object store, as far as a log needs one.
///
/// # Contract
/// - [`create`](Self::create) and [`overwrite`](Self::overwrite) are atomic: a reader sees the
///   whole object or the one before. Of any number of racing creates of a key, one wins.
/// - Once a write was acknowledged, every later `get` and `head` sees it. A listing may lag.
/// - An error of a write may hide that it took effect, now or later, unless
///   [`StoreError::certainly_not_applied`] says otherwise.
/// - `get_range` answers [`StoreError::Changed`] rather than bytes of another version.
/// - What retries is below this trait (`object_store` does); nothing above it does.
#[async_trait]
pub trait LogStore: fmt::Debug + Send + Sync + 'static {
    /// Creates `key` if it is absent.
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError>;

    /// Creates or replaces `key`.
    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError>;

    /// The whole object, or `None` if it is absent.
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError>;

    /// Size and version, or `None` if it is absent.
    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError>;

    /// The bytes of `range` of `object`, if it still has that version.
    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// All objects whose key starts with `prefix`, which ends with `/`, in any order.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;

    /// Removes `key`; absent is fine.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
}
