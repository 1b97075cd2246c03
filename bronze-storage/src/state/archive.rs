//! Archiving: the rows of a closed day move from its entries into one base.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use ingest_state::{
    Created, DoneSet, EntryHead, FormatError, IdList, LogStore, Object, ObjectHead, Scope,
    Standing, StoreError,
};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::columns::IdColumns;
use super::entry;
use super::merge::{Merger, THROUGH_KEY};
use super::rows::encode_error;
use super::run::broken;
use super::sparse::{Opened, invalid};

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

/// What an archiving did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The base, which holds all rows up to entry `through`; `None` if the log is empty.
    pub base: Option<String>,
    /// The last entry of the log.
    pub through: u64,
    /// Entries that were overwritten with stubs now; 0 if all was done before.
    pub stubbed: u64,
    /// Bytes of the entries before.
    pub bytes_before: u64,
    /// Bytes of base and entries after.
    pub bytes_after: u64,
}

/// Why a day was not archived. Whatever was done up to then is sound, and done when it is tried
/// again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The log could not be read.
    #[error("log cannot be read")]
    Log(#[from] ingest_state::Error),
    /// The log's store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// The merged file does not hold all entries, or there is none: merge first.
    #[error("merged file is behind its log. key=`{key}`, through={through}, last={last}")]
    Behind {
        /// The merged file's key.
        key: String,
        /// The last entry that it holds; 0 without a file.
        through: u64,
        /// The last entry of the log.
        last: u64,
    },
    /// The merged file is larger than what may be held in memory.
    #[error("merged file is too large. key=`{key}`, bytes={bytes}, max_bytes={max_bytes}")]
    TooLarge {
        /// The merged file's key.
        key: String,
        /// Its size.
        bytes: u64,
        /// The most that was allowed.
        max_bytes: u64,
    },
    /// The base lacks an id of an entry: the entry is kept as it is.
    #[error("base lacks an id of an entry. base=`{base}`, entry=`{entry}`, id=`{id}`")]
    Missing {
        /// The base's key.
        base: String,
        /// The entry's key.
        entry: String,
        /// The first id that is not there, or not in that version.
        id: String,
    },
    /// An object is no valid entry, or no merged file.
    #[error("cannot be archived. key=`{key}`")]
    Source {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// The entries are what readers read: only a log with a merged view can be archived.
    #[error("a log without a merged view is not archived. scope=`{scope}`")]
    NoView {
        /// The source and the day.
        scope: String,
    },
}

impl ArchiveError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(source) => source.is_transient(),
            Self::Store(source)
            | Self::Source {
                source: FormatError::Store(source),
                ..
            } => source.is_transient(),
            Self::Behind { .. }
            | Self::TooLarge { .. }
            | Self::Missing { .. }
            | Self::Source { .. }
            | Self::NoView { .. } => false,
        }
    }
}

/// Archives closed days of a log that has a merged view.
///
/// First the merged file becomes a base beside the entries, created if absent; when it is there
/// for certain, each entry is overwritten with a stub of its ids and its nonce, once the base was
/// seen to hold all of them. Keys are never freed, so that no writer takes a number twice. A
/// merger that needs an entry that is a stub by now starts from the base.
///
/// Any number of archivers, mergers and writers may be at work: a stub says what its entry said.
///
/// # Memory
/// The merged file, whole and compressed, because it is created by one PUT; at most
/// [`Archiver::with_max_bytes`]. Its ids, in at most 64 bytes each beyond their own.
#[derive(Debug, Clone)]
pub struct Archiver {
    merger: Merger,
    max_bytes: u64,
}

impl Archiver {
    /// Archives the log of `merger`.
    pub fn new(merger: Merger) -> Self {
        Self {
            merger,
            max_bytes: 512 * 1024 * 1024,
        }
    }

    /// The largest merged file that is taken (default 512 MiB).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Moves the rows of a day into a base. The caller knows that the day is closed; an entry that
    /// comes later nevertheless is merged on top of the base as ever.
    ///
    /// # Errors
    /// [`ArchiveError::Behind`] if the merged file does not hold every entry. Safe to repeat.
    ///
    /// # Cancellation
    /// What was done stays done, and the rest is done when it is tried again.
    pub async fn archive(&self, scope: &Scope) -> Result<Archived, ArchiveError> {
        let log = &self.merger.log;
        let IdColumns::Facets { .. } = &*self.merger.columns else {
            let scope = scope.to_string();
            return Err(ArchiveError::NoView { scope });
        };
        let last = log.last_number(scope).await?;
        if last == 0 {
            return Ok(Archived {
                base: None,
                through: 0,
                stubbed: 0,
                bytes_before: 0,
                bytes_after: 0,
            });
        }
        let (base, bytes) = self.base(scope, last).await?;
        let held = self.ids_of(&base, bytes)?;
        let mut archived = Archived {
            through: last,
            stubbed: 0,
            bytes_before: 0,
            bytes_after: base.size,
            base: None,
        };
        for number in 1..=last {
            let (before, after) = self.stub(scope, number, &base, &held).await?;
            archived.stubbed += u64::from(before != after);
            archived.bytes_before += before;
            archived.bytes_after += after;
        }
        archived.base = Some(base.key);
        Ok(archived)
    }

    fn store(&self) -> &dyn LogStore {
        &**self.merger.log.store()
    }

