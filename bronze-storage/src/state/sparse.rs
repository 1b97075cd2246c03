//! Parquet read from a [`LogStore`] by ranges, all pinned to one version of the object.

use std::io::Read;

use bytes::{Buf, Bytes};
use ingest_state::{FormatError, LogStore, ObjectHead, StoreError};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::SchemaDescriptor;
use std::sync::Arc;

/// Objects up to this size are fetched whole: one request instead of three.
const WHOLE_BYTES: u64 = 256 * 1024;
/// How much of a larger object's end is fetched in the hope that the footer fits.
const TAIL_BYTES: u64 = 64 * 1024;
/// Two ranges closer than this are fetched as one.
const GAP_BYTES: u64 = 64 * 1024;

/// A Parquet object whose footer has been read.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) object: ObjectHead,
    pub(crate) metadata: Arc<ParquetMetaData>,
    whole: Option<Bytes>,
}

impl Opened {
    /// Reads the footer of `object`.
    pub(crate) async fn open(
        store: &dyn LogStore,
        object: &ObjectHead,
    ) -> Result<Self, FormatError> {
        let mut whole = None;
        let metadata = if object.size <= WHOLE_BYTES {
            let bytes = store.get_range(object, 0..object.size).await?;
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(&bytes)
                .map_err(invalid)?;
            whole = Some(bytes);
            metadata
        } else {
            let footer = footer(store, object).await?;
            ParquetMetaDataReader::decode_metadata(&footer).map_err(invalid)?
        };
        Ok(Self {
            object: object.clone(),
            metadata: Arc::new(metadata),
            whole,
        })
    }

    /// Reads the footer of `object` and nothing else, whatever its size.
    pub(crate) async fn open_footer(
        store: &dyn LogStore,
        object: &ObjectHead,
    ) -> Result<Self, FormatError> {
        let footer = footer(store, object).await?;
        let metadata = ParquetMetaDataReader::decode_metadata(&footer).map_err(invalid)?;
        Ok(Self {
            object: object.clone(),
            metadata: Arc::new(metadata),
            whole: None,
        })
    }

    /// The value of a key in the footer.
    pub(crate) fn footer_value(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// The footer with the columns that Arrow makes of it, which takes as long as to read it.
    pub(crate) fn arrow(&self) -> Result<ArrowReaderMetadata, FormatError> {
        let options = ArrowReaderOptions::new();
        ArrowReaderMetadata::try_new(self.metadata.clone(), options).map_err(invalid)
    }

    /// Fetches what `mask` needs of these row groups and starts to decode it.
    pub(crate) async fn read(
        &self,
        store: &dyn LogStore,
        row_groups: Vec<usize>,
        mask: ProjectionMask,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, FormatError> {
        let chunks = match &self.whole {
            Some(bytes) => vec![(0, bytes.clone())],
            None => self.fetch(store, &row_groups, &mask).await?,
        };
        let sparse = Sparse {
            size: self.object.size,
            chunks,
        };
        ParquetRecordBatchReaderBuilder::new_with_metadata(sparse, self.arrow()?)
            .with_row_groups(row_groups)
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(invalid)
    }

    async fn fetch(
        &self,
        store: &dyn LogStore,
        row_groups: &[usize],
        mask: &ProjectionMask,
    ) -> Result<Vec<(u64, Bytes)>, FormatError> {
        let metadata = &self.metadata;
        let mut ranges = Vec::new();
        for group in row_groups {
            for (leaf, column) in metadata.row_group(*group).columns().iter().enumerate() {
                if mask.leaf_included(leaf) {
                    let (start, length) = column.byte_range();
                    ranges.push(start..start.saturating_add(length).min(self.object.size));
                }
            }
        }
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<std::ops::Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                    last.end = last.end.max(range.end);
                }
                _ => merged.push(range),
            }
        }
        let mut chunks = Vec::with_capacity(merged.len());
        for range in merged {
            chunks.push((range.start, store.get_range(&self.object, range).await?));
        }
        Ok(chunks)
    }
}

/// One row group, all columns, as compressed bytes.
#[derive(Debug)]
pub(crate) struct GroupBytes {
    /// The object's key, for errors.
    pub(crate) key: String,
    metadata: Arc<ParquetMetaData>,
    bytes: Sparse,
    group: usize,
    weight: usize,
    row_bytes: usize,
}

impl Opened {
    /// Fetches row group `group`.
    pub(crate) async fn group(
        &self,
        store: &dyn LogStore,
        group: usize,
    ) -> Result<GroupBytes, FormatError> {
        let chunks = match &self.whole {
            Some(bytes) => vec![(0, bytes.clone())],
            None => self.fetch(store, &[group], &ProjectionMask::all()).await?,
        };
        let metadata = &self.metadata;
        let footer = metadata.memory_size() / metadata.num_row_groups().max(1);
        Ok(GroupBytes {
            key: self.object.key.clone(),
            metadata: self.metadata.clone(),
            weight: footer + chunks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(),
            bytes: Sparse {
                size: self.object.size,
                chunks,
            },
            group,
            row_bytes: row_bytes(metadata.row_group(group)),
        })
    }
}

