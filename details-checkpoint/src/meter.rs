//! The byte budget: what calls in flight, rows and their encoding hold together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a call in flight announces its bytes to.
///
/// A source calls [`Meter::grow`] before it asks for bytes beyond what it announced so far; the call waits while the
/// budget is used up. The longest-running call is let through alone once nothing else can be freed, so that a key
/// larger than the whole budget still arrives.
#[derive(Debug, Clone)]
pub struct Meter {
    /// [`None`]: nothing is counted.
    counted: Option<(Arc<Ledger>, u64)>,
}

impl Meter {
    /// A meter that never waits, for calls outside of a run.
    pub fn unlimited() -> Self {
        Self { counted: None }
    }

    pub(crate) fn of(ledger: Arc<Ledger>, ticket: u64) -> Self {
        Self {
            counted: Some((ledger, ticket)),
        }
    }

    /// Announces that this call may hold up to `total_bytes` from now on; waits until they are granted.
    ///
    /// Returns at once if that is no more than announced before.
    pub async fn grow(&self, total_bytes: u64) {
        let Some((ledger, ticket)) = &self.counted else {
            return;
        };
        let mut waiting = None;
        loop {
            let freed = ledger.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if ledger.try_grow(*ticket, total_bytes) {
                return;
            }
            if waiting.is_none() {
                waiting = Some(Waiting::enter(ledger));
            }
            ledger.stalled.notify_one();
            freed.await;
        }
    }
}

struct Waiting<'a>(&'a Ledger);

impl<'a> Waiting<'a> {
    fn enter(ledger: &'a Ledger) -> Self {
        ledger.state().waiting += 1;
        Self(ledger)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// The bytes of a run, by what holds them.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    /// Something was given back.
    freed: Notify,
    /// A call waits for bytes.
    pub(crate) stalled: Notify,
}

#[derive(Debug, Default)]
struct State {
    budget: u64,
    /// What each call in flight may hold.
    in_flight: BTreeMap<u64, u64>,
    /// Facets that wait for the other facets of their key.
    partial: u64,
    /// Rows that wait for a checkpoint.
    ready: u64,
    /// Bodies, rows and encoding of the checkpoint that is being saved.
    saving: u64,
    waiting: u32,
    next_ticket: u64,
    peak: u64,
}

impl State {
    fn held(&self) -> u64 {
        self.in_flight.values().sum::<u64>() + self.partial + self.ready + self.saving
    }

    fn note(&mut self) {
        self.peak = self.peak.max(self.held());
    }
}

impl Ledger {
    /// What a call is taken to hold before it says more.
    pub(crate) const FIRST_BYTES: u64 = 64 * 1024;

