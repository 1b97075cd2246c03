//! The snapshot: a cache of the log, and what people and old readers look at.

use std::fmt;
use std::io::Write as _;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::done::DoneSet;
use crate::entry::FORMAT_VERSION;
use crate::version::VersionKey;

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

/// Parses `bytes`, adding the ids in `field` to `done` as those of `facet`.
///
/// `done` may hold part of the ids after an error. Ids are added one by one, so that a large
/// file is in memory once only.
pub(crate) fn parse(
    bytes: &[u8],
    field: &str,
    facet: u8,
    done: Option<&mut DoneSet>,
) -> Result<SnapshotHead, serde_json::Error> {
    let mut done = done;
    if let Some(done) = done.as_deref_mut() {
        done.reserve(ids_about(bytes).saturating_sub(done.len()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let head = FileSeed { field, facet, done }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(head)
}

/// About how many ids the file lists: the pairs of quotes before the first list ends.
fn ids_about(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| *byte == b']').unwrap_or(0);
    bytes[..end].iter().filter(|byte| **byte == b'"').count() / 2
}

struct FileSeed<'a> {
    field: &'a str,
    facet: u8,
    done: Option<&'a mut DoneSet>,
}

impl<'de> DeserializeSeed<'de> for FileSeed<'_> {
    type Value = SnapshotHead;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<SnapshotHead, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FileSeed<'_> {
    type Value = SnapshotHead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a state file")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<SnapshotHead, A::Error> {
        let mut head = SnapshotHead::default();
        let mut ids = None;
        let mut versions: Vec<Option<VersionKey>> = Vec::new();
        let mut last_entry = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "date" => head.date = map.next_value()?,
                "version" => head.version = map.next_value()?,
                "last_entry" => last_entry = map.next_value()?,
                "created_at" => head.created_at = map.next_value()?,
                "last_execution" => head.last_execution = map.next_value()?,
                "total_processed" => head.total_processed = map.next_value()?,
                "executions" => head.executions = map.next_value()?,
                "processed_versions" => versions = map.next_value_seed(VersionsSeed)?,
                key if key == self.field => {
                    let seed = IdsSeed {
                        facet: self.facet,
                        done: self.done.as_deref_mut(),
                    };
                    ids = Some(map.next_value_seed(seed)?);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let indices: Vec<u32> = ids.ok_or_else(|| A::Error::custom("no list of ids"))?;
        let count = indices.len() as u64;
        if head.version.is_some() {
            head.last_entry = last_entry.ok_or_else(|| A::Error::missing_field("last_entry"))?;
            if head.total_processed != count {
                return Err(A::Error::custom("total_processed is not the number of ids"));
            }
            if !versions.is_empty() && versions.len() as u64 != count {
                return Err(A::Error::custom("as many versions as ids expected"));
            }
        }
        head.total_processed = count;
        if let Some(done) = self.done {
            done.attach_versions(self.facet, &indices, &versions);
        }
        Ok(head)
    }
}

struct IdsSeed<'a> {
    facet: u8,
    done: Option<&'a mut DoneSet>,
}

impl<'de> DeserializeSeed<'de> for IdsSeed<'_> {
    type Value = Vec<u32>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<u32>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for IdsSeed<'_> {
    type Value = Vec<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut ids: A) -> Result<Vec<u32>, A::Error> {
        let mut indices = Vec::new();
        while let Some(index) = ids.next_element_seed(IdSeed {
            facet: self.facet,
            done: self.done.as_deref_mut(),
        })? {
            indices.push(index);
        }
        Ok(indices)
    }
}

struct IdSeed<'a> {
    facet: u8,
    done: Option<&'a mut DoneSet>,
}

impl<'de> DeserializeSeed<'de> for IdSeed<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<u32, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for IdSeed<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<u32, E> {
        Ok(self
            .done
            .map_or(0, |done| done.insert_key(self.facet, id, None)))
    }
}

struct VersionsSeed;

impl<'de> DeserializeSeed<'de> for VersionsSeed {
    type Value = Vec<Option<VersionKey>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for VersionsSeed {
    type Value = Vec<Option<VersionKey>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of versions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Self::Value, A::Error> {
        let mut versions = Vec::new();
        while let Some(text) = texts.next_element::<Option<std::borrow::Cow<'de, str>>>()? {
            let version = text.map(|text| {
                VersionKey::from_text(&text).ok_or_else(|| A::Error::custom("not a version"))
            });
            versions.push(version.transpose()?);
        }
        Ok(versions)
    }
}

/// The snapshot of `facet` as bytes: the fields that existing readers know, then ours.
pub(crate) fn encode(
    date: NaiveDate,
    field: &str,
    facet: u8,
    done: &DoneSet,
    head: &SnapshotHead,
) -> Result<Vec<u8>, serde_json::Error> {
    let io = serde_json::Error::io;
    let mut out = Vec::new();
    write!(
        out,
        "{{\n  \"date\": \"{date}\",\n  {}: ",
        serde_json::to_string(field)?
    )
    .map_err(io)?;
    write_list(&mut out, done.ids(facet))?;
    let mut put = |key: &str, value: Value| -> Result<(), serde_json::Error> {
        write!(out, ",\n  \"{key}\": {value}").map_err(io)
    };
    put("last_execution", head.last_execution.clone().into())?;
    put("total_processed", done.count(facet).into())?;
    write!(out, ",\n  \"executions\": ").map_err(io)?;
    write_list(&mut out, &head.executions)?;
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
        write_list(&mut out, texts)?;
    }
    out.extend_from_slice(b"\n}\n");
    Ok(out)
}

/// A JSON list, one element a line.
fn write_list<T: Serialize>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
) -> Result<(), serde_json::Error> {
    out.push(b'[');
    let mut empty = true;
    for item in items {
        out.extend_from_slice(if empty { b"\n    " } else { b",\n    " });
        serde_json::to_writer(&mut *out, &item)?;
        empty = false;
    }
    out.extend_from_slice(if empty { b"]" } else { b"\n  ]" });
    Ok(())
}
