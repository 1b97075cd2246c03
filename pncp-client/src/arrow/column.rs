use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{Field as ArrowField, Fields};
use chrono::{NaiveDate, NaiveDateTime};

use super::schema::{PRECISION, SCALE, arrow_fields};
use crate::error::{Error, Result};
use crate::json::{Kind, Scanner, Unmapped, integer, scaled};
use crate::shape::{Field, Type, position};

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
    columns: Vec<Column>,
    valid: NullBufferBuilder,
    rows: usize,
    /// The next field of the object that was read last: keys mostly come in the same order.
    hint: usize,
}

/// A list of objects.
#[derive(Debug)]
struct List {
    record: Record,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
}

impl Column {
    fn new(ty: &'static Type) -> Self {
        match ty {
            Type::Int32 => Self::Int32(Int32Builder::new()),
            Type::Int64 => Self::Int64(Int64Builder::new()),
            Type::Bool => Self::Bool(BooleanBuilder::new()),
            Type::Text => Self::Text(StringBuilder::new()),
            Type::Decimal => Self::Decimal(
                Decimal128Builder::new()
                    .with_data_type(arrow_schema::DataType::Decimal128(PRECISION, SCALE)),
            ),
            Type::DateTime => Self::DateTime(TimestampMicrosecondBuilder::new()),
            Type::Object(fields) => Self::Object(Record::new(fields)),
            Type::List(fields) => Self::List(List {
                record: Record::new(fields),
                offsets: vec![0],
                valid: NullBufferBuilder::new(0),
            }),
        }
    }

    fn append_null(&mut self) {
        match self {
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::DateTime(builder) => builder.append_null(),
            Self::Object(record) => record.append_null(),
            Self::List(list) => list.end(false),
        }
    }

