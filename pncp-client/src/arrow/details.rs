use std::sync::Arc;

use arrow_array::builder::{Int32Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, ListArray, RecordBatch, StructArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{DataType, Fields};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::column::{Reading, Record, append_element, list_array, offset, schema};
use super::schema::{arquivo_fields, details_schema, item_fields};
use crate::domain::ContratacaoKey;
use crate::error::{Error, Result};
use crate::json::{Unmapped, Walker, text_of};
use crate::shape::{ARQUIVO, Field, ITEM};

/// One contratação's details, as far as they were fetched.
#[derive(Debug, Clone, Copy)]
pub struct DetailRow<'a> {
    /// Whose.
    pub key: &'a ContratacaoKey,
    /// `numeroControlePNCP`; derived from the key if `None`.
    pub numero_controle: Option<&'a str>,
    /// The items.
    pub itens: FacetValue<'a>,
    /// The documents.
    pub arquivos: FacetValue<'a>,
}

/// What is known of one of the two lists.
#[derive(Debug, Clone, Copy)]
pub enum FacetValue<'a> {
    /// Nothing: list and mark are null.
    NotFetched,
    /// The purchase is gone: the list is null, the mark says `gone`.
    Gone(FacetMark<'a>),
    /// The list, perhaps empty; the mark says `ok`.
    Fetched {
        /// Bare JSON arrays, in order.
        pages: &'a [Bytes],
        /// Of this fetch.
        mark: FacetMark<'a>,
    },
}

/// When, by whom, and of which version of the purchase.
#[derive(Debug, Clone, Copy)]
pub struct FacetMark<'a> {
    /// `dataAtualizacaoGlobal` as known when it was fetched.
    pub version: Option<&'a str>,
    /// When the answer came.
    pub fetched_at: DateTime<Utc>,
    /// The execution that asked.
    pub execution: &'a str,
}

/// Fills a batch of details from page bytes.
///
/// # Shape
/// As [`details_schema`](super::details_schema); rows in the order given.
///
/// # Memory
/// [`byte_size`](Self::byte_size) for the rows, and while one is appended about half the bytes
/// of its pages again (16 for each of their values).
#[derive(Debug)]
pub struct DetailBatchBuilder {
    keys: StringBuilder,
    cnpjs: StringBuilder,
    anos: Int32Builder,
    sequenciais: Int32Builder,
    numeros: StringBuilder,
    itens: Facet,
    arquivos: Facet,
    newest: TimestampMicrosecondBuilder,
    rows: usize,
}

/// One list column, its total and its mark.
#[derive(Debug)]
struct Facet {
    /// Of one element, `_unmapped` included.
    arrow: Fields,
    walker: Walker,
    /// The nodes of the pages that were walked, one each.
    walked: Vec<usize>,
    record: Record,
    scratch: String,
    unmapped_texts: StringBuilder,
    unmapped: Unmapped,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
    totals: Int32Builder,
    status: StringBuilder,
    version: StringBuilder,
    fetched: TimestampMicrosecondBuilder,
    execution: StringBuilder,
    marked: NullBufferBuilder,
}

impl Default for DetailBatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl DetailBatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self {
            keys: StringBuilder::new(),
            cnpjs: StringBuilder::new(),
            anos: Int32Builder::new(),
            sequenciais: Int32Builder::new(),
            numeros: StringBuilder::new(),
            itens: Facet::new(ITEM, item_fields()),
            arquivos: Facet::new(ARQUIVO, arquivo_fields()),
            newest: TimestampMicrosecondBuilder::new(),
            rows: 0,
        }
    }

    /// Appends one row.
    ///
    /// # Errors
    /// [`Error::Json`] if a page is not a JSON array, [`Error::Schema`] if the sequential does
    /// not fit 32 bits; the builder is as before.
    pub fn append(&mut self, row: &DetailRow<'_>) -> Result<()> {
        let sequencial = i32::try_from(row.key.sequencial()).map_err(|_| Error::Schema {
            reason: "sequencialCompra needs more than 32 bits".to_owned(),
        })?;
        self.itens.walk(row.itens)?;
        self.arquivos.walk(row.arquivos)?;
        self.keys.append_value(row.key.to_string());
        self.cnpjs.append_value(row.key.cnpj());
        self.anos.append_value(i32::from(row.key.ano()));
        self.sequenciais.append_value(sequencial);
        match row.numero_controle {
            Some(numero) => self.numeros.append_value(numero),
            None => self
                .numeros
                .append_value(row.key.numero_controle().as_str()),
        }
        self.itens.append(row.itens)?;
        self.arquivos.append(row.arquivos)?;
        let newest = row.itens.mark().into_iter().chain(row.arquivos.mark());
        self.newest
            .append_option(newest.map(|mark| mark.fetched_at.timestamp_micros()).max());
        self.rows += 1;
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes held by them, to bound memory by.
    pub fn byte_size(&self) -> usize {
        let texts = [&self.keys, &self.cnpjs, &self.numeros];
        let texts: usize = texts
            .iter()
            .map(|builder| builder.values_slice().len())
            .sum();
        texts + 32 * self.rows + self.itens.byte_size() + self.arquivos.byte_size()
    }

    /// The batch, also of no rows; the builder is empty afterwards.
    ///
    /// # Errors
    /// [`Error::Schema`] if the columns are uneven, which no input makes them.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let details = details_schema();
        let rows = std::mem::take(&mut self.rows);
        let metadata: Vec<ArrayRef> = vec![
            Arc::new(self.itens.totals.finish()),
            Arc::new(self.arquivos.totals.finish()),
            Arc::new(self.newest.finish().with_timezone("UTC")),
        ];
        let (itens, itens_marks) = self
            .itens
            .finish(struct_fields(&details, "_itens")?, rows)?;
        let (arquivos, arquivos_marks) = self
            .arquivos
            .finish(struct_fields(&details, "_arquivos")?, rows)?;
        let metadata = StructArray::try_new_with_length(
            struct_fields(&details, "metadata")?,
            metadata,
            None,
            rows,
        )
        .map_err(schema)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.keys.finish()),
            Arc::new(self.cnpjs.finish()),
            Arc::new(self.anos.finish()),
            Arc::new(self.sequenciais.finish()),
            Arc::new(self.numeros.finish()),
            Arc::new(itens),
            Arc::new(arquivos),
            Arc::new(metadata),
            Arc::new(itens_marks),
            Arc::new(arquivos_marks),
        ];
        RecordBatch::try_new(details, columns).map_err(schema)
    }
}

