use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::page::Entry;
use super::proof::{PartProof, ShortPage, Verdict};
use crate::call::Sent;

/// What an id is known by: the first half of its SHA-256, a quarter of what its text would take.
type Seen = [u8; 16];

fn seen(id: &[u8]) -> Seen {
    let (mut seen, digest) = (Seen::default(), Sha256::digest(id));
    seen.copy_from_slice(&digest[..16]);
    seen
}

/// How a record came last: of the largest listings there are millions, so it takes eight bytes.
#[derive(Debug, Clone, Copy)]
struct Came {
    round: u32,
    updated: u32,
}

/// Counts one listing. Pure: pages and failures come in, proofs come out.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every id ever seen, with the round that brought it last, and in which version.
    seen: HashMap<Seen, Came>,
    /// Passes that were begun, over all parts.
    round: u32,
    /// Those of the part.
    pass: u32,
    /// In all passes of the part.
    sent: Sent,
    tally: Tally,
}

/// The counts of one pass.
#[derive(Debug, Default)]
struct Tally {
    proof: PartProof,
    totals: Option<(u64, u64)>,
    moved: bool,
}

/// What follows a pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The part is done.
    Done(Box<PartProof>),
    /// It moved: read it again.
    Again,
}

impl Ledger {
    pub(crate) fn begin_part(&mut self) {
        self.pass = 0;
        self.sent = Sent::default();
        self.begin_pass();
    }

    pub(crate) fn begin_pass(&mut self) {
        self.pass += 1;
        self.round += 1;
        self.tally = Tally::default();
        self.tally.proof.passes = self.pass;
    }

    pub(crate) fn pass(&self) -> u32 {
        self.pass
    }

    pub(crate) fn sent(&mut self, sent: Sent) {
        self.sent.add(sent);
    }

    pub(crate) fn asked(&mut self, pages: u32) {
        self.tally.proof.pages_asked += pages;
    }

    /// Counts a page, and marks which of its records are fresh: new to the listing, or updated
    /// since they came last.
    pub(crate) fn page(&mut self, body: &[u8], total: u64, entries: &mut [Entry]) {
        let tally = &mut self.tally;
        let proof = &mut tally.proof;
        proof.pages_got += 1;
        match &mut tally.totals {
            None => tally.totals = Some((total, total)),
            Some((_, last)) => {
                tally.moved |= *last != total;
                *last = total;
            }
        }
        for entry in entries {
            proof.records += 1;
            proof.outside_window += u64::from(entry.outside);
            proof.unidentified += u64::from(entry.id.is_none());
            let id = match &entry.id {
                Some(id) => id.as_bytes(),
                // Nothing to know it by but its own text.
                None => &body[entry.range.clone()],
            };
            let now = Came {
                round: self.round,
                updated: entry.updated,
            };
            match self.seen.insert(seen(id), now) {
                None => {
                    entry.fresh = true;
                    proof.distinct += 1;
                }
                Some(before) => {
                    entry.fresh = before.updated != now.updated;
                    if before.round == now.round {
                        proof.repeats += 1;
                    } else {
                        proof.distinct += 1;
                    }
                }
            }
        }
    }

    pub(crate) fn short(&mut self, page: ShortPage) {
        self.tally.proof.short_pages.push(page);
    }

    pub(crate) fn no_such_modality(&mut self) {
        self.tally.proof.no_such_modalidade = true;
    }

