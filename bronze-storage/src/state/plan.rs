//! Rows that wait to be written, as places in row groups whose bytes are at hand.

use std::sync::Arc;

use ingest_state::{FormatError, VersionKey};

use super::run::Run;
use super::sparse::GroupBytes;

/// A stretch of one row group of a source.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) bytes: Arc<GroupBytes>,
    /// Which other columns than the merged file its source has, if it has.
    pub(crate) other: Option<usize>,
    /// Its first row, counted from the start of the row group.
    pub(crate) from: usize,
    pub(crate) rows: usize,
}

/// Rows that wait to be written.
///
/// Only their keys and marks were decoded so far. Of their sources the compressed bytes are held,
/// from which the columns are decoded one after another.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) slices: Vec<Slice>,
    /// Slice and row of each row to be written: for its common columns, and for each facet.
    common: Vec<(usize, usize)>,
    pub(crate) facets: Vec<Vec<(usize, usize)>>,
    held_bytes: usize,
    decoded_bytes: usize,
}

/// Whether the facet of a later source replaces that of an earlier one: unless that one's version
/// is later. Pure.
pub(crate) fn replaces(later: Option<VersionKey>, earlier: Option<VersionKey>) -> bool {
    match (later, earlier) {
        (Some(later), Some(earlier)) => later == earlier || later.supersedes(earlier),
        _ => true,
    }
}

impl Plan {
    /// A plan for rows with so many facets.
    pub(crate) fn new(facets: usize) -> Self {
        Self {
            slices: Vec::new(),
            common: Vec::new(),
            facets: vec![Vec::new(); facets],
            held_bytes: 0,
            decoded_bytes: 0,
        }
    }

    /// Rows that wait.
    pub(crate) fn rows(&self) -> usize {
        self.common.len()
    }

    /// Slice and row of each row to be written, for the columns of a facet or the common ones.
    pub(crate) fn places(&self, facet: Option<usize>) -> &[(usize, usize)] {
        let facet = facet.and_then(|facet| self.facets.get(facet));
        facet.unwrap_or(&self.common)
    }

    /// Bytes that are held for them, and about how many they are when decoded.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.held_bytes, self.decoded_bytes)
    }

    /// Adds a row: the rows in hand of `runs` at `at`, all of one key, in order of their numbers.
    pub(crate) fn add(&mut self, runs: &mut [Run], at: &[usize]) -> Result<(), FormatError> {
        let mut common = None;
        let mut winners = vec![None::<(Option<VersionKey>, (usize, usize))>; self.facets.len()];
        for index in at {
            let run = &mut runs[*index];
            let Some(place) = self.place(run)? else {
                continue;
            };
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
        let Some(common) = common else { return Ok(()) };
        self.common.push(common);
        for (places, winner) in self.facets.iter_mut().zip(winners) {
            places.push(winner.map_or(common, |(_, place)| place));
        }
        Ok(())
    }

    /// The place of the row in hand of `run`, whose slice grows up to it.
    fn place(&mut self, run: &mut Run) -> Result<Option<(usize, usize)>, FormatError> {
        let Some((bytes, row)) = run.at() else {
            return Ok(None);
        };
        let slot = match run.slot {
            Some(slot) => slot,
            None => {
                self.held_bytes += bytes.weight();
                self.slices.push(Slice {
                    bytes: bytes.clone(),
                    other: run.other,
                    from: row,
                    rows: 0,
                });
                *run.slot.insert(self.slices.len() - 1)
            }
        };
        let slice = &mut self.slices[slot];
        let rows = row + 1 - slice.from;
        self.decoded_bytes += (rows - slice.rows) * bytes.row_bytes();
        slice.rows = rows;
        Ok(Some((slot, row - slice.from)))
    }

    /// The rows that wait, which are forgotten here and by the runs.
    pub(crate) fn take(&mut self, runs: &mut [Run]) -> Self {
        runs.iter_mut().for_each(|run| run.slot = None);
        let empty = Self::new(self.facets.len());
        std::mem::replace(self, empty)
    }
}
