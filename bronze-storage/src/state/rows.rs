//! Rows that a writer offers to a log.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StructArray, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::nullif::nullif;
use arrow_select::{filter, take};
use bytes::Bytes;
use ingest_state::{EntryHead, EntryRows, FormatError, IdList};

use super::columns::{IdColumns, required};
use super::entry;

/// Rows that become one Parquet entry of a log, and their ids.
///
/// Rows of a log with facets are sorted by key. After a lost race, rows whose ids were all taken
/// are dropped; of a row that lost one facet only, that facet's columns and total become null.
#[derive(Debug, Clone)]
pub struct ParquetRows {
    columns: IdColumns,
    batch: RecordBatch,
    ids: IdList,
    /// The row of each id.
    rows: Vec<usize>,
}

impl ParquetRows {
    /// All of `batch` as one entry, but for rows that have no facet.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if an id column is missing, is no text or has nulls.
    pub fn new(batch: &RecordBatch, columns: &IdColumns) -> Result<Self, FormatError> {
        let batch = match columns {
            IdColumns::Records { .. } => batch.clone(),
            IdColumns::Facets { key, .. } => sorted(batch, key)?,
        };
        let (ids, rows) = ids_and_rows(&batch, columns)?;
        let mut has_id = vec![false; batch.num_rows()];
        rows.iter().for_each(|row| has_id[*row] = true);
        if has_id.iter().all(|has| *has) {
            return Ok(Self {
                columns: columns.clone(),
                batch,
                ids,
                rows,
            });
        }
        // A row without any facet stands for no id: nobody could tell whether it is in already.
        let has_id = BooleanArray::from(has_id);
        let batch = filter::filter_record_batch(&batch, &has_id).map_err(encode_error)?;
        let (ids, rows) = ids_and_rows(&batch, columns)?;
        Ok(Self {
            columns: columns.clone(),
            batch,
            ids,
            rows,
        })
    }

    /// `batches` as few entries of at most `max_bytes` each, in memory and so, but for a footer
    /// of some kilobytes, in the store as well. A single row that is larger makes its own entry.
    ///
    /// # Errors
    /// As [`ParquetRows::new`]; also if the batches differ in schema.
    pub fn split(
        batches: &[RecordBatch],
        columns: &IdColumns,
        max_bytes: usize,
    ) -> Result<Vec<Self>, FormatError> {
        let mut pieces = Vec::new();
        for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
            cut(batch, max_bytes, &mut pieces);
        }
        let (mut entries, mut group, mut held) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            let bytes = slice_bytes(&piece);
            if !group.is_empty() && held + bytes > max_bytes {
                entries.push(Self::of_group(&group, columns)?);
                group.clear();
                held = 0;
            }
            held += bytes;
            group.push(piece);
        }
        if !group.is_empty() {
            entries.push(Self::of_group(&group, columns)?);
        }
        Ok(entries)
    }

    fn of_group(group: &[RecordBatch], columns: &IdColumns) -> Result<Self, FormatError> {
        let batch = concat_batches(&group[0].schema(), group).map_err(encode_error)?;
        Self::new(&batch, columns)
    }

    /// The rows.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The row of each id, in the order of the ids.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The rows that are left with these ids.
    fn kept(&self, keep: &[bool]) -> Result<RecordBatch, ArrowError> {
        if keep.iter().all(|keep| *keep) {
            return Ok(self.batch.clone());
        }
        let mut row_kept = vec![false; self.batch.num_rows()];
        for (row, keep) in self.rows.iter().zip(keep) {
            row_kept[*row] |= *keep;
        }
        let mut batch = self.batch.clone();
        if let IdColumns::Facets { marks, .. } = &self.columns {
            for (facet, mark) in marks.iter().enumerate() {
                let mut lost = vec![false; batch.num_rows()];
                for ((id, row), keep) in self.ids.iter().zip(&self.rows).zip(keep) {
                    lost[*row] |= usize::from(id.facet) == facet && !keep;
                }
                batch = without_facet(&batch, mark, &BooleanArray::from(lost))?;
            }
        }
        filter::filter_record_batch(&batch, &BooleanArray::from(row_kept))
    }
}

impl EntryRows for ParquetRows {
    fn ids(&self) -> &IdList {
        &self.ids
    }

    fn encode(&self, head: &EntryHead, keep: &[bool]) -> Result<Bytes, FormatError> {
        let batch = self.kept(keep).map_err(encode_error)?;
        entry::encode(&batch, head, Vec::new())
    }
}

/// The ids of `batch`, and the row of each.
fn ids_and_rows(
    batch: &RecordBatch,
    columns: &IdColumns,
) -> Result<(IdList, Vec<usize>), FormatError> {
    let (mut ids, mut rows) = (IdList::new(), Vec::new());
    columns.extract(batch, &mut ids, |row| rows.push(row))?;
    Ok((ids, rows))
}

/// `batch` with the mark, the data and the total of a facet null in the `lost` rows.
fn without_facet(
    batch: &RecordBatch,
    mark: &str,
    lost: &BooleanArray,
) -> Result<RecordBatch, ArrowError> {
    let data = mark.strip_prefix('_').unwrap_or(mark);
    let total = format!("total_{data}");
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| match field.name().as_str() {
        name if name == mark || name == data => nullif(column, lost),
        "metadata" => null_child(column, &total, lost),
        _ => Ok(column.clone()),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

fn null_child(column: &ArrayRef, name: &str, lost: &BooleanArray) -> Result<ArrayRef, ArrowError> {
    let Some(parent) = column.as_struct_opt() else {
        return Ok(column.clone());
    };
    let children = parent.fields().iter().zip(parent.columns());
    let children = children.map(|(field, child)| {
        if field.name() == name {
            nullif(child, lost)
        } else {
            Ok(child.clone())
        }
    });
    let children = children.collect::<Result<Vec<_>, _>>()?;
    let nulls = parent.nulls().cloned();
    let parent = StructArray::try_new(parent.fields().clone(), children, nulls)?;
    Ok(Arc::new(parent))
}

/// `batch` in the order of `key`, rows of the same key in their order.
fn sorted(batch: &RecordBatch, key: &str) -> Result<RecordBatch, FormatError> {
    let keys = required(batch, key)?;
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    order.sort_by(|a, b| keys.value(*a as usize).cmp(keys.value(*b as usize)));
    if order.is_sorted() {
        return Ok(batch.clone());
    }
    take::take_record_batch(batch, &UInt32Array::from(order)).map_err(encode_error)
}

/// Halves `batch` until each piece fits.
fn cut(batch: &RecordBatch, max_bytes: usize, pieces: &mut Vec<RecordBatch>) {
    let rows = batch.num_rows();
    if rows <= 1 || slice_bytes(batch) <= max_bytes {
        pieces.push(batch.clone());
        return;
    }
    cut(&batch.slice(0, rows / 2), max_bytes, pieces);
    cut(&batch.slice(rows / 2, rows - rows / 2), max_bytes, pieces);
}

/// The bytes of the rows of a batch that may be a slice of a larger one.
pub(crate) fn slice_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| {
        let size = column.to_data().get_slice_memory_size();
        size.unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(bytes).sum()
}

pub(crate) fn encode_error(source: ArrowError) -> FormatError {
    FormatError::Encode {
        reason: "arrow".to_owned(),
        source: Some(source.into()),
    }
}
