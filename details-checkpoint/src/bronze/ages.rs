//! When the merged rows were fetched: what a refresh by age needs to know.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::sink::storage_error;
use crate::SinkError;
use crate::pncp::FACETS;

const COLUMNS: [&str; 3] = ["key", "_itens.fetched_at", "_arquivos.fetched_at"];

/// By key, when each facet was fetched, in microseconds.
pub(crate) type Ages = HashMap<Box<str>, [Option<i64>; 2]>;

/// Reads the ages from the merged view at `key`, by projection; none if there is no such file.
pub(crate) async fn read_ages(store: &BronzeStore, key: &str) -> Result<Ages, SinkError> {
    let failed = |error| storage_error("read ages", error);
    let file = match ParquetFile::open(store, key).await {
        Ok(file) => file,
        Err(bronze_storage::Error::NotFound { .. }) => return Ok(Ages::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut ages = Ages::with_capacity(usize::try_from(file.rows()).unwrap_or(0));
    let mut batches = file.read(&ReadOptions::columns(COLUMNS)).map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        collect(&batch, &mut ages);
    }
    Ok(ages)
}

fn collect(batch: &RecordBatch, ages: &mut Ages) {
    let Some(keys) = batch
        .column_by_name("key")
        .and_then(|keys| keys.as_string_opt::<i32>())
    else {
        return;
    };
    let marks = FACETS.map(|facet| {
        let mark = batch
            .column_by_name(&format!("_{facet}"))?
            .as_struct_opt()?;
        Some((mark.clone(), mark.column_by_name("fetched_at")?.clone()))
    });
    for row in 0..batch.num_rows() {
        let fetched = marks.each_ref().map(|mark| {
            let (mark, at) = mark.as_ref()?;
            let at = at.as_primitive_opt::<TimestampMicrosecondType>()?;
            (mark.is_valid(row) && at.is_valid(row)).then(|| at.value(row))
        });
        ages.insert(keys.value(row).into(), fetched);
    }
}

/// When a facet of `key` was fetched, if the merged view knows.
pub(crate) fn fetched_at(ages: &Ages, key: &str, facet: usize) -> Option<DateTime<Utc>> {
    ages.get(key)?
        .get(facet)
        .copied()
        .flatten()
        .and_then(DateTime::from_timestamp_micros)
}
