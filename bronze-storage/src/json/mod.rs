//! JSON in and out without a tree that rounds: numbers stay text until they are decimals.

mod build;
mod infer;
mod node;
mod print;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::error::{Error, Result};
use node::Node;

pub(crate) use print::write_record;

/// Rows that are turned into one batch: what is held beside the bytes themselves.
const BATCH_ROWS: usize = 1024;

/// The schema over all records, by stable widening.
pub(crate) fn infer_schema<R: AsRef<[u8]>>(records: &[R]) -> Result<SchemaRef> {
    let mut kind = infer::Kind::Null;
    for (n, record) in records.iter().enumerate() {
        kind = kind.widen(infer::Kind::of(&parse(n, record.as_ref())?));
    }
    let fields = kind.fields();
    if fields.is_empty() {
        return Err(Error::Schema {
            at: "*".to_owned(),
            reason: format!("{} records have no columns", records.len()),
        });
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The records as batches of a schema that holds all of them.
pub(crate) fn batches<R: AsRef<[u8]>>(
    records: &[R],
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::with_capacity(records.len().div_ceil(BATCH_ROWS));
    for (at, chunk) in records.chunks(BATCH_ROWS).enumerate() {
        let first = at * BATCH_ROWS;
        let parsed = chunk
            .iter()
            .enumerate()
            .map(|(n, record)| parse(first + n, record.as_ref()));
        let nodes: Vec<Node<'_>> = parsed.collect::<Result<_>>()?;
        batches.push(build::batch(schema, &nodes, first)?);
    }
    Ok(batches)
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
