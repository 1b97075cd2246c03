use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;

use crate::error::{Error, Result};
use crate::options::WriteOptions;
use crate::store::BronzeStore;
use crate::upload::{Publish, Upload, Uploaded};

/// Batches are cut into pieces of about this many bytes before they are encoded, so that one
/// large batch is not one large row group.
const PIECE_BYTES: usize = 512 * 1024;

/// What a write left in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it lies.
    pub key: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size in bytes, compressed.
    pub bytes: u64,
    /// The SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    /// Its entity tag, where the store gives one.
    pub e_tag: Option<String>,
}

impl Written {
    pub(crate) fn of(done: Uploaded, rows: u64) -> Self {
        let Uploaded {
            key,
            version,
            sha256,
        } = done;
        Self {
            key,
            rows,
            bytes: version.size,
            sha256,
            e_tag: version.e_tag,
        }
    }
}

/// Encodes batches as one Parquet file: zstd, statistics per row group, row groups cut by bytes.
///
/// # Shape
/// 0 or more batches of exactly `schema`; order is kept. No batches make a file without rows.
///
/// # Errors
/// [`Error::Schema`] for another schema, no columns, or a type that Parquet cannot hold.
pub fn encode_parquet(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    options: &WriteOptions,
) -> Result<Bytes> {
    let mut encoder = Encoder::new(schema, options)?;
    for batch in batches {
        encoder.check(batch)?;
        for piece in pieces(batch) {
            encoder.write(&piece)?;
        }
    }
    Ok(encoder.finish()?.into())
}

/// A Parquet object that is written batch by batch in bounded memory, and that readers see when
/// [`ParquetWriter::finish`] has returned, whole, or never.
///
/// In memory: the batch in hand, a row group, its copy on the way out, and a part
/// ([`WriteOptions::within`] sets all of it).
///
/// # Cancellation
/// Dropped before `finish`, nothing becomes visible; parts already sent are aborted in the
/// background. A killed process leaves them: on S3 set a lifecycle rule
/// (`AbortIncompleteMultipartUpload`), on a local folder use
/// [`BronzeStore::sweep`](crate::BronzeStore::sweep).
#[derive(Debug)]
pub struct ParquetWriter {
    encoder: Encoder,
    upload: Upload,
    rows: u64,
}

impl ParquetWriter {
    /// Starts an object that replaces what is at `key` when it is finished.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Schema`], [`Error::Config`]; nothing is sent yet.
    pub fn create(
        store: &BronzeStore,
        key: &str,
        schema: &SchemaRef,
        options: &WriteOptions,
    ) -> Result<Self> {
        Self::start(store, key, Publish::Overwrite, schema, options)
    }

    pub(crate) fn start(
        store: &BronzeStore,
        key: &str,
        publish: Publish,
        schema: &SchemaRef,
        options: &WriteOptions,
    ) -> Result<Self> {
        let encoder = Encoder::new(schema, options).map_err(|error| error.naming(key))?;
        let upload = Upload::new(store, key, publish, options.part_bytes)?;
        Ok(Self {
            encoder,
            upload,
            rows: 0,
        })
    }

    /// Bytes that are held here now.
    pub fn memory_bytes(&self) -> usize {
        self.encoder.memory_bytes() + self.upload.buffered()
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::Schema`] for a batch of another schema; [`Error::Denied`], [`Error::Store`]. After
    /// an error drop or abort the writer.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let named = |error: Error| error.naming(self.upload.key());
        self.encoder.check(batch).map_err(named)?;
        for piece in pieces(batch) {
            let written = self.encoder.write(&piece);
            written.map_err(|error| error.naming(self.upload.key()))?;
            let ready = self.encoder.take();
            if !ready.is_empty() {
                self.upload.write(ready.into()).await?;
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Adds a pair to the footer, such as one that is known only at the end.
    pub fn add_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let pair = KeyValue::new(key.into(), value.into());
        self.encoder.writer.append_key_value_metadata(pair);
    }

    /// Writes the footer and makes the object visible.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`]: not visible, unless the answer alone was lost.
    pub async fn finish(mut self) -> Result<Written> {
        let last = self.encoder.finish();
        let last = last.map_err(|error| error.naming(self.upload.key()))?;
        self.upload.write(last.into()).await?;
        let done = self.upload.finish().await?;
        Ok(Written::of(done, self.rows))
    }

