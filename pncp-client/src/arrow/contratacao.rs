use std::fmt;
use std::sync::Arc;

use arrow_array::builder::{StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use chrono::{DateTime, Utc};

use super::column::{Reading, Record, schema};
use super::schema::contratacao_schema;
use crate::domain::NumeroControlePncp;
use crate::error::Result;
use crate::json::{
    Doc, Fault, KeyFields, Kind, Scanner, Speller, Unmapped, Walker, key_fields_at, text_of,
};
use crate::listing::RawPage;
use crate::shape::CONTRATACAO;

/// Fills a batch of contratações from page bytes.
///
/// # Shape
/// As [`contratacao_schema`](super::contratacao_schema), whatever the pages hold. Rows are in
/// the order given.
///
/// # Memory
/// [`byte_size`](Self::byte_size) for the rows, and while a page is read about half its bytes
/// again (16 for each of its values).
#[derive(Debug)]
pub struct ContratacaoBatchBuilder {
    walker: Walker,
    rows: Rows,
    execution: String,
    rejected: Vec<Rejected>,
}

/// The columns.
#[derive(Debug)]
struct Rows {
    record: Record,
    unmapped_texts: StringBuilder,
    hashes: StringBuilder,
    executions: StringBuilder,
    sources: StringBuilder,
    fetched: TimestampMicrosecondBuilder,
    speller: Speller,
    unmapped: Unmapped,
    scratch: String,
}

/// What came of the records of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Now rows.
    pub rows: usize,
    /// Set aside; see [`ContratacaoBatchBuilder::take_rejected`].
    pub rejected: usize,
    /// Left out: brought by an earlier page, or not wanted by `keep`.
    pub skipped: usize,
}

/// A record that cannot be a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its bytes as sent.
    pub raw: Vec<u8>,
    /// Why.
    pub reason: RejectReason,
    /// Path and query that brought it.
    pub source: String,
    /// When.
    pub fetched_at: DateTime<Utc>,
}

/// Why a record cannot be a row: there is nothing to know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// It is not a JSON object.
    NotAnObject,
    /// It has no `numeroControlePNCP`.
    NoNumeroControle,
    /// Its `numeroControlePNCP` is not of the known form.
    MalformedNumeroControle,
    /// It is dated outside the window that was asked for, and stayed so when asked again.
    OutsideWindow,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "not_an_object",
            Self::NoNumeroControle => "no_numero_controle",
            Self::MalformedNumeroControle => "malformed_numero_controle",
            Self::OutsideWindow => "outside_window",
        })
    }
}

fn judge(kind: Kind, numero: Option<&str>) -> Option<RejectReason> {
    match numero {
        _ if kind != Kind::Object => Some(RejectReason::NotAnObject),
        None => Some(RejectReason::NoNumeroControle),
        Some(numero) if !NumeroControlePncp::is_well_formed(numero) => {
            Some(RejectReason::MalformedNumeroControle)
        }
        Some(_) => None,
    }
}

/// Where a record came from, and when.
#[derive(Clone, Copy)]
struct Origin<'a> {
    source: &'a str,
    fetched_at: DateTime<Utc>,
}

impl ContratacaoBatchBuilder {
    /// An empty batch; `execution` goes into every row's `_execution`.
    pub fn new(execution: impl Into<String>) -> Self {
        Self {
            walker: Walker::new(CONTRATACAO),
            rows: Rows::new(),
            execution: execution.into(),
            rejected: Vec::new(),
        }
    }

    /// Appends the records of a page that no earlier page of its listing brought.
    ///
    /// # Errors
    /// None for a page that came from a listing (its syntax is checked).
    pub fn append_page(&mut self, page: &RawPage) -> Result<Appended> {
        self.append_page_if(page, |_| true)
    }

