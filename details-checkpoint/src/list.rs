//! What there is to fetch: candidates, kept compactly.

use std::borrow::Cow;
use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use crate::Candidate;
use crate::pack::{pack, packed_len, unpack};

const PACKED_KEY: u8 = 1;
const HAS_LABEL: u8 = 2;
const HAS_VERSION: u8 = 4;
const PACKED_VERSION: u8 = 8;
const FINAL: u8 = 16;
const ARRIVED: u8 = 32;

/// A list of candidates in one block: some 30 bytes for a PNCP key, its version and the instant it came in.
///
/// Order is the order of pushing. Texts of digits and the signs `- : T Z |` take half a byte a character. A list holds
/// at most 4 GiB and texts of at most 65,534 bytes; [`KeyList::push`] says so rather than cutting.
#[derive(Debug, Clone, Default)]
pub struct KeyList {
    /// A record a candidate: flags, lengths, texts.
    block: Vec<u8>,
    /// Where each record ends.
    ends: Vec<u32>,
    /// The first instant at which one came in; records say how far theirs is from it.
    first_us: i64,
}

/// A text that does not fit a [`KeyList`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key list is full or text too long. key_bytes={key_bytes}, keys={keys}")]
pub struct KeyListFull {
    key_bytes: usize,
    keys: usize,
}

/// A record with its texts still packed.
struct Record<'a> {
    flags: u8,
    key: &'a [u8],
    key_chars: usize,
    label: &'a [u8],
    version: &'a [u8],
    version_chars: usize,
    since_first: u64,
}

impl KeyList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// A list of bare keys.
    ///
    /// # Errors
    /// As [`KeyList::push`].
    pub fn from_keys<I, S>(keys: I) -> Result<Self, KeyListFull>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut list = Self::new();
        for key in keys {
            list.push(Candidate::new(key.as_ref()))?;
        }
        Ok(list)
    }

    /// Adds a candidate at the end; repeated keys are the caller's affair ([`crate::pending`] drops them).
    ///
    /// # Errors
    /// [`KeyListFull`] when a text is longer than 65,534 bytes or the list would pass 4 GiB; the list is as it was.
    pub fn push(&mut self, candidate: Candidate<'_>) -> Result<(), KeyListFull> {
        let full = KeyListFull {
            key_bytes: candidate.key.len(),
            keys: self.ends.len(),
        };
        let label = candidate.label.as_deref().unwrap_or_default();
        let version = candidate.version.as_deref().unwrap_or_default();
        let texts = [&*candidate.key, label, version];
        if texts.iter().any(|text| text.len() >= usize::from(u16::MAX)) {
            return Err(full);
        }
        let longest = self.block.len() + texts.map(str::len).iter().sum::<usize>() + 32;
        if u32::try_from(longest).is_err() {
            return Err(full);
        }
        let start = self.block.len();
        let mut flags = u8::from(candidate.is_final) * FINAL;
        self.block.push(0);
        put_number(&mut self.block, candidate.key.len() as u64);
        if candidate.label.is_some() {
            flags |= HAS_LABEL;
            put_number(&mut self.block, label.len() as u64);
        }
        if candidate.version.is_some() {
            flags |= HAS_VERSION;
            put_number(&mut self.block, version.len() as u64);
        }
        if let Some(arrived) = candidate.arrived {
            flags |= ARRIVED;
            let arrived_us = arrived.timestamp_micros();
            if self.first_us == 0 {
                self.first_us = arrived_us;
            }
            let distance = arrived_us.wrapping_sub(self.first_us);
            put_number(&mut self.block, zigzag(distance));
        }
        flags |= self.put_text(&candidate.key, PACKED_KEY);
        self.block.extend_from_slice(label.as_bytes());
        flags |= self.put_text(version, PACKED_VERSION);
        self.block[start] = flags;
        self.ends
            .push(u32::try_from(self.block.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Appends a text, packed if it can be; the flag that says so.
    fn put_text(&mut self, text: &str, packed: u8) -> u8 {
        if pack(text, &mut self.block) {
            return packed;
        }
        self.block.extend_from_slice(text.as_bytes());
        0
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The candidate at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<Candidate<'_>> {
        let record = self.record(index)?;
        Some(Candidate {
            key: record.key(),
            label: (record.flags & HAS_LABEL != 0).then(|| text(record.label)),
            version: (record.flags & HAS_VERSION != 0).then(|| record.version()),
            arrived: (record.flags & ARRIVED != 0)
                .then(|| self.first_us.wrapping_add(unzigzag(record.since_first)))
                .and_then(DateTime::<Utc>::from_timestamp_micros),
            is_final: record.flags & FINAL != 0,
        })
    }

    fn record(&self, index: usize) -> Option<Record<'_>> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => self.ends[before] as usize,
            None => 0,
        };
        let (flags, mut rest) = self.block[start..end].split_first()?;
        let flags = *flags;
        let mut number = |present: bool| match present {
            true => take_number(&mut rest),
            false => 0,
        };
        let key_chars = number(true) as usize;
        let label_bytes = number(flags & HAS_LABEL != 0) as usize;
        let version_chars = number(flags & HAS_VERSION != 0) as usize;
        let since_first = number(flags & ARRIVED != 0);
        let key_bytes = match flags & PACKED_KEY {
            0 => key_chars,
            _ => packed_len(key_chars),
        };
        let (key, rest) = rest.split_at(key_bytes);
        let (label, version) = rest.split_at(label_bytes);
        Some(Record {
            flags,
            key,
            key_chars,
            label,
            version,
            version_chars,
            since_first,
        })
    }

    /// How the keys of two candidates compare.
    pub(crate) fn compare_keys(&self, a: usize, b: usize) -> Ordering {
        match (self.record(a), self.record(b)) {
            (Some(a), Some(b)) if a.flags & b.flags & PACKED_KEY != 0 => a.key.cmp(b.key),
            (Some(a), Some(b)) => a.key().cmp(&b.key()),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    /// Where the candidates stand once sorted by key, equal ones in the order they are in.
    pub(crate) fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by(|a, b| {
            let by_key = self.compare_keys(*a as usize, *b as usize);
            by_key.then(a.cmp(b))
        });
        order
    }

    /// Whether every key is greater than the one before.
    pub(crate) fn is_strictly_sorted(&self) -> bool {
        (1..self.len()).all(|index| self.compare_keys(index - 1, index) == Ordering::Less)
    }

    /// The same candidates in the order of their keys, equal ones in the order they were in.
    ///
    /// Checkpoints of a sorted list cover ranges of keys that hardly overlap, so that a merge of
    /// them needs few open at once.
    ///
    /// # Errors
    /// [`KeyListFull`] never in practice: the list is about as long as this one.
    pub fn sorted(&self) -> Result<Self, KeyListFull> {
        let mut sorted = Self {
            block: Vec::with_capacity(self.block.len()),
            ends: Vec::with_capacity(self.ends.len()),
            first_us: 0,
        };
        for index in self.order() {
            if let Some(candidate) = self.get(index as usize) {
                sorted.push(candidate)?;
            }
        }
        Ok(sorted)
    }

    /// All candidates in order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The bytes that the list takes, capacity included.
    pub fn size_bytes(&self) -> u64 {
        let ends = self.ends.capacity() * size_of::<u32>();
        (self.block.capacity() + ends) as u64
    }
}

impl<'a> Record<'a> {
    fn key(&self) -> Cow<'a, str> {
        match self.flags & PACKED_KEY {
            0 => text(self.key),
            _ => Cow::Owned(unpack(self.key, self.key_chars)),
        }
    }

    fn version(&self) -> Cow<'a, str> {
        match self.flags & PACKED_VERSION {
            0 => text(self.version),
            _ => Cow::Owned(unpack(self.version, self.version_chars)),
        }
    }
}

