use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::noise::{Meaning, Noise, Strain};
use crate::settings::FamilySettings;

/// How far back the pace is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Grants remembered for it.
const GRANTS_MAX: usize = 4096;
/// Seconds of use after which a rate cut by [`CUT`] is back where it was refused.
const RETURN_SECONDS: f64 = 10.0;
/// What an ordinary decrease takes away.
const CUT: f64 = 0.15;
/// A rate so far above the one refused shows that the limit is gone.
const LIMIT_GONE: f64 = 1.25;
/// How far the requests may lag behind the rate and still catch up: what a scheduler oversleeps,
/// and one request at the usual rates.
const LAG_MAX: Duration = Duration::from_millis(25);
/// Pages of the firewall in a row that are not chance any more.
const WALLED_MAX: u32 = 5;
/// Refusals in a row that a limiter may need to be understood.
const SHUT_AFTER: u32 = 20;

/// The pace of one family: additive increase, multiplicative decrease. Pure; the time comes in.
///
/// Until the server first objects, the rate grows e-fold every second that it is used to the
/// full. An objection at rate `b` cuts it by 15 % of what was really sent, or by twice that if it
/// follows the last decrease at once; answers to requests from before a decrease say nothing any more
/// (as in TCP NewReno). From there the rate follows a cubic of the seconds it was used (as in
/// TCP CUBIC, RFC 9438): quickly back towards `b`, slowly past it, quickly again beyond, so that
/// a limit is found again seldom but used nearly whole, and one that is gone is forgotten.
///
/// Refusals that strike whatever the pace are told apart by [`Noise`], and answers that only
/// hint at overload count when they are many ([`Strain`]).
#[derive(Debug)]
pub(crate) struct Aimd {
    ceiling: f64,
    floor: f64,
    rate: f64,
    climb: Option<Climb>,
    epoch: u64,
    successes: u64,
    noise: Noise,
    strain: Strain,
    walled: u32,
    /// Refusals since the last good answer.
    refused: u32,
    grants: VecDeque<Instant>,
    next_slot: Option<Instant>,
    paused_until: Option<Instant>,
}

/// The way back from a decrease.
#[derive(Debug, Clone, Copy)]
struct Climb {
    /// The rate that was refused.
    bad: f64,
    /// Seconds of use until it is reached again.
    plateau: f64,
    /// Seconds of use so far.
    used: f64,
}

impl Climb {
    fn rate(&self) -> f64 {
        let from_plateau = (self.used - self.plateau) / RETURN_SECONDS;
        self.bad * (1.0 + CUT * from_plateau.powi(3))
    }
}