    /// Appends the value at the scanner, if it is of this column's type and whole; else null,
    /// and the value's text is the answer.
    fn append<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        name: &'static str,
        unmapped: &mut Unmapped,
    ) -> Result<Option<&'a str>> {
        let kind = scanner.peek()?;
        match (self, kind) {
            (column, Kind::Null) => {
                scanner.null()?;
                column.append_null();
                Ok(None)
            }
            (Self::Text(builder), Kind::String) => {
                let raw = scanner.string()?;
                match raw.decode() {
                    Some(text) => builder.append_value(text),
                    None => {
                        builder.append_null();
                        // Half a surrogate pair: no text, but its spelling is kept.
                        unmapped.keep(name, 1, &format!("\"{}\"", raw.inner));
                    }
                }
                Ok(None)
            }
            (Self::DateTime(builder), Kind::String) => {
                let before = scanner.clone();
                let raw = scanner.string()?;
                let micros = if raw.escaped {
                    None
                } else {
                    date_time(raw.inner)
                };
                builder.append_option(micros);
                if micros.is_some() {
                    return Ok(None);
                }
                before.clone().skip_value().map(Some)
            }
            (Self::Int32(builder), Kind::Number) => {
                let text = scanner.number()?;
                let value = integer(text).and_then(|value| i32::try_from(value).ok());
                builder.append_option(value);
                Ok(value.is_none().then_some(text))
            }
            (Self::Int64(builder), Kind::Number) => {
                let text = scanner.number()?;
                let value = integer(text);
                builder.append_option(value);
                Ok(value.is_none().then_some(text))
            }
            (Self::Decimal(builder), Kind::Number) => {
                let text = scanner.number()?;
                let value = scaled(text, SCALE.unsigned_abs().into());
                builder.append_option(value);
                Ok(value.is_none().then_some(text))
            }
            (Self::Bool(builder), Kind::Bool) => {
                builder.append_value(scanner.boolean()?);
                Ok(None)
            }
            (Self::Object(record), Kind::Object) => {
                let mark = unmapped.enter(name);
                record.append(scanner, unmapped)?;
                unmapped.leave(mark);
                Ok(None)
            }
            (Self::List(list), Kind::Array) => {
                let mark = unmapped.enter(name);
                list.append(scanner, unmapped)?;
                unmapped.leave(mark);
                Ok(None)
            }
            (column, _) => {
                column.append_null();
                scanner.skip_value().map(Some)
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::DateTime(builder) => Arc::new(builder.finish()),
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
    pub(super) fn new(fields: &'static [Field]) -> Self {
        Self {
            fields,
            columns: fields.iter().map(|field| Column::new(&field.ty)).collect(),
            valid: NullBufferBuilder::new(0),
            rows: 0,
            hint: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn append_null(&mut self) {
        for column in &mut self.columns {
            column.append_null();
        }
        self.valid.append_null();
        self.rows += 1;
    }

    /// An object all of whose fields are null.
    pub(super) fn append_empty(&mut self) {
        for column in &mut self.columns {
            column.append_null();
        }
        self.valid.append_non_null();
        self.rows += 1;
    }

    /// Appends the object at the scanner. The caller has checked its syntax; were it wrong all
    /// the same, the columns would be left uneven and the error be final.
    pub(super) fn append(
        &mut self,
        scanner: &mut Scanner<'_>,
        unmapped: &mut Unmapped,
    ) -> Result<()> {
        scanner.begin_object()?;
        let mut seen = 0_u64;
        let mut strangers: Vec<String> = Vec::new();
        let mut first = true;
        while let Some(key) = scanner.next_key(&mut first)? {
            let name = key.decode_lossy();
            let Some(index) = position(self.fields, &name, self.hint) else {
                let raw = scanner.skip_value()?;
                let occurrence = 1 + strangers.iter().filter(|other| **other == *name).count();
                unmapped.keep(&name, occurrence, raw);
                strangers.push(name.into_owned());
                continue;
            };
            self.hint = index + 1;
            if seen & (1 << index) != 0 {
                let raw = scanner.skip_value()?;
                let before = strangers.iter().filter(|other| **other == *name).count();
                unmapped.keep(&name, before + 2, raw);
                strangers.push(name.into_owned());
                continue;
            }
            seen |= 1 << index;
            let field = &self.fields[index];
            if let Some(raw) = self.columns[index].append(scanner, field.name, unmapped)? {
                unmapped.keep(field.name, 1, raw);
            }
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            if seen & (1 << index) == 0 {
                column.append_null();
            }
        }
        self.valid.append_non_null();
        self.rows += 1;
        Ok(())
    }

    /// The arrays of the columns, one validity for all; starts again.
    pub(super) fn take(&mut self) -> Result<(Vec<ArrayRef>, Option<arrow_buffer::NullBuffer>)> {
        let arrays = self
            .columns
            .iter_mut()
            .map(Column::finish)
            .collect::<Result<_>>()?;
        self.rows = 0;
        self.hint = 0;
        Ok((arrays, self.valid.finish()))
    }

    fn finish(&mut self) -> Result<StructArray> {
        let (arrays, valid) = self.take()?;
        StructArray::try_new(arrow_fields(self.fields).into(), arrays, valid).map_err(schema)
    }

    /// Bytes in the columns; what they have reserved beyond is not counted.
    pub(super) fn byte_size(&self) -> usize {
        self.columns.iter().map(Column::byte_size).sum::<usize>() + self.rows / 8
    }
}

impl List {
    fn append(&mut self, scanner: &mut Scanner<'_>, unmapped: &mut Unmapped) -> Result<()> {
        scanner.begin_array()?;
        let mut first = true;
        let mut index = 0;
        while scanner.next_element(&mut first)? {
            let mark = unmapped.enter_index(index);
            append_element(&mut self.record, scanner, unmapped)?;
            unmapped.leave(mark);
            index += 1;
        }
        self.end(true);
        Ok(())
    }

    fn end(&mut self, valid: bool) {
        self.offsets.push(offset(self.record.rows()));
        self.valid.append(valid);
    }

    fn finish(&mut self) -> Result<ListArray> {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let values = self.record.finish()?;
        list_array(
            arrow_fields(self.record.fields).into(),
            offsets,
            values,
            self.valid.finish(),
        )
    }
}

/// Appends what a list holds: an object, null, or something else, which is kept whole.
pub(super) fn append_element(
    record: &mut Record,
    scanner: &mut Scanner<'_>,
    unmapped: &mut Unmapped,
) -> Result<()> {
    match scanner.peek()? {
        Kind::Object => record.append(scanner, unmapped),
        Kind::Null => {
            scanner.null()?;
            record.append_null();
            Ok(())
        }
        _ => {
            unmapped.keep_here(scanner.skip_value()?);
            record.append_empty();
            Ok(())
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
    let element = ArrowField::new("item", arrow_schema::DataType::Struct(fields), true);
    let offsets = OffsetBuffer::new(offsets.into());
    ListArray::try_new(Arc::new(element), offsets, Arc::new(values), valid).map_err(schema)
}

pub(super) fn schema(error: arrow_schema::ArrowError) -> Error {
    Error::Schema {
        reason: error.to_string(),
    }
}

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS`, as if it were UTC. Any other spelling has
/// no place in the column, because it could not be spelled back.
fn date_time(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let shape = b.len() == 19
        && b.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return None;
    }
    let two = |at: usize| u32::from(b[at] - b'0') * 10 + u32::from(b[at + 1] - b'0');
    let year = i32::try_from(two(0) * 100 + two(2)).ok()?;
    let date = NaiveDate::from_ymd_opt(year, two(5), two(8))?;
    Some(
        date.and_hms_opt(two(11), two(14), two(17))?
            .and_utc()
            .timestamp_micros(),
    )
}

/// The way back.
pub(super) fn date_time_text(micros: i64) -> Option<String> {
    let time: NaiveDateTime = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    Some(time.format("%Y-%m-%dT%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_are_spelled_back() {
        for text in [
            "2026-06-04T00:00:03",
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59",
            "2024-02-29T12:00:00",
        ] {
            assert_eq!(
                date_time(text).and_then(date_time_text).as_deref(),
                Some(text)
            );
        }
        for text in [
            "2026-06-04",
            "2026-06-04T00:00:03Z",
            "2026-06-04 00:00:03",
            "2025-02-29T12:00:00",
            "2026-06-04T24:00:00",
            "2026-06-04T00:00:60",
            "2026-06-04T00:00:0é",
        ] {
            assert_eq!(date_time(text), None, "{text}");
        }
    }
}
