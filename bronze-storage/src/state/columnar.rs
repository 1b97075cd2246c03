//! A merged file, written a row group at a time and each row group a few columns at a time.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::chains::{Chains, Projection, mismatch, unwritable};
use super::entry;
use super::leaves::{self, LeafGroup};
use super::merge::MergeError;
use super::pages::Inflate;
use super::plan::Plan;
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
    encoder: Arc<Encoder>,
    file: SerializedFileWriter<Sink>,
    sink: Sink,
    upload: Upload,
    rows: u64,
}

/// What it takes to encode any part of a row group.
#[derive(Debug)]
struct Encoder {
    schema: SchemaRef,
    totals: Totals,
    groups: Vec<LeafGroup>,
    pieces: Vec<Piece>,
    inflates: Mutex<Vec<Inflate>>,
}

/// Leaf groups that are encoded from the same decoded columns.
#[derive(Debug)]
struct Piece {
    groups: Range<usize>,
    projection: Projection,
    /// Whether it is `metadata`, which is computed from several columns.
    computed: bool,
}

impl Encoder {
    fn new(
        schema: &SchemaRef,
        marks: &[String],
        descriptor: &SchemaDescriptor,
        groups: Vec<LeafGroup>,
    ) -> Result<Self, ParquetError> {
        let totals = Totals::new(marks);
        let mut pieces: Vec<Piece> = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let computed = !marks.is_empty() && schema.field(group.column).name() == "metadata";
            if let Some(last) = pieces.last_mut().filter(|last| computed && last.computed) {
                last.groups.end += 1;
                continue;
            }
            let leaves = match computed {
                true => totals.leaves(descriptor),
                false => group.leaves.clone().collect(),
            };
            pieces.push(Piece {
                groups: index..index + 1,
                projection: Projection::new(descriptor, schema, leaves)?,
                computed,
            });
        }
        Ok(Self {
            schema: schema.clone(),
            totals,
            groups,
            pieces,
            inflates: Mutex::default(),
        })
    }

    /// The column chunks of piece `index` for the rows of `chains`.
    fn encode(&self, chains: &Chains, index: usize) -> Result<Vec<ArrowColumnChunk>, MergeError> {
        let inflate = self.lock().pop().unwrap_or_default();
        let chunks = self.encode_with(chains, &self.pieces[index], &inflate);
        self.lock().push(inflate);
        chunks
    }

    fn encode_with(
        &self,
        chains: &Chains,
        piece: &Piece,
        inflate: &Inflate,
    ) -> Result<Vec<ArrowColumnChunk>, MergeError> {
        let facet = |column: &str| self.totals.facet_of(column);
        let batch = chains.decode(&piece.projection, facet, inflate)?;
        let refused = |error: ParquetError| unwritable("merge", error);
        if !piece.computed {
            let [group] = &self.groups[piece.groups.clone()] else {
                unreachable!("only what is computed has several groups")
            };
            return group.encode(batch.column(0)).map_err(refused);
        }
        let metadata = self.totals.metadata(&batch).map_err(mismatch)?;
        drop(batch);
        let metadata = metadata
            .ok_or_else(|| mismatch(ArrowError::SchemaError("no column metadata".to_owned())))?;
        let mut chunks = Vec::new();
        for group in &self.groups[piece.groups.clone()] {
            let field = &self.schema.fields()[group.column];
            let part = group.part(field, &metadata).map_err(mismatch)?;
            chunks.extend(group.encode(&part).map_err(refused)?);
        }
        Ok(chunks)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Inflate>> {
        self.inflates.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            let properties = entry::properties(schema, LEVEL)?
                .set_key_value_metadata(Some(pairs))
                .build();
            let (file, groups) = leaves::start(sink.clone(), schema, properties)?;
            let encoder = Encoder::new(schema, marks, file.schema_descr(), groups)?;
            Ok((file, encoder))
        };
        let (file, encoder) = start().map_err(|error: ParquetError| unwritable(key, error))?;
        Ok(Self {
            encoder: Arc::new(encoder),
            file,
            sink,
            upload,
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
        for index in 0..self.encoder.pieces.len() {
            for chunk in self.encoder.encode(&chains, index)? {
                chunk.append_to_row_group(&mut row_group).map_err(refused)?;
            }
            if let Some(bytes) = self.sink.take(READY_BYTES) {
                self.upload.write(bytes).await?;
            }
        }
        row_group.close().map_err(refused)?;
        self.rows += chains.rows() as u64;
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
