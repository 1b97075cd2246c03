use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{StreamExt, stream};

use crate::error::{Error, Result};
use crate::reader::BatchStream;

/// Rows on their way into the store or out of it: record batches, a stream of them, or JSON
/// records, and back into each.
#[derive(Debug)]
pub struct Dataset {
    schema: SchemaRef,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Batches(Vec<RecordBatch>),
    Stream(BatchStream),
}

impl Dataset {
    /// Rows in memory. All batches have the first one's columns.
    ///
    /// # Errors
    /// [`Error::Schema`] if they do not, or if there is no batch to tell the columns: see
    /// [`Dataset::empty`].
    pub fn from_batches(batches: Vec<RecordBatch>) -> Result<Self> {
        let Some(schema) = batches.first().map(RecordBatch::schema) else {
            return Err(Error::Schema {
                at: "*".to_owned(),
                reason: "without a batch there are no columns".to_owned(),
            });
        };
        if let Some(n) = batches.iter().position(|b| b.schema_ref().fields() != schema.fields()) {
            return Err(Error::Schema {
                at: format!("batch {n}"),
                reason: "its columns are not the first batch's".to_owned(),
            });
        }
        Ok(Self { schema, rows: Rows::Batches(batches) })
    }

    /// No rows of these columns.
    pub fn empty(schema: SchemaRef) -> Self {
        Self { schema, rows: Rows::Batches(Vec::new()) }
    }

    /// Rows that come as they are read; nothing is held.
    pub fn from_stream(stream: BatchStream) -> Self {
        Self { schema: Arc::clone(stream.schema()), rows: Rows::Stream(stream) }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number of rows, where it is known without reading them.
    pub fn known_rows(&self) -> Option<u64> {
        match &self.rows {
            Rows::Batches(batches) => Some(batches.iter().map(|b| b.num_rows() as u64).sum()),
            Rows::Stream(_) => None,
        }
    }

    /// The rows as a stream.
    pub fn into_stream(self) -> BatchStream {
        match self.rows {
            Rows::Batches(batches) => {
                BatchStream::new(self.schema, stream::iter(batches).map(Ok))
            }
            Rows::Stream(stream) => stream,
        }
    }

    /// The rows in memory.
    ///
    /// # Errors
    /// The stream's first.
    pub async fn into_batches(self) -> Result<Vec<RecordBatch>> {
        match self.rows {
            Rows::Batches(batches) => Ok(batches),
            Rows::Stream(stream) => stream.collect_batches().await,
        }
    }
}

impl From<BatchStream> for Dataset {
    fn from(stream: BatchStream) -> Self {
        Self::from_stream(stream)
    }
}
