use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Fields, SchemaRef};

use super::node::{Node, Number};
use crate::error::{Error, Result};

/// A value and the number of the record that it comes from.
type Cell<'n, 'a> = (usize, Option<&'n Node<'a>>);

/// Records as one batch.
pub(crate) fn batch(schema: &SchemaRef, nodes: &[Node<'_>], first: usize) -> Result<RecordBatch> {
    let rows: Vec<Cell<'_, '_>> = nodes
        .iter()
        .enumerate()
        .map(|(n, node)| (first + n, Some(node)))
        .collect();
    let columns = columns(schema.fields(), &rows, "")?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| unfit(first, "*", &error))
}

fn unfit(record: usize, at: &str, error: &ArrowError) -> Error {
    Error::Json {
        record,
        reason: format!("{at}: {error}"),
    }
}

fn misfit(record: usize, at: &str, node: &Node<'_>, wanted: &DataType) -> Error {
    let text: String = node.text().unwrap_or("null").chars().take(80).collect();
    Error::Json {
        record,
        reason: format!("{at} is {text:?}, the column {wanted}"),
    }
}

/// The fields of objects, column by column; a key without a column is refused, not dropped.
fn columns(fields: &Fields, rows: &[Cell<'_, '_>], at: &str) -> Result<Vec<ArrayRef>> {
    for (record, node) in rows {
        let Some(Node::Object { fields: theirs, .. }) = node else {
            continue;
        };
        let known = |(n, name): (usize, &str)| {
            fields.get(n).is_some_and(|field| field.name() == name)
                || fields.iter().any(|field| field.name() == name)
        };
        let mut names = theirs.iter().map(|(name, _)| name.as_ref()).enumerate();
        if let Some((_, name)) = names.find(|name| !known(*name)) {
            let reason = format!("the schema has no column {:?}", path(at, name));
            return Err(Error::Json {
                record: *record,
                reason,
            });
        }
    }
    let mut columns = Vec::with_capacity(fields.len());
    for (n, field) in fields.iter().enumerate() {
        let at = path(at, field.name());
        let cells: Vec<Cell<'_, '_>> = rows
            .iter()
            .map(|(record, node)| (*record, node.and_then(|node| node.get(field.name(), n))))
            .collect();
        if !field.is_nullable() {
            let absent = rows.iter().zip(&cells).find(|((_, parent), (_, cell))| {
                parent.is_some() && matches!(cell, None | Some(Node::Null))
            });
            if let Some((_, (record, _))) = absent {
                let reason = format!("{at} is absent or null, the column is not");
                return Err(Error::Json {
                    record: *record,
                    reason,
                });
            }
        }
        columns.push(array(field.data_type(), &cells, &at)?);
    }
    Ok(columns)
}

fn path(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

fn array(wanted: &DataType, cells: &[Cell<'_, '_>], at: &str) -> Result<ArrayRef> {
    // Each value of the column, or the error that names the record.
    fn all<T>(
        cells: &[Cell<'_, '_>],
        at: &str,
        wanted: &DataType,
        take: impl Fn(&Node<'_>) -> Option<T>,
    ) -> Result<Vec<Option<T>>> {
        let each = cells.iter().map(|(record, node)| match node {
            None | Some(Node::Null) => Ok(None),
            Some(node) => take(node)
                .map(Some)
                .ok_or_else(|| misfit(*record, at, node, wanted)),
        });
        each.collect()
    }
    let number = |node: &Node<'_>| match node {
        Node::Number(text) => Number::parse(text),
        _ => None,
    };
    let integer = |node: &Node<'_>| number(node).filter(|n| n.scale == 0).map(|n| n.unscaled);
    Ok(match wanted {
        DataType::Boolean => {
            let take = |node: &Node<'_>| match node {
                Node::Bool(value) => Some(*value),
                _ => None,
            };
            Arc::new(BooleanArray::from(all(cells, at, wanted, take)?))
        }
        DataType::Int32 => {
            let take = |node: &Node<'_>| i32::try_from(integer(node)?).ok();
            Arc::new(Int32Array::from(all(cells, at, wanted, take)?))
        }
        DataType::Int64 => {
            let take = |node: &Node<'_>| i64::try_from(integer(node)?).ok();
            Arc::new(Int64Array::from(all(cells, at, wanted, take)?))
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            let limit = 10_u128
                .checked_pow(u32::from(*precision))
                .unwrap_or(u128::MAX);
            let take = |node: &Node<'_>| {
                let unscaled = number(node)?.at_scale(scale.unsigned_abs())?;
                (unscaled.unsigned_abs() < limit).then_some(unscaled)
            };
            let values = Decimal128Array::from(all(cells, at, wanted, take)?);
            let values = values.with_precision_and_scale(*precision, *scale);
            Arc::new(values.map_err(|error| unfit(0, at, &error))?)
        }
        DataType::Utf8 => {
            let texts = cells.iter().map(|(_, node)| node.and_then(Node::text));
            Arc::new(StringArray::from_iter(texts))
        }
        DataType::Struct(fields) => {
            all(cells, at, wanted, |node| {
                matches!(node, Node::Object { .. }).then_some(())
            })?;
            // A null struct has no fields that could be absent.
            let present: Vec<Cell<'_, '_>> = cells
                .iter()
                .map(|(record, node)| {
                    (
                        *record,
                        node.filter(|node| matches!(node, Node::Object { .. })),
                    )
                })
                .collect();
            let valid = present.iter().map(|(_, node)| node.is_some());
            let nulls = NullBuffer::from_iter(valid);
            let columns = columns(fields, &present, at)?;
            let built = StructArray::try_new(fields.clone(), columns, Some(nulls));
            Arc::new(built.map_err(|error| unfit(0, at, &error))?)
        }
        DataType::List(item) => {
            let (mut lengths, mut valid, mut items) = (Vec::new(), Vec::new(), Vec::new());
            for (record, node) in cells {
                let these = match node {
                    None | Some(Node::Null) => None,
                    Some(Node::List { items, .. }) => Some(items),
                    Some(node) => return Err(misfit(*record, at, node, wanted)),
                };
                valid.push(these.is_some());
                lengths.push(these.map_or(0, Vec::len));
                items.extend(
                    these
                        .into_iter()
                        .flatten()
                        .map(|node| (*record, Some(node))),
                );
            }
            let values = array(item.data_type(), &items, &format!("{at}[]"))?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            let nulls = NullBuffer::from(valid);
            let built = ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls));
            Arc::new(built.map_err(|error| unfit(0, at, &error))?)
        }
        other => {
            return Err(Error::Schema {
                at: at.to_owned(),
                reason: format!("JSON records do not fill columns of {other}"),
            });
        }
    })
}
