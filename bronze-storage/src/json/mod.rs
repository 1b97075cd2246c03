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

/// The schema over all records, by stable widening, and the records in it.
///
/// Batches are built as they are parsed, in the schema so far; those before the last widening are
/// built again.
pub(crate) fn infer<R: AsRef<[u8]>>(records: &[R]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut inference = Inference::default();
    let mut built: Vec<Option<RecordBatch>> =
        Vec::with_capacity(records.len().div_ceil(BATCH_ROWS));
    let mut schema: SchemaRef = Arc::new(Schema::empty());
    for chunk in records.chunks(BATCH_ROWS) {
        let first = inference.records;
        let nodes = parse_all(chunk, first)?;
        nodes.iter().for_each(|node| inference.absorb(node));
        let fields = inference.kind.fields();
        if schema.fields() != &fields {
            schema = Arc::new(Schema::new(fields));
            built.iter_mut().for_each(|batch| *batch = None);
        }
        let columns = !schema.fields().is_empty();
        let batch = columns.then(|| build::batch(&schema, &nodes, first));
        built.push(batch.transpose()?);
    }
    let schema = inference.finish("*")?;
    let chunks = built
        .into_iter()
        .zip(records.chunks(BATCH_ROWS))
        .enumerate();
    let batches = chunks.map(|(at, (built, chunk))| match built {
        Some(built) => Ok(built),
        None => batch(chunk, &schema, at * BATCH_ROWS),
    });
    let batches = batches.collect::<Result<_>>()?;
    Ok((schema, batches))
}

/// A schema in the making, record by record.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    kind: infer::Kind,
    records: usize,
}

impl Inference {
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<()> {
        self.absorb(&parse(self.records, record)?);
        Ok(())
    }

    fn absorb(&mut self, node: &Node<'_>) {
        self.kind.absorb(node);
        self.records += 1;
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
    let nodes = parse_all(records, first)?;
    build::batch(schema, &nodes, first)
}

fn parse_all<R: AsRef<[u8]>>(records: &[R], first: usize) -> Result<Vec<Node<'_>>> {
    let records = records.iter().enumerate();
    records
        .map(|(n, record)| parse(first + n, record.as_ref()))
        .collect()
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
