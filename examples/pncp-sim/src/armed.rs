//! Whether a fault strikes, and how often it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::fault::{Fault, Route};
use crate::rng::{hash, under};

/// A fault and how often it has struck.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) fault: Fault,
    salt: u64,
    seen: AtomicU64,
    fired: AtomicU64,
    storm: AtomicU64,
    per_url: Mutex<HashMap<u64, u32>>,
}

impl Armed {
    pub(crate) fn new(fault: Fault, seed: u64, place: u64) -> Self {
        Self {
            fault,
            salt: hash(&[seed, 0xfa, place]),
            seen: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            storm: AtomicU64::new(0),
            per_url: Mutex::default(),
        }
    }

    pub(crate) fn reset(&self) {
        self.seen.store(0, Ordering::Relaxed);
        self.fired.store(0, Ordering::Relaxed);
        self.storm.store(0, Ordering::Relaxed);
        self.per_url
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Whether it strikes the `nth` request (from 0) of this URL.
    pub(crate) fn strikes(&self, route: Route, url: u64, nth: u64) -> bool {
        let fault = &self.fault;
        if fault.kind.is_of_records() || !fault.scope.covers(route) {
            return false;
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) < fault.after {
            return false;
        }
        let in_storm = self
            .storm
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if !in_storm && !under(hash(&[self.salt, url, nth]), fault.rate) {
            return false;
        }
        if let Some(limit) = fault.per_url {
            let mut counts = self.per_url.lock().unwrap_or_else(PoisonError::into_inner);
            let times = counts.entry(url).or_default();
            if *times >= limit {
                return false;
            }
            *times += 1;
        }
        let within = self
            .fired
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fired| {
                fault
                    .count
                    .is_none_or(|limit| fired < limit)
                    .then_some(fired + 1)
            });
        if within.is_err() {
            return false;
        }
        if !in_storm && fault.burst > 1 {
            self.storm.store(fault.burst - 1, Ordering::Relaxed);
        }
        true
    }

    /// A draw of its own for this request.
    pub(crate) fn draw(&self, url: u64, nth: u64) -> u64 {
        hash(&[self.salt, 1, url, nth])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn strikes_depend_on_seed_url_and_turn_only() {
        let armed = |seed| Armed::new(Fault::new(FaultKind::Cut).rate(0.3), seed, 0);
        let run = |a: &Armed, order: &[u64]| -> Vec<(u64, bool)> {
            let mut hits: Vec<_> = order
                .iter()
                .map(|u| (*u, a.strikes(Route::Itens, *u, 0)))
                .collect();
            hits.sort_unstable();
            hits
        };
        let forward: Vec<u64> = (0..200).collect();
        let backward: Vec<u64> = (0..200).rev().collect();
        let first = run(&armed(4), &forward);
        assert_eq!(first, run(&armed(4), &backward));
        assert_ne!(first, run(&armed(5), &forward));
        let share = first.iter().filter(|(_, hit)| *hit).count();
        assert!((35..=85).contains(&share), "{share}");
    }

    #[test]
    fn limits_and_storms() {
        let armed = Armed::new(Fault::new(FaultKind::Cut).per_url(2).after(1), 1, 0);
        let hits: Vec<bool> = (0..5)
            .map(|nth| armed.strikes(Route::Itens, 9, nth))
            .collect();
        assert_eq!(hits, [false, true, true, false, false]);
        let armed = Armed::new(
            Fault::new(FaultKind::ServerError).rate(0.02).burst(10),
            1,
            0,
        );
        let hits: Vec<bool> = (0..500)
            .map(|url| armed.strikes(Route::Itens, url, 0))
            .collect();
        let first = hits.iter().position(|h| *h).unwrap();
        assert!(hits[first..first + 10].iter().all(|h| *h));
        let armed = Armed::new(Fault::new(FaultKind::Cut).count(3), 1, 0);
        assert_eq!(
            (0..9)
                .filter(|u| armed.strikes(Route::Itens, *u, 0))
                .count(),
            3
        );
        armed.reset();
        assert!(armed.strikes(Route::Itens, 0, 0));
        assert!(!Armed::new(Fault::new(FaultKind::NoContent), 1, 0).strikes(Route::Itens, 0, 0));
    }
}
