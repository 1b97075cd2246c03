//! Parquet encoded a few columns at a time.
//!
//! The Parquet library's own writer keeps an encoder, a compressor and a decompressor for every
//! column from the first row of a row group to the last: a quarter of a megabyte for each of the
//! hundred columns of details, whatever they hold.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory,
    compute_leaves,
};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

/// What the leaves that are encoded together weigh at most.
const MAX_WEIGHT: usize = 4;

/// Neighbouring leaves of one top-level column, which are encoded together.
#[derive(Debug)]
pub(crate) struct LeafGroup {
    /// The top-level column.
    pub(crate) column: usize,
    /// Its leaves, counted over the whole schema.
    pub(crate) leaves: Range<usize>,
    /// Their place among the column's own leaves.
    within: Range<usize>,
    /// The column with these leaves alone.
    pub(crate) field: FieldRef,
    factory: ArrowRowGroupWriterFactory,
}

/// A Parquet file of `schema` into `sink`, and the groups that its columns are encoded in.
pub(crate) fn start<W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    mut properties: WriterProperties,
) -> Result<(SerializedFileWriter<W>, Vec<LeafGroup>), ParquetError> {
    add_encoded_arrow_schema_to_metadata(schema, &mut properties);
    let properties = Arc::new(properties);
    let descriptor = ArrowSchemaConverter::new().convert(schema)?;
    let file = SerializedFileWriter::new(sink, descriptor.root_schema_ptr(), properties.clone())?;
    let mut groups = Vec::new();
    let mut first = 0;
    for (column, field) in schema.fields().iter().enumerate() {
        for within in cut(field) {
            let leaves = first + within.start..first + within.end;
            groups.push(group(field, column, leaves, within, &properties)?);
        }
        first += leaf_count(field);
    }
    Ok((file, groups))
}

fn group(
    field: &FieldRef,
    column: usize,
    leaves: Range<usize>,
    within: Range<usize>,
    properties: &WriterPropertiesPtr,
) -> Result<LeafGroup, ParquetError> {
    let pruned = prune(field, &mut 0, &|leaf| within.contains(&leaf))
        .ok_or_else(|| ParquetError::General(format!("no leaves in column {:?}", field.name())))?;
    let schema = Arc::new(Schema::new(vec![pruned.clone()]));
    let descriptor = ArrowSchemaConverter::new().convert(&schema)?;
    // A file of these leaves alone, which only tells the encoders what they encode.
    let nowhere = SerializedFileWriter::new(
        std::io::sink(),
        descriptor.root_schema_ptr(),
        properties.clone(),
    )?;
    Ok(LeafGroup {
        column,
        leaves,
        within,
        field: pruned,
        factory: ArrowRowGroupWriterFactory::new(&nowhere, schema),
    })
}

impl LeafGroup {
    /// The part of the whole column `array`, of `field`, that belongs to this group.
    pub(crate) fn part(&self, field: &FieldRef, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let part = prune_array(field, array, &mut 0, &self.within)?;
        part.map(|(_, part)| part)
            .ok_or_else(|| ArrowError::SchemaError("a column without leaves".to_owned()))
    }

    /// Encodes `array`, of this group's field, as column chunks of a row group.
    pub(crate) fn encode(&self, array: &ArrayRef) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let leaves = compute_leaves(&self.field, array)?;
        let writers = self.factory.create_column_writers(0)?;
        let encode = |(mut writer, leaf): (ArrowColumnWriter, ArrowLeafColumn)| {
            writer.write(&leaf)?;
            drop(leaf);
            writer.close()
        };
        writers.into_iter().zip(leaves).map(encode).collect()
    }

    /// Encodes `array`, of this group's field, as the next column chunks of `row_group`.
    pub(crate) fn append<W: Write + Send>(
        &self,
        array: &ArrayRef,
        row_group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let chunks = self.encode(array)?;
        let append = |chunk: ArrowColumnChunk| chunk.append_to_row_group(row_group);
        chunks.into_iter().try_for_each(append)
    }
}

