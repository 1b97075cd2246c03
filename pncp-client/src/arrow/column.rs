use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType, Field as ArrowField, Fields};

use super::date_time::date_time;
use super::schema::{PRECISION, SCALE};
use crate::error::{Error, Result};
use crate::json::{Doc, Kind, Node, RawStr, Unmapped, integer, scaled};
use crate::shape::{Field, Type};

/// Rows and bytes that a column reserves at most, before it is known how many come.
const RESERVED_ROWS: usize = 1_024;
const RESERVED_BYTES: usize = 64 * 1024;

/// A column that is being filled from JSON.
#[derive(Debug)]
enum Column {
    Int32(Int32Builder),
    Int64(Int64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
    Decimal(Decimal128Builder),
    DateTime(TimestampMicrosecondBuilder),
    Object(Record),
    List(List),
}

/// The columns of an object.
#[derive(Debug)]
pub(super) struct Record {
    fields: &'static [Field],
    /// The same for Arrow, shared with the schema.
    arrow: Fields,
    columns: Vec<Column>,
    valid: NullBufferBuilder,
    rows: usize,
    /// Rows at the end that are null and not in the columns yet: objects that are mostly null
    /// cost nothing.
    nulls: usize,
}

/// A list of objects.
#[derive(Debug)]
struct List {
    record: Record,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
}

fn decimals(rows: usize) -> Decimal128Builder {
    Decimal128Builder::with_capacity(rows).with_data_type(DataType::Decimal128(PRECISION, SCALE))
}

/// The fields of a struct, or of the structs in a list.
fn inner_fields(arrow: &DataType) -> Fields {
    match arrow {
        DataType::Struct(fields) => fields.clone(),
        DataType::List(element) => inner_fields(element.data_type()),
        _ => Fields::empty(),
    }
}

/// A text that was walked, and where to put what has no column.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) doc: Doc<'a>,
    pub(super) unmapped: &'a mut Unmapped,
    /// For texts with escapes.
    pub(super) scratch: &'a mut String,
}

impl Column {
    fn new(ty: &'static Type, arrow: &DataType) -> Self {
        match ty {
            Type::Int32 => Self::Int32(Int32Builder::with_capacity(0)),
            Type::Int64 => Self::Int64(Int64Builder::with_capacity(0)),
            Type::Bool => Self::Bool(BooleanBuilder::with_capacity(0)),
            Type::Text => Self::Text(StringBuilder::with_capacity(0, 0)),
            Type::Decimal => Self::Decimal(decimals(0)),
            Type::DateTime => Self::DateTime(TimestampMicrosecondBuilder::with_capacity(0)),
            Type::Object(fields) => Self::Object(Record::new(fields, inner_fields(arrow))),
            Type::List(fields) => Self::List(List {
                record: Record::new(fields, inner_fields(arrow)),
                offsets: vec![0],
                valid: NullBufferBuilder::new(0),
            }),
        }
    }

    fn append_nulls(&mut self, count: usize) {
        match self {
            Self::Int32(builder) => builder.append_nulls(count),
            Self::Int64(builder) => builder.append_nulls(count),
            Self::Bool(builder) => builder.append_nulls(count),
            Self::Text(builder) => builder.append_nulls(count),
            Self::Decimal(builder) => builder.append_nulls(count),
            Self::DateTime(builder) => builder.append_nulls(count),
            Self::Object(record) => record.append_nulls(count),
            Self::List(list) => (0..count).for_each(|_| list.end(false)),
        }
    }

