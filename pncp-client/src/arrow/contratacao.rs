use std::fmt;
use std::sync::Arc;

use arrow_array::builder::{StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use chrono::{DateTime, Utc};

use super::column::{Record, schema};
use super::schema::contratacao_schema;
use crate::domain::NumeroControlePncp;
use crate::error::Result;
use crate::json::{Envelope, KeyFields, Scanner, Unmapped, canonical_json, key_fields, push_hash};
use crate::listing::RawPage;
use crate::shape::{CONTRATACAO, Shape};

/// Fills a batch of contratações from page bytes.
///
/// # Shape
/// As [`contratacao_schema`](super::contratacao_schema), whatever the pages hold. Rows are in
/// the order given.
#[derive(Debug)]
pub struct ContratacaoBatchBuilder {
    record: Record,
    unmapped_texts: StringBuilder,
    hashes: StringBuilder,
    executions: StringBuilder,
    sources: StringBuilder,
    fetched: TimestampMicrosecondBuilder,
    unmapped: Unmapped,
    execution: String,
    rejected: Vec<Rejected>,
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

fn judge(record: &[u8], numero: Option<&str>) -> Option<RejectReason> {
    match numero {
        _ if record.first() != Some(&b'{') => Some(RejectReason::NotAnObject),
        None => Some(RejectReason::NoNumeroControle),
        Some(numero) if NumeroControlePncp::parse(numero).is_err() => {
            Some(RejectReason::MalformedNumeroControle)
        }
        Some(_) => None,
    }
}

impl ContratacaoBatchBuilder {
    /// An empty batch; `execution` goes into every row's `_execution`.
    pub fn new(execution: impl Into<String>) -> Self {
        Self {
            record: Record::new(CONTRATACAO),
            unmapped_texts: StringBuilder::new(),
            hashes: StringBuilder::new(),
            executions: StringBuilder::new(),
            sources: StringBuilder::new(),
            fetched: TimestampMicrosecondBuilder::new(),
            unmapped: Unmapped::default(),
            execution: execution.into(),
            rejected: Vec::new(),
        }
    }

    /// Appends the records of a page that no earlier page of its listing brought.
    ///
    /// # Errors
    /// None for a page that came from a listing (its syntax is checked).
    pub fn append_page(&mut self, page: &RawPage) -> Result<Appended> {
        let mut appended = Appended::default();
        for record in page.records() {
            // The ledger has read the id already.
            let reason = match (record.fresh, record.outside) {
                (false, _) => {
                    appended.skipped += 1;
                    continue;
                }
                (true, true) => Some(RejectReason::OutsideWindow),
                (true, false) => judge(record.bytes, record.id),
            };
            self.place(
                record.bytes,
                reason,
                &page.source,
                page.fetched_at,
                &mut appended,
            )?;
        }
        Ok(appended)
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
        let mut appended = Appended::default();
        for record in page.records() {
            if !record.fresh {
                appended.skipped += 1;
                continue;
            }
            if record.outside {
                let reason = Some(RejectReason::OutsideWindow);
                self.place(
                    record.bytes,
                    reason,
                    &page.source,
                    page.fetched_at,
                    &mut appended,
                )?;
                continue;
            }
            self.take(
                record.bytes,
                &page.source,
                page.fetched_at,
                &mut keep,
                &mut appended,
            )?;
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
        for range in Envelope::read(body)?.records {
            self.take(&body[range], source, fetched_at, &mut keep, &mut appended)?;
        }
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
        let mut scanner = Scanner::new(record)?;
        let text = scanner.skip_value()?;
        scanner.end()?;
        let mut appended = Appended::default();
        self.take(
            text.as_bytes(),
            source,
            fetched_at,
            &mut |_| true,
            &mut appended,
        )?;
        Ok(appended.rows == 1)
    }

    fn take(
        &mut self,
        record: &[u8],
        source: &str,
        fetched_at: DateTime<Utc>,
        keep: &mut impl FnMut(&KeyFields<'_>) -> bool,
        appended: &mut Appended,
    ) -> Result<()> {
        let reason = if record.first() == Some(&b'{') {
            let fields = key_fields(record)?;
            match judge(record, fields.numero_controle.as_deref()) {
                None if !keep(&fields) => {
                    appended.skipped += 1;
                    return Ok(());
                }
                reason => reason,
            }
        } else {
            Some(RejectReason::NotAnObject)
        };
        self.place(record, reason, source, fetched_at, appended)
    }

    /// Makes a record a row, or sets it aside.
    fn place(
        &mut self,
        record: &[u8],
        reason: Option<RejectReason>,
        source: &str,
        fetched_at: DateTime<Utc>,
        appended: &mut Appended,
    ) -> Result<()> {
        if let Some(reason) = reason {
            appended.rejected += 1;
            let source = source.to_owned();
            self.rejected.push(Rejected {
                raw: record.to_vec(),
                reason,
                source,
                fetched_at,
            });
            return Ok(());
        }
        let mut hash = String::with_capacity(64);
        push_hash(&mut hash, &canonical_json(record, Shape::Contratacao)?);
        self.record
            .append(&mut Scanner::new(record)?, &mut self.unmapped)?;
        self.unmapped
            .take(|text| self.unmapped_texts.append_option(text));
        self.hashes.append_value(hash);
        self.executions.append_value(&self.execution);
        self.sources.append_value(source);
        self.fetched.append_value(fetched_at.timestamp_micros());
        appended.rows += 1;
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.record.rows()
    }

    /// Bytes held by them, to bound memory by.
    pub fn byte_size(&self) -> usize {
        let texts = [
            &self.unmapped_texts,
            &self.hashes,
            &self.executions,
            &self.sources,
        ];
        let texts: usize = texts
            .iter()
            .map(|builder| builder.values_slice().len() + 4 * self.rows())
            .sum();
        let rejected: usize = self
            .rejected
            .iter()
            .map(|rejected| rejected.raw.len())
            .sum();
        self.record.byte_size() + texts + 8 * self.rows() + rejected
    }

    /// The records set aside since the last call, for quarantine.
    pub fn take_rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    /// The batch, also of no rows; the builder is empty afterwards.
    ///
    /// # Errors
    /// [`Error::Schema`](crate::Error::Schema) if the columns were left uneven by an earlier
    /// error.
    pub fn finish(&mut self) -> Result<RecordBatch> {
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