/// Bytes that were a text when they were put there.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// Small numbers of either sign as small numbers.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use chrono::Timelike;

    use super::*;

    #[test]
    fn a_list_gives_back_what_was_pushed() {
        let mut list = KeyList::new();
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap();
        let long = "9".repeat(300);
        let candidates = [
            Candidate::new("a|2025|1"),
            Candidate::new("12345678000190|2025|77")
                .with_label("")
                .with_version("2025-10-22T10:00:00")
                .with_arrived(at)
                .with_final(true),
            Candidate::new("").with_version("").with_arrived(at),
            Candidate::new(&long)
                .with_label("ação")
                .with_version("v9")
                .with_arrived(DateTime::UNIX_EPOCH),
            Candidate::new("k").with_arrived(DateTime::<Utc>::MAX_UTC.with_nanosecond(0).unwrap()),
        ];
        for candidate in &candidates {
            list.push(candidate.clone()).unwrap();
        }
        assert_eq!(list.len(), 5);
        assert_eq!(list.iter().collect::<Vec<_>>(), candidates);
        assert_eq!(list.get(5), None);
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_and_nothing_changes() {
        let mut list = KeyList::new();
        let long = "x".repeat(65_535);
        assert!(list.push(Candidate::new("k").with_label(&long)).is_err());
        assert!(list.is_empty());
        list.push(Candidate::new("k")).unwrap();
        assert_eq!(list.get(0).unwrap().key, "k");
    }

    #[test]
    fn sorting_goes_by_the_text_of_keys_whatever_their_form() {
        let keys = ["9|2", "12ABC|1", "12|1", "Z", "a", "", "12|1"];
        let list = KeyList::from_keys(keys).unwrap();
        assert!(!list.is_strictly_sorted());
        let sorted = list.sorted().unwrap();
        let got: Vec<String> = sorted.iter().map(|c| c.key.into_owned()).collect();
        let mut expected = keys.map(str::to_owned);
        expected.sort();
        assert_eq!(got, expected);
        assert_eq!(list.order(), [5, 1, 2, 6, 0, 3, 4]);
    }

    #[test]
    fn a_key_with_version_and_instant_takes_less_than_its_text() {
        let mut list = KeyList::new();
        let mut own = 0;
        for n in 0..50_000_i64 {
            let key = format!("83102277000152|2025|{n}");
            own += key.len() + 19;
            let arrived = DateTime::from_timestamp(1_761_000_000 + n % 977, 7_000).unwrap();
            let candidate = Candidate::new(&key)
                .with_version("2025-10-22T10:00:00")
                .with_arrived(arrived);
            list.push(candidate).unwrap();
        }
        let list = list.sorted().unwrap();
        assert!(list.size_bytes() < own as u64, "{}", list.size_bytes());
    }
}
