use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::FamilySettings;

/// How far back the pace is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Grants remembered for it.
const GRANTS_MAX: usize = 4096;

/// The pace of one family: additive increase, multiplicative decrease. Pure; the time comes in.
///
/// Until the server first objects, the rate doubles every second that it is used to the full.
/// An objection at rate `b` takes it to 85 % of what was really sent (60 % if the last decrease
/// had hardly been tried), after which it climbs fast to 90 % of `b` and slowly (1.5 % of `b` a
/// second) beyond, so that the limit is found again seldom but used nearly whole.
#[derive(Debug)]
pub(crate) struct Aimd {
    ceiling: f64,
    floor: f64,
    rate: f64,
    objected_at: Option<f64>,
    epoch: u64,
    successes: f64,
    grants: VecDeque<Instant>,
    next_slot: Option<Instant>,
    paused_until: Option<Instant>,
}

/// A place in time for one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) at: Instant,
    /// Decreases so far: an answer to a request from before the last one is no news.
    pub(crate) epoch: u64,
    /// The rate, not the caller, decided when.
    pub(crate) waited: bool,
}

impl Aimd {
    pub(crate) fn new(settings: &FamilySettings) -> Self {
        Self {
            ceiling: settings.requests_per_second_max,
            floor: settings.requests_per_second_min,
            rate: settings.requests_per_second_start,
            objected_at: None,
            epoch: 0,
            successes: 0.0,
            grants: VecDeque::new(),
            next_slot: None,
            paused_until: None,
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// What is left of a pause.
    pub(crate) fn paused_for(&self, now: Instant) -> Option<Duration> {
        self.paused_until
            .filter(|&until| until > now)
            .map(|until| until - now)
    }

    /// The next free place, not inside a pause.
    pub(crate) fn slot(&mut self, now: Instant) -> Slot {
        let free = self.next_slot.map_or(now, |slot| slot.max(now));
        let at = self.paused_until.map_or(free, |until| until.max(free));
        self.next_slot = Some(at + Duration::from_secs_f64(1.0 / self.rate));
        Slot {
            at,
            epoch: self.epoch,
            waited: at > now,
        }
    }

    /// Whether a place that was waited for may be used; if not, another must be taken.
    pub(crate) fn confirm(&mut self, now: Instant) -> bool {
        if self.paused_for(now).is_some() {
            return false;
        }
        if self.grants.len() == GRANTS_MAX {
            self.grants.pop_front();
        }
        self.grants.push_back(now);
        true
    }

    pub(crate) fn succeeded(&mut self, slot: Slot) {
        if slot.epoch != self.epoch {
            return;
        }
        self.successes += 1.0;
        if !slot.waited {
            return;
        }
        let step = match self.objected_at {
            None => 1.0,
            Some(bad) if self.rate < 0.9 * bad => 0.25,
            Some(bad) => 0.015 * bad / self.rate,
        };
        self.rate = (self.rate + step).min(self.ceiling);
        // The limit that was met is no longer there.
        if self.objected_at.is_some_and(|bad| self.rate > 1.25 * bad) {
            self.objected_at = None;
        }
    }

    /// True if the rate fell.
    pub(crate) fn objected(&mut self, slot: Slot, now: Instant) -> bool {
        if slot.epoch != self.epoch {
            return false;
        }
        let sent = self
            .measured(now)
            .map_or(self.rate, |pace| pace.min(self.rate));
        let hardly_tried = self.objected_at.is_some() && self.successes < 2.0 * sent;
        self.objected_at = Some(sent.max(self.floor));
        self.rate = (sent * if hardly_tried { 0.6 } else { 0.85 }).max(self.floor);
        self.epoch += 1;
        self.successes = 0.0;
        self.grants.clear();
        self.next_slot = Some(now + Duration::from_secs_f64(1.0 / self.rate));
        true
    }

    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
        self.next_slot = self.next_slot.map(|slot| slot.max(until));
    }

    /// Requests per second really sent of late, once that can be told.
    fn measured(&mut self, now: Instant) -> Option<f64> {
        while self
            .grants
            .front()
            .is_some_and(|&grant| now - grant > MEASURED)
        {
            self.grants.pop_front();
        }
        let span = now - *self.grants.front()?;
        let long_enough = span >= Duration::from_secs(1) && self.grants.len() >= 3;
        long_enough.then(|| (self.grants.len() - 1) as f64 / span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(start: f64, max: f64) -> FamilySettings {
        FamilySettings {
            requests_per_second_max: max,
            requests_per_second_min: 0.5,
            requests_per_second_start: start,
            concurrency_max: 16,
            default_pause_ms: 1_000,
        }
    }

    /// A server that allows `limit` requests a second, by a token bucket of `burst`.
    struct Hidden {
        tokens: f64,
        last: Instant,
        burst: f64,
    }

    impl Hidden {
        fn allows(&mut self, now: Instant, limit: f64) -> bool {
            self.tokens = (self.tokens + (now - self.last).as_secs_f64() * limit).min(self.burst);
            self.last = now;
            let allowed = self.tokens >= 1.0;
            if allowed {
                self.tokens -= 1.0;
            }
            allowed
        }
    }

    #[tokio::test(start_paused = true)]
    async fn finds_a_hidden_limit_that_halves() {
        let begin = Instant::now();
        let mut pace = Aimd::new(&settings(10.0, 200.0));
        let mut hidden = Hidden {
            tokens: 5.0,
            last: begin,
            burst: 5.0,
        };
        let mut now = begin;
        let mut paused: Option<Instant> = None;
        // (requests, objections, share of limit) in each half, without its first 60 seconds.
        let mut halves = [(0.0, 0.0); 2];
        while now < begin + Duration::from_secs(600) {
            let slot = pace.slot(now);
            now = slot.at.max(now);
            assert!(pace.confirm(now));
            assert!(paused.is_none_or(|until| now >= until), "inside a pause");
            let t = (now - begin).as_secs_f64();
            let half = usize::from(t >= 300.0);
            let ok = hidden.allows(now, [20.0, 10.0][half]);
            if t % 300.0 > 60.0 {
                halves[half].0 += 1.0;
                halves[half].1 += f64::from(u8::from(!ok));
            }
            if ok {
                pace.succeeded(slot);
            } else {
                pace.objected(slot, now);
                let until = now + Duration::from_secs(1);
                pace.pause(until);
                paused = Some(until);
            }
        }
        for (limit, (sent, refused)) in [20.0, 10.0].into_iter().zip(halves) {
            let used = (sent - refused) / (240.0 * limit);
            assert!(
                used >= 0.8,
                "limit {limit}: {used} used, {refused} of {sent} refused"
            );
            assert!(
                refused / sent < 0.02,
                "limit {limit}: {refused} of {sent} refused"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_objection_is_one_decrease() {
        let now = Instant::now();
        let mut pace = Aimd::new(&settings(10.0, 10.0));
        let slots: Vec<_> = (0..8).map(|_| pace.slot(now)).collect();
        assert!(pace.objected(slots[0], now));
        for &slot in &slots[1..] {
            assert!(!pace.objected(slot, now));
        }
        assert_eq!(format!("{:.1}", pace.rate()), "8.5");
    }

    #[tokio::test(start_paused = true)]
    async fn never_below_floor_nor_above_ceiling() {
        let now = Instant::now();
        let mut pace = Aimd::new(&settings(10.0, 12.0));
        for _ in 0..50 {
            let slot = pace.slot(now);
            pace.succeeded(slot);
        }
        assert_eq!(format!("{:.1}", pace.rate()), "12.0");
        for _ in 0..50 {
            let slot = pace.slot(now);
            pace.objected(slot, now);
        }
        assert_eq!(format!("{:.1}", pace.rate()), "0.5");
    }
}
