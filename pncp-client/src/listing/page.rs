use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};

use crate::domain::Modalidade;
use crate::json::{Envelope, key_fields};
use crate::query::{By, Part};

/// One list page as it was sent, with what the ledger knows of its records.
#[derive(Debug, Clone)]
pub struct RawPage {
    /// The modality listed; none where all were asked for at once.
    pub modalidade: Option<Modalidade>,
    /// Its number, from 1.
    pub numero: u32,
    /// 1 for the first reading of its list; more where the list moved.
    pub pass: u32,
    /// The body, syntax checked.
    pub body: Bytes,
    /// Path and query that brought it.
    pub source: String,
    /// When it came.
    pub fetched_at: DateTime<Utc>,
    pub(crate) entries: Vec<Entry>,
}

/// What the ledger knows of a record.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) range: Range<usize>,
    pub(crate) id: Option<Box<str>>,
    /// Its `dataAtualizacaoGlobal`, hashed: told apart within one listing, and not ordered.
    pub(crate) updated: u32,
    pub(crate) outside: bool,
    pub(crate) fresh: bool,
}

/// One record of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its bytes as sent.
    pub bytes: &'a [u8],
    /// Its `numeroControlePNCP`, if it has one (not checked further).
    pub id: Option<&'a str>,
    /// No earlier page of this listing brought it, or not with this `dataAtualizacaoGlobal`: a
    /// record that is updated while the list is read is fresh again.
    pub fresh: bool,
    /// It is dated outside the window asked for, on a page that was asked for again and stayed
    /// so.
    pub outside: bool,
}

impl RawPage {
    /// The records, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RawRecord<'_>> {
        self.entries.iter().map(|entry| RawRecord {
            bytes: &self.body[entry.range.clone()],
            id: entry.id.as_deref(),
            fresh: entry.fresh,
            outside: entry.outside,
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them are fresh.
    pub fn fresh_len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.fresh).count()
    }
}

fn hash(text: Option<&str>) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.unwrap_or_default().as_bytes());
    // Half of it tells two versions apart but for once in four thousand million.
    (hasher.finish() >> 32) as u32
}

/// Reads id and dates of each record.
pub(crate) fn entries(body: &[u8], envelope: &Envelope, part: &Part, by: By) -> Vec<Entry> {
    let entry = |range: &Range<usize>| {
        let fields = key_fields(&body[range.clone()]).unwrap_or_default();
        let updated = hash(fields.data_atualizacao_global.as_deref());
        let date = match by {
            By::Publicacao(_) => fields.data_publicacao,
            By::Atualizacao(_) => fields.data_atualizacao_global,
            By::Proposta(_) => None,
        };
        let day = date.and_then(|text| text.get(..10)?.parse::<NaiveDate>().ok());
        let outside = match (part.window, day) {
            (Some(window), Some(day)) => !window.contains(day),
            _ => false,
        };
        let id = fields
            .numero_controle
            .map(|id| id.into_owned().into_boxed_str());
        Entry {
            range: range.clone(),
            id,
            updated,
            outside,
            fresh: true,
        }
    };
    envelope.records.iter().map(entry).collect()
}
