//! Reading a snapshot piece by piece: its ids go into the set as they come.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::SnapshotHead;
use super::split::{Part, Splitter};
use crate::done::DoneSet;
use crate::version::VersionKey;

/// The field with the versions, one for each id, in their order.
const VERSIONS: &str = "processed_versions";

/// Bytes that an id of the PNCP takes in the file: 36 alone, 77 with a version. Room is made for
/// no more ids than are likely, and the set grows on its own beyond that. Of their texts, which
/// are four fifths of the first, memory is used only as they come.
const BYTES_AN_ID: u64 = 44;

/// Reads a snapshot from pieces of any size. Never holds more of it than a piece and a value.
#[derive(Debug)]
pub(crate) struct SnapshotReader<'a> {
    splitter: Splitter<'a>,
    taken: Taken<'a>,
    /// The first bytes of a character that the last piece cut.
    cut: Vec<u8>,
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
            done.reserve(likely.saturating_sub(done.len()), size / 5 * 4);
        }
        Self {
            splitter: Splitter::new([field, VERSIONS]),
            taken: Taken {
                field,
                facet,
                done,
                head: SnapshotHead::default(),
                has_ids: false,
                in_ids: false,
                ids: 0,
                indices: Vec::new(),
                versions: None,
                last_entry: None,
            },
            cut: Vec::new(),
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// Why it is no state file.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), String> {
        let mut rest = piece;
        while !self.cut.is_empty() {
            let Some((byte, after)) = rest.split_first() else {
                return Ok(());
            };
            self.cut.push(*byte);
            rest = after;
            let cut = std::mem::take(&mut self.cut);
            match std::str::from_utf8(&cut) {
                Ok(text) => self.feed_text(text)?,
                Err(error) if error.error_len().is_none() => self.cut = cut,
                Err(error) => return Err(error.to_string()),
            }
        }
        match std::str::from_utf8(rest) {
            Ok(text) => self.feed_text(text),
            Err(error) if error.error_len().is_none() => {
                let (whole, cut) = rest.split_at(error.valid_up_to());
                self.cut = cut.to_vec();
                let whole = std::str::from_utf8(whole).map_err(|error| error.to_string())?;
                self.feed_text(whole)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn feed_text(&mut self, piece: &str) -> Result<(), String> {
        let taken = &mut self.taken;
        self.splitter.feed(piece, |key, part| match part {
            Part::List => taken.list(key),
            Part::Texts(ids) if taken.in_ids => taken.ids(ids),
            Part::Element(raw) if taken.in_ids => taken.ids(&[&unquoted(raw)?]),
            Part::Texts(versions) => versions
                .iter()
                .try_for_each(|text| taken.version(Some(text))),
            Part::Element("null") => taken.version(None),
            Part::Element(raw) => taken.version(Some(&unquoted(raw)?)),
            Part::Value(raw) => taken.value(key, raw).map_err(|e| format!("{key}: {e}")),
        })
    }

    /// What the file says besides its ids.
    ///
    /// # Errors
    /// Why it is no state file.
    pub(crate) fn end(self) -> Result<SnapshotHead, String> {
        self.splitter.end()?;
        if !self.cut.is_empty() {
            return Err("it ends within a character".to_owned());
        }
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
    /// Whether the list that is read is that of the ids.
    in_ids: bool,
    /// How many ids were listed.
    ids: u64,
    /// Where each is in the set, for the versions that follow; empty while the n-th is the n-th.
    indices: Vec<u32>,
    /// How many versions were listed, if there is such a list.
    versions: Option<u64>,
    last_entry: Option<u64>,
}

impl Taken<'_> {
    /// One of the two lists begins.
    fn list(&mut self, key: &str) -> Result<(), String> {
        self.in_ids = key == self.field;
        if self.in_ids {
            self.has_ids = true;
        } else if self.has_ids {
            self.versions = Some(0);
        } else {
            return Err(format!("{VERSIONS} before the ids"));
        }
        Ok(())
    }

    fn ids(&mut self, ids: &[&str]) -> Result<(), String> {
        let first = self.ids;
        self.ids += ids.len() as u64;
        let Some(done) = self.done.as_deref_mut() else {
            return Ok(());
        };
        let indices = &mut self.indices;
        let mut nth = first;
        done.insert_all(self.facet, ids, |index| {
            if !indices.is_empty() || u64::from(index) != nth {
                if indices.is_empty() {
                    // Fewer ids than the set has, whose indices are 32 bits.
                    indices.extend(0..nth as u32);
                }
                indices.push(index);
            }
            nth += 1;
        });
        Ok(())
    }

    fn version(&mut self, text: Option<&str>) -> Result<(), String> {
        let at = self.versions.unwrap_or(0);
        self.versions = Some(at + 1);
        let Some(text) = text else { return Ok(()) };
        let version = VersionKey::from_text(text).ok_or("not a version")?;
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

    fn value(&mut self, key: &str, raw: &str) -> Result<(), serde_json::Error> {
        fn of<'de, T: Deserialize<'de>>(raw: &'de str) -> Result<T, serde_json::Error> {
            serde_json::from_str(raw)
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

/// The text that is the JSON string `raw`.
fn unquoted(raw: &str) -> Result<String, String> {
    serde_json::from_str(raw).map_err(|_| format!("no text: {raw}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Id;

    const FILE: &str = r#"{"processed_ids": ["ação", "b\"\u00e7", "日本", "ação"], "version": 1,
        "total_processed": 4, "last_entry": 7, "processed_versions": ["5:0000000000000001", null,
        ":0000000000000002", null], "executions": [], "date": "2025-10-22"}"#;

    fn read(bytes: &[u8], step: usize) -> Result<(SnapshotHead, DoneSet), String> {
        let mut done = DoneSet::new();
        done.insert(Id {
            facet: 0,
            id: "日本",
            version: None,
        });
        let mut reader = SnapshotReader::new("processed_ids", 1, Some(&mut done), 99);
        for piece in bytes.chunks(step) {
            reader.feed(piece)?;
        }
        let head = reader.end()?;
        Ok((head, done))
    }

    #[test]
    fn pieces_of_any_size_are_the_same_file() {
        for step in 1..FILE.len() {
            let (head, done) = read(FILE.as_bytes(), step).unwrap();
            assert_eq!((head.last_entry, head.total_processed), (7, 4));
            assert_eq!(head.date.as_deref(), Some("2025-10-22"));
            let found: Vec<_> = done.with_versions(1).collect();
            let version = VersionKey::from_text;
            let expected = [
                ("日本", version(":0000000000000002")),
                ("ação", version("5:0000000000000001")),
                ("b\"ç", None),
            ];
            assert_eq!(found, expected, "step {step}");
        }
    }

    #[test]
    fn what_is_no_state_file_is_told_in_any_pieces() {
        let bytes = FILE.as_bytes();
        let mut damaged = vec![bytes[..bytes.len() - 1].to_vec(), Vec::new()];
        for (from, to) in [
            ("ação", "a\u{1}o"),
            ("日本", "0123456\u{1f}01234567"),
            ("日本", "01234567\n"),
            ("4,", "3,"),
            ("null]", "null, null]"),
            ("null]", "7]"),
            (":0000000000000002", "x"),
            ("processed_ids", "processed"),
            ("\"last_entry\": 7, ", ""),
            ("\"b", "3, \"b"),
        ] {
            assert!(FILE.contains(from));
            damaged.push(FILE.replacen(from, to, 1).into_bytes());
        }
        let at = FILE.find('ç').unwrap();
        damaged.push([&bytes[..=at], &bytes[at + 2..]].concat());
        damaged.push([&bytes[..at], b"\xff", &bytes[at..]].concat());
        for bytes in damaged {
            for step in [1, 2, 5, bytes.len().max(1)] {
                assert!(
                    read(&bytes, step).is_err(),
                    "{}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
}
