//! JSON in and out without a tree that rounds: numbers stay text until they are decimals.

mod build;
mod infer;
mod node;
mod parse;
mod print;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::error::{Error, Result};
use node::Node;

pub(crate) use print::write_record;

/// Rows that are turned into one batch: what is held beside the bytes themselves.
pub(crate) const BATCH_ROWS: usize = 1024;

/// The schema over all records, by stable widening.
pub(crate) fn infer_schema<R: AsRef<[u8]>>(records: &[R]) -> Result<SchemaRef> {
    let mut inference = Inference::default();
    for record in records {
        inference.push(record.as_ref())?;
    }
    inference.finish("*")
}

/// A schema in the making, record by record.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    kind: infer::Kind,
    records: usize,
}

impl Inference {
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<()> {
        self.kind.absorb(&parse(self.records, record)?);
        self.records += 1;
        Ok(())
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    pub(crate) fn finish(self, at: &str) -> Result<SchemaRef> {
        let fields = self.kind.fields();
        if fields.is_empty() {
            return Err(Error::Schema {
                at: at.to_owned(),
                reason: format!("{} records have no columns", self.records),
            });
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// The records as batches of a schema that holds all of them.
pub(crate) fn batches<R: AsRef<[u8]>>(
    records: &[R],
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let chunks = records.chunks(BATCH_ROWS).enumerate();
    chunks
        .map(|(at, chunk)| batch(chunk, schema, at * BATCH_ROWS))
        .collect()
}

/// The records as one batch; `first` is the number of the first.
pub(crate) fn batch<R: AsRef<[u8]>>(
    records: &[R],
    schema: &SchemaRef,
    first: usize,
) -> Result<RecordBatch> {
    let parsed = records
        .iter()
        .enumerate()
        .map(|(n, record)| parse(first + n, record.as_ref()));
    let nodes: Vec<Node<'_>> = parsed.collect::<Result<_>>()?;
    build::batch(schema, &nodes, first)
}

/// One record: an object.
fn parse(record: usize, bytes: &[u8]) -> Result<Node<'_>> {
    let invalid = |reason: String| Error::Json { record, reason };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
    match Node::parse(text).map_err(invalid)? {
        node @ Node::Object { .. } => Ok(node),
        _ => Err(invalid("a record is an object".to_owned())),
    }
}