    /// Appends the value at `index`, if it is of this column's type and whole; else null, and
    /// the answer is false.
    #[inline]
    fn append(
        &mut self,
        reading: &mut Reading<'_>,
        index: usize,
        node: &Node,
        name: &'static str,
    ) -> bool {
        let doc = reading.doc;
        match (self, node.kind()) {
            (column, Kind::Null) => {
                column.append_nulls(1);
                true
            }
            (Self::Text(builder), Kind::String) => {
                if !node.is_escaped() {
                    builder.append_value(doc.inner(node));
                    return true;
                }
                reading.scratch.clear();
                // Half a surrogate pair is no text, but its spelling is kept.
                let whole = doc.string(node).decode_into(reading.scratch);
                builder.append_option(whole.then_some(reading.scratch.as_str()));
                whole
            }
            (Self::DateTime(builder), Kind::String) => {
                // An escape would not come back, though it spell a digit.
                let micros = date_time(doc.inner(node));
                builder.append_option(micros);
                micros.is_some()
            }
            (Self::Int32(builder), Kind::Number) => {
                let value = integer(doc.inner(node)).and_then(|value| i32::try_from(value).ok());
                builder.append_option(value);
                value.is_some()
            }
            (Self::Int64(builder), Kind::Number) => {
                let value = integer(doc.inner(node));
                builder.append_option(value);
                value.is_some()
            }
            (Self::Decimal(builder), Kind::Number) => {
                let value = scaled(doc.inner(node), SCALE.unsigned_abs().into());
                builder.append_option(value);
                value.is_some()
            }
            (Self::Bool(builder), Kind::Bool) => {
                builder.append_value(doc.inner(node).starts_with('t'));
                true
            }
            (Self::Object(record), Kind::Object) if node.is_opened() => {
                reading.unmapped.enter(name);
                record.append(reading, index);
                reading.unmapped.leave();
                true
            }
            (Self::List(list), Kind::Array) if node.is_opened() => {
                reading.unmapped.enter(name);
                list.append(reading, index);
                reading.unmapped.leave();
                true
            }
            (column, _) => {
                column.append_nulls(1);
                false
            }
        }
    }

    /// The array; the next one is expected to be as long.
    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Int32(builder) => {
                let rows = builder.values_slice().len().min(RESERVED_ROWS);
                Arc::new(std::mem::replace(builder, Int32Builder::with_capacity(rows)).finish())
            }
            Self::Int64(builder) => {
                let rows = builder.values_slice().len().min(RESERVED_ROWS);
                Arc::new(std::mem::replace(builder, Int64Builder::with_capacity(rows)).finish())
            }
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => {
                let rows = builder.offsets_slice().len().min(RESERVED_ROWS);
                let bytes = builder.values_slice().len().min(RESERVED_BYTES);
                let next = StringBuilder::with_capacity(rows, bytes);
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Self::Decimal(builder) => {
                let rows = builder.values_slice().len().min(RESERVED_ROWS);
                Arc::new(std::mem::replace(builder, decimals(rows)).finish())
            }
            Self::DateTime(builder) => {
                let rows = builder.values_slice().len().min(RESERVED_ROWS);
                let next = TimestampMicrosecondBuilder::with_capacity(rows);
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Self::Object(record) => Arc::new(record.finish()?),
            Self::List(list) => Arc::new(list.finish()?),
        })
    }

    fn byte_size(&self) -> usize {
        match self {
            Self::Int32(builder) => 4 * builder.values_slice().len(),
            Self::Int64(builder) => 8 * builder.values_slice().len(),
            Self::Bool(builder) => builder.values_slice().len(),
            Self::Text(builder) => builder.values_slice().len() + 4 * builder.offsets_slice().len(),
            Self::Decimal(builder) => 16 * builder.values_slice().len(),
            Self::DateTime(builder) => 8 * builder.values_slice().len(),
            Self::Object(record) => record.byte_size(),
            Self::List(list) => list.record.byte_size() + 4 * list.offsets.len(),
        }
    }
}

