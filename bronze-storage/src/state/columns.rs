//! Which columns of a row are its ids.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::DataType;
use ingest_state::{FormatError, Id, IdList};
use parquet::arrow::ProjectionMask;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

/// Where the ids of a row lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdColumns {
    /// One id a row.
    Records {
        /// The column with the id; text, never null.
        id: String,
        /// The columns that joined by `#` are the version; a column that is missing counts as
        /// empty.
        version: Vec<String>,
        /// Whether the id is `id@version`, as in a log of versions.
        versioned_id: bool,
    },
    /// One id for each facet that the row has.
    Facets {
        /// The column with the key; text, never null.
        key: String,
        /// By facet, the column of rows: a struct, null where the row does not have the facet,
        /// with a text field `version`. Its name is the data column's with a `_` before it.
        marks: Vec<String>,
    },
}

impl IdColumns {
    /// Contratações: `numeroControlePNCP`, version `dataAtualizacaoGlobal#_hash`.
    pub fn contratacoes() -> Self {
        Self::Records {
            id: "numeroControlePNCP".to_owned(),
            version: vec!["dataAtualizacaoGlobal".to_owned(), "_hash".to_owned()],
            versioned_id: false,
        }
    }

    /// The log of later versions of contratações: ids are `numeroControlePNCP@version`.
    pub fn versions() -> Self {
        match Self::contratacoes() {
            Self::Records { id, version, .. } => Self::Records {
                id,
                version,
                versioned_id: true,
            },
            facets => facets,
        }
    }

    /// Details: `key`, facets `itens` and `arquivos`.
    pub fn details() -> Self {
        Self::Facets {
            key: "key".to_owned(),
            marks: vec!["_itens".to_owned(), "_arquivos".to_owned()],
        }
    }

    /// The column that identifies a row.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Records { id, .. } => id,
            Self::Facets { key, .. } => key,
        }
    }

    /// Paths of the columns that are read to know the ids.
    pub(crate) fn paths(&self) -> Vec<String> {
        match self {
            Self::Records { id, version, .. } => {
                std::iter::once(id).chain(version).cloned().collect()
            }
            Self::Facets { key, marks } => {
                let versions = marks.iter().map(|mark| format!("{mark}.version"));
                std::iter::once(key.clone()).chain(versions).collect()
            }
        }
    }

    /// The columns that a merge reads to decide: the key, and of each mark one leaf.
    pub(crate) fn cursor_mask(&self, schema: &SchemaDescriptor) -> ProjectionMask {
        let mut paths = vec![self.key().to_owned()];
        if let Self::Facets { marks, .. } = self {
            for mark in marks {
                let version = format!("{mark}.version");
                let has = |leaf: &ColumnDescPtr| leaf.path().string() == version;
                let has = schema.columns().iter().any(has);
                paths.push(if has { version } else { mark.clone() });
            }
        }
        ProjectionMask::columns(schema, paths.iter().map(String::as_str))
    }

    /// Adds the ids of `batch` to `ids`, and for each the row it belongs to.
    pub(crate) fn extract(
        &self,
        batch: &RecordBatch,
        ids: &mut IdList,
        mut on_row: impl FnMut(usize),
    ) -> Result<(), FormatError> {
        match self {
            Self::Records {
                id,
                version,
                versioned_id,
            } => {
                let keys = required(batch, id)?;
                let versions: Vec<Option<StringArray>> = version
                    .iter()
                    .map(|name| optional(batch, name))
                    .collect::<Result<_, _>>()?;
                let mut text = String::new();
                let mut joined = String::new();
                for row in 0..batch.num_rows() {
                    let known = join(&versions, row, &mut text);
                    let version = known.then_some(text.as_str());
                    let key = if *versioned_id {
                        joined.clear();
                        // Writing to a string does not fail.
                        let _ = write!(joined, "{}@{text}", keys.value(row));
                        joined.as_str()
                    } else {
                        keys.value(row)
                    };
                    ids.push(Id {
                        facet: 0,
                        id: key,
                        version,
                    });
                    on_row(row);
                }
            }
            Self::Facets { key, marks } => {
                let keys = required(batch, key)?;
                let marks = marks
                    .iter()
                    .map(|name| mark(batch, name))
                    .collect::<Result<Vec<(ArrayRef, Option<StringArray>)>, _>>()?;
                for row in 0..batch.num_rows() {
                    for (facet, (mark, versions)) in marks.iter().enumerate() {
                        if mark.is_null(row) {
                            continue;
                        }
                        let version = versions.as_ref().and_then(|versions| value(versions, row));
                        ids.push(Id {
                            facet: facet as u8,
                            id: keys.value(row),
                            version,
                        });
                        on_row(row);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The values of a row joined by `#` in `text`; whether there was any.
fn join(columns: &[Option<StringArray>], row: usize, text: &mut String) -> bool {
    text.clear();
    let mut any = false;
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            text.push('#');
        }
        if let Some(value) = column.as_ref().and_then(|column| value(column, row)) {
            text.push_str(value);
            any = true;
        }
    }
    any
}

fn value(column: &StringArray, row: usize) -> Option<&str> {
    (!column.is_null(row)).then(|| column.value(row))
}

/// A text column without nulls.
pub(crate) fn required(batch: &RecordBatch, name: &str) -> Result<StringArray, FormatError> {
    let column = optional(batch, name)?
        .ok_or_else(|| FormatError::invalid(format!("no column {name:?}")))?;
    if column.null_count() > 0 {
        return Err(FormatError::invalid(format!("null in column {name:?}")));
    }
    Ok(column)
}

/// A part of a version: text, or an instant in the text that the API writes it in.
fn optional(batch: &RecordBatch, name: &str) -> Result<Option<StringArray>, FormatError> {
    let part = |column: &ArrayRef| match column.data_type() {
        DataType::Timestamp(..) => {
            let options = arrow_cast::CastOptions::default();
            let cast = arrow_cast::cast_with_options(column, &DataType::Utf8, &options);
            text(&cast.map_err(super::rows::encode_error)?, name)
        }
        _ => text(column, name),
    };
    batch.column_by_name(name).map(part).transpose()
}

pub(crate) fn mark(
    batch: &RecordBatch,
    name: &str,
) -> Result<(ArrayRef, Option<StringArray>), FormatError> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| FormatError::invalid(format!("no column {name:?}")))?;
    let fields = column
        .as_struct_opt()
        .ok_or_else(|| FormatError::invalid(format!("column {name:?} is no struct")))?;
    let version = fields
        .column_by_name("version")
        .map(|column| text(column, name))
        .transpose()?;
    Ok((column.clone(), version))
}

/// Any of the text types as plain text.
fn text(column: &ArrayRef, name: &str) -> Result<StringArray, FormatError> {
    let not_text = |source| FormatError::Invalid {
        reason: format!("column {name:?} is no text"),
        source: Some(source),
    };
    let is_text = matches!(
        column.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
    );
    if !is_text {
        return Err(not_text(format!("it is {}", column.data_type()).into()));
    }
    let cast = arrow_cast::cast(column, &DataType::Utf8).map_err(|error| not_text(error.into()))?;
    Ok(cast.as_string::<i32>().clone())
}
