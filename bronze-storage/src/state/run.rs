//! One sorted source of a merge: the old file, a base, or an entry.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use ingest_state::{FormatError, LogStore, ObjectHead, VersionKey};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::arrow::parquet_to_arrow_field_levels;
use parquet::errors::ParquetError;

use super::columns::{IdColumns, mark, required};
use super::pages::{self, Inflate};
use super::sparse::{GroupBytes, Opened, invalid};

/// Keys and marks in their order, decoded some at a time; a row group is fetched when it is due.
#[derive(Debug)]
pub(crate) struct Run {
    object: ObjectHead,
    lower_bound: Vec<u8>,
    /// From the first row to the last: footers of many columns are no small matter.
    opened: Option<Opened>,
    exhausted: bool,
    cursor: Cursor,
    /// Which other columns than the merged file it has, if it has.
    pub(crate) other: Option<usize>,
    next_group: usize,
    bytes: Option<Arc<GroupBytes>>,
    /// Rows of the row group that were decoded before those in hand.
    decoded_before: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// Batches of a small row group, decoded at once.
    decoded: VecDeque<RecordBatch>,
    head: Option<Head>,
    last_key: String,
    /// Where the plan holds this row group, if it does.
    pub(crate) slot: Option<usize>,
}

/// How the keys and marks of sources are decoded.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    /// The source's own.
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Arc<IdColumns>,
    pub(crate) inflate: Inflate,
}

impl Cursor {
    /// Starts to decode the keys and marks of a row group.
    fn read(&self, bytes: &Arc<GroupBytes>) -> Result<ParquetRecordBatchReader, ParquetError> {
        let mask = self.columns.cursor_mask(bytes.schema());
        let fields = Some(self.schema.fields());
        let levels = parquet_to_arrow_field_levels(bytes.schema(), mask, fields)?;
        let groups = std::slice::from_ref(bytes);
        pages::read(groups, &levels, None, BATCH_ROWS, &self.inflate)
    }
}

/// Rows decoded at once. Row groups of no more are decoded whole: a reader that is kept holds a
/// decompressor for each of its columns.
const BATCH_ROWS: usize = 1024;

/// The rows in hand.
#[derive(Debug)]
struct Head {
    keys: StringArray,
    marks: Vec<(ArrayRef, Option<StringArray>)>,
    row: usize,
}

impl Run {
    /// A run of `object`, no row of which is below `lower_bound`; opened when it is first read.
    pub(crate) fn new(
        object: ObjectHead,
        lower_bound: Vec<u8>,
        cursor: Cursor,
        other: Option<usize>,
    ) -> Self {
        Self {
            object,
            lower_bound,
            opened: None,
            exhausted: false,
            cursor,
            other,
            next_group: 0,
            bytes: None,
            decoded_before: 0,
            reader: None,
            decoded: VecDeque::new(),
            head: None,
            last_key: String::new(),
            slot: None,
        }
    }

    /// The object's key, for errors.
    pub(crate) fn name(&self) -> &str {
        &self.object.key
    }

    /// A key that no row is below: the run need not be read before it.
    pub(crate) fn lower_bound(&self) -> &[u8] {
        &self.lower_bound
    }

    /// The key of the row in hand; `None` before the first and after the last.
    pub(crate) fn key(&self) -> Option<&str> {
        self.head.as_ref().map(|head| head.keys.value(head.row))
    }

    /// The row group of the row in hand, and its place there.
    pub(crate) fn at(&self) -> Option<(Arc<GroupBytes>, usize)> {
        let head = self.head.as_ref()?;
        Some((self.bytes.clone()?, self.decoded_before + head.row))
    }

