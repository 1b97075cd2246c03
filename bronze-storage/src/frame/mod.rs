//! [`Dataset`] from and to polars' `DataFrame`, and scans of bronze (feature `polars`).

mod bridge;
mod scan;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, NullArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use polars::frame::DataFrame;
use polars::prelude::{
    Column, CompatLevel, DataType as P, Field as PolarsField, IntoColumn, Series,
};

use crate::dataset::Dataset;
use crate::error::{BoxError, Error, Result};

/// Rows in a batch that comes from a frame: slices of its chunks, nothing is copied for them.
const BATCH_ROWS: usize = 8192;

impl Dataset {
    /// The rows of a polars `DataFrame` (feature `polars`), by the Arrow C data interface.
    ///
    /// # Shape
    /// Columns in the frame's order, all nullable, in the types that this crate writes: numbers,
    /// booleans, decimals, dates and times share the frame's buffers; strings and binary are
    /// copied, since polars keeps views of them and readers of Parquet want plain ones; lists keep
    /// their values where those do, with 32-bit offsets. A categorical becomes its strings; so do
    /// nulls without a type inside lists and structs.
    ///
    /// # Errors
    /// [`Error::Schema`] naming the column: a type that arrow-rs has not, or more than 2 GiB of
    /// text or list items in one chunk of it.
    pub fn from_polars(frame: DataFrame) -> Result<Self> {
        let mut frame = exportable(frame)?;
        frame.align_chunks();
        let mut fields: Vec<FieldRef> = Vec::with_capacity(frame.width());
        for (name, dtype) in frame.schema().iter() {
            let dtype = dtype.to_arrow(CompatLevel::newest());
            let found = bridge::type_from_polars(&dtype).map_err(|error| refused(name, error))?;
            fields.push(Arc::new(Field::new(name.as_str(), plain(&found), true)));
        }
        let schema = Arc::new(Schema::new(fields));
        let chunks = frame
            .columns()
            .first()
            .map_or(1, |c| c.as_materialized_series().n_chunks());
        let mut batches = Vec::with_capacity(chunks);
        for n in 0..chunks {
            let batch = batch_of(&frame, n, &schema)?;
            let rows = batch.num_rows();
            batches.extend(
                (0..rows)
                    .step_by(BATCH_ROWS)
                    .map(|from| batch.slice(from, BATCH_ROWS.min(rows - from))),
            );
        }
        if batches.is_empty() {
            return Ok(Self::empty(schema));
        }
        Self::from_batches(batches)
    }

    /// The rows as a polars `DataFrame` (feature `polars`), in memory, by the Arrow C data
    /// interface.
    ///
    /// # Shape
    /// A chunk a batch; buffers are shared where polars keeps the same layout (numbers, booleans,
    /// decimals, dates, instants, the values of lists; of strings the bytes). What polars has no
    /// type for is widened without loss: seconds to milliseconds, times of day to nanoseconds,
    /// dictionaries to their values, fixed-size lists to lists, `Float16` to `Float32`.
    ///
    /// # Errors
    /// The stream's first; [`Error::Schema`] naming the column for a type that polars has not
    /// (maps, unions, intervals, `Decimal256`, decimals of negative scale) or for two columns of
    /// one name.
    pub async fn into_polars(self) -> Result<DataFrame> {
        let schema = Arc::clone(self.schema());
        let batches = self.into_batches().await?;
        let height = batches.iter().map(RecordBatch::num_rows).sum();
        let mut columns: Vec<Column> = Vec::with_capacity(schema.fields().len());
        for (n, field) in schema.fields().iter().enumerate() {
            let chunks = batches.iter().map(|batch| Arc::clone(batch.column(n)));
            let series = series(field, chunks.collect())?;
            columns.push(series.into_column());
        }
        DataFrame::new(height, columns).map_err(|error| refused("*", error.into()))
    }
}

impl TryFrom<DataFrame> for Dataset {
    type Error = Error;

    fn try_from(frame: DataFrame) -> Result<Self> {
        Self::from_polars(frame)
    }
}

/// The frame with what it can be exported as: polars exports nulls without a type in a form that
/// arrow-rs refuses, so inside lists and structs they become strings, as inference makes them.
fn exportable(frame: DataFrame) -> Result<DataFrame> {
    let height = frame.height();
    let columns = frame.into_columns().into_iter().map(|column| {
        let dtype = column.dtype();
        let typed = typed_nulls(dtype);
        if dtype == &P::Null || &typed == dtype {
            return Ok(column);
        }
        let cast = column.strict_cast(&typed);
        cast.map_err(|error| refused(column.name(), error.into()))
    });
    DataFrame::new(height, columns.collect::<Result<_>>()?)
        .map_err(|error| refused("*", error.into()))
}

