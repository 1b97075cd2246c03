//! The sink itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bronze_storage::BronzeStore;
use bronze_storage::state::{
    IdColumns, MergeError, MergeStatus, Merger, ParquetEntries, ParquetRows,
};
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use ingest_state::{
    DayLog, EntryHead, EntryRows, Execution, FormatError, Id, IdList, Layout, Log, ObjectLogStore,
    Scope,
};
use pncp_client::arrow::details_schema;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::ages::{Ages, read_ages};
use super::{quarantine, rows};
use crate::{
    Checkpoint, CheckpointMetrics, CheckpointSink, Done, FailedFacet, Finish, Finished, KeyList,
    Outcome, Saved, SinkError, Standing, StopReason, pncp::FACETS,
};

/// The bytes that an entry has at most; a larger checkpoint makes several.
const ENTRY_BYTES: usize = 32 << 20;

/// Details of one day's contratações in a bronze layer.
///
/// A checkpoint is one log entry under `pncp_details/_parts`: a Parquet file whose appearance is what makes its facets
/// done. Any number of processes may work on the same day.
///
/// # Memory
/// Rows are made from the bodies when they are saved: while that goes on, the bodies, the rows and the encoded file
/// exist side by side. The view of what is done takes at most 64 bytes a key beyond the keys themselves.
#[derive(Debug, Clone)]
pub struct BronzeDetails {
    store: BronzeStore,
    log: Log,
    scope: Scope,
    execution: Execution,
    merge: MergePolicy,
    ages: bool,
    day: Arc<Mutex<Option<DayLog>>>,
}

/// When the end of a run merges the parts into `details.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergePolicy {
    /// When the unmerged parts exceed a third of the file, and when the day is complete.
    #[default]
    Auto,
    /// Whenever something is unmerged.
    Always,
    /// Never: only [`BronzeDetails::merge`] does.
    Never,
}

/// Joins the parts of a [`BronzeDetails`].
#[derive(Debug, Clone)]
pub struct BronzeDetailsBuilder {
    store: BronzeStore,
    scope: Scope,
    execution: String,
    merge: MergePolicy,
    ages: bool,
}

impl BronzeDetailsBuilder {
    /// In whose name the entries are written; the same for every process of a run.
    #[must_use]
    pub fn with_execution(mut self, execution: impl Into<String>) -> Self {
        self.execution = execution.into();
        self
    }

    /// When the end of a run merges.
    #[must_use]
    pub fn with_merge(mut self, merge: MergePolicy) -> Self {
        self.merge = merge;
        self
    }

    /// Whether to read when each facet was fetched, from `details.parquet` and the parts that it lacks, for
    /// [`crate::Refresh::older_than`] and [`crate::Refresh::fetched_before`]. Off by default: it takes a projection of
    /// the file and some 30 bytes a key.
    #[must_use]
    pub fn with_ages(mut self, ages: bool) -> Self {
        self.ages = ages;
        self
    }

    /// The sink. Nothing is read or written yet.
    ///
    /// # Errors
    /// None today; a layout that the log refuses, should there be one.
    pub fn build(self) -> Result<BronzeDetails, SinkError> {
        let Self {
            store,
            scope,
            execution,
            merge,
            ages,
        } = self;
        let objects = Arc::new(ObjectLogStore::new(Arc::clone(store.object_store())));
        let log = Log::new(
            objects,
            Arc::new(ParquetEntries::new(IdColumns::details()).with_schema(details_schema())),
            Layout::details(scope.source()),
        );
        let log = log.map_err(|error| log_error("open", error))?;
        Ok(BronzeDetails {
            store,
            log,
            scope,
            execution: Execution::new(execution),
            merge,
            ages,
            day: Arc::default(),
        })
    }
}

impl BronzeDetails {
    /// The details of a day in `store`; `scope` is the details' source (`pncp_details`) and the day.
    pub fn builder(store: BronzeStore, scope: Scope) -> BronzeDetailsBuilder {
        BronzeDetailsBuilder {
            store,
            scope,
            execution: String::new(),
            merge: MergePolicy::default(),
            ages: false,
        }
    }

