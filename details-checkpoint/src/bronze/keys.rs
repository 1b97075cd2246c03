//! The day's list of contratações, from bronze.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions};
use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt;
use ingest_state::{Layout, Scope};

use crate::{Candidate, KeyList, KeyListFull, SinkError};

const COLUMNS: [&str; 7] = [
    "numeroControlePNCP",
    "orgaoEntidade.cnpj",
    "anoCompra",
    "sequencialCompra",
    "dataAtualizacaoGlobal",
    "situacaoCompraId",
    "_fetched_at",
];

/// Reads the contratações of a day from bronze, by the seven columns that details need.
///
/// In the order of their keys. Each has the key `cnpj|ano|sequencial`, the latest `dataAtualizacaoGlobal` that is known
/// as its version (later ones lie under `_versions`), the instant at which it was fetched first as its arrival, and is
/// final once its latest version is revogada or anulada. The label is set only where `numeroControlePNCP` is not what
/// the key says.
///
/// # Errors
/// [`SinkError`] if the folder cannot be listed, or an entry cannot be read or lacks a column. A day without a file is an
/// empty list.
pub async fn read_keys(
    store: &BronzeStore,
    source: &str,
    date: NaiveDate,
) -> Result<KeyList, SinkError> {
    let scope =
        Scope::new(source, date).map_err(|error| SinkError::permanent("read keys", error))?;
    let full = |error| SinkError::permanent("read keys", error);
    let mut keys = KeyList::new();
    read_log(store, &Layout::parquet(source), &scope, &mut keys).await?;
    let first = keys.len();
    read_log(store, &Layout::versions(source), &scope, &mut keys).await?;
    if keys.len() == first {
        return keys.sorted().map_err(full);
    }
    latest(&keys).map_err(full)
}

/// Adds the rows of every entry of a log.
async fn read_log(
    store: &BronzeStore,
    layout: &Layout,
    scope: &Scope,
    keys: &mut KeyList,
) -> Result<(), SinkError> {
    let storage = |error: bronze_storage::Error| super::sink::storage_error("read keys", error);
    let prefix = layout.entries_prefix(scope);
    let mut entries: Vec<(u64, String)> = store
        .list(prefix.trim_end_matches('/'))
        .await
        .map_err(storage)?
        .into_iter()
        .filter_map(|object| Some((layout.entry_number(scope, &object.key)?, object.key)))
        .collect();
    entries.sort_unstable();
    for (_, entry) in entries {
        let file = ParquetFile::open(store, &entry).await.map_err(storage)?;
        let mut batches = file.read(&ReadOptions::columns(COLUMNS)).map_err(storage)?;
        while let Some(batch) = batches.try_next().await.map_err(storage)? {
            push_batch(keys, &batch).map_err(|reason| {
                SinkError::permanent("read keys", format!("{reason}. key=`{entry}`"))
            })?;
        }
    }
    Ok(())
}

/// Each key once, sorted, as it came in first, with its latest version and what that says of its situation.
fn latest(keys: &KeyList) -> Result<KeyList, KeyListFull> {
    let mut latest = KeyList::new();
    let mut last: Option<Candidate<'_>> = None;
    let order = keys.order();
    for candidate in order.iter().filter_map(|index| keys.get(*index as usize)) {
        match &mut last {
            Some(known) if known.key == candidate.key => {
                if candidate.version >= known.version {
                    known.version = candidate.version;
                    known.is_final = candidate.is_final;
                }
            }
            _ => {
                if let Some(known) = last.replace(candidate) {
                    latest.push(known)?;
                }
            }
        }
    }
    if let Some(known) = last {
        latest.push(known)?;
    }
    Ok(latest)
}