    /// Moves to the next row (or the first), and says whether there is one.
    pub(crate) async fn advance(&mut self, store: &dyn LogStore) -> Result<bool, FormatError> {
        if let Some(head) = &mut self.head {
            head.row += 1;
            if head.row < head.keys.len() {
                return self.check_order().map(|()| true);
            }
            self.decoded_before += head.keys.len();
            self.head = None;
        }
        while let Some(batch) = self.next_batch(store).await? {
            if batch.num_rows() > 0 {
                self.head = Some(self.head_of(&batch)?);
                return self.check_order().map(|()| true);
            }
        }
        self.opened = None;
        self.bytes = None;
        self.slot = None;
        self.exhausted = true;
        Ok(false)
    }

    /// Whether the row in hand has facet `facet`, and in which version.
    pub(crate) fn facet(&self, facet: usize) -> Option<Option<VersionKey>> {
        let head = self.head.as_ref()?;
        let (mark, versions) = head.marks.get(facet)?;
        if mark.is_null(head.row) {
            return None;
        }
        let versions = versions
            .as_ref()
            .filter(|versions| !versions.is_null(head.row));
        Some(versions.map(|versions| VersionKey::of(versions.value(head.row))))
    }

    async fn next_batch(
        &mut self,
        store: &dyn LogStore,
    ) -> Result<Option<RecordBatch>, FormatError> {
        loop {
            if let Some(batch) = self.decoded.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(reader) = &mut self.reader {
                if let Some(batch) = reader.next() {
                    return batch.map(Some).map_err(broken);
                }
                self.reader = None;
            }
            if self.exhausted {
                return Ok(None);
            }
            let opened = match &mut self.opened {
                Some(opened) => opened,
                None => self.opened.insert(Opened::open(store, &self.object).await?),
            };
            if self.next_group >= opened.metadata.num_row_groups() {
                return Ok(None);
            }
            let bytes = Arc::new(opened.group(store, self.next_group).await?);
            self.next_group += 1;
            self.slot = None;
            self.decoded_before = 0;
            let rows = bytes.rows();
            let reader = self.cursor.read(&bytes).map_err(invalid)?;
            if rows <= BATCH_ROWS {
                self.decoded = reader.collect::<Result<_, _>>().map_err(broken)?;
            } else {
                self.reader = Some(reader);
            }
            self.bytes = Some(bytes);
        }
    }

    fn head_of(&self, batch: &RecordBatch) -> Result<Head, FormatError> {
        let keys = required(batch, self.cursor.columns.key())?;
        let marks = match &*self.cursor.columns {
            IdColumns::Records { .. } => Vec::new(),
            IdColumns::Facets { marks, .. } => marks
                .iter()
                .map(|name| mark(batch, name))
                .collect::<Result<_, _>>()?,
        };
        Ok(Head {
            keys,
            marks,
            row: 0,
        })
    }

    /// Rows must come in the order of their keys; a source that is not sorted is refused.
    fn check_order(&mut self) -> Result<(), FormatError> {
        let Some(key) = self.head.as_ref().map(|head| head.keys.value(head.row)) else {
            return Ok(());
        };
        if key < self.last_key.as_str() {
            return Err(FormatError::invalid(format!(
                "rows are not sorted: {key:?}"
            )));
        }
        self.last_key.clear();
        self.last_key.push_str(key);
        Ok(())
    }
}

/// What a reader answers of bytes that are no Parquet.
pub(crate) fn broken(error: arrow_schema::ArrowError) -> FormatError {
    FormatError::Invalid {
        reason: "parquet".to_owned(),
        source: Some(error.into()),
    }
}

/// The lengths of the lists in a column, null where there is none.
pub(crate) fn list_lengths(column: &ArrayRef) -> Option<arrow_array::Int32Array> {
    if let Some(lists) = column.as_list_opt::<i32>() {
        let lengths =
            (0..lists.len()).map(|row| lists.is_valid(row).then(|| lists.value_length(row)));
        return Some(lengths.collect());
    }
    let lists = column.as_list_opt::<i64>()?;
    let length = |row| i32::try_from(lists.value_length(row)).unwrap_or(i32::MAX);
    Some(
        (0..lists.len())
            .map(|row| lists.is_valid(row).then(|| length(row)))
            .collect(),
    )
}