    /// Judges the pass.
    pub(crate) fn end_pass(&mut self, passes_max: u32) -> Next {
        let tally = &mut self.tally;
        let proof = &mut tally.proof;
        (proof.declared_first, proof.declared_last) = tally.totals.unwrap_or_default();
        let moved = tally.moved || proof.distinct != proof.declared_last || proof.repeats > 0;
        // Announced pages that are not there any more look like a list that shrank.
        let shrank = proof
            .short_pages
            .iter()
            .all(|page| matches!(page.status, Some(204 | 400 | 404)));
        proof.verdict = match (proof.short_pages.is_empty(), moved, proof.outside_window) {
            (true, false, 0) => Verdict::Complete,
            (true, true, 0) => Verdict::Moved,
            _ => Verdict::Short,
        };
        if proof.verdict != Verdict::Complete && shrank && self.pass < passes_max {
            return Next::Again;
        }
        // The rounds of this part but for the last.
        let earlier = self.round + 1 - self.pass..self.round;
        let seen = self.seen.values();
        proof.vanished = seen.filter(|came| earlier.contains(&came.round)).count() as u64;
        proof.requests = self.sent.requests;
        proof.retries = self.sent.retries;
        Next::Done(Box::new(std::mem::take(proof)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(ids: &[&str]) -> Vec<Entry> {
        let entry = |id: &&str| Entry {
            range: 0..0,
            id: Some((*id).into()),
            updated: 0,
            outside: false,
            fresh: true,
        };
        ids.iter().map(entry).collect()
    }

    fn done(next: Next) -> PartProof {
        match next {
            Next::Done(proof) => *proof,
            Next::Again => panic!("read again"),
        }
    }

    #[test]
    fn still_and_whole_is_complete() {
        let mut ledger = Ledger::default();
        ledger.begin_part();
        ledger.asked(2);
        ledger.page(b"", 3, &mut entries(&["a", "b"]));
        ledger.page(b"", 3, &mut entries(&["c"]));
        let proof = done(ledger.end_pass(3));
        assert_eq!(
            (proof.verdict, proof.distinct, proof.passes),
            (Verdict::Complete, 3, 1)
        );
    }

    #[test]
    fn a_vanished_record_is_found_by_reading_again() {
        let mut ledger = Ledger::default();
        ledger.begin_part();
        ledger.page(b"", 4, &mut entries(&["a", "b"]));
        // `a` was deleted, so `c` slid onto the first page and was skipped.
        ledger.page(b"", 3, &mut entries(&["d"]));
        assert_eq!(ledger.end_pass(3), Next::Again);
        ledger.begin_pass();
        let mut first = entries(&["b", "c"]);
        ledger.page(b"", 3, &mut first);
        assert_eq!([first[0].fresh, first[1].fresh], [false, true]);
        ledger.page(b"", 3, &mut entries(&["d"]));
        let proof = done(ledger.end_pass(3));
        assert_eq!(
            (proof.verdict, proof.vanished, proof.passes),
            (Verdict::Complete, 1, 2)
        );
    }

    #[test]
    fn a_record_that_was_updated_meanwhile_is_handed_on_again() {
        let mut ledger = Ledger::default();
        ledger.begin_part();
        for (updated, fresh) in [(8, true), (8, false), (9, true), (9, false)] {
            let mut page = entries(&["a"]);
            page[0].updated = updated;
            ledger.page(b"", 1, &mut page);
            assert_eq!(page[0].fresh, fresh, "{updated}");
            let proof = done(ledger.end_pass(1));
            assert_eq!((proof.verdict, proof.distinct), (Verdict::Complete, 1));
            ledger.begin_pass();
        }
    }

    #[test]
    fn always_moving_ends_at_the_bound() {
        let mut ledger = Ledger::default();
        ledger.begin_part();
        for pass in 1..=3 {
            ledger.page(b"", 2, &mut entries(&["a"]));
            ledger.page(b"", 1, &mut entries(&["b"]));
            let next = ledger.end_pass(3);
            if pass < 3 {
                assert_eq!(next, Next::Again);
                ledger.begin_pass();
            } else {
                assert_eq!(done(next).verdict, Verdict::Moved);
            }
        }
    }

    #[test]
    fn a_missing_page_is_short() {
        let mut ledger = Ledger::default();
        ledger.begin_part();
        ledger.page(b"", 3, &mut entries(&["a", "b"]));
        ledger.short(ShortPage {
            numero: 2,
            error: "500".to_owned(),
            status: Some(500),
        });
        assert_eq!(done(ledger.end_pass(3)).verdict, Verdict::Short);
    }

    #[test]
    fn nothing_at_all_is_complete() {
        let mut ledger = Ledger::default();
        ledger.begin_part();
        assert_eq!(done(ledger.end_pass(3)).verdict, Verdict::Complete);
    }
}
