use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ListArray, RecordBatch, StringArray, StructArray};

use super::date_time::date_time_text;
use super::schema::{PRECISION, SCALE};
use crate::error::{Error, Result};
use crate::json::{Fault, Scanner, Segment, canonical_json, parse_path, push_json_string};
use crate::shape::{CONTRATACAO, Field, Shape, Type};

/// The canonical JSON of the record that row `row` of a contratações batch came from: equal to
/// [`canonical_json`](crate::canonical_json) of the bytes that the API sent. Lineage columns are
/// not part of it.
///
/// # Errors
/// [`Error::Schema`] if the batch is not of [`contratacao_schema`](super::contratacao_schema)
/// (columns are found by name; more may be there), or `row` is not in it.
pub fn contratacao_json(batch: &RecordBatch, row: usize) -> Result<String> {
    if row >= batch.num_rows() {
        return Err(mismatch("row"));
    }
    let columns: Vec<_> = CONTRATACAO
        .iter()
        .map(|field| {
            batch
                .column_by_name(field.name)
                .ok_or_else(|| mismatch(field.name))
        })
        .collect::<Result<_>>()?;
    let unmapped = batch
        .column_by_name("_unmapped")
        .ok_or_else(|| mismatch("_unmapped"))?;
    let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
    let mut out = String::new();
    with_kept(unmapped.as_ref(), row, |kept| {
        push_object(&mut out, CONTRATACAO, &columns, row, kept)
    })?;
    canonical_json(out.as_bytes(), Shape::Contratacao)
}

/// As [`contratacao_json`]; the name that reads well next to `canonical_json`.
///
/// # Errors
/// As [`contratacao_json`].
pub fn row_json(batch: &RecordBatch, row: usize) -> Result<String> {
    contratacao_json(batch, row)
}

/// The canonical JSON of each element of one cell of `itens` or `arquivos`; `None` if the cell
/// is null.
///
/// # Errors
/// [`Error::Schema`] if the list does not hold such structs, or `row` is not in it.
pub fn element_json(list: &ListArray, row: usize, shape: Shape) -> Result<Option<Vec<String>>> {
    if row >= list.len() {
        return Err(mismatch("row"));
    }
    if list.is_null(row) {
        return Ok(None);
    }
    let elements = list.value(row);
    let elements = elements.as_struct_opt().ok_or_else(|| mismatch("item"))?;
    let fields = shape.fields();
    let columns: Vec<_> = fields
        .iter()
        .map(|field| {
            elements
                .column_by_name(field.name)
                .ok_or_else(|| mismatch(field.name))
        })
        .collect::<Result<_>>()?;
    let unmapped = elements
        .column_by_name("_unmapped")
        .ok_or_else(|| mismatch("_unmapped"))?;
    let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
    let mut texts = Vec::with_capacity(elements.len());
    for index in 0..elements.len() {
        let mut out = String::new();
        if elements.is_null(index) {
            out.push_str("null");
        } else {
            with_kept(unmapped.as_ref(), index, |kept| match kept {
                // Not an object: the whole of it was kept.
                [only] if only.path.is_empty() => {
                    out.push_str(only.raw);
                    Ok(())
                }
                kept => push_object(&mut out, fields, &columns, index, kept),
            })?;
        }
        texts.push(canonical_json(out.as_bytes(), shape)?);
    }
    Ok(Some(texts))
}

fn mismatch(what: &str) -> Error {
    Error::Schema {
        reason: format!("not of our schema, at `{what}`"),
    }
}

/// A value out of `_unmapped`.
#[derive(Debug, Clone)]
struct Kept<'a> {
    path: Vec<Segment>,
    raw: &'a str,
}

fn with_kept<R>(
    unmapped: &dyn Array,
    row: usize,
    then: impl FnOnce(&[Kept<'_>]) -> Result<R>,
) -> Result<R> {
    let texts: &StringArray = unmapped
        .as_string_opt()
        .ok_or_else(|| mismatch("_unmapped"))?;
    if texts.is_null(row) {
        return then(&[]);
    }
    let text = texts.value(row);
    then(&read_kept(text).map_err(|fault| fault.of(text.as_bytes()))?)
}

fn read_kept(text: &str) -> Result<Vec<Kept<'_>>, Fault> {
    let mut scanner = Scanner::over(text);
    let mut kept = Vec::new();
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        let Some(path) = parse_path(&key.decode_lossy()) else {
            return scanner.error("not a path of ours");
        };
        kept.push(Kept {
            path,
            raw: scanner.skip_value()?,
        });
    }
    scanner.end()?;
    Ok(kept)
}

