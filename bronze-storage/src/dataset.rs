use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::json;
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
        if let Some(n) = batches
            .iter()
            .position(|b| b.schema_ref().fields() != schema.fields())
        {
            return Err(Error::Schema {
                at: format!("batch {n}"),
                reason: "its columns are not the first batch's".to_owned(),
            });
        }
        Ok(Self {
            schema,
            rows: Rows::Batches(batches),
        })
    }

    /// JSON records, each the bytes of one object, in one schema over all of them.
    ///
    /// # Shape
    /// Columns in order of first appearance, all nullable. Null gives way to anything, integers
    /// to decimals, anything else that differs becomes text (a number its digits, a list or an
    /// object its JSON). Fractions are `Decimal128(38, most places seen)`, exact; numbers beyond 38
    /// digits are text. An absent key and a null are the same afterwards.
    ///
    /// # Errors
    /// [`Error::Json`] with the record's number: no object, not UTF-8, a key twice, too deep;
    /// [`Error::Schema`] if there is no column at all.
    pub fn from_json<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> Result<Self> {
        let records: Vec<R> = records.into_iter().collect();
        let (schema, batches) = json::infer(&records)?;
        Ok(Self {
            schema,
            rows: Rows::Batches(batches),
        })
    }

    /// JSON records in a given schema: booleans, `Int32`, `Int64`, `Decimal128`, `Utf8`, lists and
    /// structs of them.
    ///
    /// # Errors
    /// [`Error::Json`] for a value that its column does not hold exactly, or a key that has no
    /// column; [`Error::Schema`] for a column of another type.
    pub fn from_json_as<R: AsRef<[u8]>>(
        records: impl IntoIterator<Item = R>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let records: Vec<R> = records.into_iter().collect();
        let batches = json::batches(&records, schema)?;
        Ok(Self {
            schema: Arc::clone(schema),
            rows: Rows::Batches(batches),
        })
    }

    /// JSON records, one a line; empty lines are none. See [`Dataset::from_json`].
    ///
    /// # Errors
    /// As [`Dataset::from_json`].
    pub fn from_ndjson(bytes: &[u8]) -> Result<Self> {
        let lines = bytes.split(|byte| *byte == b'\n');
        Self::from_json(lines.filter(|line| !line.trim_ascii().is_empty()))
    }

    /// A JSON array of records. See [`Dataset::from_json`].
    ///
    /// # Errors
    /// As [`Dataset::from_json`].
    pub fn from_json_array(bytes: &[u8]) -> Result<Self> {
        let records: Vec<&serde_json::value::RawValue> =
            serde_json::from_slice(bytes).map_err(|error| Error::Json {
                record: 0,
                reason: error.to_string(),
            })?;
        Self::from_json(records.into_iter().map(|record| record.get().as_bytes()))
    }

    /// Anything that serialises as a JSON object. See [`Dataset::from_json`].
    ///
    /// # Errors
    /// As [`Dataset::from_json`], and [`Error::Json`] for what does not serialise.
    pub fn from_serialize<T: Serialize>(records: impl IntoIterator<Item = T>) -> Result<Self> {
        let bytes = records.into_iter().enumerate().map(|(record, value)| {
            serde_json::to_vec(&value).map_err(|error| Error::Json {
                record,
                reason: error.to_string(),
            })
        });
        Self::from_json(bytes.collect::<Result<Vec<_>>>()?)
    }

    /// No rows of these columns.
    pub fn empty(schema: SchemaRef) -> Self {
        Self {
            schema,
            rows: Rows::Batches(Vec::new()),
        }
    }

    /// Rows that come as they are read; nothing is held.
    pub fn from_stream(stream: BatchStream) -> Self {
        Self {
            schema: Arc::clone(stream.schema()),
            rows: Rows::Stream(stream),
        }
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
            Rows::Batches(batches) => BatchStream::new(self.schema, stream::iter(batches).map(Ok)),
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

    /// The rows as JSON records, one a line: every column, nulls as `null`, decimals with all
    /// their digits.
    ///
    /// # Errors
    /// The stream's first; [`Error::Schema`] for a column that JSON cannot hold (binary, NaN).
    pub async fn into_ndjson(self) -> Result<String> {
        let mut text = String::new();
        let mut batches = self.into_stream();
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                json::write_record(&mut text, &batch, row)?;
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// The rows as values of a type, by way of JSON.
    ///
    /// # Errors
    /// As [`Dataset::into_ndjson`], and [`Error::Json`] with the row's number.
    pub async fn into_records<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let text = self.into_ndjson().await?;
        let records = text.lines().enumerate().map(|(record, line)| {
            serde_json::from_str(line).map_err(|error| Error::Json {
                record,
                reason: error.to_string(),
            })
        });
        records.collect()
    }
}

impl From<BatchStream> for Dataset {
    fn from(stream: BatchStream) -> Self {
        Self::from_stream(stream)
    }
}