    pub(crate) fn new(budget: u64) -> Arc<Self> {
        let state = State {
            budget,
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            freed: Notify::new(),
            stalled: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call in if its first bytes fit, as they will after they became part of a checkpoint (`peak`), or if
    /// there is nothing else at all.
    pub(crate) fn try_admit(&self, peak: &dyn Fn(u64) -> u64) -> Option<u64> {
        let mut state = self.state();
        let waiting_to_be_saved =
            state.in_flight.values().sum::<u64>() + state.partial + state.ready + Self::FIRST_BYTES;
        let fits = state.waiting == 0
            && state.held() + Self::FIRST_BYTES <= state.budget
            && peak(waiting_to_be_saved) <= state.budget;
        let nothing_else = state.in_flight.is_empty() && state.ready == 0 && state.saving == 0;
        if !fits && !nothing_else {
            return None;
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.in_flight.insert(ticket, Self::FIRST_BYTES);
        state.note();
        Some(ticket)
    }

    fn try_grow(&self, ticket: u64, total: u64) -> bool {
        let mut state = self.state();
        let Some(announced) = state.in_flight.get(&ticket).copied() else {
            return true;
        };
        if total <= announced {
            return true;
        }
        let fits = state.held() + (total - announced) <= state.budget;
        let eldest = state.in_flight.keys().next() == Some(&ticket);
        let alone = eldest && state.ready == 0 && state.saving == 0;
        if !fits && !alone {
            return false;
        }
        state.in_flight.insert(ticket, total);
        state.note();
        true
    }

    /// A call ended and left `bytes` of bodies that wait for the rest of their key.
    pub(crate) fn arrived(&self, ticket: u64, bytes: u64) {
        let mut state = self.state();
        state.in_flight.remove(&ticket);
        state.partial += bytes;
        state.note();
        drop(state);
        self.freed.notify_waiters();
    }

    /// A key is whole: its bytes wait for a checkpoint now.
    pub(crate) fn assembled(&self, partial: u64, row: u64) {
        let mut state = self.state();
        state.partial = state.partial.saturating_sub(partial);
        state.ready += row;
        state.note();
        drop(state);
        self.freed.notify_waiters();
    }

    /// A checkpoint of `rows` bytes is being saved, which takes `peak` bytes.
    pub(crate) fn cut(&self, rows: u64, peak: u64) {
        let mut state = self.state();
        state.ready = state.ready.saturating_sub(rows);
        state.saving = peak;
        state.note();
    }

    /// The checkpoint is saved and gone.
    pub(crate) fn saved(&self) {
        self.state().saving = 0;
        self.freed.notify_waiters();
    }

    /// All calls in flight were dropped.
    pub(crate) fn abandoned(&self) {
        self.state().in_flight.clear();
        self.freed.notify_waiters();
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.state().waiting > 0
    }

    pub(crate) fn held(&self) -> u64 {
        self.state().held()
    }

    pub(crate) fn peak(&self) -> u64 {
        self.state().peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = Ledger::FIRST_BYTES;

    fn twice(bytes: u64) -> u64 {
        bytes * 2
    }

    #[test]
    fn calls_are_admitted_while_they_fit_as_encoded_rows() {
        let ledger = Ledger::new(4 * FIRST);
        assert!(ledger.try_admit(&twice).is_some());
        assert!(ledger.try_admit(&twice).is_some());
        assert!(ledger.try_admit(&twice).is_none());
        assert_eq!(ledger.held(), 2 * FIRST);
    }

    #[test]
    fn the_first_call_is_admitted_whatever_the_budget() {
        let ledger = Ledger::new(1);
        let ticket = ledger.try_admit(&twice).unwrap();
        assert!(ledger.try_admit(&twice).is_none());
        ledger.arrived(ticket, 10);
        ledger.assembled(10, 12);
        assert!(
            ledger.try_admit(&twice).is_none(),
            "what is ready is saved first"
        );
        ledger.cut(12, 24);
        assert!(ledger.try_admit(&twice).is_none());
        ledger.saved();
        assert!(ledger.try_admit(&twice).is_some());
    }

    #[tokio::test]
    async fn the_eldest_grows_past_the_budget_only_once_nothing_can_be_freed() {
        let ledger = Ledger::new(3 * FIRST);
        let eldest = Meter::of(ledger.clone(), ledger.try_admit(&|b| b).unwrap());
        let younger = Meter::of(ledger.clone(), ledger.try_admit(&|b| b).unwrap());
        ledger.assembled(0, FIRST);
        let grow_eldest = eldest.grow(10 * FIRST);
        let grow_younger = younger.grow(2 * FIRST);
        tokio::pin!(grow_eldest, grow_younger);
        assert!(futures::poll!(&mut grow_eldest).is_pending());
        assert!(futures::poll!(&mut grow_younger).is_pending());
        assert!(ledger.is_stalled());
        ledger.cut(FIRST, FIRST);
        assert!(futures::poll!(&mut grow_eldest).is_pending());
        ledger.saved();
        assert!(futures::poll!(&mut grow_younger).is_ready());
        assert!(futures::poll!(&mut grow_eldest).is_ready());
        assert!(!ledger.is_stalled());
        assert_eq!(ledger.peak(), 12 * FIRST);
    }
}