/// What was kept below `step`, with that step taken off.
fn below<'a>(kept: &[Kept<'a>], step: impl Fn(&Segment) -> bool) -> Vec<Kept<'a>> {
    kept.iter()
        .filter(|kept| kept.path.len() > 1 && step(&kept.path[0]))
        .map(|kept| Kept {
            path: kept.path[1..].to_vec(),
            raw: kept.raw,
        })
        .collect()
}

/// Writes an object, its keys in the shape's order; the caller makes it canonical.
fn push_object(
    out: &mut String,
    fields: &'static [Field],
    columns: &[&dyn Array],
    row: usize,
    kept: &[Kept<'_>],
) -> Result<()> {
    out.push('{');
    let mut comma = "";
    for (field, column) in fields.iter().zip(columns) {
        if column.is_null(row) {
            continue;
        }
        out.push_str(comma);
        comma = ",";
        push_json_string(out, field.name);
        out.push(':');
        let inner = below(
            kept,
            |step| matches!(step, Segment::Field { name, .. } if name == field.name),
        );
        push_value(out, field, *column, row, &inner)?;
    }
    for Kept { path, raw } in kept {
        if let [Segment::Field { name, .. }] = path.as_slice() {
            out.push_str(comma);
            comma = ",";
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
            out.push_str(raw);
        }
    }
    out.push('}');
    Ok(())
}

fn push_value(
    out: &mut String,
    field: &'static Field,
    column: &dyn Array,
    row: usize,
    kept: &[Kept<'_>],
) -> Result<()> {
    let wrong = || mismatch(field.name);
    match &field.ty {
        Type::Int32 => {
            let column = column.as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
            out.push_str(&column.value(row).to_string());
        }
        Type::Int64 => {
            let column = column.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
            out.push_str(&column.value(row).to_string());
        }
        Type::Bool => {
            let column = column.as_boolean_opt().ok_or_else(wrong)?;
            out.push_str(if column.value(row) { "true" } else { "false" });
        }
        Type::Text => {
            let column = column.as_string_opt::<i32>().ok_or_else(wrong)?;
            push_json_string(out, column.value(row));
        }
        Type::Decimal => {
            let column = column
                .as_primitive_opt::<Decimal128Type>()
                .ok_or_else(wrong)?;
            let scale = column.data_type() == &arrow_schema::DataType::Decimal128(PRECISION, SCALE);
            if !scale {
                return Err(wrong());
            }
            out.push_str(&decimal_text(column.value(row)));
        }
        Type::DateTime => {
            let column = column
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(wrong)?;
            let text = date_time_text(column.value(row)).ok_or_else(wrong)?;
            push_json_string(out, &text);
        }
        Type::Object(inner) => {
            let column = column.as_struct_opt().ok_or_else(wrong)?;
            push_object(out, inner, &struct_columns(column), row, kept)?;
        }
        Type::List(inner) => {
            let column = column.as_list_opt::<i32>().ok_or_else(wrong)?;
            let values = column.value(row);
            push_list(out, inner, values.as_struct_opt().ok_or_else(wrong)?, kept)?;
        }
    }
    Ok(())
}

fn push_list(
    out: &mut String,
    fields: &'static [Field],
    values: &StructArray,
    kept: &[Kept<'_>],
) -> Result<()> {
    let columns = struct_columns(values);
    out.push('[');
    for index in 0..values.len() {
        if index > 0 {
            out.push(',');
        }
        let whole = kept
            .iter()
            .find(|kept| kept.path == [Segment::Index(index)]);
        if let Some(whole) = whole {
            out.push_str(whole.raw);
        } else if values.is_null(index) {
            out.push_str("null");
        } else {
            let inner = below(kept, |step| *step == Segment::Index(index));
            push_object(out, fields, &columns, index, &inner)?;
        }
    }
    out.push(']');
    Ok(())
}

fn struct_columns(array: &StructArray) -> Vec<&dyn Array> {
    array
        .columns()
        .iter()
        .map(|column| column.as_ref())
        .collect()
}

/// A decimal of scale 4 as a JSON number.
fn decimal_text(value: i128) -> String {
    let magnitude = value.unsigned_abs();
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000)
}