fn struct_fields(details: &arrow_schema::Schema, name: &str) -> Result<Fields> {
    match details.field_with_name(name).map_err(schema)?.data_type() {
        DataType::Struct(fields) => Ok(fields.clone()),
        other => Err(Error::Schema {
            reason: format!("{name} is {other}, not a struct"),
        }),
    }
}

impl<'a> FacetValue<'a> {
    fn mark(&self) -> Option<FacetMark<'a>> {
        match self {
            Self::NotFetched => None,
            Self::Gone(mark) | Self::Fetched { mark, .. } => Some(*mark),
        }
    }
}

impl Facet {
    fn new(fields: &'static [Field], arrow: Fields) -> Self {
        Self {
            walker: Walker::new(fields),
            walked: Vec::new(),
            record: Record::new(fields, arrow.clone()),
            arrow,
            scratch: String::new(),
            unmapped_texts: StringBuilder::new(),
            unmapped: Unmapped::default(),
            offsets: vec![0],
            valid: NullBufferBuilder::new(0),
            totals: Int32Builder::new(),
            status: StringBuilder::new(),
            version: StringBuilder::new(),
            fetched: TimestampMicrosecondBuilder::new(),
            execution: StringBuilder::new(),
            marked: NullBufferBuilder::new(0),
        }
    }

    /// Finds the elements of every page, and checks its syntax.
    fn walk(&mut self, value: FacetValue<'_>) -> Result<()> {
        self.walker.clear();
        self.walked.clear();
        if let FacetValue::Fetched { pages, .. } = value {
            for page in pages {
                let node = text_of(page).and_then(|text| self.walker.list(text));
                self.walked.push(node.map_err(|fault| fault.of(page))?);
            }
        }
        Ok(())
    }

    /// Appends the value that was walked last.
    fn append(&mut self, value: FacetValue<'_>) -> Result<()> {
        let before = self.record.rows();
        let mut length = None;
        if let FacetValue::Fetched { pages, .. } = value {
            for (index, page) in pages.iter().enumerate() {
                let text = text_of(page).map_err(|fault| fault.of(page))?;
                self.append_elements(text, self.walked[index]);
            }
            length = Some(self.record.rows() - before);
        }
        self.offsets.push(offset(self.record.rows()));
        self.valid.append(length.is_some());
        self.totals.append_option(length.map(offset));
        let status = match value {
            FacetValue::NotFetched => "",
            FacetValue::Gone(_) => "gone",
            FacetValue::Fetched { .. } => "ok",
        };
        let mark = value.mark();
        self.status.append_value(status);
        self.version
            .append_option(mark.and_then(|mark| mark.version));
        self.fetched
            .append_value(mark.map_or(0, |mark| mark.fetched_at.timestamp_micros()));
        self.execution
            .append_value(mark.map_or("", |mark| mark.execution));
        self.marked.append(mark.is_some());
        Ok(())
    }

    fn append_elements(&mut self, text: &str, list: usize) {
        let doc = self.walker.doc(text);
        for (child, node) in doc.children(list) {
            let mut reading = Reading {
                doc,
                unmapped: &mut self.unmapped,
                scratch: &mut self.scratch,
            };
            append_element(&mut self.record, &mut reading, child, node);
            self.unmapped
                .take(|text| self.unmapped_texts.append_option(text));
        }
    }

    fn byte_size(&self) -> usize {
        let texts = [
            &self.unmapped_texts,
            &self.version,
            &self.execution,
            &self.status,
        ];
        let texts: usize = texts
            .iter()
            .map(|builder| builder.values_slice().len())
            .sum();
        self.record.byte_size() + texts + 4 * self.record.rows() + 40 * self.offsets.len()
    }

    /// The list column and the column of marks.
    fn finish(&mut self, mark: Fields, rows: usize) -> Result<(ListArray, StructArray)> {
        let fields = self.arrow.clone();
        let (mut columns, valid) = self.record.take()?;
        columns.push(Arc::new(self.unmapped_texts.finish()));
        let values = StructArray::try_new(fields.clone(), columns, valid).map_err(schema)?;
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let list = list_array(fields, offsets, values, self.valid.finish())?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.status.finish()),
            Arc::new(self.version.finish()),
            Arc::new(self.fetched.finish().with_timezone("UTC")),
            Arc::new(self.execution.finish()),
        ];
        let marks = StructArray::try_new_with_length(mark, columns, self.marked.finish(), rows)
            .map_err(schema)?;
        Ok((list, marks))
    }
}
