//! The merged file as a view of its log: what `verify` compares with the entries.

use async_trait::async_trait;
use ingest_state::{FormatError, IdList, Scope, View, ViewContent};
use parquet::arrow::ProjectionMask;

use super::merge::{Merger, THROUGH_KEY};
use super::merge_error::MergeError;
use super::sparse::{Opened, invalid};

/// Rows decoded at once while ids are read.
const BATCH_ROWS: usize = 8_192;

/// The file is due for a merge by [`MergeStatus::is_due`](super::MergeStatus::is_due). Of its rows
/// only the key and the versions are fetched, a row group at a time.
#[async_trait]
impl View for Merger {
    fn key(&self, scope: &Scope) -> String {
        Self::key(self, scope)
    }

    async fn read(&self, scope: &Scope) -> Result<Option<ViewContent>, FormatError> {
        let store = &**self.log.store();
        let Some(object) = store.head(&Self::key(self, scope)).await? else {
            return Ok(None);
        };
        let opened = Opened::open(store, &object).await?;
        let through = opened
            .footer_value(THROUGH_KEY)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| FormatError::invalid("its footer does not say what it holds"))?;
        let metadata = opened.metadata.clone();
        let file = metadata.file_metadata();
        let mut ids = IdList::new();
        if file.num_rows() > 0 {
            let paths = self.columns.paths();
            let paths = paths.iter().map(String::as_str);
            let mask = ProjectionMask::columns(file.schema_descr(), paths);
            for group in 0..metadata.num_row_groups() {
                let read = opened.read(store, vec![group], mask.clone(), BATCH_ROWS);
                for batch in read.await? {
                    let batch = batch.map_err(|error| invalid(error.into()))?;
                    self.columns.extract(&batch, &mut ids, |_| {})?;
                }
            }
        }
        let is_due = match self.status(scope).await {
            Ok(status) => status.is_due(),
            // A log that cannot be read is told by whoever reads the entries.
            Err(MergeError::Log(_)) => false,
            Err(MergeError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(FormatError::invalid(error.to_string())),
        };
        Ok(Some(ViewContent {
            through,
            rows: u64::try_from(file.num_rows()).unwrap_or(0),
            is_due,
            ids,
        }))
    }
}