    /// The base of all entries up to `last`, as it lies in the store.
    async fn base(&self, scope: &Scope, last: u64) -> Result<(ObjectHead, Bytes), ArchiveError> {
        let key = self.merger.log.layout().base_key(scope, last);
        if let Some(base) = self.store().get(&key).await? {
            return self.checked(base, last);
        }
        let view = self.view(scope, last).await?;
        let created = self.store().create(&key, view.bytes).await;
        // Ours, another archiver's, or an answer that was lost: what counts is what lies there.
        match (self.store().get(&key).await?, created) {
            (Some(base), _) => self.checked(base, last),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(Created::Created | Created::Exists)) => {
                Err(source(&key)(FormatError::invalid("created, but not there")))
            }
        }
    }

    /// The merged file, if it holds every entry.
    async fn view(&self, scope: &Scope, last: u64) -> Result<Object, ArchiveError> {
        let key = self.merger.key(scope);
        let behind = |through| ArchiveError::Behind {
            key: key.clone(),
            through,
            last,
        };
        let head = self.store().head(&key).await?;
        let head = head.ok_or_else(|| behind(0))?;
        if head.size > self.max_bytes {
            return Err(ArchiveError::TooLarge {
                key,
                bytes: head.size,
                max_bytes: self.max_bytes,
            });
        }
        let view = self.store().get(&key).await?;
        let view = view.ok_or_else(|| behind(0))?;
        let through = through(&view.bytes).map_err(source(&key))?;
        if through == last {
            Ok(view)
        } else {
            Err(behind(through))
        }
    }

    fn checked(&self, base: Object, last: u64) -> Result<(ObjectHead, Bytes), ArchiveError> {
        let refused = source(&base.head.key);
        let through = through(&base.bytes).map_err(&refused)?;
        if through != last {
            let reason = format!("its footer says {through}, its name {last}");
            return Err(refused(FormatError::invalid(reason)));
        }
        Ok((base.head, base.bytes))
    }

    /// The ids of a base, with their versions.
    fn ids_of(&self, base: &ObjectHead, bytes: Bytes) -> Result<DoneSet, ArchiveError> {
        let read = || -> Result<DoneSet, FormatError> {
            let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(invalid)?;
            let paths = self.merger.columns.paths();
            let paths = paths.iter().map(String::as_str);
            let mask = ProjectionMask::columns(builder.parquet_schema(), paths);
            let reader = builder
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(invalid)?;
            let mut held = DoneSet::new();
            for batch in reader {
                let mut ids = IdList::new();
                let batch = batch.map_err(broken)?;
                if batch.num_columns() > 0 && batch.num_rows() > 0 {
                    self.merger.columns.extract(&batch, &mut ids, |_| {})?;
                }
                ids.iter().for_each(|id| held.insert(id));
            }
            Ok(held)
        };
        read().map_err(source(&base.key))
    }

    /// Overwrites entry `number` with a stub, unless it has no rows any more. Returns its size
    /// before and after.
    async fn stub(
        &self,
        scope: &Scope,
        number: u64,
        base: &ObjectHead,
        held: &DoneSet,
    ) -> Result<(u64, u64), ArchiveError> {
        let key = self.merger.log.layout().entry_key(scope, number);
        let object = self.store().head(&key).await?;
        let object = object.ok_or_else(|| ingest_state::Error::Gap {
            key: key.clone(),
            number,
        })?;
        let refused = source(&key);
        let opened = Opened::open(self.store(), &object)
            .await
            .map_err(&refused)?;
        let head = entry::head(&opened).map_err(&refused)?;
        head.check_scope(scope).map_err(&refused)?;
        if head.stub || head.rows == 0 {
            return Ok((object.size, object.size));
        }
        let rows = self.id_rows(&opened).await.map_err(&refused)?;
        let mut ids = IdList::new();
        let extracted = self.merger.columns.extract(&rows, &mut ids, |_| {});
        extracted.map_err(&refused)?;
        let done = |id: &ingest_state::Id<'_>| held.standing(*id) == Standing::AlreadyProcessed;
        if let Some(id) = ids.iter().find(|id| !done(id)) {
            return Err(ArchiveError::Missing {
                base: base.key.clone(),
                entry: key,
                id: id.id.to_owned(),
            });
        }
        let head = EntryHead { stub: true, ..head };
        let bytes = entry::encode(&rows, &head, Vec::new()).map_err(&refused)?;
        let size = bytes.len() as u64;
        self.store().overwrite(&key, bytes).await?;
        Ok((object.size, size))
    }

    /// The id columns of an entry's rows.
    async fn id_rows(&self, opened: &Opened) -> Result<RecordBatch, FormatError> {
        let metadata = &opened.metadata;
        let paths = self.merger.columns.paths();
        let paths = paths.iter().map(String::as_str);
        let mask = ProjectionMask::columns(metadata.file_metadata().schema_descr(), paths);
        let mut batches = Vec::new();
        for group in 0..metadata.num_row_groups() {
            let read = opened.read(self.store(), vec![group], mask.clone(), BATCH_ROWS);
            for batch in read.await? {
                batches.push(batch.map_err(broken)?);
            }
        }
        let schema = batches.first().map(RecordBatch::schema);
        let schema = schema.unwrap_or_else(|| Arc::new(arrow_schema::Schema::empty()));
        concat_batches(&schema, &batches).map_err(encode_error)
    }
}

/// The last entry that a merged file or a base holds, by its footer.
fn through(bytes: &Bytes) -> Result<u64, FormatError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(invalid)?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let pair = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == THROUGH_KEY));
    pair.and_then(|pair| pair.value.as_deref()?.parse().ok())
        .ok_or_else(|| FormatError::invalid("its footer does not say what it holds"))
}

fn source(key: &str) -> impl Fn(FormatError) -> ArchiveError + use<> {
    let key = key.to_owned();
    move |source| ArchiveError::Source {
        key: key.clone(),
        source,
    }
}
