//! What there is to fetch: keys, kept compactly.

use std::fmt;

use chrono::{DateTime, Utc};

/// One thing whose details are wanted, as the caller's list names it.
///
/// A borrowed view into a [`KeyList`]; [`Candidate::to_owned_key`] copies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The key, of any content; for PNCP details `cnpj|ano|sequencial`.
    pub key: &'a str,
    /// What the caller calls it elsewhere (for PNCP `numeroControlePNCP`), where that cannot be told from the key.
    pub label: Option<&'a str>,
    /// The version of the thing itself, ordered as text (for PNCP `dataAtualizacaoGlobal`).
    pub version: Option<&'a str>,
    /// When it came in; [`crate::Options::since`] looks at this.
    pub arrived: Option<DateTime<Utc>>,
    /// Whether its situation can still change; a refresh by age skips what is final.
    pub is_final: bool,
}

impl<'a> Candidate<'a> {
    /// A candidate with nothing but a key.
    pub fn new(key: &'a str) -> Self {
        Self {
            key,
            label: None,
            version: None,
            arrived: None,
            is_final: false,
        }
    }

    /// With the name it has elsewhere.
    #[must_use]
    pub fn with_label(mut self, label: &'a str) -> Self {
        self.label = Some(label);
        self
    }

    /// With the version of the thing itself.
    #[must_use]
    pub fn with_version(mut self, version: &'a str) -> Self {
        self.version = Some(version);
        self
    }

    /// With the instant it came in.
    #[must_use]
    pub fn with_arrived(mut self, arrived: DateTime<Utc>) -> Self {
        self.arrived = Some(arrived);
        self
    }

    /// Marked as one that will not change any more.
    #[must_use]
    pub fn with_final(mut self, is_final: bool) -> Self {
        self.is_final = is_final;
        self
    }

    /// A copy that owns its texts.
    pub fn to_owned_key(self) -> DetailKey {
        DetailKey {
            key: self.key.into(),
            label: self.label.map(Into::into),
            version: self.version.map(Into::into),
        }
    }
}

/// A key on its way through fetch and save.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DetailKey {
    /// See [`Candidate::key`].
    pub key: Box<str>,
    /// See [`Candidate::label`].
    pub label: Option<Box<str>>,
    /// See [`Candidate::version`].
    pub version: Option<Box<str>>,
}

impl DetailKey {
    /// A key without label and version.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self {
            key: key.into(),
            label: None,
            version: None,
        }
    }

    /// The bytes its texts take.
    pub fn size_bytes(&self) -> u64 {
        let texts = self.key.len()
            + self.label.as_deref().map_or(0, str::len)
            + self.version.as_deref().map_or(0, str::len);
        texts as u64
    }
}

impl fmt::Display for DetailKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

const NONE: u32 = u32::MAX;
const NO_INSTANT: i64 = i64::MIN;

#[derive(Debug, Clone, Copy)]
struct Slot {
    end: u32,
    key_len: u16,
    /// `u16::MAX` stands for absent.
    label_len: u16,
    version_len: u16,
    is_final: bool,
}

/// A list of candidates in one block of text: about 60 bytes for a PNCP key and its version.
///
/// Order is the order of pushing. A list holds at most 4 GiB of text and texts of at most 65,534 bytes;
/// [`KeyList::push`] says so rather than cutting.
#[derive(Debug, Clone, Default)]
pub struct KeyList {
    text: String,
    slots: Vec<Slot>,
    /// Empty as long as no candidate has an instant.
    arrived_us: Vec<i64>,
}

/// A text that does not fit a [`KeyList`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key list is full or text too long. key_bytes={key_bytes}, keys={keys}")]
pub struct KeyListFull {
    key_bytes: usize,
    keys: usize,
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
    /// [`KeyListFull`] when a text is longer than 65,534 bytes or the list would pass 4 GiB.
    pub fn push(&mut self, candidate: Candidate<'_>) -> Result<(), KeyListFull> {
        let full = || KeyListFull {
            key_bytes: candidate.key.len(),
            keys: self.slots.len(),
        };
        let short = |text: Option<&str>| match text {
            None => Some(u16::MAX),
            Some(text) => u16::try_from(text.len())
                .ok()
                .filter(|len| *len != u16::MAX),
        };
        let slot = Slot {
            key_len: short(Some(candidate.key)).ok_or_else(full)?,
            label_len: short(candidate.label).ok_or_else(full)?,
            version_len: short(candidate.version).ok_or_else(full)?,
            end: u32::try_from(
                self.text.len()
                    + candidate.key.len()
                    + candidate.label.map_or(0, str::len)
                    + candidate.version.map_or(0, str::len),
            )
            .ok()
            .filter(|end| *end != NONE)
            .ok_or_else(full)?,
            is_final: candidate.is_final,
        };
        self.text.push_str(candidate.key);
        self.text.push_str(candidate.label.unwrap_or_default());
        self.text.push_str(candidate.version.unwrap_or_default());
        self.slots.push(slot);
        if let Some(arrived) = candidate.arrived {
            self.arrived_us.resize(self.slots.len() - 1, NO_INSTANT);
            self.arrived_us.push(arrived.timestamp_micros());
        }
        Ok(())
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The candidate at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<Candidate<'_>> {
        let slot = self.slots.get(index)?;
        let present = |len: u16| (len != u16::MAX).then_some(usize::from(len));
        let (label_len, version_len) = (present(slot.label_len), present(slot.version_len));
        let start = slot.end as usize
            - usize::from(slot.key_len)
            - label_len.unwrap_or(0)
            - version_len.unwrap_or(0);
        let (key, rest) = self.text[start..slot.end as usize].split_at(usize::from(slot.key_len));
        let (label, version) = rest.split_at(label_len.unwrap_or(0));
        Some(Candidate {
            key,
            label: label_len.map(|_| label),
            version: version_len.map(|_| version),
            arrived: self
                .arrived_us
                .get(index)
                .filter(|us| **us != NO_INSTANT)
                .and_then(|us| DateTime::from_timestamp_micros(*us)),
            is_final: slot.is_final,
        })
    }