    /// The day's contratações, as `source` (`pncp`) holds them in the same store; see [`super::read_keys`].
    ///
    /// # Errors
    /// As [`super::read_keys`].
    pub async fn contratacoes(&self, source: &str) -> Result<KeyList, SinkError> {
        super::read_keys(&self.store, source, self.scope.date()).await
    }

    /// The day's quarantine, by key.
    ///
    /// # Errors
    /// As [`super::list_quarantine`].
    pub async fn quarantined(&self) -> Result<Vec<super::Quarantined>, SinkError> {
        super::list_quarantine(&self.store, self.scope.source(), self.scope.date()).await
    }

    /// The key of the merged view, `pncp_details/year=…/month=…/day=…/details.parquet`.
    pub fn view_key(&self) -> String {
        let day = self.scope.date().format("year=%Y/month=%m/day=%d");
        format!("{}/{day}/details.parquet", self.scope.source())
    }

    /// Merges what is unmerged into `details.parquet`, however little it is.
    ///
    /// # Errors
    /// [`SinkError`] if an entry cannot be read or the store failed; the view is as it was.
    pub async fn merge(&self) -> Result<Finished, SinkError> {
        let status = self.merge_status().await?;
        self.merge_after(status, true).await
    }

    /// How far `details.parquet` is behind the log.
    ///
    /// # Errors
    /// [`SinkError`] if the store failed or the view cannot be read.
    pub async fn merge_status(&self) -> Result<MergeStatus, SinkError> {
        self.merger()
            .status(&self.scope)
            .await
            .map_err(|error| merge_error("merge status", error))
    }

    fn merger(&self) -> Merger {
        Merger::new(self.store.clone(), self.log.clone(), IdColumns::details())
    }

    async fn merge_after(&self, status: MergeStatus, wanted: bool) -> Result<Finished, SinkError> {
        if status.through >= status.last_entry || !wanted {
            return Ok(Finished::default());
        }
        let merged = self
            .merger()
            .merge(&self.scope)
            .await
            .map_err(|error| merge_error("merge", error))?;
        let head = self
            .store
            .head(&merged.key)
            .await
            .map_err(|error| storage_error("merge", error))?;
        let bytes = head.map_or(0, |version| version.size);
        Ok(Finished {
            merged: Some(merged.key),
            bytes,
            written: Vec::new(),
        })
    }

    async fn loaded(
        &self,
        operation: &'static str,
    ) -> Result<OwnedMutexGuard<Option<DayLog>>, SinkError> {
        let mut day = Arc::clone(&self.day).lock_owned().await;
        if day.is_none() {
            *day = Some(
                self.log
                    .load(&self.scope)
                    .await
                    .map_err(|error| log_error(operation, error))?,
            );
        }
        Ok(day)
    }

    async fn append(self, checkpoint: Arc<Checkpoint>) -> Result<Saved, SinkError> {
        let started = Instant::now();
        let mut execution = self.execution.clone();
        note(&mut execution, "checkpoint", Some(&checkpoint.metrics))?;
        note(
            &mut execution,
            "previous_checkpoint",
            checkpoint.previous.as_ref(),
        )?;
        let id = execution.id.clone();
        let encoded = tokio::task::spawn_blocking(move || {
            let batch = rows::batch(&checkpoint, &id)
                .map_err(|error| SinkError::permanent("save", error))?;
            let rows = batch.num_rows() as u64;
            let parts = ParquetRows::split(&[batch], &IdColumns::details(), ENTRY_BYTES)
                .map_err(|error| SinkError::permanent("save", error))?;
            Ok::<_, SinkError>((rows, parts))
        });
        let (rows, parts) = encoded
            .await
            .map_err(|error| SinkError::permanent("save", error))??;
        let converted = started.elapsed();
        let mut day = self.loaded("save").await?;
        let Some(log) = day.as_mut() else {
            return Err(SinkError::permanent("save", "the log is not loaded"));
        };
        let mut saved = Saved {
            rows,
            ..Saved::default()
        };
        let mut encode = converted;
        for part in parts {
            let measured = Measured {
                rows: part,
                bytes: AtomicU64::new(0),
                nanos: AtomicU64::new(0),
            };
            let appended = log
                .append(&measured, &execution)
                .await
                .map_err(|error| log_error("save", error))?;
            saved.dropped += appended.placed.iter().filter(|placed| !**placed).count() as u64;
            saved.bytes += if appended.entry.is_some() {
                measured.bytes.into_inner()
            } else {
                0
            };
            encode += Duration::from_nanos(measured.nanos.into_inner());
            if let Some(key) = appended.key {
                saved.key = key;
            }
        }
        saved.encode = encode;
        saved.commit = started.elapsed().saturating_sub(encode);
        Ok(saved)
    }
}