/// About how many bytes a row is when it is decoded: texts by their length, the rest as encoded.
fn row_bytes(group: &RowGroupMetaData) -> usize {
    let texts = group.columns().iter();
    let texts = texts.filter_map(|column| column.unencoded_byte_array_data_bytes());
    let bytes = texts.sum::<i64>().max(group.total_byte_size());
    (bytes / group.num_rows().max(1)).try_into().unwrap_or(0)
}

impl GroupBytes {
    /// The file's schema.
    pub(crate) fn schema(&self) -> &SchemaDescriptor {
        self.file().file_metadata().schema_descr()
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> usize {
        usize::try_from(self.metadata().num_rows()).unwrap_or(0)
    }

    /// What it takes in memory, with its part of the footer.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// About how many bytes a row is when it is decoded.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The whole footer.
    pub(crate) fn file(&self) -> &ParquetMetaData {
        &self.metadata
    }

    /// Its part of the footer.
    pub(crate) fn metadata(&self) -> &RowGroupMetaData {
        self.file().row_group(self.group)
    }

    /// About how many bytes `rows` rows of these leaves are when they are decoded: the values, and
    /// for each its levels and offsets, and the same once more while they are put in order. So for
    /// the nulls of `missing` columns beside them.
    pub(crate) fn decoded_bytes(&self, leaves: &[usize], rows: usize, missing: usize) -> usize {
        let columns = || {
            let leaves = leaves.iter();
            leaves.filter_map(|leaf| self.metadata().columns().get(*leaf))
        };
        let nulls = match missing {
            0 => 0,
            _ => {
                let values = columns().map(ColumnChunkMetaData::num_values).max();
                let values = values.unwrap_or(0).max(self.metadata().num_rows());
                values.saturating_mul(16).saturating_mul(missing as i64)
            }
        };
        let bytes = columns().map(|column| {
            let texts = column.unencoded_byte_array_data_bytes().unwrap_or(0);
            texts.max(column.uncompressed_size()) + 16 * column.num_values()
        });
        let whole = bytes.sum::<i64>().saturating_add(nulls);
        let whole = usize::try_from(whole).unwrap_or(usize::MAX);
        let share = whole as u128 * rows as u128 / self.rows().max(1) as u128;
        usize::try_from(share).map_or(usize::MAX, |share| share.saturating_mul(2))
    }

    /// Its bytes, at their places in the file.
    pub(crate) fn bytes(&self) -> &Sparse {
        &self.bytes
    }
}

/// The bytes of the Thrift footer, without its length and magic.
async fn footer(store: &dyn LogStore, object: &ObjectHead) -> Result<Bytes, FormatError> {
    let start = object.size - TAIL_BYTES.min(object.size);
    let tail = store.get_range(object, start..object.size).await?;
    let short = || FormatError::invalid("truncated");
    let end = tail.len().checked_sub(8).ok_or_else(short)?;
    let mut trailer = tail.slice(end..);
    let length = trailer.get_u32_le() as usize;
    if &trailer[..] != b"PAR1" {
        return Err(FormatError::invalid("no Parquet magic at the end"));
    }
    if let Some(from) = end.checked_sub(length) {
        return Ok(tail.slice(from..end));
    }
    let end = object.size - 8;
    let from = end.checked_sub(length as u64).ok_or_else(short)?;
    let bytes = store.get_range(object, from..end).await?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(short())
    }
}

/// Bytes that are not Parquet, or not whole.
pub(crate) fn invalid(error: ParquetError) -> FormatError {
    FormatError::Invalid {
        reason: "parquet".to_owned(),
        source: Some(Box::new(error)),
    }
}

/// The parts of a file that were fetched.
#[derive(Debug, Clone)]
pub(crate) struct Sparse {
    size: u64,
    /// Start and bytes, in order, without overlap.
    chunks: Vec<(u64, Bytes)>,
}

impl Sparse {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let missing = || ParquetError::General(format!("byte {start} was not fetched"));
        let after = self.chunks.partition_point(|(at, _)| *at <= start);
        let (at, bytes) = after
            .checked_sub(1)
            .map(|index| &self.chunks[index])
            .ok_or_else(missing)?;
        let offset = usize::try_from(start - at).map_err(|_| missing())?;
        if offset > bytes.len() {
            Err(missing())
        } else {
            Ok(bytes.slice(offset..))
        }
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Sparse {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(Box::new(self.from(start)?.reader()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} were not fetched"
            )));
        }
        Ok(bytes.slice(..length))
    }
}

/// Whether a read failed because the object is not the one that was pinned.
pub(crate) fn is_changed(error: &FormatError) -> bool {
    matches!(error, FormatError::Store(StoreError::Changed { .. }))
}
