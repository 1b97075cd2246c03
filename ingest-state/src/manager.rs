//! The log as a few calls, for pipelines that keep no log in hand.

use std::sync::Arc;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::append::Appended;
use crate::entry::{Counts, EntryFormat};
use crate::error::Result;
use crate::filter::{FilterStats, Filtered};
use crate::ids::{Id, IdList};
use crate::json::{IdRows, JsonEntries};
use crate::layout::Layout;
use crate::log::{Execution, Log};
use crate::scope::Scope;
use crate::snapshot::ExecutionRecord;
use crate::store::LogStore;

/// The state of any source and day: filter, update, summary. Each call loads the day anew.
///
/// Entries hold ids only, as JSON, in [`Layout::json`], unless made by [`StateManager::new`] with
/// others. A writer whose data file is the log entry uses [`Log`] and
/// [`append`](crate::DayLog::append) instead.
#[derive(Debug, Clone)]
pub struct StateManager {
    store: Arc<dyn LogStore>,
    format: Arc<dyn EntryFormat>,
    layout: fn(&str) -> Layout,
}

/// What a day's state says, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateSummary {
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// Ids that are in.
    pub total_processed: u64,
    /// By facet, where the log has facets.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub by_facet: Map<String, Value>,
    /// Executions in the audit trail.
    pub total_executions: u64,
    /// When the first one ended.
    pub first_execution: Option<String>,
    /// When the last one ended.
    pub last_execution: Option<String>,
    /// The number of the last log entry.
    pub last_entry: u64,
    /// Duplicates of all that was given, over all executions, in percent.
    pub filter_rate: f64,
    /// The audit trail; of the first facet, where it is not asked for one.
    pub executions: Vec<ExecutionRecord>,
}

impl StateManager {
    /// State in `store`, in JSON entries.
    pub fn json(store: Arc<dyn LogStore>) -> Self {
        Self::new(store, Arc::new(JsonEntries), Layout::json)
    }

    /// State in `store`, in entries of `format`, where `layout` says for each source.
    pub fn new(
        store: Arc<dyn LogStore>,
        format: Arc<dyn EntryFormat>,
        layout: fn(&str) -> Layout,
    ) -> Self {
        Self {
            store,
            format,
            layout,
        }
    }

    /// The logs of `source`.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the layout cannot be.
    pub fn log(&self, source: &str) -> Result<Log> {
        Log::new(
            self.store.clone(),
            self.format.clone(),
            (self.layout)(source),
        )
    }

    /// The records that are not in yet, in their order, and what became of the others.
    ///
    /// A record whose `id_field` is missing, null, empty or no text is kept and counted in
    /// [`FilterStats::without_id`].
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn filter_new_records(
        &self,
        source: &str,
        date: NaiveDate,
        records: Vec<Value>,
        id_field: &str,
    ) -> Result<(Vec<Value>, FilterStats)> {
        self.filter_new_by(source, date, records, |r| {
            r.get(id_field).and_then(Value::as_str)
        })
        .await
    }

