//! Log entries that are Parquet files.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use ingest_state::{Entry, EntryFormat, EntryHead, FORMAT_VERSION, FormatError, Id, IdList};
use ingest_state::{LogStore, ObjectHead};
use parquet::arrow::ProjectionMask;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use super::columns::IdColumns;
use super::leaves;
use super::sparse::{Opened, invalid};

/// The footer's key under which an entry's head lies, as JSON.
pub(crate) const HEAD_KEY: &str = "ingest-state";
/// The footer's key under which the ids of an entry without rows lie, as JSON.
pub(crate) const IDS_KEY: &str = "ingest-state-ids";
/// The zstd level of entries.
const LEVEL: i32 = 3;
/// Pages and dictionaries are closed at this size: a page is what is compressed at once, and its
/// size decides that of the compressor.
const PAGE_BYTES: usize = 64 * 1024;
/// The largest head that an entry with rows is given, in bytes of JSON: what the execution says of
/// itself is beside the bytes that a caller allows for rows, and must not outgrow them.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Rows decoded at once while ids are read.
const BATCH_ROWS: usize = 8_192;

/// Log entries that are Parquet files: rows with their ids as a column, the head in the footer.
///
/// Ids are read by projection: the footer and the id columns are all that is fetched, unless the
/// object is small enough to be had in one request. An entry without rows (an import, a stub)
/// carries its ids in the footer.
///
/// # Size
/// Of an entry with rows: what [`ParquetRows::split`](super::ParquetRows::split) was allowed, a
/// footer of some kilobytes, and the head (the execution's id, counts and metadata), which is
/// refused above 64 KiB before anything is written.
#[derive(Debug, Clone)]
pub struct ParquetEntries {
    columns: IdColumns,
    schema: SchemaRef,
}

impl ParquetEntries {
    /// Entries with these id columns. Entries without rows get the schema of just the key; give
    /// the rows' with [`ParquetEntries::with_schema`] if readers take the first file's for all.
    pub fn new(columns: IdColumns) -> Self {
        let key = Field::new(columns.key(), DataType::Utf8, false);
        Self {
            columns,
            schema: Arc::new(Schema::new(vec![key])),
        }
    }

    /// The same, with `schema` for entries without rows.
    #[must_use]
    pub fn with_schema(mut self, schema: SchemaRef) -> Self {
        self.schema = schema;
        self
    }

    /// Which columns are the ids.
    pub fn columns(&self) -> &IdColumns {
        &self.columns
    }
}

/// An id of an entry without rows.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    facet: String,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

#[async_trait]
impl EntryFormat for ParquetEntries {
    async fn read(
        &self,
        store: &dyn LogStore,
        object: &ObjectHead,
        facets: &[&str],
    ) -> Result<Entry, FormatError> {
        let opened = Opened::open(store, object).await?;
        let head = head(&opened)?;
        let mut ids = match opened.footer_value(IDS_KEY) {
            Some(text) => listed_ids(text, facets)?,
            None => IdList::new(),
        };
        let metadata = opened.metadata.clone();
        if metadata.file_metadata().num_rows() > 0 {
            let paths = self.columns.paths();
            let schema = metadata.file_metadata().schema_descr();
            let mask = ProjectionMask::columns(schema, paths.iter().map(String::as_str));
            for group in 0..metadata.num_row_groups() {
                let reader = opened
                    .read(store, vec![group], mask.clone(), BATCH_ROWS)
                    .await?;
                for batch in reader {
                    let batch = batch.map_err(|error| FormatError::Invalid {
                        reason: "parquet".to_owned(),
                        source: Some(error.into()),
                    })?;
                    self.columns.extract(&batch, &mut ids, |_| {})?;
                }
            }
        }
        if head.ids != ids.len() as u64 {
            let reason = format!("footer says {} ids, found {}", head.ids, ids.len());
            return Err(FormatError::invalid(reason));
        }
        Ok(Entry { head, ids })
    }

