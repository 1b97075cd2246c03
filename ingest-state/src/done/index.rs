//! Where in a list each text lies, by its hash: four bytes a slot.

use std::hint::black_box;

/// A hash table of the indices of a list, without gaps, whose texts are elsewhere.
///
/// A slot is the index plus one in its low bits, as many as a table of this size needs, and part
/// of the hash above them. In a table of 65,536 slots that part has 16 bits, so that another text
/// is looked at once in 65,536 comparisons: each such look goes to memory that is in no cache.
/// (The tags of a general table have 7 bits, and such looks were a fifth of the load of a day.)
///
/// Slots lie in buckets of a cache line, filled from the front, and a full one goes on in the
/// next: what is in a bucket is told without a branch on what memory answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// A power of two of them, or none.
    buckets: Vec<Bucket>,
    len: usize,
    /// How many the buckets do for.
    limit: usize,
}

/// Words of a bucket: how many slots are taken, and the slots.
const WORDS: usize = 16;
/// Slots of a bucket.
const SLOTS: usize = WORDS - 1;

/// One cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([u32; WORDS]);

impl Index {
    /// Makes room for `more` more indices; `hash` is the one of the text at an index.
    pub(super) fn reserve(&mut self, more: usize, hash: impl Fn(usize) -> u64) {
        if !self.has_room(more) {
            self.grow(self.len + more, hash);
        }
    }

    pub(super) fn has_room(&self, more: usize) -> bool {
        self.len + more <= self.limit
    }

    #[cold]
    fn grow(&mut self, len: usize, hash: impl Fn(usize) -> u64) {
        let slots = len + len.div_ceil(7);
        let buckets = slots.div_ceil(SLOTS).next_power_of_two();
        self.limit = buckets * SLOTS * 7 / 8;
        // In the order of the texts, not of the old slots: these are all over the memory.
        self.buckets = Vec::new();
        self.buckets = vec![Bucket::default(); buckets];
        for index in 0..self.len {
            let hash = hash(index);
            if let Err(at) = self.look(hash, |_| false) {
                self.fill(at, hash, index);
            }
        }
    }

    /// Has the buckets of these hashes brought from memory, all at once.
    pub(super) fn touch(&self, hashes: &[u64]) {
        let buckets = self.buckets.len().wrapping_sub(1);
        let all = hashes.iter().fold(0, |all, hash| {
            let bucket = self.buckets.get(*hash as usize & buckets);
            all | bucket.map_or(0, |bucket| bucket.0[0])
        });
        black_box(all);
    }

    /// The index under `hash` for which `is_it` says yes.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        self.look(hash, is_it).ok()
    }

    /// The index under `hash` for which `is_it` says yes; without one, the next index is put
    /// there. Room for it was made before.
    #[inline(always)]
    pub(super) fn find_or_insert(
        &mut self,
        hash: u64,
        is_it: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self.look(hash, is_it) {
            Ok(index) => Some(index),
            Err(at) => {
                self.fill(at, hash, self.len);
                self.len += 1;
                None
            }
        }
    }

    /// Looks through the hash's bucket and those that follow, up to the first that is not full,
    /// where the search ends: it is the one that has room.
    #[inline(always)]
    fn look(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Result<usize, usize> {
        let mask = self.mask();
        let tag = tag(hash, mask);
        let mut at = hash as usize;
        loop {
            at &= self.buckets.len().wrapping_sub(1);
            let Some(Bucket(words)) = self.buckets.get(at) else {
                return Err(at);
            };
            if words
                .iter()
                .fold(false, |any, word| any | (word & !mask == tag))
            {
                let alike = words[1..].iter().filter(|word| *word & !mask == tag);
                for index in alike.filter_map(|slot| (slot & mask).checked_sub(1)) {
                    if is_it(index as usize) {
                        return Ok(index as usize);
                    }
                }
            }
            if (words[0] as usize) < SLOTS {
                return Err(at);
            }
            at += 1;
        }
    }

    fn fill(&mut self, at: usize, hash: u64, index: usize) {
        let tag = tag(hash, self.mask());
        if let Some(Bucket(words)) = self.buckets.get_mut(at) {
            words[0] += 1;
            // A table for 2^32 indices would be 16 GiB.
            words[words[0] as usize % WORDS] = tag | (index as u32 + 1);
        }
    }

    /// The bits of an index, plus one.
    fn mask(&self) -> u32 {
        (self.buckets.len() * WORDS).wrapping_sub(1) as u32
    }
}

/// The part of a hash that a slot keeps; its place is the hash's other end.
fn tag(hash: u64, mask: u32) -> u32 {
    (hash >> 32) as u32 & !mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes that many texts share, in their low bits, their high bits, or wholly.
        #[test]
        fn finds_what_was_put_there(hashes in prop::collection::vec(
            (0..4_u64, 0..3_u64, any::<bool>()), 0..300,
        )) {
            let hashes: Vec<u64> = hashes
                .iter()
                .enumerate()
                .map(|(n, (low, high, own))| high << 62 | ((u64::from(*own) * n as u64) << 7) | low)
                .collect();
            let mut index = Index::default();
            for (nth, hash) in hashes.iter().enumerate() {
                index.reserve(1, |at| hashes[at]);
                prop_assert_eq!(index.find(*hash, |at| at == nth), None);
                prop_assert_eq!(index.find_or_insert(*hash, |_| false), None);
            }
            index.touch(&hashes);
            for (nth, hash) in hashes.iter().enumerate() {
                prop_assert_eq!(index.find(*hash, |at| at == nth), Some(nth));
                prop_assert_eq!(index.find_or_insert(*hash, |at| at == nth), Some(nth));
            }
            prop_assert_eq!(index.len, hashes.len());
            prop_assert!(index.len <= index.limit);
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let index = Index::default();
        index.touch(&[7]);
        assert_eq!(index.find(7, |_| true), None);
    }

    #[test]
    fn a_table_takes_at_most_ten_bytes_an_index() {
        for len in [1_000, 50_000, 1_000_000] {
            let mut index = Index::default();
            index.reserve(len, |_| 0);
            let bytes = index.buckets.len() * size_of::<Bucket>();
            assert!((5 * len..=10 * len).contains(&bytes), "{bytes} for {len}");
        }
    }
}