impl Record {
    /// Of at most 64 fields, of which `arrow` begins with the same.
    pub(super) fn new(fields: &'static [Field], arrow: Fields) -> Self {
        let columns = fields.iter().zip(&arrow);
        Self {
            fields,
            columns: columns
                .map(|(field, arrow)| Column::new(&field.ty, arrow.data_type()))
                .collect(),
            arrow,
            valid: NullBufferBuilder::new(0),
            rows: 0,
            nulls: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn append_nulls(&mut self, count: usize) {
        self.nulls += count;
        self.rows += count;
    }

    fn flush_nulls(&mut self) {
        let count = std::mem::take(&mut self.nulls);
        if count > 0 {
            for column in &mut self.columns {
                column.append_nulls(count);
            }
            self.valid.append_n_nulls(count);
        }
    }

    /// An object all of whose fields are null.
    pub(super) fn append_empty(&mut self) {
        self.flush_nulls();
        for column in &mut self.columns {
            column.append_nulls(1);
        }
        self.valid.append_non_null();
        self.rows += 1;
    }

    /// Appends the object at node `index`.
    pub(super) fn append(&mut self, reading: &mut Reading<'_>, index: usize) {
        self.flush_nulls();
        let mut seen = 0_u64;
        let mut strangers: Vec<String> = Vec::new();
        let mut children = reading.doc.children(index);
        while let Some((child, node)) = children.next() {
            let Some(field) = node.field() else {
                if let Some((_, value)) = children.next() {
                    keep_stranger(reading, node, value, &mut strangers);
                }
                continue;
            };
            seen |= 1 << field;
            let name = self.fields[field].name;
            if !self.columns[field].append(reading, child, node, name) {
                let raw = reading.doc.raw(node);
                reading.unmapped.keep(RawStr::plain(name), 1, raw);
            }
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            if seen & (1 << index) == 0 {
                column.append_nulls(1);
            }
        }
        self.valid.append_non_null();
        self.rows += 1;
    }

    /// The arrays of the columns, one validity for all; starts again.
    pub(super) fn take(&mut self) -> Result<(Vec<ArrayRef>, Option<arrow_buffer::NullBuffer>)> {
        self.flush_nulls();
        let arrays = self
            .columns
            .iter_mut()
            .map(Column::finish)
            .collect::<Result<_>>()?;
        self.rows = 0;
        Ok((arrays, self.valid.finish()))
    }

    fn finish(&mut self) -> Result<StructArray> {
        let (arrays, valid) = self.take()?;
        StructArray::try_new(self.arrow.clone(), arrays, valid).map_err(schema)
    }

    /// Bytes in the columns; what they have reserved beyond is not counted.
    pub(super) fn byte_size(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::byte_size).sum();
        columns + self.rows / 8 + self.nulls * null_width(self.fields)
    }
}

/// Bytes that a row of nulls takes in the columns.
fn null_width(fields: &'static [Field]) -> usize {
    let width = |field: &'static Field| match field.ty {
        Type::Bool => 1,
        Type::Int32 | Type::Text | Type::List(_) => 4,
        Type::Int64 | Type::DateTime => 8,
        Type::Decimal => 16,
        Type::Object(inner) => null_width(inner),
    };
    fields.iter().map(width).sum()
}

/// Keeps the value of a key that has no column, or that occurred before.
fn keep_stranger(reading: &mut Reading<'_>, key: &Node, value: &Node, seen: &mut Vec<String>) {
    let spelled = reading.doc.string(key);
    let name = spelled.decode_lossy();
    let before = seen.iter().filter(|other| **other == *name).count();
    let occurrence = before + 1 + usize::from(key.is_repeated_key());
    let raw = reading.doc.raw(value);
    reading.unmapped.keep(spelled, occurrence, raw);
    seen.push(name.into_owned());
}

impl List {
    fn append(&mut self, reading: &mut Reading<'_>, index: usize) {
        for (position, (child, node)) in reading.doc.children(index).enumerate() {
            reading.unmapped.enter_index(position);
            append_element(&mut self.record, reading, child, node);
            reading.unmapped.leave();
        }
        self.end(true);
    }

    fn end(&mut self, valid: bool) {
        self.offsets.push(offset(self.record.rows()));
        self.valid.append(valid);
    }

    fn finish(&mut self) -> Result<ListArray> {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let values = self.record.finish()?;
        list_array(
            self.record.arrow.clone(),
            offsets,
            values,
            self.valid.finish(),
        )
    }
}

/// Appends what a list holds: an object, null, or something else, which is kept whole.
pub(super) fn append_element(
    record: &mut Record,
    reading: &mut Reading<'_>,
    index: usize,
    node: &Node,
) {
    match node.kind() {
        Kind::Object if node.is_opened() => record.append(reading, index),
        Kind::Null => record.append_nulls(1),
        _ => {
            let raw = reading.doc.raw(node);
            reading.unmapped.keep_here(raw);
            record.append_empty();
        }
    }
}

pub(super) fn offset(rows: usize) -> i32 {
    // Builders refuse to grow that far: their callers bound them by bytes.
    i32::try_from(rows).unwrap_or(i32::MAX)
}

pub(super) fn list_array(
    fields: Fields,
    offsets: Vec<i32>,
    values: StructArray,
    valid: Option<arrow_buffer::NullBuffer>,
) -> Result<ListArray> {
    let element = ArrowField::new("item", DataType::Struct(fields), true);
    let offsets = OffsetBuffer::new(offsets.into());
    ListArray::try_new(Arc::new(element), offsets, Arc::new(values), valid).map_err(schema)
}

pub(super) fn schema(error: arrow_schema::ArrowError) -> Error {
    Error::Schema {
        reason: error.to_string(),
    }
}