    /// As [`append_page`](Self::append_page), only what `keep` wants.
    ///
    /// # Errors
    /// As [`append_page`](Self::append_page).
    pub fn append_page_if(
        &mut self,
        page: &RawPage,
        mut keep: impl FnMut(&KeyFields<'_>) -> bool,
    ) -> Result<Appended> {
        let origin = Origin {
            source: &page.source,
            fetched_at: page.fetched_at,
        };
        let mut appended = Appended::default();
        let text = text_of(&page.body).map_err(|fault| fault.of(&page.body))?;
        self.walker.clear();
        let mut found = Vec::with_capacity(page.entries.len());
        for entry in page.entries.iter().filter(|entry| entry.fresh) {
            let (node, _) = self
                .walker
                .record(text, entry.range.start)
                .map_err(|fault| fault.of(&page.body))?;
            found.push((node, entry.outside));
        }
        appended.skipped = page.entries.len() - found.len();
        let mut sink = Sink {
            doc: self.walker.doc(text),
            rows: &mut self.rows,
            rejected: &mut self.rejected,
            execution: &self.execution,
            origin,
            appended: &mut appended,
        };
        for (node, outside) in found {
            if outside {
                sink.reject(node, RejectReason::OutsideWindow);
            } else {
                sink.take(node, &mut keep)
                    .map_err(|fault| fault.of(&page.body))?;
            }
        }
        Ok(appended)
    }

    /// Appends the records of a list page's body that `keep` wants.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) if the body is no page; nothing is appended then.
    pub fn append_body(
        &mut self,
        body: &[u8],
        source: &str,
        fetched_at: DateTime<Utc>,
        mut keep: impl FnMut(&KeyFields<'_>) -> bool,
    ) -> Result<Appended> {
        let mut appended = Appended::default();
        let origin = Origin { source, fetched_at };
        let mut append = || {
            let text = text_of(body)?;
            let data = self.walker.page(text)?;
            let mut sink = Sink {
                doc: self.walker.doc(text),
                rows: &mut self.rows,
                rejected: &mut self.rejected,
                execution: &self.execution,
                origin,
                appended: &mut appended,
            };
            for (node, _) in sink.doc.children(data) {
                sink.take(node, &mut keep)?;
            }
            Ok(())
        };
        append().map_err(|fault: Fault| fault.of(body))?;
        Ok(appended)
    }

    /// Appends one record, or sets it aside; true if it is a row now.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) if it is not one JSON value; nothing is appended then.
    pub fn append_record(
        &mut self,
        record: &[u8],
        source: &str,
        fetched_at: DateTime<Utc>,
    ) -> Result<bool> {
        let mut appended = Appended::default();
        let origin = Origin { source, fetched_at };
        let mut append = || {
            let text = text_of(record)?;
            self.walker.clear();
            let (node, end) = self.walker.record(text, 0)?;
            Scanner::starting_at(text, end).end()?;
            let mut sink = Sink {
                doc: self.walker.doc(text),
                rows: &mut self.rows,
                rejected: &mut self.rejected,
                execution: &self.execution,
                origin,
                appended: &mut appended,
            };
            sink.take(node, &mut |_| true)
        };
        append().map_err(|fault: Fault| fault.of(record))?;
        Ok(appended.rows == 1)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows.record.rows()
    }

    /// Bytes held by them, to bound memory by.
    pub fn byte_size(&self) -> usize {
        let rejected: usize = self
            .rejected
            .iter()
            .map(|rejected| rejected.raw.len())
            .sum();
        self.rows.byte_size() + rejected
    }

    /// The records set aside since the last call, for quarantine.
    pub fn take_rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    /// The batch, also of no rows; the builder is empty afterwards.
    ///
    /// # Errors
    /// [`Error::Schema`](crate::Error::Schema) if the columns are uneven, which no input makes
    /// them.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.rows.finish()
    }
}

/// Where the records of one page go.
struct Sink<'a> {
    doc: Doc<'a>,
    rows: &'a mut Rows,
    rejected: &'a mut Vec<Rejected>,
    execution: &'a str,
    origin: Origin<'a>,
    appended: &'a mut Appended,
}

impl Sink<'_> {
    /// Makes a record a row, leaves it out, or sets it aside.
    fn take(
        &mut self,
        node: usize,
        keep: &mut impl FnMut(&KeyFields<'_>) -> bool,
    ) -> Result<(), Fault> {
        let kind = self.doc.node(node).kind();
        let fields = match kind {
            Kind::Object => key_fields_at(self.doc, node),
            _ => KeyFields::default(),
        };
        match judge(kind, fields.numero_controle.as_deref()) {
            Some(reason) => self.reject(node, reason),
            None if keep(&fields) => {
                self.rows
                    .append(self.doc, node, self.execution, self.origin)?;
                self.appended.rows += 1;
            }
            None => self.appended.skipped += 1,
        }
        Ok(())
    }

    fn reject(&mut self, node: usize, reason: RejectReason) {
        self.appended.rejected += 1;
        self.rejected.push(Rejected {
            raw: self.doc.raw(self.doc.node(node)).as_bytes().to_vec(),
            reason,
            source: self.origin.source.to_owned(),
            fetched_at: self.origin.fetched_at,
        });
    }
}

impl Rows {
    fn new() -> Self {
        Self {
            record: Record::new(CONTRATACAO, contratacao_schema().fields().clone()),
            unmapped_texts: StringBuilder::new(),
            hashes: StringBuilder::new(),
            executions: StringBuilder::new(),
            sources: StringBuilder::new(),
            fetched: TimestampMicrosecondBuilder::new(),
            speller: Speller::new(CONTRATACAO),
            unmapped: Unmapped::default(),
            scratch: String::new(),
        }
    }

    /// Appends an object that has been walked.
    fn append(
        &mut self,
        doc: Doc<'_>,
        node: usize,
        execution: &str,
        origin: Origin<'_>,
    ) -> Result<(), Fault> {
        self.speller.spell(doc, node)?;
        self.hashes.append_value(self.speller.hash());
        let mut reading = Reading {
            doc,
            unmapped: &mut self.unmapped,
            scratch: &mut self.scratch,
        };
        self.record.append(&mut reading, node);
        self.unmapped
            .take(|text| self.unmapped_texts.append_option(text));
        self.executions.append_value(execution);
        self.sources.append_value(origin.source);
        self.fetched
            .append_value(origin.fetched_at.timestamp_micros());
        Ok(())
    }

    fn byte_size(&self) -> usize {
        let rows = self.record.rows();
        let texts = [
            &self.unmapped_texts,
            &self.hashes,
            &self.executions,
            &self.sources,
        ];
        let texts: usize = texts
            .iter()
            .map(|builder| builder.values_slice().len() + 4 * rows)
            .sum();
        self.record.byte_size() + texts + 8 * rows
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let (mut columns, _all_valid) = self.record.take()?;
        let texts = [
            &mut self.unmapped_texts,
            &mut self.hashes,
            &mut self.executions,
            &mut self.sources,
        ];
        columns.extend(texts.map(|builder| Arc::new(builder.finish()) as ArrayRef));
        let fetched = self.fetched.finish().with_timezone("UTC");
        columns.push(Arc::new(fetched));
        RecordBatch::try_new(contratacao_schema(), columns).map_err(schema)
    }
}
