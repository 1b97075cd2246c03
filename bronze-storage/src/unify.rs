//! Files of one table whose schemas grew: one schema over all, and batches brought to it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};

use crate::error::{Error, Result};

/// A column whose types no type holds both.
#[derive(Debug)]
pub(crate) struct Conflict {
    /// Its path, without the levels of lists.
    pub(crate) at: String,
    /// Its type in the first schema.
    pub(crate) ours: DataType,
    /// Its type in the second one.
    pub(crate) theirs: DataType,
}

/// The schema that holds every column of both, in order of first appearance; nullable where one
/// side lacks it. Refuses the columns of the object `key`, which are `b`.
pub(crate) fn merge(a: &SchemaRef, b: &Schema, key: &str) -> Result<SchemaRef> {
    union(a, b).map_err(|Conflict { at, ours, theirs }| Error::Schema {
        at,
        reason: format!("{key} has {theirs}, the objects before it {ours}"),
    })
}

/// The same, for callers with an error of their own.
pub(crate) fn union(a: &SchemaRef, b: &Schema) -> Result<SchemaRef, Conflict> {
    if a.fields() == b.fields() {
        return Ok(a.clone());
    }
    let fields = merge_fields(a.fields(), b.fields(), "")?;
    Ok(Arc::new(Schema::new(fields)))
}

fn merge_fields(
    a: &arrow_schema::Fields,
    b: &arrow_schema::Fields,
    at: &str,
) -> Result<Vec<FieldRef>, Conflict> {
    let mut merged = Vec::with_capacity(a.len());
    for ours in a {
        merged.push(match b.iter().find(|theirs| theirs.name() == ours.name()) {
            Some(theirs) => merge_field(ours, theirs, at)?,
            None => nullable(ours),
        });
    }
    for theirs in b {
        if !a.iter().any(|ours| ours.name() == theirs.name()) {
            merged.push(nullable(theirs));
        }
    }
    Ok(merged)
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

fn merge_field(a: &FieldRef, b: &FieldRef, at: &str) -> Result<FieldRef, Conflict> {
    let at = if at.is_empty() {
        a.name().clone()
    } else {
        format!("{at}.{}", a.name())
    };
    merge_at(a, b, &at)
}

/// The field that holds the values of both; they lie at the path `at`.
fn merge_at(a: &FieldRef, b: &FieldRef, at: &str) -> Result<FieldRef, Conflict> {
    let data_type = match (a.data_type(), b.data_type()) {
        (DataType::Struct(ours), DataType::Struct(theirs)) => {
            DataType::Struct(merge_fields(ours, theirs, at)?.into())
        }
        (DataType::List(ours), DataType::List(theirs)) => {
            DataType::List(merge_at(ours, theirs, at)?)
        }
        (ours, theirs) if ours == theirs => ours.clone(),
        // Inferred fractions differ in places; the value that does not fit is an error later.
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => {
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(*q) - i16::from(*t));
            let scale = *s.max(t);
            let precision = u8::try_from(whole + i16::from(scale)).unwrap_or(38).min(38);
            DataType::Decimal128(precision, scale)
        }
        (ours, theirs) => {
            return Err(Conflict {
                at: at.to_owned(),
                ours: ours.clone(),
                theirs: theirs.clone(),
            });
        }
    };
    let nullable = a.is_nullable() || b.is_nullable();
    Ok(Arc::new(
        a.as_ref()
            .clone()
            .with_data_type(data_type)
            .with_nullable(nullable),
    ))
}

/// A batch in a schema that [`merge`] made over its own.
pub(crate) fn adapt(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref().fields() == schema.fields() {
        return batch.with_schema(schema.clone());
    }
    let rows = batch.num_rows();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) => adapt_array(column, field)?,
            None => new_null_array(field.data_type(), rows),
        });
    }
    RecordBatch::try_new(schema.clone(), columns)
}

fn adapt_array(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == field.data_type() {
        return Ok(array.clone());
    }
    match field.data_type() {
        DataType::Struct(fields) => {
            let old = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                columns.push(match old.column_by_name(field.name()) {
                    Some(column) => adapt_array(column, field)?,
                    None => new_null_array(field.data_type(), old.len()),
                });
            }
            Ok(Arc::new(StructArray::try_new(
                fields.clone(),
                columns,
                old.nulls().cloned(),
            )?))
        }
        DataType::List(item) => {
            let old = array.as_list::<i32>();
            let values = adapt_array(old.values(), item)?;
            let (offsets, nulls) = (old.offsets().clone(), old.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(
                item.clone(),
                offsets,
                values,
                nulls,
            )?))
        }
        // To more places only; digits that do not fit are an error, not a null.
        DataType::Decimal128(..) if matches!(array.data_type(), DataType::Decimal128(..)) => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, field.data_type(), &options)
        }
        other => Err(ArrowError::SchemaError(format!(
            "{} is not {other}",
            array.data_type()
        ))),
    }
}