/// `batch` as a file of one row group, or none if it has no rows.
pub(crate) fn encode(
    batch: &RecordBatch,
    properties: WriterProperties,
) -> Result<Vec<u8>, ParquetError> {
    let (mut file, groups) = start(Vec::new(), batch.schema_ref(), properties)?;
    if batch.num_rows() > 0 {
        let mut row_group = file.next_row_group()?;
        for group in &groups {
            let field = &batch.schema_ref().fields()[group.column];
            let part = group.part(field, batch.column(group.column))?;
            group.append(&part, &mut row_group)?;
        }
        row_group.close()?;
    }
    file.into_inner()
}

/// The leaves of a column, cut into groups: texts alone, others a few at a time.
fn cut(field: &Field) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut held, mut first) = (0, 0);
    for (leaves, weight) in units(field) {
        match groups.last_mut().filter(|_| held + weight <= MAX_WEIGHT) {
            Some(last) => {
                last.end += leaves;
                held += weight;
            }
            None => {
                groups.push(first..first + leaves);
                held = weight;
            }
        }
        first += leaves;
    }
    groups
}

/// What a column can be cut into: leaves and weight of each piece.
fn units(field: &Field) -> Vec<(usize, usize)> {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().flat_map(|field| units(field)).collect(),
        DataType::List(item) => units(item),
        kind if kind.is_primitive() || *kind == DataType::Boolean => vec![(1, 1)],
        _ => vec![(leaf_count(field), MAX_WEIGHT)],
    }
}

/// `field` with the wanted leaves alone, counted from `at`; `None` if it has none of them.
pub(crate) fn prune(
    field: &FieldRef,
    at: &mut usize,
    wanted: &dyn Fn(usize) -> bool,
) -> Option<FieldRef> {
    let kind = match field.data_type() {
        DataType::Struct(fields) => {
            let kept: Vec<_> = fields
                .iter()
                .filter_map(|field| prune(field, at, wanted))
                .collect();
            (!kept.is_empty()).then(|| DataType::Struct(kept.into()))?
        }
        DataType::List(item) => DataType::List(prune(item, at, wanted)?),
        kind => {
            let first = *at;
            *at += leaf_count(field);
            wanted(first).then(|| kind.clone())?
        }
    };
    Some(Arc::new(field.as_ref().clone().with_data_type(kind)))
}

/// `array` with the wanted leaves alone, as `prune` does with its field.
fn prune_array(
    field: &FieldRef,
    array: &ArrayRef,
    at: &mut usize,
    wanted: &Range<usize>,
) -> Result<Option<(FieldRef, ArrayRef)>, ArrowError> {
    let pruned: ArrayRef = match field.data_type() {
        DataType::Struct(fields) => {
            let whole = array.as_struct();
            let (mut kept, mut arrays) = (Vec::new(), Vec::new());
            for (field, array) in fields.iter().zip(whole.columns()) {
                if let Some((field, array)) = prune_array(field, array, at, wanted)? {
                    kept.push(field);
                    arrays.push(array);
                }
            }
            if kept.is_empty() {
                return Ok(None);
            }
            let nulls = whole.nulls().cloned();
            Arc::new(StructArray::try_new(kept.into(), arrays, nulls)?)
        }
        DataType::List(item) => {
            let whole = array.as_list::<i32>();
            let Some((item, values)) = prune_array(item, whole.values(), at, wanted)? else {
                return Ok(None);
            };
            let (offsets, nulls) = (whole.offsets().clone(), whole.nulls().cloned());
            Arc::new(ListArray::try_new(item, offsets, values, nulls)?)
        }
        _ => {
            let first = *at;
            *at += leaf_count(field);
            if !wanted.contains(&first) {
                return Ok(None);
            }
            array.clone()
        }
    };
    let kind = pruned.data_type().clone();
    Ok(Some((
        Arc::new(field.as_ref().clone().with_data_type(kind)),
        pruned,
    )))
}

/// How many leaves Parquet makes of a column.
pub(crate) fn leaf_count(field: &Field) -> usize {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field)).sum(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => leaf_count(item),
        _ => 1,
    }
}
