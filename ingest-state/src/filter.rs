//! Which of some records are new.

use serde::Serialize;

use crate::day::DayLog;
use crate::done::DoneSet;
use crate::ids::Id;
use crate::snapshot::filter_rate;
use crate::version::Standing;

/// What became of the records that were filtered. The parts add up to `input`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct FilterStats {
    /// Records that were given.
    pub input: u64,
    /// Records that are not in yet.
    pub new_records: u64,
    /// Records that are in, or came before in the same input, of which this is a later version.
    pub updated: u64,
    /// Records that are in.
    pub already_processed: u64,
    /// Records whose id came before in the same input, in this or a later version.
    pub repeated: u64,
    /// Records without a usable id: null, missing, empty or no text.
    pub without_id: u64,
    /// `already_processed` of `already_processed + new_records`, in percent.
    pub filter_rate: f64,
}

impl FilterStats {
    /// Why there is nothing to do: `no_data_from_api`, `all_duplicates`, or `None` if there is
    /// something (also a record without id, or a later version).
    pub fn no_data_reason(&self) -> Option<&'static str> {
        if self.input == 0 {
            Some("no_data_from_api")
        } else if self.new_records + self.updated + self.without_id == 0 {
            Some("all_duplicates")
        } else {
            None
        }
    }

    /// Says in the log what operators look for.
    pub fn log(&self) {
        tracing::info!(
            "State Filtering: {} input → {} new ({} duplicates filtered)",
            self.input,
            self.new_records,
            self.already_processed + self.repeated
        );
        if self.no_data_reason() == Some("all_duplicates") {
            tracing::warn!("No new records to process (all duplicates)");
        }
        if self.updated > 0 {
            tracing::info!(
                records = self.updated,
                "later versions of records that are in"
            );
        }
        if self.without_id > 0 {
            tracing::warn!(records = self.without_id, "records without an id");
        }
    }
}

/// What a record turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Not in yet.
    New,
    /// In, or earlier in the same input; this is a later version.
    Updated,
    /// In.
    AlreadyProcessed,
    /// Its id came before in the same input, in this or a later version.
    Repeated,
    /// It has no usable id.
    WithoutId,
}

/// Sorts records one by one against a day, remembering the ids it has seen, and their versions
/// where there are any.
#[derive(Debug)]
pub struct Filter<'a> {
    day: &'a DayLog,
    facet: u8,
    seen: DoneSet,
    stats: FilterStats,
}

impl<'a> Filter<'a> {
    /// A filter of records of `facet` (0 in a log without facets).
    pub fn new(day: &'a DayLog, facet: u8) -> Self {
        Self {
            day,
            facet,
            seen: DoneSet::new(),
            stats: FilterStats::default(),
        }
    }

    /// What the next record is, by its id and version. A version that is a date-time alone is the
    /// one of that time, whatever its hash.
    pub fn next(&mut self, id: Option<&str>, version: Option<&str>) -> Outcome {
        let outcome = self.sort(id, version);
        let stats = &mut self.stats;
        stats.input += 1;
        *match outcome {
            Outcome::New => &mut stats.new_records,
            Outcome::Updated => &mut stats.updated,
            Outcome::AlreadyProcessed => &mut stats.already_processed,
            Outcome::Repeated => &mut stats.repeated,
            Outcome::WithoutId => &mut stats.without_id,
        } += 1;
        outcome
    }

    /// What the records were, all in all.
    pub fn stats(&self) -> FilterStats {
        let rate = filter_rate(self.stats.already_processed, self.stats.new_records);
        FilterStats {
            filter_rate: rate,
            ..self.stats
        }
    }

    fn sort(&mut self, id: Option<&str>, version: Option<&str>) -> Outcome {
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Outcome::WithoutId;
        };
        // Only what is offered once is remembered: an id that is in needs no memory here.
        let facet = self.facet;
        let standing = standing(&self.day.done, Id { facet, id, version });
        if standing == Standing::AlreadyProcessed {
            return Outcome::AlreadyProcessed;
        }
        match self.see(id, version) {
            Standing::New if standing == Standing::New => Outcome::New,
            Standing::New | Standing::Updated => Outcome::Updated,
            Standing::AlreadyProcessed => Outcome::Repeated,
        }
    }

    /// How it relates to what was offered before, of which it is part now.
    fn see(&mut self, id: &str, version: Option<&str>) -> Standing {
        if version.is_none() {
            return if self.seen.is_added(id) {
                Standing::New
            } else {
                Standing::AlreadyProcessed
            };
        }
        let facet = 0;
        let id = Id { facet, id, version };
        let standing = standing(&self.seen, id);
        self.seen.insert(id);
        standing
    }
}

/// How an id relates to those in `done`. A date-time alone, without a hash, is the version of that
/// time, whatever its hash.
fn standing(done: &DoneSet, id: Id<'_>) -> Standing {
    let standing = done.standing(id);
    let (Standing::Updated, Some(version)) = (standing, id.version) else {
        return standing;
    };
    let known = done.version_of(id.facet, id.id);
    if known.is_some_and(|known| known.is_at(version)) {
        Standing::AlreadyProcessed
    } else {
        Standing::Updated
    }
}