#[async_trait]
impl CheckpointSink for BronzeDetails {
    async fn load(&self) -> Result<Box<dyn Done>, SinkError> {
        let mut day = Arc::clone(&self.day).lock_owned().await;
        *day = None;
        *day = Some(
            self.log
                .load(&self.scope)
                .await
                .map_err(|error| log_error("load", error))?,
        );
        let ages = if self.ages {
            let through = self.merge_status().await?.through;
            read_ages(&self.store, &self.view_key(), &self.scope, through).await?
        } else {
            Ages::default()
        };
        let waiting = self.quarantined().await?.into_iter().map(|note| {
            let until = quarantine::retry_at(&note.failure);
            ((note.failure.key, note.failure.facet), until)
        });
        Ok(Box::new(LogDone {
            day,
            waiting: waiting.collect(),
            ages,
        }))
    }

    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Saved, SinkError> {
        // A task of its own, so that encoding and fetching share the machine; dropped with this future.
        let mut task = tokio::task::JoinSet::new();
        task.spawn(self.clone().append(checkpoint));
        match task.join_next().await {
            Some(Ok(saved)) => saved,
            Some(Err(error)) => Err(SinkError::permanent("save", error)),
            None => Err(SinkError::permanent("save", "the task is gone")),
        }
    }

    fn peak_bytes(&self, body_bytes: u64) -> u64 {
        // The bodies, the rows with the builders' spare room, the encoder's pages, the file.
        body_bytes.saturating_mul(4) + (256 << 10)
    }

    async fn quarantine(&self, failure: &FailedFacet) -> Result<String, SinkError> {
        quarantine::put(&self.store, self.scope.source(), self.scope.date(), failure).await
    }

    async fn finish(&self, finish: &Finish) -> Result<Finished, SinkError> {
        let mut day = self.loaded("finish").await?;
        let Some(log) = day.as_mut() else {
            return Err(SinkError::permanent("finish", "the log is not loaded"));
        };
        let mut execution = self.execution.clone();
        note(
            &mut execution,
            "last_checkpoint",
            finish.last_checkpoint.as_ref(),
        )?;
        let written = log
            .finish(&execution)
            .await
            .map_err(|error| log_error("finish", error))?;
        let done = |facet: &str, key: &str| {
            let index = FACETS
                .iter()
                .position(|known| *known == facet)
                .and_then(|at| u8::try_from(at).ok());
            index.is_some_and(|index| log.done().contains(index, key))
        };
        for note in self.quarantined().await? {
            if done(&note.failure.facet, &note.failure.key) {
                quarantine::discard_quarantine(&self.store, &note.object).await?;
            }
        }
        // A merge needs the memory more; whoever asks next reads the day anew.
        *day = None;
        drop(day);
        let stopped = Outcome::Stopped {
            reason: StopReason::Cancelled,
        };
        if finish.outcome == stopped {
            return Ok(Finished {
                written,
                ..Finished::default()
            });
        }
        let status = self.merge_status().await?;
        let wanted = match self.merge {
            MergePolicy::Auto => status.is_due() || finish.complete,
            MergePolicy::Always => true,
            MergePolicy::Never => false,
        };
        let merged = self.merge_after(status, wanted).await?;
        Ok(Finished { written, ..merged })
    }
}