fn typed_nulls(dtype: &P) -> P {
    match dtype {
        P::Null => P::String,
        P::List(item) => P::List(Box::new(typed_nulls(item))),
        P::Struct(fields) => {
            let fields = fields.iter();
            let typed = |f: &PolarsField| PolarsField::new(f.name.clone(), typed_nulls(&f.dtype));
            P::Struct(fields.map(typed).collect())
        }
        other => other.clone(),
    }
}

/// One chunk of every column.
fn batch_of(frame: &DataFrame, n: usize, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(frame.width());
    for (column, field) in frame.columns().iter().zip(schema.fields()) {
        let chunk = column
            .as_materialized_series()
            .to_arrow(n, CompatLevel::newest());
        if field.data_type() == &DataType::Null {
            columns.push(Arc::new(NullArray::new(chunk.len())));
            continue;
        }
        let array = bridge::from_polars(chunk).map_err(|error| refused(field.name(), error))?;
        columns.push(cast(&array, field.data_type(), field.name())?);
    }
    let rows = columns.first().map_or(frame.height(), |array| array.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| refused("*", error.into()))
}

/// A column of chunks.
fn series(field: &FieldRef, chunks: Vec<ArrayRef>) -> Result<Series> {
    let name = field.name();
    let target = for_polars(field.data_type(), name)?;
    let mut shared = Vec::with_capacity(chunks.len().max(1));
    for chunk in chunks {
        let chunk = cast(&chunk, &target, name)?;
        shared.push(bridge::to_polars(chunk.as_ref()).map_err(|error| refused(name, error))?);
    }
    if shared.is_empty() {
        let empty = new_empty_array(&target);
        shared.push(bridge::to_polars(empty.as_ref()).map_err(|error| refused(name, error))?);
    }
    Series::from_arrow_chunks(name.as_str().into(), shared)
        .map_err(|error| refused(name, error.into()))
}

fn refused(at: &str, error: BoxError) -> Error {
    Error::Schema {
        at: at.to_owned(),
        reason: error.to_string(),
    }
}

/// What does not fit is an error, not a null.
fn cast(array: &ArrayRef, target: &DataType, at: &str) -> Result<ArrayRef> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, target, &options).map_err(|error| refused(at, error.into()))
}

fn item(field: &FieldRef, data_type: DataType) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The type that this crate writes for one that polars exports.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(item(field, plain(field.data_type())))
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| item(field, plain(field.data_type())))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The type in which polars takes a column without loss.
fn for_polars(data_type: &DataType, at: &str) -> Result<DataType> {
    use DataType as T;
    Ok(match data_type {
        T::Null
        | T::Boolean
        | T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::UInt64
        | T::Float32
        | T::Float64
        | T::Utf8
        | T::LargeUtf8
        | T::Utf8View
        | T::Binary
        | T::LargeBinary
        | T::BinaryView
        | T::Date32 => data_type.clone(),
        T::Float16 => T::Float32,
        T::FixedSizeBinary(_) => T::Binary,
        T::Timestamp(TimeUnit::Second, zone) => T::Timestamp(TimeUnit::Millisecond, zone.clone()),
        T::Timestamp(..) => data_type.clone(),
        T::Date64 => T::Timestamp(TimeUnit::Millisecond, None),
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Nanosecond),
        T::Duration(TimeUnit::Second) => T::Duration(TimeUnit::Millisecond),
        T::Duration(_) => data_type.clone(),
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            T::Decimal128(*precision, *scale)
        }
        T::Dictionary(_, values) => for_polars(values, at)?,
        T::List(field) | T::FixedSizeList(field, _) => {
            T::List(item(field, for_polars(field.data_type(), at)?))
        }
        T::LargeList(field) => T::LargeList(item(field, for_polars(field.data_type(), at)?)),
        T::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                let at = format!("{at}.{}", field.name());
                Ok(item(field, for_polars(field.data_type(), &at)?))
            });
            T::Struct(fields.collect::<Result<_>>()?)
        }
        other => {
            return Err(Error::Schema {
                at: at.to_owned(),
                reason: format!("polars has no type for {other}"),
            });
        }
    })
}

/// The polars type of a column that went through [`for_polars`].
fn polars_type(data_type: &DataType, at: &str) -> Result<P> {
    let target = for_polars(data_type, at)?;
    let dtype = bridge::type_to_polars(&target).map_err(|error| refused(at, error))?;
    Ok(P::from_arrow_dtype(&dtype))
}