impl DayLog {
    /// The records that are not in yet, in their order, by the id that `key` finds.
    ///
    /// A record without an id is kept: it is for the caller to put aside, never lost here.
    /// `FilterStats::without_id` says how many. A later version of a record that is in is not
    /// new; [`DayLog::filter_versions`] has those.
    pub fn filter_by<T>(
        &self,
        records: Vec<T>,
        key: impl Fn(&T) -> Option<&str>,
    ) -> (Vec<T>, FilterStats) {
        let mut filter = Filter::new(self, 0);
        let mut records = records;
        records.retain(|record| {
            matches!(
                filter.next(key(record), None),
                Outcome::New | Outcome::WithoutId
            )
        });
        let stats = filter.stats();
        stats.log();
        (records, stats)
    }

    /// The same by id and version: what is new, and later versions of what is in or came before
    /// in the same input, each in their order. See [`VersionKey`](crate::VersionKey) for what a
    /// version is; a date-time alone, such as `dataAtualizacaoGlobal`, is told by its time.
    pub fn filter_versions<T>(
        &self,
        records: Vec<T>,
        key: impl Fn(&T) -> Option<&str>,
        version: impl Fn(&T) -> Option<&str>,
    ) -> Filtered<T> {
        let mut filter = Filter::new(self, 0);
        let (mut new, mut updated) = (Vec::new(), Vec::new());
        for record in records {
            match filter.next(key(&record), version(&record)) {
                Outcome::New | Outcome::WithoutId => new.push(record),
                Outcome::Updated => updated.push(record),
                Outcome::AlreadyProcessed | Outcome::Repeated => {}
            }
        }
        let stats = filter.stats();
        stats.log();
        Filtered {
            new,
            updated,
            stats,
        }
    }
}

/// Records sorted by id and version, each list in the order of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Filtered<T> {
    /// Not in yet, or without an id.
    pub new: Vec<T>,
    /// Later versions of records that are in, or that came before in the same input.
    pub updated: Vec<T>,
    /// What became of all of them.
    pub stats: FilterStats,
}

#[cfg(feature = "arrow")]
mod mask {
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
    use arrow_schema::DataType;

    use super::{Filter, FilterStats, Outcome};
    use crate::day::DayLog;
    use crate::error::{Error, Result};

    impl DayLog {
        /// Which rows of `batch` are not in yet: a mask as long as the batch, without nulls.
        ///
        /// Rows without an id are kept, as in [`DayLog::filter_by`]. No row is copied.
        ///
        /// # Errors
        /// [`Error::Invalid`] if there is no column `id_field` or it is no text.
        pub fn filter_mask(
            &self,
            batch: &RecordBatch,
            id_field: &str,
        ) -> Result<(BooleanArray, FilterStats)> {
            let id = text_column("id_field", batch, id_field)?;
            let mut filter = Filter::new(self, 0);
            let keep = (0..batch.num_rows()).map(|row| {
                matches!(
                    filter.next(id(row), None),
                    Outcome::New | Outcome::WithoutId
                )
            });
            let mask: BooleanArray = keep.map(Some).collect();
            let stats = filter.stats();
            stats.log();
            Ok((mask, stats))
        }

        /// The same by id and version, as [`DayLog::filter_versions`]: the masks of what is new
        /// and of later versions, each as long as the batch and without nulls.
        ///
        /// # Errors
        /// [`Error::Invalid`] if one of the columns is not there or is no text.
        pub fn filter_masks(
            &self,
            batch: &RecordBatch,
            id_field: &str,
            version_field: &str,
        ) -> Result<(BooleanArray, BooleanArray, FilterStats)> {
            let id = text_column("id_field", batch, id_field)?;
            let version = text_column("version_field", batch, version_field)?;
            let mut filter = Filter::new(self, 0);
            let outcome = |row| filter.next(id(row), version(row));
            let outcomes: Vec<Outcome> = (0..batch.num_rows()).map(outcome).collect();
            let mask = |of: fn(&Outcome) -> bool| -> BooleanArray {
                outcomes.iter().map(|outcome| Some(of(outcome))).collect()
            };
            let new = mask(|outcome| matches!(outcome, Outcome::New | Outcome::WithoutId));
            let updated = mask(|outcome| *outcome == Outcome::Updated);
            let stats = filter.stats();
            stats.log();
            Ok((new, updated, stats))
        }
    }

    /// The texts of column `name`, which the caller gave as `argument`.
    fn text_column<'a>(
        argument: &'static str,
        batch: &'a RecordBatch,
        name: &str,
    ) -> Result<TextAt<'a>> {
        let invalid = |reason: String| Error::Invalid { argument, reason };
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| invalid(format!("no column {name:?}")))?;
        text_at(column).ok_or_else(|| invalid(format!("{name:?} is no text")))
    }

    type TextAt<'a> = Box<dyn Fn(usize) -> Option<&'a str> + 'a>;

    fn text_at(column: &ArrayRef) -> Option<TextAt<'_>> {
        match column.data_type() {
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                Some(Box::new(|row| {
                    texts.is_valid(row).then(|| texts.value(row))
                }))
            }
            DataType::LargeUtf8 => {
                let texts = column.as_string::<i64>();
                Some(Box::new(|row| {
                    texts.is_valid(row).then(|| texts.value(row))
                }))
            }
            DataType::Utf8View => {
                let texts = column.as_string_view();
                Some(Box::new(|row| {
                    texts.is_valid(row).then(|| texts.value(row))
                }))
            }
            _ => None,
        }
    }
}