/// Puts what a checkpoint took into what an entry's footer or a snapshot says of its execution.
fn note(
    execution: &mut Execution,
    name: &str,
    metrics: Option<&CheckpointMetrics>,
) -> Result<(), SinkError> {
    if let Some(metrics) = metrics {
        let metrics =
            serde_json::to_value(metrics).map_err(|error| SinkError::permanent("note", error))?;
        execution.metadata.insert(name.to_owned(), metrics);
    }
    Ok(())
}

/// What the log says is done.
#[derive(Debug)]
struct LogDone {
    day: OwnedMutexGuard<Option<DayLog>>,
    /// What is in the quarantine, and until when.
    waiting: HashMap<(String, String), DateTime<Utc>>,
    ages: Ages,
}

impl Done for LogDone {
    fn standing(&self, key: &str, facet: &str, version: Option<&str>) -> Standing {
        let index = FACETS.iter().position(|known| *known == facet);
        let (Some(log), Some(index)) = (
            self.day.as_ref(),
            index.and_then(|at| u8::try_from(at).ok()),
        ) else {
            return Standing::Pending;
        };
        if !log.done().contains(index, key) {
            let until = self.waiting.get(&(key.to_owned(), facet.to_owned()));
            return until.map_or(Standing::Pending, |until| Standing::SetAside {
                until: *until,
            });
        }
        let fetched_at = self.ages.fetched_at(key, usize::from(index));
        let earlier = version.and_then(just_before);
        let id = Id {
            facet: index,
            id: key,
            version: earlier.as_deref(),
        };
        match log.standing(id) {
            ingest_state::Standing::Updated => Standing::Moved,
            ingest_state::Standing::New | ingest_state::Standing::AlreadyProcessed => {
                Standing::Done { fetched_at }
            }
        }
    }
}

/// The microsecond before a version: later than what the log has exactly if the version is.
///
/// Versions are whole seconds. Asked with the version itself, the log would also call a facet updated whose version is
/// the same but which was fetched again since, under the same version and the hash of what was sent.
fn just_before(version: &str) -> Option<String> {
    let at: NaiveDateTime = version.trim_end_matches('Z').parse().ok()?;
    let before = at.checked_sub_signed(TimeDelta::microseconds(1))?;
    Some(before.format("%Y-%m-%dT%H:%M:%S%.6f").to_string())
}

/// Rows that note what their encoding took.
struct Measured {
    rows: ParquetRows,
    bytes: AtomicU64,
    nanos: AtomicU64,
}

impl EntryRows for Measured {
    fn ids(&self) -> &IdList {
        self.rows.ids()
    }

    fn encode(&self, head: &EntryHead, keep: &[bool]) -> Result<Bytes, FormatError> {
        let started = Instant::now();
        let bytes = self.rows.encode(head, keep)?;
        self.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        Ok(bytes)
    }
}

pub(crate) fn storage_error(operation: &'static str, error: bronze_storage::Error) -> SinkError {
    if error.is_transient() {
        SinkError::transient(operation, error)
    } else {
        SinkError::permanent(operation, error)
    }
}

fn merge_error(operation: &'static str, error: MergeError) -> SinkError {
    if error.is_transient() {
        SinkError::transient(operation, error)
    } else {
        SinkError::permanent(operation, error)
    }
}

pub(crate) fn log_error(operation: &'static str, error: ingest_state::Error) -> SinkError {
    if error.is_transient() {
        SinkError::transient(operation, error)
    } else {
        SinkError::permanent(operation, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_microsecond_before_a_version_orders_as_the_version_does() {
        assert_eq!(
            just_before("2025-10-22T10:00:00").as_deref(),
            Some("2025-10-22T09:59:59.999999")
        );
        assert_eq!(just_before("no date"), None);
    }
}
