//! Rows of the same key from several sources become one.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use arrow_select::interleave::interleave;
use ingest_state::VersionKey;

use super::rows::slice_bytes;
use super::run::{Run, list_lengths};

/// Rows that wait to be written, as places in batches that are held for them.
#[derive(Debug)]
pub(crate) struct Combiner {
    schema: SchemaRef,
    /// By facet: its mark's and its data's column.
    facets: Vec<(String, String)>,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    picks: Vec<Pick>,
}

/// A row to be written: slot and row, for its common columns and for each facet.
#[derive(Debug)]
struct Pick {
    common: (usize, usize),
    facets: Vec<(usize, usize)>,
}

/// Whether the facet of a later source replaces that of an earlier one: unless that one's version
/// is later. Pure.
pub(crate) fn replaces(later: Option<VersionKey>, earlier: Option<VersionKey>) -> bool {
    match (later, earlier) {
        (Some(later), Some(earlier)) => later == earlier || later.supersedes(earlier),
        _ => true,
    }
}

impl Combiner {
    pub(crate) fn new(schema: SchemaRef, marks: &[String]) -> Self {
        let data = |mark: &String| mark.strip_prefix('_').unwrap_or(mark).to_owned();
        let facets = marks
            .iter()
            .map(|mark| (mark.clone(), data(mark)))
            .collect();
        Self {
            schema,
            facets,
            held: Vec::new(),
            held_bytes: 0,
            picks: Vec::new(),
        }
    }

    /// Rows that wait.
    pub(crate) fn rows(&self) -> usize {
        self.picks.len()
    }

    /// Bytes that are held for them.
    pub(crate) fn bytes(&self) -> usize {
        self.held_bytes
    }

    /// Combines the rows in hand of `runs` at `at`, all of one key, in order of their numbers.
    pub(crate) fn add(&mut self, runs: &mut [Run], at: &[usize]) {
        let mut common = None;
        let mut winners = vec![None::<(Option<VersionKey>, (usize, usize))>; self.facets.len()];
        for index in at {
            let run = &mut runs[*index];
            let (held, bytes) = (&mut self.held, &mut self.held_bytes);
            let place = run.place(|batch| {
                *bytes += slice_bytes(batch);
                held.push(batch.clone());
                held.len() - 1
            });
            let Some(place) = place else { continue };
            common = Some(place);
            for (facet, winner) in winners.iter_mut().enumerate() {
                let Some(version) = run.facet(facet) else {
                    continue;
                };
                if winner.is_none_or(|(earlier, _)| replaces(version, earlier)) {
                    *winner = Some((version, place));
                }
            }
        }
        let Some(common) = common else { return };
        let facets = winners
            .iter()
            .map(|winner| winner.map_or(common, |(_, place)| place));
        self.picks.push(Pick {
            common,
            facets: facets.collect(),
        });
    }

    /// The rows that wait, as a batch; lets go of everything that was held.
    pub(crate) fn flush(&mut self, runs: &mut [Run]) -> Result<RecordBatch, ArrowError> {
        let picks = std::mem::take(&mut self.picks);
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        runs.iter_mut().for_each(Run::released);
        if picks.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let columns = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(index, field)| {
                let is_of =
                    |(mark, data): &(String, String)| field.name() == mark || field.name() == data;
                let facet = self.facets.iter().position(is_of);
                let places: Vec<(usize, usize)> = picks
                    .iter()
                    .map(|pick| facet.map_or(pick.common, |facet| pick.facets[facet]))
                    .collect();
                let arrays: Vec<&dyn Array> = held
                    .iter()
                    .map(|batch| batch.column(index).as_ref())
                    .collect();
                interleave(&arrays, &places)
            });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.with_metadata(&batch)
    }

    /// `batch` with `metadata` computed anew: the totals from the lists, the time from the marks.
    fn with_metadata(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let Ok(index) = self.schema.index_of("metadata") else {
            return Ok(batch.clone());
        };
        let Some(metadata) = batch.column(index).as_struct_opt() else {
            return Ok(batch.clone());
        };
        let children = metadata.fields().iter().zip(metadata.columns());
        let children = children.map(|(field, child)| -> Result<ArrayRef, ArrowError> {
            let computed = match field.name().as_str() {
                "fetch_timestamp" => self.latest_fetch(batch, child),
                name => self.total(batch, name),
            };
            match computed {
                Some(computed) => arrow_cast::cast(&computed, field.data_type()),
                None => Ok(child.clone()),
            }
        });
        let children = children.collect::<Result<Vec<_>, _>>()?;
        let fields = metadata.fields().clone();
        let metadata = StructArray::try_new(fields, children, metadata.nulls().cloned())?;
        let mut columns = batch.columns().to_vec();
        columns[index] = Arc::new(metadata);
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    /// The lengths of a facet's lists, for the field `total_{facet}`.
    fn total(&self, batch: &RecordBatch, field: &str) -> Option<ArrayRef> {
        let data = field.strip_prefix("total_")?;
        let (_, data) = self.facets.iter().find(|(_, name)| name == data)?;
        Some(Arc::new(list_lengths(batch.column_by_name(data)?)?))
    }

    /// The latest `fetched_at` of the marks; what `metadata` says where no mark has one.
    fn latest_fetch(&self, batch: &RecordBatch, stated: &ArrayRef) -> Option<ArrayRef> {
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = stated.data_type() else {
            return None;
        };
        let mut latest: Vec<Option<i64>> = vec![None; batch.num_rows()];
        for (mark, _) in &self.facets {
            let mark = batch.column_by_name(mark)?.as_struct_opt()?;
            let Some(times) = mark.column_by_name("fetched_at") else {
                continue;
            };
            let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
            for (row, latest) in latest.iter_mut().enumerate() {
                if mark.is_valid(row) && times.is_valid(row) {
                    *latest = (*latest).max(Some(times.value(row)));
                }
            }
        }
        let stated = stated.as_primitive_opt::<TimestampMicrosecondType>()?;
        let known = latest.into_iter().enumerate();
        let known =
            known.map(|(row, at)| at.or_else(|| stated.is_valid(row).then(|| stated.value(row))));
        let array: TimestampMicrosecondArray = known.collect();
        Some(Arc::new(array.with_timezone_opt(zone.clone())))
    }
}
