//! The set of ids that are in, in little memory.

mod index;

use std::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

use self::index::Index;
use crate::ids::Id;
use crate::version::{Standing, VersionKey};

/// The ids that are in, with their facets and latest versions.
///
/// Takes at most 64 bytes an id beyond the ids' own bytes: texts lie in one buffer, the table
/// has slots of 4 bytes, versions are kept as 16 bytes and only where there are any. Ids keep the
/// order in which they came.
#[derive(Debug, Clone, Default)]
pub struct DoneSet {
    text: String,
    ends: Vec<u64>,
    /// Bit `n`: done for facet `n`.
    facets: Vec<u8>,
    /// By facet, then by id, [`VersionKey::ABSENT`] where there is none; shorter than `ends` where
    /// the rest has none.
    versions: Vec<Vec<VersionKey>>,
    table: Index,
    hasher: DefaultHashBuilder,
}

/// How many facets a log can have.
pub(crate) const MAX_FACETS: usize = 8;

impl DoneSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `ids` more ids, and for `text_bytes` of texts in all, so that neither is
    /// copied while it grows.
    pub(crate) fn reserve(&mut self, ids: usize, text_bytes: u64) {
        let text_bytes = usize::try_from(text_bytes).unwrap_or(0);
        let more = text_bytes.saturating_sub(self.text.len());
        self.text.reserve_exact(more);
        let (text, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        let hash = |index| hash_of(hasher, text_at(text, ends, index));
        // A table that is a little too small for a guess is made twice; one for twice as many stays.
        self.table.reserve(ids - ids / 8, hash);
        self.ends.reserve_exact(ids);
        self.facets.reserve_exact(ids);
    }

    /// How many different ids there are, whatever their facets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many ids are done for `facet`.
    pub fn count(&self, facet: u8) -> usize {
        self.facets
            .iter()
            .filter(|mask| *mask & bit(facet) != 0)
            .count()
    }

    /// Whether `id` is done for `facet`.
    pub fn contains(&self, facet: u8, id: &str) -> bool {
        self.find(id)
            .is_some_and(|index| self.facets[index] & bit(facet) != 0)
    }

    /// How `id` relates to what is in. Without a version on either side, in is in.
    pub fn standing(&self, id: Id<'_>) -> Standing {
        let Some(index) = self.find(id.id) else {
            return Standing::New;
        };
        if self.facets[index] & bit(id.facet) == 0 {
            return Standing::New;
        }
        let known = self.version(id.facet, index);
        match (id.version.map(VersionKey::of), known) {
            (Some(offered), Some(known)) if offered.supersedes(known) => Standing::Updated,
            _ => Standing::AlreadyProcessed,
        }
    }

    /// Adds an id, or the facet and version to an id that is there. The caller adds in the order
    /// of the log; a version replaces the one before unless that one is later.
    pub fn insert(&mut self, id: Id<'_>) {
        self.insert_key(id.facet, id.id, id.version.map(VersionKey::of));
    }

    pub(crate) fn insert_key(&mut self, facet: u8, id: &str, version: Option<VersionKey>) -> u32 {
        let hash = hash_of(&self.hasher, id);
        self.make_room(id.len());
        let index = self.intern(hash, id);
        self.facets[index] |= bit(facet);
        if let Some(version) = version {
            self.set_version(facet, index, version);
        }
        index as u32
    }

    /// Adds ids, and says where each is. The hashes are made and the table is looked at for all
    /// before the first is added: what one waits for from memory, all wait for together.
    pub(crate) fn insert_all(&mut self, facet: u8, ids: &[&str], mut at: impl FnMut(u32)) {
        let mut hashes = [0; 32];
        for ids in ids.chunks(hashes.len()) {
            for (hash, id) in hashes.iter_mut().zip(ids) {
                *hash = hash_of(&self.hasher, id);
            }
            self.table.touch(&hashes[..ids.len()]);
            let bytes = ids.iter().map(|id| id.len()).sum();
            let has_room = self.has_room(ids.len(), bytes);
            for (hash, id) in hashes.iter().zip(ids) {
                if !has_room {
                    self.make_room(id.len());
                }
                let index = self.intern(*hash, id);
                self.facets[index] |= bit(facet);
                at(index as u32);
            }
        }
    }

    /// Adds an id; whether it was not there before, for any facet.
    pub(crate) fn is_added(&mut self, id: &str) -> bool {
        let before = self.len();
        self.insert_key(0, id, None);
        self.len() > before
    }

    /// The ids that are done for `facet`, in the order in which they came.
    pub fn ids(&self, facet: u8) -> impl Iterator<Item = &str> + '_ {
        self.with_versions(facet).map(|(id, _)| id)
    }

    pub(crate) fn with_versions(
        &self,
        facet: u8,
    ) -> impl Iterator<Item = (&str, Option<VersionKey>)> + '_ {
        let done = move |index: &usize| self.facets[*index] & bit(facet) != 0;
        (0..self.len())
            .filter(done)
            .map(move |index| (self.text_at(index), self.version(facet, index)))
    }

    /// Whether any id of `facet` has a version.
    pub(crate) fn is_versioned(&self, facet: u8) -> bool {
        self.versions
            .get(usize::from(facet))
            .is_some_and(|versions| !versions.is_empty())
    }

    fn text_at(&self, index: usize) -> &str {
        text_at(&self.text, &self.ends, index)
    }

    fn find(&self, id: &str) -> Option<usize> {
        let hash = hash_of(&self.hasher, id);
        self.table.find(hash, |index| self.text_at(index) == id)
    }

    /// Where `id` is, which is added if it is not there. Room for it was made before.
    #[inline(always)]
    fn intern(&mut self, hash: u64, id: &str) -> usize {
        let (text, ends) = (&self.text, &self.ends);
        let is_it = |index| text_at(text, ends, index) == id;
        if let Some(known) = self.table.find_or_insert(hash, is_it) {
            return known;
        }
        self.text.push_str(id);
        self.ends.push(self.text.len() as u64);
        self.facets.push(0);
        self.facets.len() - 1
    }

    fn has_room(&self, ids: usize, bytes: usize) -> bool {
        self.table.has_room(ids)
            && self.text.capacity() - self.text.len() >= bytes
            && self.ends.capacity() - self.ends.len() >= ids
    }

    /// Makes room for one more id, of `length` bytes, and for some that follow it.
    fn make_room(&mut self, length: usize) {
        if self.has_room(1, length) {
            return;
        }
        let (text, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        let hash = |index| hash_of(hasher, text_at(text, ends, index));
        self.table.reserve(1, hash);
        let more = spare(self.text.len(), self.text.capacity(), length);
        self.text.reserve_exact(more);
        let more = spare(self.ends.len(), self.ends.capacity(), 1);
        self.ends.reserve_exact(more);
        let more = self.ends.capacity() - self.facets.len();
        self.facets.reserve_exact(more);
    }

    /// The latest version of `id` for `facet`, if it is known.
    pub(crate) fn version_of(&self, facet: u8, id: &str) -> Option<VersionKey> {
        self.version(facet, self.find(id)?)
    }

    fn version(&self, facet: u8, index: usize) -> Option<VersionKey> {
        let known = self.versions.get(usize::from(facet))?.get(index)?;
        (*known != VersionKey::ABSENT).then_some(*known)
    }

    /// Gives the id at `index` this version for `facet`, unless the one that it has is later.
    pub(crate) fn set_version(&mut self, facet: u8, index: usize, version: VersionKey) {
        let facet = usize::from(facet);
        if self.versions.len() <= facet {
            self.versions.resize_with(facet + 1, Vec::new);
        }
        let versions = &mut self.versions[facet];
        if versions.len() <= index {
            let more = index + 1 - versions.len();
            versions.reserve_exact(spare(versions.len(), versions.capacity(), more));
            versions.resize(index + 1, VersionKey::ABSENT);
        }
        let slot = &mut versions[index];
        if *slot == VersionKey::ABSENT || version.supersedes(*slot) {
            *slot = version;
        }
    }
}

