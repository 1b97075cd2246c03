use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use object_store::{OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, coalesce_ranges};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Result};
use crate::key;
use crate::options::ReadOptions;
use crate::store::{BronzeStore, Version, pinned_range};

/// How much of an object's end is fetched in the hope that it holds the whole footer.
const FOOTER_BYTES: usize = 64 * 1024;

/// Record batches as they come, all of one schema.
pub struct BatchStream {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

impl std::fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchStream")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl BatchStream {
    /// Wraps a stream whose batches all have this schema.
    pub fn new(
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Self {
        Self {
            schema,
            batches: batches.boxed(),
        }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// All batches, in memory.
    ///
    /// # Errors
    /// The first of the stream.
    pub async fn collect_batches(self) -> Result<Vec<RecordBatch>> {
        self.batches.try_collect().await
    }
}

impl Stream for BatchStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

/// One version of a Parquet object, its footer read: every later read is of that version, or
/// fails with [`Error::Changed`].
#[derive(Debug, Clone)]
pub struct ParquetFile {
    store: BronzeStore,
    key: String,
    version: Version,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Reads the footer of an object as it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Format`] if it is truncated or no Parquet file at all;
    /// [`Error::Changed`], [`Error::Denied`], [`Error::Store`].
    pub async fn open(store: &BronzeStore, key: &str) -> Result<Self> {
        let Some(version) = store.head(key).await? else {
            return Err(Error::NotFound {
                key: key.to_owned(),
                source: "no such object".into(),
            });
        };
        Self::open_version(store, key, version).await
    }

    /// Reads the footer of a version that is known from elsewhere.
    ///
    /// # Errors
    /// As [`ParquetFile::open`].
    pub async fn open_version(store: &BronzeStore, key: &str, version: Version) -> Result<Self> {
        let path = key::path(key)?;
        let inner = store.object_store().clone();
        let mut source = Pinned {
            store: inner,
            path,
            version: version.clone(),
            footer: None,
        };
        let metadata = ArrowReaderMetadata::load_async(&mut source, ArrowReaderOptions::new())
            .await
            .map_err(|error| Error::from_parquet_read(key, error))?;
        Ok(Self {
            store: store.clone(),
            key: key.to_owned(),
            version,
            metadata,
        })
    }

    /// The object's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The version that is read.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// A pair of the footer.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let pairs = self
            .metadata
            .metadata()
            .file_metadata()
            .key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// The footer: row groups, statistics.
    pub fn footer(&self) -> &Arc<ParquetMetaData> {
        self.metadata.metadata()
    }

    /// Reads rows, a row group at a time; only the asked columns are fetched.
    ///
    /// # Errors
    /// [`Error::Schema`] for a column or row group that is not there. The stream: [`Error::Format`],
    /// [`Error::Changed`], [`Error::Denied`], [`Error::Store`].
    pub fn read(&self, options: &ReadOptions) -> Result<BatchStream> {
        let key = self.key.clone();
        let source = Pinned {
            store: self.store.object_store().clone(),
            path: key::path(&key)?,
            version: self.version.clone(),
            footer: Some(self.metadata.metadata().clone()),
        };
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(source, self.metadata.clone())
                .with_batch_size(options.batch_rows.max(1));
        if let Some(columns) = &options.columns {
            builder = builder.with_projection(self.projection(columns)?);
        }
        if let Some(groups) = &options.row_groups {
            let count = self.metadata.metadata().num_row_groups();
            if let Some(group) = groups.iter().find(|group| **group >= count) {
                let reason = format!("there is no row group {group}, only {count}");
                return Err(Error::Schema { at: key, reason });
            }
            builder = builder.with_row_groups(groups.clone());
        }
        let batches = builder
            .build()
            .map_err(|error| Error::from_parquet_read(&self.key, error))?;
        let schema = batches.schema().clone();
        let batches = batches.map_err(move |error| Error::from_parquet_read(&key, error));
        Ok(BatchStream::new(schema, batches))
    }

    /// Whether there is a column of this name or path.
    pub(crate) fn has(&self, column: &str) -> bool {
        // Lists have levels between a column and its leaves, so a path is a prefix.
        let leaves = self.metadata.parquet_schema().columns();
        leaves.iter().any(|leaf| {
            let leaf = leaf.path().string();
            leaf.strip_prefix(column)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn projection(&self, columns: &[String]) -> Result<ProjectionMask> {
        if let Some(column) = columns.iter().find(|column| !self.has(column)) {
            return Err(Error::Schema {
                at: column.clone(),
                reason: format!("{} has no such column", self.key),
            });
        }
        Ok(ProjectionMask::columns(
            self.metadata.parquet_schema(),
            columns.iter().map(String::as_str),
        ))
    }
}

/// Ranged reads of one version.
struct Pinned {
    store: Arc<dyn ObjectStore>,
    path: object_store::path::Path,
    version: Version,
    footer: Option<Arc<ParquetMetaData>>,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Pinned {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            pinned_range(&self.store, &self.path, range, &self.version)
                .await
                .map_err(external)
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            let (store, path, version) = (&self.store, &self.path, &self.version);
            let fetch = |range| pinned_range(store, path, range, version);
            coalesce_ranges(&ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT)
                .await
                .map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            if let Some(footer) = &self.footer {
                return Ok(footer.clone());
            }
            let size = self.version.size;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            let footer = Arc::new(reader.load_and_finish(&mut *self, size).await?);
            self.footer = Some(footer.clone());
            Ok(footer)
        }
        .boxed()
    }
}
