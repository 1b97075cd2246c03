//! A checkpoint as rows of details.

use std::fmt::Write as _;

use arrow_array::RecordBatch;
use pncp_client::ContratacaoKey;
use pncp_client::arrow::{DetailBatchBuilder, DetailRow, FacetMark, FacetValue};
use sha2::{Digest, Sha256};

use crate::pncp::{ARQUIVOS, ITENS};
use crate::{Checkpoint, FacetRow, Fetched, Row};

/// The rows of a checkpoint, sorted by key.
pub(crate) fn batch(
    checkpoint: &Checkpoint,
    execution: &str,
) -> Result<RecordBatch, pncp_client::Error> {
    let mut rows: Vec<&Row> = checkpoint.rows.iter().collect();
    rows.sort_by(|a, b| a.key.key.cmp(&b.key.key));
    let mut builder = DetailBatchBuilder::new();
    for row in rows {
        let key = ContratacaoKey::parse(&row.key.key)?;
        let itens = version(row, ITENS);
        let arquivos = version(row, ARQUIVOS);
        builder.append(&DetailRow {
            key: &key,
            numero_controle: row.key.label.as_deref(),
            itens: value(row.facet(ITENS), itens.as_deref(), execution),
            arquivos: value(row.facet(ARQUIVOS), arquivos.as_deref(), execution),
        })?;
    }
    builder.finish()
}

/// What the log compares: the contratação's version. For a facet that takes the place of one that is there, also a hash
/// of what was sent and the day, so that the log takes it, once a day unless it differs, and knows when it was seen last.
fn version(row: &Row, facet: &str) -> Option<String> {
    let facet = row.facet(facet)?;
    let plain = row.key.version.as_deref().unwrap_or_default();
    if !facet.replaces {
        return Some(plain.to_owned());
    }
    Some(format!(
        "{plain}#{}.{}",
        body_hash(facet),
        facet.fetched_at.format("%Y%m%d")
    ))
}

fn body_hash(facet: &FacetRow) -> String {
    let mut hash = Sha256::new();
    match &facet.fetched {
        Fetched::Present(payload) => payload.pages.iter().for_each(|page| hash.update(page)),
        Fetched::Gone(_) => hash.update(b"gone"),
    }
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::with_capacity(32), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn value<'a>(
    facet: Option<&'a FacetRow>,
    version: Option<&'a str>,
    execution: &'a str,
) -> FacetValue<'a> {
    let Some(facet) = facet else {
        return FacetValue::NotFetched;
    };
    let mark = FacetMark {
        version,
        fetched_at: facet.fetched_at,
        execution,
    };
    match &facet.fetched {
        Fetched::Present(payload) => FacetValue::Fetched {
            pages: &payload.pages,
            mark,
        },
        Fetched::Gone(_) => FacetValue::Gone(mark),
    }
}
