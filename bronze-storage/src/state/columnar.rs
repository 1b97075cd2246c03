//! A merged file, written a row group at a time and each row group a few columns at a time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::chains::{Chains, unwritable};
use super::encoder::Encoder;
use super::entry;
use super::leaves;
use super::merge_error::MergeError;
use super::plan::Plan;
use super::workers::Workers;
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

/// What a merged file's columns are, and where they come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) schema: &'a SchemaRef,
    /// Those of the sources that have others.
    pub(crate) others: &'a [SchemaRef],
    pub(crate) marks: &'a [String],
}

/// A Parquet file that is written from plans, and that readers see when it is finished.
pub(crate) struct ColumnarWriter {
    encoder: Arc<Encoder>,
    file: SerializedFileWriter<Sink>,
    sink: Sink,
    upload: Upload,
    workers: Workers,
    rows: u64,
}

impl ColumnarWriter {
    pub(crate) fn create(
        store: &BronzeStore,
        key: &str,
        columns: Columns<'_>,
        pairs: Vec<KeyValue>,
        workers: Workers,
    ) -> Result<Self, MergeError> {
        let part_bytes = match store.folder() {
            Some(_) => LOCAL_PART_BYTES,
            None => MIN_PART_BYTES,
        };
        let upload = Upload::new(store, key, Publish::Overwrite, part_bytes)?;
        let sink = Sink::default();
        let start = || {
            let schema = columns.schema;
            let properties = entry::properties(schema, LEVEL)?
                .set_key_value_metadata(Some(pairs))
                .build();
            let (file, groups) = leaves::start(sink.clone(), schema, properties)?;
            let encoder = Encoder::new(columns, file.schema_descr(), groups)?;
            Ok((file, encoder))
        };
        let (file, encoder) = start().map_err(|error: ParquetError| unwritable(key, error))?;
        Ok(Self {
            encoder: Arc::new(encoder),
            file,
            sink,
            upload,
            workers,
            rows: 0,
        })
    }

    /// Writes the rows of a plan as one row group.
    pub(crate) async fn write(&mut self, plan: Plan) -> Result<(), MergeError> {
        if plan.rows() == 0 {
            return Ok(());
        }
        let refused = |error: ParquetError| unwritable("merge", error);
        let chains = Chains::new(plan, self.file.schema_descr(), &self.encoder.schema);
        let mut row_group = self.file.next_row_group().map_err(refused)?;
        self.rows += chains.rows() as u64;
        let mut pieces = self.workers.start(&self.encoder, chains);
        while let Some(chunks) = pieces.next().await? {
            for chunk in chunks {
                chunk.append_to_row_group(&mut row_group).map_err(refused)?;
            }
            if let Some(bytes) = self.sink.take(READY_BYTES) {
                self.upload.write(bytes).await?;
            }
        }
        row_group.close().map_err(refused)?;
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
