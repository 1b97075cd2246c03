//! Reading a snapshot piece by piece: its ids go into the set as they come.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::SnapshotHead;
use super::split::{Part, Splitter};
use crate::done::DoneSet;
use crate::version::VersionKey;

/// The field with the versions, one for each id, in their order.
const VERSIONS: &str = "processed_versions";

/// Bytes that an id of the PNCP takes in the file: 36 alone, 77 with a version. Room is made for
/// no more ids than are likely, and the set grows on its own beyond that.
const BYTES_AN_ID: u64 = 44;

/// Reads a snapshot from pieces of any size. Never holds more of it than a piece and a value.
#[derive(Debug)]
pub(crate) struct SnapshotReader<'a> {
    splitter: Splitter<'a>,
    taken: Taken<'a>,
}

impl<'a> SnapshotReader<'a> {
    /// Adds the ids in `field` to `done` as those of `facet`, if there is a set. `size` is the
    /// file's. `done` may hold part of the ids after an error.
    pub(crate) fn new(
        field: &'a str,
        facet: u8,
        mut done: Option<&'a mut DoneSet>,
        size: u64,
    ) -> Self {
        if let Some(done) = done.as_deref_mut() {
            let likely = usize::try_from(size / BYTES_AN_ID).unwrap_or(0);
            done.reserve(likely.saturating_sub(done.len()));
        }
        Self {
            splitter: Splitter::new([field, VERSIONS]),
            taken: Taken {
                field,
                facet,
                done,
                head: SnapshotHead::default(),
                has_ids: false,
                ids: 0,
                indices: Vec::new(),
                versions: None,
                last_entry: None,
            },
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// Why it is no state file.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), String> {
        let taken = &mut self.taken;
        self.splitter.feed(piece, |key, part| match part {
            Part::List if key == taken.field => {
                taken.has_ids = true;
                Ok(())
            }
            Part::List if !taken.has_ids => Err(format!("{VERSIONS} before the ids")),
            Part::List => {
                taken.versions = Some(0);
                Ok(())
            }
            Part::Element(raw) if key == taken.field => taken.id(raw),
            Part::Element(raw) => taken.version(raw),
            Part::Value(raw) => taken.value(key, raw).map_err(|e| format!("{key}: {e}")),
        })
    }

    /// What the file says besides its ids.
    ///
    /// # Errors
    /// Why it is no state file.
    pub(crate) fn end(self) -> Result<SnapshotHead, String> {
        self.splitter.end()?;
        let taken = self.taken;
        let mut head = taken.head;
        if !taken.has_ids {
            return Err("no list of ids".to_owned());
        }
        if head.version.is_some() {
            head.last_entry = taken.last_entry.ok_or("no last_entry")?;
            if head.total_processed != taken.ids {
                return Err("total_processed is not the number of ids".to_owned());
            }
            if taken.versions.is_some_and(|count| count != taken.ids) {
                return Err("as many versions as ids expected".to_owned());
            }
        }
        head.total_processed = taken.ids;
        Ok(head)
    }
}

/// What was read up to now.
#[derive(Debug)]
struct Taken<'a> {
    field: &'a str,
    facet: u8,
    done: Option<&'a mut DoneSet>,
    head: SnapshotHead,
    has_ids: bool,
    /// How many ids were listed.
    ids: u64,
    /// Where each is in the set, for the versions that follow; empty while the n-th is the n-th.
    indices: Vec<u32>,
    /// How many versions were listed, if there is such a list.
    versions: Option<u64>,
    last_entry: Option<u64>,
}

impl Taken<'_> {
    fn id(&mut self, raw: &[u8]) -> Result<(), String> {
        let nth = self.ids;
        self.ids += 1;
        if let Some(done) = self.done.as_deref_mut() {
            let id = text(raw)?;
            let index = done.insert_key(self.facet, &id, None);
            if self.indices.is_empty() && u64::from(index) == nth {
                return Ok(());
            }
            if self.indices.is_empty() {
                // Fewer ids than the set has, whose indices are 32 bits.
                self.indices.extend(0..nth as u32);
            }
            self.indices.push(index);
        }
        Ok(())
    }

    fn version(&mut self, raw: &[u8]) -> Result<(), String> {
        let at = self.versions.unwrap_or(0);
        self.versions = Some(at + 1);
        if raw == b"null" {
            return Ok(());
        }
        let version = VersionKey::from_text(&text(raw)?).ok_or("not a version")?;
        if at >= self.ids {
            return Err("more versions than ids".to_owned());
        }
        if let Some(done) = self.done.as_deref_mut() {
            let nth = at as usize;
            let index = self.indices.get(nth).map_or(nth, |index| *index as usize);
            done.set_version(self.facet, index, version);
        }
        Ok(())
    }

    fn value(&mut self, key: &str, raw: &[u8]) -> Result<(), serde_json::Error> {
        fn of<'de, T: Deserialize<'de>>(raw: &'de [u8]) -> Result<T, serde_json::Error> {
            serde_json::from_slice(raw)
        }
        let head = &mut self.head;
        match key {
            "date" => head.date = of(raw)?,
            "version" => head.version = of(raw)?,
            "last_entry" => self.last_entry = of(raw)?,
            "created_at" => head.created_at = of(raw)?,
            "last_execution" => head.last_execution = of(raw)?,
            "total_processed" => head.total_processed = of(raw)?,
            "executions" => head.executions = of(raw)?,
            _ => drop(of::<IgnoredAny>(raw)?),
        }
        Ok(())
    }
}

/// The text that is the JSON string `raw`; borrowed where nothing in it is escaped.
fn text(raw: &[u8]) -> Result<Cow<'_, str>, String> {
    let plain = raw.strip_prefix(b"\"").and_then(|r| r.strip_suffix(b"\""));
    let plain = plain.filter(|text| !text.iter().any(|b| *b < 0x20 || *b == b'\\' || *b == b'"'));
    let text = match plain {
        Some(plain) => std::str::from_utf8(plain).map(Cow::Borrowed).ok(),
        None => serde_json::from_slice(raw).map(Cow::Owned).ok(),
    };
    text.ok_or_else(|| format!("no text: {}", String::from_utf8_lossy(raw)))
}