    /// Throws away what was written so far.
    pub async fn abort(self) {
        self.upload.abort().await;
    }
}

/// The Parquet library's writer, with our cut of row groups.
#[derive(Debug)]
struct Encoder {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    row_group_bytes: usize,
}

impl Encoder {
    fn new(schema: &SchemaRef, options: &WriteOptions) -> Result<Self> {
        check_schema(schema)?;
        let properties = options.properties()?;
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
            .map_err(|error| unwritable(&error))?;
        Ok(Self {
            schema: schema.clone(),
            writer,
            row_group_bytes: options.row_group_bytes,
        })
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let theirs = batch.schema_ref();
        if theirs == &self.schema || theirs.fields() == self.schema.fields() {
            return Ok(());
        }
        let differs = self
            .schema
            .fields()
            .iter()
            .zip(theirs.fields())
            .find(|(a, b)| a != b);
        let (at, reason) = match differs {
            Some((ours, theirs)) => (
                ours.name().clone(),
                format!(
                    "the batch has {:?} {}, the schema {}",
                    theirs.name(),
                    theirs.data_type(),
                    ours.data_type()
                ),
            ),
            None => (
                "*".to_owned(),
                format!(
                    "the batch has {} columns, the schema {}",
                    theirs.fields().len(),
                    self.schema.fields().len()
                ),
            ),
        };
        Err(Error::Schema { at, reason })
    }

    fn write(&mut self, piece: &RecordBatch) -> Result<()> {
        self.writer
            .write(piece)
            .map_err(|error| unwritable(&error))?;
        if self.writer.in_progress_size() >= self.row_group_bytes
            || self.writer.memory_size() >= self.row_group_bytes.saturating_mul(2)
        {
            self.writer.flush().map_err(|error| unwritable(&error))?;
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().capacity()
    }

    fn take(&mut self) -> Vec<u8> {
        if self.writer.inner().len() < 64 * 1024 {
            return Vec::new();
        }
        std::mem::take(self.writer.inner_mut())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        self.writer.finish().map_err(|error| unwritable(&error))?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}

/// A batch in pieces of about [`PIECE_BYTES`], without copying.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let bytes: usize = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum();
    let per_piece = (rows * PIECE_BYTES / bytes.max(1)).clamp(1, rows.max(1));
    (0..rows)
        .step_by(per_piece)
        .map(move |at| batch.slice(at, per_piece.min(rows - at)))
}

/// Refuses what Parquet files cannot hold before anything is written.
fn check_schema(schema: &Schema) -> Result<()> {
    let refuse = |at: &str, reason: &str| {
        Err(Error::Schema {
            at: at.to_owned(),
            reason: reason.to_owned(),
        })
    };
    if schema.fields().is_empty() {
        return refuse("*", "a table has at least one column");
    }
    let mut names = std::collections::HashSet::new();
    for field in schema.fields() {
        if !names.insert(field.name()) {
            return refuse(field.name(), "two columns have this name");
        }
        check_field(field, field.name())?;
    }
    Ok(())
}

fn check_field(field: &Field, at: &str) -> Result<()> {
    match field.data_type() {
        DataType::Struct(fields) if fields.is_empty() => Err(Error::Schema {
            at: at.to_owned(),
            reason: "Parquet has no structs without fields".to_owned(),
        }),
        DataType::Struct(fields) => fields
            .iter()
            .try_for_each(|field| check_field(field, &format!("{at}.{}", field.name()))),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check_field(item, &format!("{at}[]"))
        }
        _ => Ok(()),
    }
}

fn unwritable(error: &ParquetError) -> Error {
    Error::Schema {
        at: "*".to_owned(),
        reason: error.to_string(),
    }
}