    /// The same candidates in the order of their keys, equal ones in the order they were in.
    ///
    /// Checkpoints of a sorted list cover ranges of keys that hardly overlap, so that a merge of
    /// them needs few open at once.
    ///
    /// # Errors
    /// [`KeyListFull`] never in practice: the list is as long as this one.
    pub fn sorted(&self) -> Result<Self, KeyListFull> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|index| self.get(*index).map(|candidate| candidate.key));
        let mut sorted = Self::new();
        for candidate in order.into_iter().filter_map(|index| self.get(index)) {
            sorted.push(candidate)?;
        }
        Ok(sorted)
    }

    /// All candidates in order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The bytes that the list takes, capacity included.
    pub fn size_bytes(&self) -> u64 {
        let slots = self.slots.capacity() * size_of::<Slot>();
        (self.text.capacity() + slots + self.arrived_us.capacity() * 8) as u64
    }
}

/// One of `count` equal parts of the keys, told apart by a stable hash of the key.
///
/// Every key belongs to exactly one shard, the same one on every machine and in every version (FNV-1a, 64 bits, mixed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A shard that is not `i/n` with 1 <= i <= n.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a shard is i/n with 1 <= i <= n. shard=`{0}`")]
pub struct InvalidShard(String);

impl Shard {
    /// Shard `index` (from 1) of `count`.
    ///
    /// # Errors
    /// [`InvalidShard`] unless 1 <= index <= count.
    pub fn new(index: u32, count: u32) -> Result<Self, InvalidShard> {
        if index == 0 || index > count {
            return Err(InvalidShard(format!("{index}/{count}")));
        }
        Ok(Self { index, count })
    }

    /// Whether `key` belongs to it.
    pub fn contains(self, key: &str) -> bool {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in key.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // FNV's low bits are weak; a multiply and a shift spread them.
        hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) % u64::from(self.count) == u64::from(self.index - 1)
    }
}

impl std::str::FromStr for Shard {
    type Err = InvalidShard;

    fn from_str(text: &str) -> Result<Self, InvalidShard> {
        let invalid = || InvalidShard(text.to_owned());
        let (index, count) = text.split_once('/').ok_or_else(invalid)?;
        let number = |part: &str| part.trim().parse().map_err(|_| invalid());
        Self::new(number(index)?, number(count)?).map_err(|_| invalid())
    }
}

impl TryFrom<String> for Shard {
    type Error = InvalidShard;

    fn try_from(text: String) -> Result<Self, InvalidShard> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_was_pushed() {
        let mut list = KeyList::new();
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap();
        list.push(Candidate::new("a|2025|1")).unwrap();
        list.push(
            Candidate::new("b")
                .with_label("")
                .with_version("v9")
                .with_arrived(at)
                .with_final(true),
        )
        .unwrap();
        list.push(Candidate::new("").with_version("")).unwrap();
        assert_eq!(list.len(), 3);
        assert_eq!(list.get(0).unwrap(), Candidate::new("a|2025|1"));
        let second = list.get(1).unwrap();
        assert_eq!(
            (second.key, second.label, second.version),
            ("b", Some(""), Some("v9"))
        );
        assert_eq!((second.arrived, second.is_final), (Some(at), true));
        assert_eq!(list.get(2).unwrap(), Candidate::new("").with_version(""));
        assert_eq!(list.get(3), None);
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
    fn fifty_thousand_keys_take_under_64_bytes_each_beyond_their_own() {
        let mut list = KeyList::new();
        let mut own = 0;
        for n in 0..50_000 {
            let key = format!("83102277000152|2025|{n}");
            own += key.len() + 19;
            list.push(Candidate::new(&key).with_version("2025-10-22T10:00:00"))
                .unwrap();
        }
        let beyond = list.size_bytes() - own as u64;
        assert!(beyond < 64 * 50_000, "{beyond}");
    }

    #[test]
    fn every_key_is_in_exactly_one_shard_and_shards_are_even() {
        let shards: Vec<Shard> = (1..=7).map(|i| Shard::new(i, 7).unwrap()).collect();
        let mut sizes = [0_u32; 7];
        for n in 0..7_000 {
            let key = format!("12345678000190|2025|{n}");
            let owners: Vec<usize> = (0..7).filter(|i| shards[*i].contains(&key)).collect();
            assert_eq!(owners.len(), 1);
            sizes[owners[0]] += 1;
        }
        assert!(
            sizes.iter().all(|size| (850..1_150).contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn shards_are_parsed_and_refused() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
        for bad in ["0/4", "5/4", "1", "a/b", "1/0", ""] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
