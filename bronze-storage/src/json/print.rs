use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;

use crate::error::{Error, Result};

/// Writes a row as a JSON object, every column in order, nulls as `null`; decimals with their
/// digits, times as text.
pub(crate) fn write_record(out: &mut String, batch: &RecordBatch, row: usize) -> Result<()> {
    out.push('{');
    for (n, (field, column)) in batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .enumerate()
    {
        if n > 0 {
            out.push(',');
        }
        text(out, field.name());
        out.push(':');
        value(out, column.as_ref(), row, field.name())?;
    }
    out.push('}');
    Ok(())
}

/// A JSON string; the escapes are those that the grammar asks for.
fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn value(out: &mut String, array: &dyn Array, row: usize, at: &str) -> Result<()> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str("null");
        return Ok(());
    }
    macro_rules! number {
        ($type:ty) => {{
            let _ = write!(out, "{}", array.as_primitive::<$type>().value(row));
        }};
    }
    let refuse = |reason: String| {
        Err(Error::Schema {
            at: at.to_owned(),
            reason,
        })
    };
    match array.data_type() {
        DataType::Boolean => {
            out.push_str(if array.as_boolean().value(row) {
                "true"
            } else {
                "false"
            });
        }
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Decimal128(..) => {
            out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row));
        }
        DataType::Float32 if array.as_primitive::<Float32Type>().value(row).is_finite() => {
            number!(Float32Type);
        }
        DataType::Float64 if array.as_primitive::<Float64Type>().value(row).is_finite() => {
            number!(Float64Type);
        }
        DataType::Utf8 => text(out, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(out, array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(out, array.as_string_view().value(row)),
        DataType::Struct(fields) => {
            out.push('{');
            for (n, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if n > 0 {
                    out.push(',');
                }
                text(out, field.name());
                out.push(':');
                value(out, column.as_ref(), row, field.name())?;
            }
            out.push('}');
        }
        DataType::List(_) => list(out, array.as_list::<i32>().value(row).as_ref(), at)?,
        DataType::LargeList(_) => list(out, array.as_list::<i64>().value(row).as_ref(), at)?,
        DataType::FixedSizeList(..) => {
            list(out, array.as_fixed_size_list().value(row).as_ref(), at)?;
        }
        // What other writers make of categories: the value itself.
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let Some(key) = integer(dictionary.keys(), row) else {
                return refuse("a dictionary without keys".to_owned());
            };
            value(out, dictionary.values().as_ref(), key, at)?;
        }
        DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..)
        | DataType::Time32(_)
        | DataType::Time64(_) => {
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(array, &options)
                .and_then(|formatter| formatter.value(row).try_to_string());
            match shown {
                Ok(shown) => text(out, &shown),
                Err(error) => return refuse(error.to_string()),
            }
        }
        other => return refuse(format!("JSON has no value for {other} here")),
    }
    Ok(())
}

/// A dictionary's key, whatever integers it has.
fn integer(array: &dyn Array, row: usize) -> Option<usize> {
    macro_rules! take {
        ($type:ty) => {
            usize::try_from(array.as_primitive::<$type>().value(row)).ok()
        };
    }
    match array.data_type() {
        DataType::Int8 => take!(Int8Type),
        DataType::Int16 => take!(Int16Type),
        DataType::Int32 => take!(Int32Type),
        DataType::Int64 => take!(Int64Type),
        DataType::UInt8 => take!(UInt8Type),
        DataType::UInt16 => take!(UInt16Type),
        DataType::UInt32 => take!(UInt32Type),
        DataType::UInt64 => take!(UInt64Type),
        _ => None,
    }
}

fn list(out: &mut String, items: &dyn Array, at: &str) -> Result<()> {
    out.push('[');
    for n in 0..items.len() {
        if n > 0 {
            out.push(',');
        }
        value(out, items, n, at)?;
    }
    out.push(']');
    Ok(())
}
