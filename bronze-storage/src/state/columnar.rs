//! A merged file, written a row group at a time and each row group a few columns at a time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::{concat, concat_batches};
use arrow_select::interleave::interleave;
use bytes::Bytes;
use ingest_state::FormatError;
use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::entry;
use super::leaves::{self, LeafGroup};
use super::merge::MergeError;
use super::plan::{Plan, Slice};
use super::run::broken;
use super::totals::Totals;
use crate::options::MIN_PART_BYTES;
use crate::store::BronzeStore;
use crate::upload::{Publish, Upload};

/// The zstd level of merged files: a compressor for small pages at level 1 is a tenth of the size
/// that it has at the default level, for a file that is a few percent larger.
const LEVEL: i32 = 1;
/// The parts that a local file is written in; only services want large ones.
const LOCAL_PART_BYTES: usize = 512 * 1024;
/// Encoded bytes are handed on from this many.
const READY_BYTES: usize = 64 * 1024;

/// A Parquet file that is written from plans, and that readers see when it is finished.
pub(crate) struct ColumnarWriter {
    schema: SchemaRef,
    totals: Totals,
    file: SerializedFileWriter<Sink>,
    groups: Vec<LeafGroup>,
    sink: Sink,
    upload: Upload,
    rows: u64,
}

impl ColumnarWriter {
    pub(crate) fn create(
        store: &BronzeStore,
        key: &str,
        schema: &SchemaRef,
        marks: &[String],
        pairs: Vec<KeyValue>,
    ) -> Result<Self, MergeError> {
        let part_bytes = match store.folder() {
            Some(_) => LOCAL_PART_BYTES,
            None => MIN_PART_BYTES,
        };
        let upload = Upload::new(store, key, Publish::Overwrite, part_bytes)?;
        let sink = Sink::default();
        let start = || {
            let properties = entry::properties(schema, LEVEL)?.set_key_value_metadata(Some(pairs));
            leaves::start(sink.clone(), schema, properties.build())
        };
        let (file, groups) = start().map_err(|error| unwritable(key, error))?;
        Ok(Self {
            schema: schema.clone(),
            totals: Totals::new(marks),
            file,
            groups,
            sink,
            upload,
            rows: 0,
        })
    }

    /// Writes the rows of a plan as one row group.
    pub(crate) async fn write(&mut self, plan: &Plan) -> Result<(), MergeError> {
        if plan.rows() == 0 {
            return Ok(());
        }
        let refused = |error: ParquetError| unwritable("merge", error);
        let mut row_group = self.file.next_row_group().map_err(refused)?;
        for group in &self.groups {
            let field = &self.schema.fields()[group.column];
            let array = if field.name() == "metadata" && !plan.facets.is_empty() {
                let whole = metadata(plan, &self.totals)?;
                group.part(field, &whole).map_err(mismatch)?
            } else {
                let facet = self.totals.facet_of(field.name());
                let mask = |slice: &Slice| {
                    ProjectionMask::leaves(slice.bytes.schema(), group.leaves.clone())
                };
                let batches = decode(plan, mask)?;
                let arrays: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(0)).collect();
                gather(&arrays, plan.places(facet)).map_err(mismatch)?
            };
            group.append(&array, &mut row_group).map_err(refused)?;
            drop(array);
            if let Some(bytes) = self.sink.take(READY_BYTES) {
                self.upload.write(bytes).await?;
            }
        }
        row_group.close().map_err(refused)?;
        self.rows += plan.rows() as u64;
        Ok(())
    }

    /// Writes the footer and makes the file visible. Returns its rows.
    pub(crate) async fn finish(mut self) -> Result<u64, MergeError> {
        self.file
            .finish()
            .map_err(|error| unwritable("merge", error))?;
        if let Some(bytes) = self.sink.take(0) {
            self.upload.write(bytes).await?;
        }
        self.upload.finish().await?;
        Ok(self.rows)
    }

    /// Throws away what was written so far.
    pub(crate) async fn abort(self) {
        self.upload.abort().await;
    }
}

/// The columns in `mask` of each slice of a plan.
fn decode(
    plan: &Plan,
    mask: impl Fn(&Slice) -> ProjectionMask,
) -> Result<Vec<RecordBatch>, MergeError> {
    let one = |slice: &Slice| {
        let read = || -> Result<RecordBatch, FormatError> {
            let mask = mask(slice);
            let reader = slice.bytes.read(mask, slice.from, slice.rows, slice.rows)?;
            let schema = reader.schema();
            let mut batches = reader.collect::<Result<Vec<_>, _>>().map_err(broken)?;
            let batch = match batches.len() {
                1 => batches.remove(0),
                _ => concat_batches(&schema, &batches).map_err(broken)?,
            };
            if batch.num_rows() != slice.rows {
                let reason = format!("{} rows of {}", batch.num_rows(), slice.rows);
                return Err(FormatError::invalid(reason));
            }
            Ok(batch)
        };
        read().map_err(|source| MergeError::Source {
            key: slice.bytes.key.clone(),
            source,
        })
    };
    plan.slices.iter().map(one).collect()
}

/// `metadata` of a plan's rows, by what their lists and marks say.
fn metadata(plan: &Plan, totals: &Totals) -> Result<ArrayRef, MergeError> {
    let mask = |slice: &Slice| {
        let schema = slice.bytes.schema();
        let paths = totals.paths(schema);
        ProjectionMask::columns(schema, paths.iter().map(String::as_str))
    };
    let batches = decode(plan, mask)?;
    let first = batches.first().map(RecordBatch::schema);
    let schema = first.unwrap_or_else(|| Arc::new(arrow_schema::Schema::empty()));
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let arrays: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(index)).collect();
        gather(&arrays, plan.places(totals.facet_of(field.name())))
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>().map_err(mismatch)?;
    let batch = RecordBatch::try_new(schema.clone(), columns).map_err(mismatch)?;
    let metadata = totals.metadata(&batch).map_err(mismatch)?;
    metadata.ok_or_else(|| mismatch(ArrowError::SchemaError("no column metadata".to_owned())))
}

/// The rows at `places`, as array and row.
fn gather(arrays: &[&ArrayRef], places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    let all = arrays
        .iter()
        .enumerate()
        .flat_map(|(slice, array)| (0..array.len()).map(move |row| (slice, row)));
    if all.eq(places.iter().copied()) {
        return concat(&arrays);
    }
    interleave(&arrays, places)
}

fn mismatch(error: ArrowError) -> MergeError {
    unwritable("merge", error)
}

fn unwritable(key: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> MergeError {
    MergeError::Source {
        key: key.to_owned(),
        source: FormatError::Encode {
            reason: "rows cannot be combined".to_owned(),
            source: Some(error.into()),
        },
    }
}

/// Bytes on their way out, which the file is written into and which are taken from it.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// What was written since, if it is at least so much.
    fn take(&self, least: usize) -> Option<Bytes> {
        let mut bytes = self.lock();
        let ready = !bytes.is_empty() && bytes.len() >= least;
        ready.then(|| std::mem::take(&mut *bytes).into())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