fn push_batch(keys: &mut KeyList, batch: &RecordBatch) -> Result<(), String> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| format!("no column {name}"))
    };
    let orgao = column("orgaoEntidade")?;
    let cnpj = orgao
        .as_struct_opt()
        .and_then(|orgao| orgao.column_by_name("cnpj").cloned());
    let cnpj = cnpj.ok_or("no column orgaoEntidade.cnpj")?;
    let [numero, ano, sequencial] = [
        column("numeroControlePNCP")?,
        column("anoCompra")?,
        column("sequencialCompra")?,
    ];
    let [version, situation, fetched] = [
        column("dataAtualizacaoGlobal")?,
        column("situacaoCompraId")?,
        column("_fetched_at")?,
    ];
    for row in 0..batch.num_rows() {
        let numero = text(&numero, row).unwrap_or_default();
        let named = || {
            Some((
                text(&cnpj, row)?,
                integer(&ano, row)?,
                integer(&sequencial, row)?,
            ))
        };
        // A record without the three fields still has them in its control number.
        let (cnpj, ano, sequencial) = named()
            .or_else(|| parse_numero(numero))
            .ok_or_else(|| format!("no cnpj, ano and sequencial of contratação `{numero}`"))?;
        let key = format!("{cnpj}|{ano}|{sequencial}");
        let derived = parse_numero(numero) == Some((cnpj, ano, sequencial));
        let mut candidate =
            Candidate::new(&key).with_final(matches!(integer(&situation, row), Some(2 | 3)));
        candidate.label = (!derived && !numero.is_empty()).then_some(numero.into());
        candidate.version = date_time(&version, row);
        candidate.arrived = instant(&fetched, row);
        keys.push(candidate).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// `83102277000152-1-000423/2025` as cnpj, ano, sequencial.
fn parse_numero(numero: &str) -> Option<(&str, i64, i64)> {
    let (rest, ano) = numero.split_once('/')?;
    let (cnpj, sequencial) = rest.split_once("-1-")?;
    Some((cnpj, ano.parse().ok()?, sequencial.parse().ok()?))
}

fn text(array: &ArrayRef, row: usize) -> Option<&str> {
    let values = array.as_string_opt::<i32>()?;
    values.is_valid(row).then(|| values.value(row))
}

/// A date-time as the API writes it, whether it lies there as text or as an instant without a zone.
fn date_time(array: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
    if let Some(text) = text(array, row) {
        return Some(Cow::Borrowed(text));
    }
    let at = instant(array, row)?.naive_utc();
    Some(at.format("%Y-%m-%dT%H:%M:%S%.f").to_string().into())
}

fn integer(array: &ArrayRef, row: usize) -> Option<i64> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Int32 => Some(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row)),
        _ => None,
    }
}

fn instant(array: &ArrayRef, row: usize) -> Option<DateTime<Utc>> {
    let values = array.as_primitive_opt::<TimestampMicrosecondType>()?;
    values
        .is_valid(row)
        .then(|| DateTime::from_timestamp_micros(values.value(row)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn control_numbers_give_their_key() {
        assert_eq!(
            parse_numero("83102277000152-1-000423/2025"),
            Some(("83102277000152", 2025, 423))
        );
        assert_eq!(parse_numero("83102277000152-2-000423/2025"), None);
        assert_eq!(parse_numero(""), None);
    }

    #[test]
    fn a_version_is_read_from_text_and_from_an_instant() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("2025-10-22T10:00:00"), None]));
        assert_eq!(date_time(&text, 0).as_deref(), Some("2025-10-22T10:00:00"));
        assert_eq!(date_time(&text, 1), None);
        let us = 1_761_127_200_000_000;
        let instants = TimestampMicrosecondArray::from(vec![Some(us), Some(us + 1), None]);
        let instants: ArrayRef = Arc::new(instants);
        assert_eq!(
            date_time(&instants, 0).as_deref(),
            Some("2025-10-22T10:00:00")
        );
        assert_eq!(
            date_time(&instants, 1).as_deref(),
            Some("2025-10-22T10:00:00.000001")
        );
        assert_eq!(date_time(&instants, 2), None);
    }

    #[test]
    fn a_later_version_takes_the_place_of_an_earlier_one() {
        let mut keys = KeyList::new();
        let arrived = DateTime::from_timestamp(1_761_000_000, 0).unwrap();
        for (key, version, is_final) in [
            ("2|2025|1", "2025-10-22T10:00:00", false),
            ("1|2025|1", "2025-10-22T10:00:00", false),
            ("2|2025|1", "2025-10-24T10:00:00", true),
            ("2|2025|1", "2025-10-23T10:00:00", false),
        ] {
            let candidate = Candidate::new(key)
                .with_version(version)
                .with_arrived(arrived)
                .with_final(is_final);
            keys.push(candidate).unwrap();
        }
        let latest = latest(&keys).unwrap();
        let got: Vec<Candidate<'_>> = latest.iter().collect();
        assert_eq!(got.len(), 2);
        assert_eq!((&*got[0].key, got[0].is_final), ("1|2025|1", false));
        assert_eq!((&*got[1].key, got[1].is_final), ("2|2025|1", true));
        assert_eq!(got[1].version.as_deref(), Some("2025-10-24T10:00:00"));
        assert_eq!(got[1].arrived, Some(arrived));
    }
}