/// How much room to ask for when `more` is to be added: an eighth of what there is, not as much
/// again, because that would be half of a large day's memory.
fn spare(len: usize, capacity: usize, more: usize) -> usize {
    if capacity - len >= more {
        return 0;
    }
    more.max(len / 8).max(64)
}

/// The hash of a text's bytes, and of nothing besides.
fn hash_of(hasher: &DefaultHashBuilder, text: &str) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(text.as_bytes());
    state.finish()
}

fn text_at<'a>(text: &'a str, ends: &[u64], index: usize) -> &'a str {
    let start = index.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start as usize..ends[index] as usize]
}

fn bit(facet: u8) -> u8 {
    1u8.checked_shl(u32::from(facet)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn id(facet: u8, id: &str) -> Id<'_> {
        Id {
            facet,
            id,
            version: None,
        }
    }

    #[test]
    fn facets_are_done_on_their_own() {
        let mut done = DoneSet::new();
        done.insert(id(0, "a"));
        done.insert(id(1, "b"));
        assert!(done.contains(0, "a") && !done.contains(1, "a"));
        assert_eq!((done.len(), done.count(0), done.count(1)), (2, 1, 1));
        assert_eq!(done.standing(id(1, "a")), Standing::New);
        assert_eq!(done.standing(id(0, "a")), Standing::AlreadyProcessed);
    }

    #[test]
    fn a_later_version_is_updated() {
        let mut done = DoneSet::new();
        let at = |version| Id {
            facet: 0,
            id: "a",
            version: Some(version),
        };
        done.insert(at("2025-10-22T08:00:00#x"));
        assert_eq!(
            done.standing(at("2025-10-22T09:00:00#x")),
            Standing::Updated
        );
        assert_eq!(
            done.standing(at("2025-10-22T07:00:00#y")),
            Standing::AlreadyProcessed
        );
        done.insert(at("2025-10-22T09:00:00#x"));
        done.insert(at("2025-10-22T07:00:00#y"));
        assert_eq!(
            done.standing(at("2025-10-22T09:00:00#x")),
            Standing::AlreadyProcessed
        );
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ids in prop::collection::vec(".{0,6}", 0..200)) {
            let mut done = DoneSet::new();
            let mut model = HashSet::new();
            for text in &ids {
                prop_assert_eq!(done.contains(0, text), model.contains(text));
                done.insert(id(0, text));
                model.insert(text.clone());
            }
            prop_assert_eq!(done.len(), model.len());
            prop_assert!(done.ids(0).all(|text| model.contains(text)));
        }
    }
}
