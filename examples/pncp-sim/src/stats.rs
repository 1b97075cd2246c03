//! What was asked and what was answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::fault::Route;

/// URLs remembered to tell repeated requests; beyond, new ones are not counted as repeated.
const REMEMBERED_URLS: usize = 4_000_000;

/// Requests that were under way when the 429 left are no offence.
const GRACE: Duration = Duration::from_millis(100);

/// A snapshot of the statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests in all, those of `/_sim` left out.
    pub total: u64,
    /// Route, then status, then how many. A stall or a cut body counts under the status sent.
    pub by_route: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Requests for a URL that had been asked before.
    pub repeated_identical: u64,
    /// The most requests that were being answered at one time.
    pub max_in_flight: u64,
    /// Requests that came to a base (consulta or pncp) while it had asked to wait.
    pub in_retry_after_pause: u64,
    /// 429 answers of the hidden rate limit.
    pub rate_limited: u64,
    /// Requests that the hidden rate limit would have let through between the first and the last,
    /// its burst left out.
    pub rate_limit_allowed: u64,
    /// Faults that struck, by kind.
    pub injected: BTreeMap<String, u64>,
}

impl Stats {
    /// Requests of one route, whatever their status.
    pub fn requests(&self, route: Route) -> u64 {
        self.by_route
            .get(route.name())
            .map_or(0, |by_status| by_status.values().sum())
    }

    /// Requests of one route that were answered with `status`.
    pub fn answered(&self, route: Route, status: u16) -> u64 {
        self.by_route
            .get(route.name())
            .and_then(|s| s.get(&status))
            .copied()
            .unwrap_or(0)
    }

    /// Requests of the three lists.
    pub fn list_calls(&self) -> u64 {
        [Route::Publicacao, Route::Atualizacao, Route::Proposta]
            .map(|r| self.requests(r))
            .iter()
            .sum()
    }

    /// Requests of itens and arquivos, their counts included.
    pub fn detail_calls(&self) -> u64 {
        [
            Route::Itens,
            Route::ItensQuantidade,
            Route::Arquivos,
            Route::ArquivosQuantidade,
        ]
        .map(|r| self.requests(r))
        .iter()
        .sum()
    }
}

#[derive(Debug, Default)]
struct Inner {
    stats: Stats,
    seen: HashMap<u64, u32>,
    in_flight: u64,
    pauses: [Option<(Instant, Instant)>; 2],
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Inner>);

impl Recorder {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> Stats {
        self.inner().stats.clone()
    }

    pub(crate) fn reset(&self) {
        let mut inner = self.inner();
        *inner = Inner {
            in_flight: inner.in_flight,
            ..Inner::default()
        };
    }

    /// A request arrives; answers how often its URL was asked before. `base`: 0 consulta, 1 pncp.
    pub(crate) fn arrive(&self, url: u64, base: usize, now: Instant) -> u64 {
        let mut inner = self.inner();
        inner.stats.total += 1;
        inner.in_flight += 1;
        inner.stats.max_in_flight = inner.stats.max_in_flight.max(inner.in_flight);
        if inner.pauses[base].is_some_and(|(from, to)| now > from + GRACE && now < to) {
            inner.stats.in_retry_after_pause += 1;
        }
        let full = inner.seen.len() >= REMEMBERED_URLS;
        let before = match inner.seen.get_mut(&url) {
            Some(times) => {
                *times += 1;
                u64::from(*times)
            }
            None => {
                if !full {
                    inner.seen.insert(url, 0);
                }
                return 0;
            }
        };
        inner.stats.repeated_identical += 1;
        before
    }

    pub(crate) fn answer(&self, route: Route, status: u16) {
        let mut inner = self.inner();
        let by_status = match inner.stats.by_route.get_mut(route.name()) {
            Some(by_status) => by_status,
            None => inner
                .stats
                .by_route
                .entry(route.name().to_owned())
                .or_default(),
        };
        *by_status.entry(status).or_default() += 1;
    }

    pub(crate) fn leave(&self) {
        let mut inner = self.inner();
        inner.in_flight = inner.in_flight.saturating_sub(1);
    }

    pub(crate) fn injected(&self, kind: &str) {
        *self
            .inner()
            .stats
            .injected
            .entry(kind.to_owned())
            .or_default() += 1;
    }

    pub(crate) fn rate_limited(&self) {
        self.inner().stats.rate_limited += 1;
    }

    /// The base has asked everybody to wait.
    pub(crate) fn pause(&self, base: usize, now: Instant, pause: Duration) {
        let mut inner = self.inner();
        let until = now + pause;
        let pending = inner.pauses[base].filter(|(_, to)| *to > now);
        inner.pauses[base] = Some(match pending {
            Some((from, to)) => (from, to.max(until)),
            None => (now, until),
        });
    }
}
