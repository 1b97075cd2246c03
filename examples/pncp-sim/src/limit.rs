//! The hidden rate limit and the latency.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::RetryAfter;
use crate::rng::hash;

const TRACES: &str = include_str!("../data/latency-ms.txt");

/// How long an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Latency {
    /// As fast as it goes.
    #[default]
    None,
    /// Always this long.
    Fixed(Duration),
    /// Drawn from 814 recorded durations of the two real bases, times `scale`.
    Recorded {
        /// 1.0 is the real thing: a median of 1.4 s for lists.
        scale: f64,
    },
}

/// A limit that the server does not tell: above it, 429.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Requests a second, in the long run, over both bases together.
    pub per_second: f64,
    /// Requests at once before the limit is felt.
    pub burst: u32,
    /// After that many requests the limit halves, once.
    pub halve_after: Option<u64>,
    /// What the 429 says.
    pub retry_after: RetryAfter,
    /// How long a client should keep away if the 429 does not say: what comes sooner counts as
    /// inside a pause.
    pub pause_untold: Duration,
}

/// Recorded durations by base.
#[derive(Debug)]
pub(crate) struct Traces([Vec<u64>; 2]);

impl Traces {
    pub(crate) fn load() -> Self {
        let of = |base: &str| {
            TRACES
                .lines()
                .filter_map(|line| line.strip_prefix(base))
                .flat_map(|rest| rest.split_whitespace().filter_map(|n| n.parse().ok()))
                .collect()
        };
        Self([of("consulta "), of("pncp ")])
    }

    /// The delay of the `nth` request of a URL.
    pub(crate) fn delay(&self, latency: Latency, base: usize, url: u64, nth: u64) -> Duration {
        match latency {
            Latency::None => Duration::ZERO,
            Latency::Fixed(delay) => delay,
            Latency::Recorded { scale } => {
                let all = &self.0[base];
                let at = hash(&[url, nth, 0x1a7]) % (all.len().max(1) as u64);
                let ms = all
                    .get(usize::try_from(at).unwrap_or(0))
                    .copied()
                    .unwrap_or(0);
                Duration::from_millis(ms).mul_f64(scale.max(0.0))
            }
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Option<Instant>,
    seen: u64,
    /// Tokens that came since the first request, whether there was room for them or not.
    allowed: f64,
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) limit: RateLimit,
    bucket: Mutex<Bucket>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let bucket = Bucket {
            tokens: f64::from(limit.burst),
            at: None,
            seen: 0,
            allowed: 0.0,
        };
        Self {
            limit,
            bucket: Mutex::new(bucket),
        }
    }

    pub(crate) fn reset(&self) {
        let fresh = Bucket {
            tokens: f64::from(self.limit.burst),
            at: None,
            seen: 0,
            allowed: 0.0,
        };
        *self.bucket.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Requests that the limit would have let through between the first and the last.
    pub(crate) fn allowed(&self) -> f64 {
        let bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.allowed
    }

    /// Whether a request at `now` is still within the limit.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.seen += 1;
        let halved = self.limit.halve_after.is_some_and(|n| bucket.seen > n);
        let pace = self.limit.per_second * if halved { 0.5 } else { 1.0 };
        let elapsed = bucket
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        bucket.at = Some(now);
        bucket.allowed += elapsed.as_secs_f64() * pace;
        let most = f64::from(self.limit.burst.max(1));
        bucket.tokens = (bucket.tokens + elapsed.as_secs_f64() * pace).min(most);
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_halves_midway() {
        let limit = RateLimit {
            per_second: 10.0,
            burst: 1,
            halve_after: Some(10),
            retry_after: RetryAfter::None,
            pause_untold: Duration::ZERO,
        };
        let limiter = Limiter::new(limit);
        let start = Instant::now();
        let step = Duration::from_millis(101);
        let admitted = (0..20)
            .filter(|n| limiter.admits(start + step * *n))
            .count();
        assert!((14..=16).contains(&admitted), "{admitted}");
        // Ten a second for a second, five for another.
        assert!((14.0..15.5).contains(&limiter.allowed()));
    }

    #[test]
    fn recorded_durations_differ_by_base() {
        let traces = Traces::load();
        assert_eq!(traces.0.iter().map(Vec::len).sum::<usize>(), 814);
        let mean = |base| {
            let all: Duration = (0..500)
                .map(|u| traces.delay(Latency::Recorded { scale: 1.0 }, base, u, 0))
                .sum();
            all / 500
        };
        assert!(mean(0) > mean(1));
    }
}
