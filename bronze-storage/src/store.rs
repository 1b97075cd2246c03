use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};

use crate::config::BronzeConfig;
use crate::error::{Error, Operation, Result};
use crate::key;
use crate::options::WriteOptions;

/// Temporary Parquet objects up to this size are held whole while they are read.
const HELD_BYTES: u64 = 32 * 1024 * 1024;
/// The longest time that temporary objects can be read for: an instant plus this is one.
const MAX_TEMP_TTL: TimeDelta = TimeDelta::days(100 * 366);

/// Where this crate takes the time from: names, `created` and `expires`, ages.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// One version of an object: what pins a series of ranged reads to the same bytes.
///
/// Most servers answer a hash of the content as the ETag: equal bytes, equal version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The store's entity tag; a store without one is pinned by the size alone.
    pub e_tag: Option<String>,
    /// The object's size in bytes.
    pub size: u64,
}

/// What a create-if-absent did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The object is new, and this is its version.
    New(Version),
    /// An object was there already and was left alone. It may be this caller's own, written by a
    /// try whose answer was lost: read it and compare.
    Exists,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The key, from the store's prefix on.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub last_modified: DateTime<Utc>,
    /// Its entity tag, where the listing has one.
    pub e_tag: Option<String>,
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            key: meta.location.to_string(),
            size: meta.size,
            last_modified: meta.last_modified,
            e_tag: meta.e_tag,
        }
    }
}

/// The bronze layer's object store: a bucket, a folder or memory, below a prefix.
///
/// Cheap to clone; clones share the connection.
///
/// # Contract
/// - A write is whole or not at all; a reader never sees half an object.
/// - Only create-if-absent, overwrite-whole, get, list and delete are asked of the store.
/// - Nothing here retries: `object_store`'s client does, within the configured bounds.
/// - Dropping a future may leave a write done or not done, never half done.
#[derive(Clone)]
pub struct BronzeStore {
    store: Arc<dyn ObjectStore>,
    location: Arc<str>,
    folder: Option<Arc<std::path::Path>>,
    /// What polars needs to open the same place by itself.
    #[cfg(feature = "polars")]
    config: Option<Arc<BronzeConfig>>,
    clock: Clock,
    write: WriteOptions,
    temp_ttl: TimeDelta,
    held_bytes: u64,
}