    /// The same for any type, with a function that finds the id.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn filter_new_by<T>(
        &self,
        source: &str,
        date: NaiveDate,
        records: Vec<T>,
        key: impl Fn(&T) -> Option<&str>,
    ) -> Result<(Vec<T>, FilterStats)> {
        let day = self.log(source)?.load(&Scope::new(source, date)?).await?;
        Ok(day.filter_by(records, key))
    }

    /// The records that are not in yet, and later versions of those that are: `version_field` is
    /// what tells, such as `dataAtualizacaoGlobal`. Where it is missing or no text, in is in.
    ///
    /// Only versions that were entered are known: [`StateManager::update_versions`] enters them.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn filter_new_versions(
        &self,
        source: &str,
        date: NaiveDate,
        records: Vec<Value>,
        id_field: &str,
        version_field: &str,
    ) -> Result<Filtered<Value>> {
        fn text<'a>(record: &'a Value, field: &str) -> Option<&'a str> {
            record.get(field).and_then(Value::as_str)
        }
        self.filter_versions_by(
            source,
            date,
            records,
            |record| text(record, id_field),
            |record| text(record, version_field),
        )
        .await
    }

    /// The same for any type, with functions that find the id and the version.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn filter_versions_by<T>(
        &self,
        source: &str,
        date: NaiveDate,
        records: Vec<T>,
        key: impl Fn(&T) -> Option<&str>,
        version: impl Fn(&T) -> Option<&str>,
    ) -> Result<Filtered<T>> {
        let day = self.log(source)?.load(&Scope::new(source, date)?).await?;
        Ok(day.filter_versions(records, key, version))
    }

    /// Enters `new_ids`, and rewrites the snapshot with an execution of this id and metadata in
    /// its audit trail. Ids that are in already are left out and counted as duplicates.
    ///
    /// `execution` may be repeated: a retry adds nothing twice. Numbers under `input_records` or
    /// `duplicates_filtered` in the metadata become the execution's counts.
    ///
    /// # Errors
    /// As [`Log::load`] and [`append`](crate::DayLog::append).
    pub async fn update_state(
        &self,
        source: &str,
        date: NaiveDate,
        execution: &str,
        new_ids: &[&str],
        metadata: Map<String, Value>,
    ) -> Result<Appended> {
        let ids = new_ids.iter().map(|id| (*id, None));
        self.enter(source, date, execution, ids, metadata).await
    }

    /// The same with a version of each id, if it has one, so that a later one is told from it.
    ///
    /// Whether a later version of an id that is in is entered as well, is for the layout to say
    /// ([`Layout::appends_updates`]); a log that does not take it leaves it out.
    ///
    /// # Errors
    /// As [`StateManager::update_state`].
    pub async fn update_versions(
        &self,
        source: &str,
        date: NaiveDate,
        execution: &str,
        new_ids: &[(&str, Option<&str>)],
        metadata: Map<String, Value>,
    ) -> Result<Appended> {
        let ids = new_ids.iter().copied();
        self.enter(source, date, execution, ids, metadata).await
    }

    async fn enter<'a>(
        &self,
        source: &str,
        date: NaiveDate,
        execution: &str,
        ids: impl Iterator<Item = (&'a str, Option<&'a str>)>,
        metadata: Map<String, Value>,
    ) -> Result<Appended> {
        let log = self.log(source)?;
        let mut day = log.load(&Scope::new(source, date)?).await?;
        let facet = 0;
        let ids: IdList = ids.map(|(id, version)| Id { facet, id, version }).collect();
        let offered = ids.len() as u64;
        let rows = IdRows::new(ids, &*self.format, log.layout().facet_names());
        let counts = stated_counts(&metadata);
        let mut execution = Execution {
            id: execution.to_owned(),
            metadata,
            counts,
            ended_at: None,
        };
        let appended = day.append(&rows, &execution).await?;
        let left_out = offered - appended.count() as u64;
        execution.counts.duplicates_filtered = execution.counts.duplicates_filtered.max(left_out);
        day.finish(&execution).await?;
        Ok(appended)
    }

    /// What the day's state says, in short.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn get_state_summary(&self, source: &str, date: NaiveDate) -> Result<StateSummary> {
        Ok(self
            .log(source)?
            .load(&Scope::new(source, date)?)
            .await?
            .summary())
    }
}

fn stated_counts(metadata: &Map<String, Value>) -> Counts {
    let number = |key: &str| metadata.get(key).and_then(Value::as_u64).unwrap_or(0);
    Counts {
        input: number("input_records"),
        duplicates_filtered: number("duplicates_filtered"),
    }
}

impl crate::day::DayLog {
    /// What this day's state says, in short: ids over all facets, the executions of the first.
    pub fn summary(&self) -> StateSummary {
        StateSummary {
            total_processed: self.done().len() as u64,
            ..self.summary_of(0)
        }
    }

    /// The same of one facet.
    pub fn summary_of(&self, facet: u8) -> StateSummary {
        let executions = self.executions(facet);
        let times = || executions.iter().map(|record| &record.timestamp);
        let sum = |part: fn(&ExecutionRecord) -> u64| executions.iter().map(part).sum::<u64>();
        let (duplicates, new) = (sum(|r| r.duplicates_filtered), sum(|r| r.new_records));
        let layout = self.log().layout();
        let by_facet = layout.facets.iter().enumerate();
        let count = |facet: u8| self.done().count(facet) as u64;
        StateSummary {
            date: self.scope().date().to_string(),
            total_processed: count(facet),
            by_facet: by_facet
                .map(|(at, name)| (name.clone(), count(at as u8).into()))
                .collect(),
            total_executions: executions.len() as u64,
            first_execution: times().min().cloned(),
            last_execution: times().max().cloned(),
            last_entry: self.last_entry(),
            filter_rate: crate::filter_rate(duplicates, new),
            executions,
        }
    }
}