/// How an answer speaks against the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// It says so: 429, or any answer with `Retry-After`.
    Refused,
    /// It may be overload: 5xx other than 500, 408, 425, a timeout, the firewall's page.
    Strained,
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
            climb: None,
            epoch: 0,
            successes: 0,
            noise: Noise::default(),
            strain: Strain::default(),
            walled: 0,
            refused: 0,
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
        let lagging = now.checked_sub(LAG_MAX).unwrap_or(now);
        let due = self.next_slot.filter(|&slot| slot >= lagging);
        let free = due.unwrap_or(now);
        let at = self.paused_until.map_or(free, |until| until.max(free));
        self.next_slot = Some(at + Duration::from_secs_f64(1.0 / self.rate));
        Slot {
            at,
            epoch: self.epoch,
            waited: due.is_some(),
        }
    }

    /// Whether a place that was waited for may be used; if not, another must be taken: there is
    /// a pause, it was given at a rate that has been cut since, or it was slept through, so that
    /// others would leave at the same moment, unless `however_late`.
    pub(crate) fn confirm(&mut self, slot: Slot, however_late: bool, now: Instant) -> bool {
        if self.paused_for(now).is_some() || slot.epoch != self.epoch {
            return false;
        }
        let late = LAG_MAX.max(Duration::from_secs_f64(1.0 / self.rate));
        if !however_late && now > slot.at + late {
            return false;
        }
        if self.grants.len() == GRANTS_MAX {
            self.grants.pop_front();
        }
        self.grants.push_back(now);
        true
    }

    pub(crate) fn succeeded(&mut self, slot: Slot) {
        self.walled = 0;
        self.refused = 0;
        self.strain.answered(false);
        if slot.epoch != self.epoch {
            return;
        }
        self.successes += 1;
        self.noise.succeeded(self.rate);
        if slot.waited && !self.noise.on_trial() {
            self.faster();
        }
    }

    /// True if the rate fell.
    pub(crate) fn objected(&mut self, slot: Slot, objection: Objection, now: Instant) -> bool {
        match objection {
            Objection::Strained => self.strain.answered(true),
            Objection::Refused => self.refused += 1,
        }
        if slot.epoch != self.epoch {
            return false;
        }
        let sent = match self.measured(now).map(|pace| pace.min(self.rate)) {
            None => self.rate,
            // On the first way up, the mean of the last seconds lags far behind.
            Some(pace) if self.climb.is_none() => (pace + self.rate) / 2.0,
            Some(pace) => pace,
        };
        let cut = match objection {
            Objection::Strained => match self.strain.heavy() {
                None => return false,
                Some(share) => (share / 2.0).clamp(0.1, 0.5),
            },
            Objection::Refused => match self.noise.refused(sent, now) {
                Meaning::Chance => return false,
                Meaning::Try => 2.0 * CUT,
                Meaning::ChanceAllAlong(rate) => {
                    self.rate = self.rate.max(rate);
                    self.climb = None;
                    return false;
                }
                Meaning::Pace => match self.successes {
                    0..4 => 2.0 * CUT,
                    _ => CUT,
                },
            },
        };
        self.slower(sent.max(self.floor), cut, now);
        true
    }

    /// Whether a page of the firewall is one too many in a row, so that the family should pause.
    pub(crate) fn walled(&mut self) -> bool {
        self.walled += 1;
        self.walled >= WALLED_MAX
    }

    /// Whether nothing but refusals has come for long: no limiter, but an outage.
    pub(crate) fn shut(&self) -> bool {
        self.refused > SHUT_AFTER
    }

    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
        self.next_slot = self.next_slot.map(|slot| slot.max(until));
        // The pace is not measured across a pause.
        self.grants.clear();
    }

    fn faster(&mut self) {
        let rate = match &mut self.climb {
            None => self.rate + 1.0,
            Some(climb) => {
                climb.used += 1.0 / self.rate;
                self.rate.max(climb.rate())
            }
        };
        self.rate = rate.min(self.ceiling);
        if self
            .climb
            .is_some_and(|climb| self.rate > LIMIT_GONE * climb.bad)
        {
            self.climb = None;
        }
    }

    fn slower(&mut self, sent: f64, cut: f64, now: Instant) {
        self.rate = (sent * (1.0 - cut)).max(self.floor);
        self.climb = Some(Climb {
            bad: sent,
            plateau: RETURN_SECONDS * (cut / CUT).cbrt(),
            used: 0.0,
        });
        self.epoch += 1;
        self.successes = 0;
        self.noise.slowed();
        self.strain.slowed();
        self.grants.clear();
        self.next_slot = Some(now + Duration::from_secs_f64(1.0 / self.rate));
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

    #[tokio::test(start_paused = true)]
    async fn one_objection_is_one_decrease() {
        let now = Instant::now();
        let mut pace = Aimd::new(&settings(10.0, 10.0));
        let slots: Vec<_> = (0..48).map(|_| pace.slot(now)).collect();
        for &slot in &slots[..40] {
            pace.succeeded(slot);
        }
        assert!(pace.objected(slots[40], Objection::Refused, now));
        for &slot in &slots[41..] {
            assert!(!pace.objected(slot, Objection::Refused, now));
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
            pace.objected(slot, Objection::Refused, now);
        }
        assert_eq!(format!("{:.1}", pace.rate()), "0.5");
    }

    #[tokio::test(start_paused = true)]
    async fn back_where_it_was_refused_in_ten_seconds_of_use() {
        let now = Instant::now();
        let mut pace = Aimd::new(&settings(40.0, 100.0));
        let first = pace.slot(now);
        (0..40).for_each(|_| pace.succeeded(first));
        assert!(pace.objected(first, Objection::Refused, now));
        let mut used = 0.0;
        let mut rates = Vec::new();
        while used < 25.0 {
            let slot = Slot {
                waited: true,
                ..pace.slot(now)
            };
            used += 1.0 / pace.rate();
            pace.succeeded(slot);
            rates.push((used, pace.rate()));
        }
        let at = |time: f64| rates.iter().find(|(used, _)| *used >= time).unwrap().1 / 40.0;
        assert!((0.94..0.99).contains(&at(4.0)), "{}", at(4.0));
        assert!((0.99..1.01).contains(&at(10.0)), "{}", at(10.0));
        assert!((1.01..1.1).contains(&at(16.0)), "{}", at(16.0));
        assert!(at(25.0) > 2.0, "{}", at(25.0));
    }

    #[tokio::test(start_paused = true)]
    async fn strained_answers_count_when_they_are_many() {
        let now = Instant::now();
        let mut pace = Aimd::new(&settings(10.0, 10.0));
        for n in 0..300 {
            let slot = pace.slot(now);
            if n % 40 == 0 {
                assert!(!pace.objected(slot, Objection::Strained, now));
            } else {
                pace.succeeded(slot);
            }
        }
        let fell = (0..8)
            .filter(|_| {
                let slot = pace.slot(now);
                pace.objected(slot, Objection::Strained, now)
            })
            .count();
        assert!((1..=2).contains(&fell), "{fell}");
    }

    #[test]
    fn the_firewall_is_believed_when_it_insists() {
        let mut pace = Aimd::new(&settings(10.0, 10.0));
        let slot = pace.slot(Instant::now());
        assert!((1..WALLED_MAX).all(|_| !pace.walled()));
        pace.succeeded(slot);
        assert!((1..WALLED_MAX).all(|_| !pace.walled()));
        assert!(pace.walled());
    }
}