    fn encode_ids(
        &self,
        head: &EntryHead,
        ids: &IdList,
        facets: &[&str],
    ) -> Result<Bytes, FormatError> {
        let line = |id: Id<'_>| Line {
            facet: facets
                .get(usize::from(id.facet))
                .copied()
                .unwrap_or_default()
                .to_owned(),
            id: id.id.to_owned(),
            version: id.version.map(str::to_owned),
        };
        let lines: Vec<Line> = ids.iter().map(line).collect();
        let text = serde_json::to_string(&lines).map_err(|error| unencodable(error.into()))?;
        let empty = RecordBatch::new_empty(self.schema.clone());
        encode(&empty, head, vec![KeyValue::new(IDS_KEY.to_owned(), text)])
    }
}

/// The head in the footer.
pub(crate) fn head(opened: &Opened) -> Result<EntryHead, FormatError> {
    /// Only what tells which release wrote it.
    #[derive(Deserialize)]
    struct Probe {
        version: u32,
    }
    let text = opened
        .footer_value(HEAD_KEY)
        .ok_or_else(|| FormatError::invalid("no log entry: nothing about it in the footer"))?;
    let broken = |error: serde_json::Error| FormatError::Invalid {
        reason: "footer".to_owned(),
        source: Some(error.into()),
    };
    let found = serde_json::from_str::<Probe>(text).map_err(broken)?.version;
    if found > FORMAT_VERSION {
        return Err(FormatError::Newer {
            found,
            supported: FORMAT_VERSION,
        });
    }
    let head: EntryHead = serde_json::from_str(text).map_err(broken)?;
    let rows = opened.metadata.file_metadata().num_rows();
    if u64::try_from(rows) != Ok(head.rows) {
        return Err(FormatError::invalid(format!(
            "footer says {} rows, found {rows}",
            head.rows
        )));
    }
    Ok(head)
}

fn listed_ids(text: &str, facets: &[&str]) -> Result<IdList, FormatError> {
    let lines: Vec<Line> = serde_json::from_str(text).map_err(|error| FormatError::Invalid {
        reason: "ids in the footer".to_owned(),
        source: Some(error.into()),
    })?;
    let mut ids = IdList::new();
    for line in &lines {
        let facet = facets.iter().position(|facet| *facet == line.facet);
        let facet = facet
            .and_then(|facet| u8::try_from(facet).ok())
            .ok_or_else(|| FormatError::invalid(format!("unknown facet {:?}", line.facet)))?;
        ids.push(Id {
            facet,
            id: &line.id,
            version: line.version.as_deref(),
        });
    }
    Ok(ids)
}

/// One Parquet file with `batch`, the head and further pairs in its footer.
pub(crate) fn encode(
    batch: &RecordBatch,
    head: &EntryHead,
    mut pairs: Vec<KeyValue>,
) -> Result<Bytes, FormatError> {
    let head = EntryHead {
        rows: batch.num_rows() as u64,
        ..head.clone()
    };
    let text = serde_json::to_string(&head).map_err(|error| unencodable(error.into()))?;
    // A stub says what its entry said, and an import what it found.
    if head.rows > 0 && !head.stub && text.len() > MAX_HEAD_BYTES {
        return Err(FormatError::Encode {
            reason: format!(
                "the execution's id, counts and metadata take {} bytes, more than {MAX_HEAD_BYTES}",
                text.len()
            ),
            source: None,
        });
    }
    pairs.push(KeyValue::new(HEAD_KEY.to_owned(), text));
    let properties = properties(batch.schema_ref(), LEVEL)
        .map_err(invalid)?
        .set_key_value_metadata(Some(pairs))
        .build();
    leaves::encode(batch, properties)
        .map(Bytes::from)
        .map_err(|error| unencodable(error.into()))
}

/// How files of this module are written: small pages, and statistics where a reader could use
/// them, which is not inside of lists.
pub(crate) fn properties(
    schema: &Schema,
    zstd_level: i32,
) -> Result<WriterPropertiesBuilder, ParquetError> {
    let plain = |field: &&Arc<Field>| !field.data_type().is_nested();
    let plain = schema.fields().iter().filter(plain);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_max_row_group_row_count(None)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(concat!("bronze-storage ", env!("CARGO_PKG_VERSION")).to_owned());
    Ok(plain.fold(properties, |properties, field| {
        let path = ColumnPath::new(vec![field.name().clone()]);
        properties.set_column_statistics_enabled(path, EnabledStatistics::Chunk)
    }))
}

fn unencodable(source: ingest_state::BoxError) -> FormatError {
    FormatError::Encode {
        reason: "parquet".to_owned(),
        source: Some(source),
    }
}