impl fmt::Debug for BronzeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BronzeStore")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl BronzeStore {
    /// Opens the store of a configuration; nothing is sent and no folder is created yet.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn open(config: &BronzeConfig) -> Result<Self> {
        Self::builder().with_config(config.clone()).build()
    }

    /// A new, empty store in memory.
    pub fn memory() -> Self {
        Self::assemble(
            Arc::new(object_store::memory::InMemory::new()),
            "memory:".to_owned(),
        )
    }

    /// Wraps a store of the caller's.
    pub fn from_store(store: Arc<dyn ObjectStore>) -> Self {
        let location = store.to_string();
        Self::assemble(store, location)
    }

    /// Builds a store from parts.
    pub fn builder() -> BronzeStoreBuilder {
        BronzeStoreBuilder::default()
    }

    fn assemble(store: Arc<dyn ObjectStore>, location: String) -> Self {
        Self {
            store,
            location: location.into(),
            folder: None,
            #[cfg(feature = "polars")]
            config: None,
            clock: Arc::new(Utc::now),
            write: WriteOptions::default(),
            temp_ttl: TimeDelta::days(7),
            held_bytes: HELD_BYTES,
        }
    }

    /// The store underneath, with the prefix applied: its keys are this store's keys.
    pub fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The same store behind a wrapper, such as one that counts or one that fails on purpose.
    pub fn wrapped(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self {
            store: wrap(Arc::clone(&self.store)),
            ..self.clone()
        }
    }

    /// Where it lies, for people: `s3://lh-bronze`, `file:///…`, `memory:`. No secrets.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The folder of a local store.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.folder.as_deref()
    }

    /// The settings that it was opened with; a store of the caller's has none.
    #[cfg(feature = "polars")]
    pub(crate) fn config(&self) -> Option<&BronzeConfig> {
        self.config.as_deref()
    }

    /// The time, from the store's clock.
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// How Parquet is written where a call says nothing else.
    pub fn write_options(&self) -> &WriteOptions {
        &self.write
    }

    /// How long temporary objects may be read after they were written.
    pub fn temp_ttl(&self) -> TimeDelta {
        self.temp_ttl
    }

    /// The largest object that a read of records or of temporary data holds whole.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Adds a pair to the footer of the Parquet that is written through this clone.
    pub(crate) fn add_metadata(&mut self, key: &str, value: &str) {
        self.write.metadata.push((key.to_owned(), value.to_owned()));
    }

    /// Writes an object, over what was there.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`]: it may have been written nevertheless, unless
    /// [`Error::certainly_not_applied`].
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<Version> {
        let (path, size) = (key::path(key)?, bytes.len() as u64);
        let answer = self.store.put(&path, bytes.into()).await;
        let put = answer.map_err(|error| Error::from_store(Operation::Put, key, error))?;
        Ok(Version {
            e_tag: put.e_tag,
            size,
        })
    }

    /// Writes an object if it is absent.
    ///
    /// # Errors
    /// As [`BronzeStore::put`].
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created> {
        let (path, size) = (key::path(key)?, bytes.len() as u64);
        match self
            .store
            .put_opts(&path, bytes.into(), PutMode::Create.into())
            .await
        {
            Ok(put) => Ok(Created::New(Version {
                e_tag: put.e_tag,
                size,
            })),
            Err(error) => match Error::from_store(Operation::Create, key, error) {
                Error::Exists { .. } => Ok(Created::Exists),
                error => Err(error),
            },
        }
    }

    /// Reads an object whole.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Denied`], [`Error::Store`].
    pub async fn get(&self, key: &str) -> Result<(Bytes, Version)> {
        let path = key::path(key)?;
        let wrong = |error| Error::from_store(Operation::Get, key, error);
        let answer = self.store.get(&path).await.map_err(wrong)?;
        let version = Version {
            e_tag: answer.meta.e_tag.clone(),
            size: answer.meta.size,
        };
        let bytes = answer.bytes().await.map_err(wrong)?;
        if bytes.len() as u64 != version.size {
            return Err(cut_short(key, bytes.len(), version.size));
        }
        Ok((bytes, version))
    }

    /// The version of an object, if it is there.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`].
    pub async fn head(&self, key: &str) -> Result<Option<Version>> {
        Ok(self.stat(key).await?.map(|(version, _)| version))
    }

    /// The same with the time when it was written, by the store's clock.
    pub(crate) async fn stat(&self, key: &str) -> Result<Option<(Version, DateTime<Utc>)>> {
        let path = key::path(key)?;
        match self.store.head(&path).await {
            Ok(meta) => {
                let version = Version {
                    e_tag: meta.e_tag,
                    size: meta.size,
                };
                Ok(Some((version, meta.last_modified)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::from_store(Operation::Get, key, error)),
        }
    }

    /// Reads a range of one version of an object.
    ///
    /// # Errors
    /// [`Error::Changed`] if the object is another version by now; else as [`BronzeStore::get`].
    pub async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        version: &Version,
    ) -> Result<Bytes> {
        let path = key::path(key)?;
        let bytes = pinned_range(&self.store, &path, range, version).await;
        bytes.map_err(|error| Error::from_store(Operation::Get, key, error))
    }

    /// Every object below a folder, sorted by key. A folder that is not there is empty.
    ///
    /// The prefix is whole segments: `pncp` does not list `pncp_details`. A listing is no
    /// snapshot: what is written meanwhile may be missing.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`]; [`Error::NotFound`] where the bucket is missing.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let path = if prefix.is_empty() {
            None
        } else {
            Some(key::path(prefix)?)
        };
        let wrong = |error| Error::from_store(Operation::List, prefix, error);
        let found = self.store.list(path.as_ref()).map_ok(Object::from);
        let mut found: Vec<Object> = found.try_collect().await.map_err(wrong)?;
        // Servers list in orders of their own.
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.dedup_by(|a, b| a.key == b.key);
        Ok(found)
    }

    /// Deletes an object. `false`: the store said that it was absent (S3 never says so).
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`].
    pub async fn delete(&self, key: &str) -> Result<bool> {
        let path = key::path(key)?;
        match self.store.delete(&path).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Error::from_store(Operation::Delete, key, error)),
        }
    }
}

/// The error of a body that ended before its length.
pub(crate) fn cut_short(key: &str, got: usize, expected: u64) -> Error {
    Error::Store {
        operation: Operation::Get,
        key: key.to_owned(),
        transient: true,
        source: format!("{got} bytes arrived of {expected}").into(),
    }
}

/// A range of one version; servers that ignore the condition are caught by what they answer.
pub(crate) async fn pinned_range(
    store: &Arc<dyn ObjectStore>,
    path: &object_store::path::Path,
    range: Range<u64>,
    version: &Version,
) -> object_store::Result<Bytes> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let expected = range.end - range.start;
    let options = GetOptions {
        range: Some(GetRange::Bounded(range)),
        if_match: version.e_tag.clone(),
        ..GetOptions::default()
    };
    let answer = store.get_opts(path, options).await?;
    if answer.meta.size != version.size
        || (version.e_tag.is_some() && answer.meta.e_tag != version.e_tag)
    {
        return Err(object_store::Error::Precondition {
            path: path.to_string(),
            source: format!("the store answered version {:?}", answer.meta.e_tag).into(),
        });
    }
    let bytes = answer.bytes().await?;
    if bytes.len() as u64 != expected {
        return Err(object_store::Error::Generic {
            store: "bronze",
            source: format!("{} bytes arrived of {expected}", bytes.len()).into(),
        });
    }
    Ok(bytes)
}

/// Puts a [`BronzeStore`] together; see [`BronzeStore::builder`].
#[derive(Default)]
pub struct BronzeStoreBuilder {
    config: Option<BronzeConfig>,
    store: Option<Arc<dyn ObjectStore>>,
    prefix: Option<String>,
    clock: Option<Clock>,
    write: Option<WriteOptions>,
    temp_ttl: Option<TimeDelta>,
    held_bytes: Option<u64>,
}

impl fmt::Debug for BronzeStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BronzeStoreBuilder")
            .field("config", &self.config)
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}

impl BronzeStoreBuilder {
    /// Opens the store of these settings.
    pub fn with_config(mut self, config: BronzeConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Uses this store instead of opening one.
    pub fn with_store(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Keeps every key below this prefix (instead of the configuration's).
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Takes the time from here: tests, replays.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Writes Parquet in this way where a call says nothing else.
    pub fn with_write_options(mut self, options: WriteOptions) -> Self {
        self.write = Some(options);
        self
    }

    /// Lets temporary objects be read for this long (default 7 days): more than nothing, and at
    /// most 100 years, which [`BronzeStoreBuilder::build`] checks.
    pub fn with_temp_ttl(mut self, ttl: TimeDelta) -> Self {
        self.temp_ttl = Some(ttl);
        self
    }

    /// Reads objects above this many bytes twice instead of holding them whole, where they have to
    /// be verified or surveyed first: temporary Parquet (default 32 MiB) and JSON records (at most
    /// 4 MiB whatever is set here).
    pub fn with_held_bytes(mut self, bytes: u64) -> Self {
        self.held_bytes = Some(bytes);
        self
    }

    /// Opens it. Nothing is sent and no folder is created yet.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, a store whose feature is not compiled in,
    /// or neither a store nor settings.
    pub fn build(self) -> Result<BronzeStore> {
        let mut prefix = self.prefix;
        let mut store = match (self.store, &self.config) {
            (Some(store), _) => BronzeStore::from_store(store),
            (None, Some(config)) => {
                config.validate()?;
                prefix = prefix.or_else(|| Some(config.prefix.clone()));
                let opened = crate::open::open(config)?;
                let mut store = BronzeStore::assemble(opened.store, opened.location);
                store.folder = opened.folder.map(Into::into);
                #[cfg(feature = "polars")]
                {
                    store.config = Some(Arc::new(config.clone()));
                }
                store
            }
            (None, None) => {
                return Err(Error::Config {
                    field: "storage_type",
                    reason: "neither settings nor a store were given".to_owned(),
                });
            }
        };
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
            let path = key::path(&prefix)?;
            store.store = Arc::new(PrefixStore::new(store.store, path));
            store.location = format!("{}/{prefix}", store.location.trim_end_matches('/')).into();
            store.folder = store.folder.map(|folder| folder.join(&prefix).into());
        }
        if let Some(clock) = self.clock {
            store.clock = clock;
        }
        if let Some(write) = self.write {
            write.validate()?;
            store.write = write;
        }
        if let Some(ttl) = self.temp_ttl {
            if ttl <= TimeDelta::zero() || ttl > MAX_TEMP_TTL {
                return Err(Error::Config {
                    field: "temp_ttl",
                    reason: format!("{ttl} is not between 0 and {MAX_TEMP_TTL}"),
                });
            }
            store.temp_ttl = ttl;
        }
        if let Some(bytes) = self.held_bytes {
            store.held_bytes = bytes;
        }
        Ok(store)
    }
}
