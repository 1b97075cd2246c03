//! The snapshot: a cache of the log, and what people and old readers look at.

mod read;
mod split;

use std::io::{self, Write};

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::done::DoneSet;
use crate::entry::FORMAT_VERSION;
use crate::version::VersionKey;

pub(crate) use read::SnapshotReader;

/// One line of a snapshot's audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionRecord {
    /// When it ended, by its own clock.
    pub timestamp: String,
    /// Ids that it added.
    #[serde(default)]
    pub new_records: u64,
    /// Records that it was given and that were in already.
    #[serde(default)]
    pub duplicates_filtered: u64,
    /// `duplicates_filtered` of all it was given, in percent, two decimals.
    #[serde(default)]
    pub filter_rate: f64,
    /// The execution's id; none in files of the previous system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// Keys of the entries that it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The execution's own metadata.
    #[serde(flatten)]
    pub metadata: Map<String, Value>,
}

impl ExecutionRecord {
    /// Whether both speak of the same execution.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.execution, &other.execution) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.timestamp == other.timestamp,
            _ => false,
        }
    }

    /// Whether this record says no less than what entries prove of the same execution, and the same
    /// of the same entries. It may know of entries that were put in quarantine since.
    pub(crate) fn agrees_with(&self, proven: &Self) -> bool {
        let knows = |file| self.files.contains(file);
        let all = proven.files.iter().all(knows);
        let as_many = if self.files.len() == proven.files.len() {
            self.new_records == proven.new_records
        } else {
            self.new_records >= proven.new_records
        };
        all && as_many && self.duplicates_filtered >= proven.duplicates_filtered
    }

    /// Takes over what a later record of the same execution says, which went on or was run again.
    pub(crate) fn follow_up(&mut self, later: &Self) {
        let files = later.files.iter().filter(|file| !self.files.contains(file));
        let files: Vec<String> = files.cloned().collect();
        if !files.is_empty() {
            self.files.extend(files);
            self.new_records += later.new_records;
        }
        let duplicates = later.duplicates_filtered;
        self.duplicates_filtered = self.duplicates_filtered.max(duplicates);
        self.timestamp.clone_from(&later.timestamp);
        self.metadata.extend(later.metadata.clone());
        self.set_rate();
    }

    pub(crate) fn set_rate(&mut self) {
        self.filter_rate = filter_rate(self.duplicates_filtered, self.new_records);
    }
}

/// Duplicates among `duplicates + new` records, in percent, rounded to two decimals.
pub fn filter_rate(duplicates: u64, new: u64) -> f64 {
    let all = duplicates + new;
    if all == 0 {
        return 0.0;
    }
    (duplicates as f64 * 10_000.0 / all as f64).round() / 100.0
}

/// `2025-10-22T12:00:00Z`, the way snapshots write an instant.
pub(crate) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A snapshot without its ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SnapshotHead {
    pub(crate) date: Option<String>,
    /// `None` in files of the previous system.
    pub(crate) version: Option<u32>,
    pub(crate) last_entry: u64,
    pub(crate) created_at: Option<String>,
    pub(crate) last_execution: Option<String>,
    pub(crate) total_processed: u64,
    pub(crate) executions: Vec<ExecutionRecord>,
}

impl SnapshotHead {
    /// Why this is no state of `date`, if it says so. A file without a date is taken for what its
    /// key says.
    pub(crate) fn of_another_day(&self, date: NaiveDate) -> Option<String> {
        let said = self.date.as_deref()?;
        (said != date.to_string()).then(|| format!("a state of {said}, not of {date}"))
    }
}

/// The snapshot of `facet` as bytes: the fields that existing readers know, then ours.
///
/// Written twice, the first time only to be measured: a buffer that grows as it fills holds up to
/// three times the file.
pub(crate) fn encode(
    date: NaiveDate,
    field: &str,
    facet: u8,
    done: &DoneSet,
    head: &SnapshotHead,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut size = Size(0);
    write(&mut size, date, field, facet, done, head)?;
    let mut out = Vec::with_capacity(size.0);
    write(&mut out, date, field, facet, done, head)?;
    Ok(out)
}

/// Counts what is written to it.
struct Size(usize);

impl Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(
    out: &mut impl Write,
    date: NaiveDate,
    field: &str,
    facet: u8,
    done: &DoneSet,
    head: &SnapshotHead,
) -> Result<(), serde_json::Error> {
    let io = serde_json::Error::io;
    write!(
        out,
        "{{\n  \"date\": \"{date}\",\n  {}: ",
        serde_json::to_string(field)?
    )
    .map_err(io)?;
    write_list(out, done.ids(facet))?;
    let mut put = |key: &str, value: Value| -> Result<(), serde_json::Error> {
        write!(out, ",\n  \"{key}\": {value}").map_err(io)
    };
    put("last_execution", head.last_execution.clone().into())?;
    put("total_processed", done.count(facet).into())?;
    write!(out, ",\n  \"executions\": ").map_err(io)?;
    write_list(out, &head.executions)?;
    let mut put = |key: &str, value: Value| -> Result<(), serde_json::Error> {
        write!(out, ",\n  \"{key}\": {value}").map_err(io)
    };
    put("created_at", head.created_at.clone().into())?;
    put("version", FORMAT_VERSION.into())?;
    put("last_entry", head.last_entry.into())?;
    if done.is_versioned(facet) {
        write!(out, ",\n  \"processed_versions\": ").map_err(io)?;
        let texts = done
            .with_versions(facet)
            .map(|(_, version)| version.map(VersionKey::to_text));
        write_list(out, texts)?;
    }
    out.write_all(b"\n}\n").map_err(io)
}

/// A JSON list, one element a line.
fn write_list<T: Serialize>(
    out: &mut impl Write,
    items: impl IntoIterator<Item = T>,
) -> Result<(), serde_json::Error> {
    let io = serde_json::Error::io;
    out.write_all(b"[").map_err(io)?;
    let mut empty = true;
    for item in items {
        let before: &[u8] = if empty { b"\n    " } else { b",\n    " };
        out.write_all(before).map_err(io)?;
        serde_json::to_writer(&mut *out, &item)?;
        empty = false;
    }
    let end: &[u8] = if empty { b"]" } else { b"\n  ]" };
    out.write_all(end).map_err(io)
}
