//! When facets were fetched: what a refresh by age needs to know.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use ingest_state::{Layout, Scope};

use super::sink::storage_error;
use crate::pncp::FACETS;
use crate::{Candidate, KeyList, SinkError};

const COLUMNS: [&str; 3] = ["key", "_itens.fetched_at", "_arquivos.fetched_at"];

/// By key, when each facet was fetched; some 30 bytes a key.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    keys: KeyList,
    /// Where the keys stand once sorted.
    order: Vec<u32>,
    /// In whole seconds since 1970, 0 for never, in the order of `keys`.
    fetched_s: Vec<[u32; 2]>,
}

/// Reads the ages from the merged view at `view`, which holds everything up to entry `through`, and from the entries
/// beyond it, by projection.
pub(crate) async fn read_ages(
    store: &BronzeStore,
    view: &str,
    scope: &Scope,
    through: u64,
) -> Result<Ages, SinkError> {
    let mut ages = Ages::default();
    let layout = Layout::details(scope.source());
    let prefix = layout.entries_prefix(scope);
    let listed = store.list(prefix.trim_end_matches('/')).await;
    let listed = listed.map_err(|error| storage_error("read ages", error))?;
    let unmerged = listed.into_iter().filter(|object| {
        let number = layout.entry_number(scope, &object.key);
        number.is_some_and(|number| number > through)
    });
    ages.read(store, view).await?;
    for object in unmerged {
        ages.read(store, &object.key).await?;
    }
    ages.order = ages.keys.order();
    Ok(ages)
}

impl Ages {
    /// Adds the rows of the file at `key`; none if there is no such file.
    async fn read(&mut self, store: &BronzeStore, key: &str) -> Result<(), SinkError> {
        let failed = |error| storage_error("read ages", error);
        let file = match ParquetFile::open(store, key).await {
            Ok(file) => file,
            Err(bronze_storage::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut batches = file.read(&ReadOptions::columns(COLUMNS)).map_err(failed)?;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            self.collect(&batch)
                .map_err(|error| SinkError::permanent("read ages", error))?;
        }
        Ok(())
    }

    fn collect(&mut self, batch: &RecordBatch) -> Result<(), crate::KeyListFull> {
        let Some(keys) = batch
            .column_by_name("key")
            .and_then(|keys| keys.as_string_opt::<i32>())
        else {
            return Ok(());
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
                let valid = mark.is_valid(row) && at.is_valid(row);
                valid.then(|| u32::try_from(at.value(row) / 1_000_000).ok())?
            });
            self.keys.push(Candidate::new(keys.value(row)))?;
            self.fetched_s
                .push(fetched.map(|fetched| fetched.unwrap_or(0)));
        }
        Ok(())
    }

    /// When a facet of `key` was fetched last, if it is known.
    pub(crate) fn fetched_at(&self, key: &str, facet: usize) -> Option<DateTime<Utc>> {
        let before = |index: &u32| {
            let candidate = self.keys.get(*index as usize);
            candidate.is_some_and(|candidate| *candidate.key < *key)
        };
        let from = self.order.partition_point(before);
        let same = self.order[from..].iter().map(|index| *index as usize);
        let same = same.take_while(|index| self.keys.get(*index).is_some_and(|c| c.key == key));
        same.filter_map(|index| self.fetched_s.get(index)?.get(facet).copied())
            .max()
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| DateTime::from_timestamp(i64::from(seconds), 0))
    }
}
