use std::time::Duration;

use tokio::time::Instant;

/// New lows in a row that are looked into.
const LOWS: u32 = 5;
/// A refusal further down than this share of the lowest pace refused so far is a new low.
const NEW_LOW: f64 = 0.93;
/// Refusals of a trial that decide it.
const TRIAL_REFUSALS: f64 = 2.0;
/// Seconds of use that a trial may take.
const TRIAL_SECONDS: f64 = 40.0;
/// A larger share of refusals is never taken for chance.
const SHARE_MAX: f64 = 0.07;
/// A smaller one is none.
const SHARE_MIN: f64 = 0.002;
/// Without a new low for so long, a descent is over.
const DESCENT_MAX: Duration = Duration::from_secs(60);
/// Answers by which the share of refusals is judged anew, at least.
const WINDOW: f64 = 200.0;

/// Tells refusals that have to do with the pace from those that strike at random. Pure.
///
/// Under a limit, one or two decreases end the refusals. If the pace falls from low to low
/// instead, it is cut once more and held: a limit refuses nothing there, chance as often per
/// request as before. The share of chance is remembered, and only a share well above it slows
/// the family down.
#[derive(Debug, Default)]
pub(crate) struct Noise {
    descent: Option<Descent>,
    trial: Option<Trial>,
    share: f64,
    answers: f64,
    refusals: f64,
}

/// Refusals at ever lower paces.
#[derive(Debug, Clone, Copy)]
struct Descent {
    from: f64,
    low: f64,
    low_at: Instant,
    lows: u32,
    /// Since the first refusal.
    answers: f64,
    refusals: f64,
}

/// A low pace, held to see whether refusals go on.
#[derive(Debug, Clone, Copy)]
struct Trial {
    descent: Descent,
    answers: f64,
    refusals: f64,
    answers_max: f64,
    seconds: f64,
}

/// What a refusal means.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    /// The pace is too high.
    Pace,
    /// It is not known: cut the pace, and hold it while [`Noise::on_trial`].
    Try,
    /// No more than chance.
    Chance,
    /// Chance, as has just turned out: the pace could have stayed at this.
    ChanceAllAlong(f64),
}

impl Noise {
    /// Whether the pace is held.
    pub(crate) fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// A good answer, at this rate.
    pub(crate) fn succeeded(&mut self, rate: f64) {
        self.answers += 1.0;
        if let Some(trial) = &mut self.trial {
            trial.answers += 1.0;
            trial.seconds += 1.0 / rate;
            if trial.answers >= trial.answers_max || trial.seconds >= TRIAL_SECONDS {
                // Hardly any refusal here: it was the pace.
                self.trial = None;
            }
        } else if let Some(descent) = &mut self.descent {
            descent.answers += 1.0;
        }
        if self.answers >= WINDOW.max(5.0 / self.share.max(SHARE_MIN)) {
            self.judge();
        }
    }

    /// A refusal at this pace.
    pub(crate) fn refused(&mut self, pace: f64, now: Instant) -> Meaning {
        if let Some(trial) = self.trial {
            return self.refused_on_trial(trial);
        }
        self.answers += 1.0;
        self.refusals += 1.0;
        if self.share > 0.0 && self.refusals <= 3.0 + 2.0 * self.share * self.answers {
            return Meaning::Chance;
        }
        let going_on = self.descent.filter(|descent| {
            pace < descent.from && now.duration_since(descent.low_at) < DESCENT_MAX
        });
        let Some(mut descent) = going_on else {
            self.descent = Some(Descent::new(pace, now));
            return Meaning::Pace;
        };
        descent.answers += 1.0;
        descent.refusals += 1.0;
        if pace < NEW_LOW * descent.low {
            descent.low = pace;
            descent.low_at = now;
            descent.lows += 1;
        }
        self.descent = Some(descent);
        if descent.lows < LOWS {
            return Meaning::Pace;
        }
        let share = (descent.refusals / descent.answers).min(SHARE_MAX);
        self.descent = None;
        self.trial = Some(Trial {
            descent,
            answers: 0.0,
            refusals: 0.0,
            answers_max: (3.0 * TRIAL_REFUSALS / share).clamp(80.0, 1_000.0),
            seconds: 0.0,
        });
        Meaning::Try
    }

    fn refused_on_trial(&mut self, mut trial: Trial) -> Meaning {
        trial.answers += 1.0;
        trial.refusals += 1.0;
        self.trial = Some(trial);
        // Few refusals close together may be chance; many are not.
        let all = trial.descent.answers + trial.answers;
        let share = (trial.descent.refusals + trial.refusals) / all;
        if trial.refusals < TRIAL_REFUSALS
            || (share > SHARE_MAX && trial.refusals < 2.0 * TRIAL_REFUSALS)
        {
            return Meaning::Chance;
        }
        self.trial = None;
        self.slowed();
        if share > SHARE_MAX {
            return Meaning::Pace;
        }
        self.share = share;
        Meaning::ChanceAllAlong(trial.descent.from)
    }

    /// Another pace, another count.
    pub(crate) fn slowed(&mut self) {
        self.answers = 0.0;
        self.refusals = 0.0;
    }

    /// The share follows what is seen, down quickly, up slowly and only a little at a time, so
    /// that the refusals of a limit do not pass for chance by and by.
    fn judge(&mut self) {
        let seen = self.refusals / self.answers;
        if seen < self.share {
            self.share = 0.8 * self.share + 0.2 * seen;
        } else if seen < 1.5 * self.share {
            self.share = 0.9 * self.share + 0.1 * seen;
        }
        if self.share < SHARE_MIN {
            self.share = 0.0;
        }
        self.slowed();
    }
}

impl Descent {
    fn new(pace: f64, now: Instant) -> Self {
        Self {
            from: pace,
            low: pace,
            low_at: now,
            lows: 1,
            answers: 0.0,
            refusals: 0.0,
        }
    }
}

/// Answers that hint at overload without saying so, among the last few dozen.
#[derive(Debug, Default)]
pub(crate) struct Strain {
    answers: f64,
    strained: f64,
}

impl Strain {
    pub(crate) fn answered(&mut self, strained: bool) {
        // Older answers count half, then a quarter, ….
        if self.answers >= 40.0 {
            self.answers /= 2.0;
            self.strained /= 2.0;
        }
        self.answers += 1.0;
        self.strained += f64::from(u8::from(strained));
    }

    /// Their share, if it is more than a few.
    pub(crate) fn heavy(&self) -> Option<f64> {
        let share = self.strained / self.answers.max(1.0);
        (self.strained >= 4.0 && share > 0.1).then_some(share)
    }

    pub(crate) fn slowed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refusals every `every` answers, at paces that fall by `step`.
    fn descend(noise: &mut Noise, from: f64, step: f64, every: u32, times: u32) -> Meaning {
        let now = Instant::now();
        let mut pace = from;
        let mut meaning = Meaning::Pace;
        for _ in 0..times {
            (1..every).for_each(|_| noise.succeeded(50.0));
            meaning = noise.refused(pace, now);
            pace *= step;
        }
        meaning
    }

    #[test]
    fn refusals_that_do_not_care_for_the_pace_are_chance() {
        let mut noise = Noise::default();
        assert_eq!(descend(&mut noise, 50.0, 0.88, 40, 4), Meaning::Pace);
        let mut noise = Noise::default();
        assert_eq!(descend(&mut noise, 50.0, 0.88, 40, 5), Meaning::Try);
        assert!(noise.on_trial());
        assert_eq!(descend(&mut noise, 15.0, 1.0, 40, 1), Meaning::Chance);
        assert_eq!(
            descend(&mut noise, 15.0, 1.0, 40, 1),
            Meaning::ChanceAllAlong(50.0)
        );
        // From then on as many are expected, but not many more.
        assert_eq!(descend(&mut noise, 50.0, 1.0, 40, 20), Meaning::Chance);
        assert_eq!(descend(&mut noise, 50.0, 1.0, 8, 20), Meaning::Pace);
    }

    #[test]
    fn refusals_that_end_further_down_were_a_limit() {
        let mut noise = Noise::default();
        assert_eq!(descend(&mut noise, 50.0, 0.88, 40, 5), Meaning::Try);
        assert_eq!(descend(&mut noise, 15.0, 1.0, 100, 1), Meaning::Chance);
        (0..300).for_each(|_| noise.succeeded(50.0));
        assert!(!noise.on_trial());
        assert_eq!(descend(&mut noise, 30.0, 1.0, 100, 1), Meaning::Pace);
    }

    #[test]
    fn one_refusal_in_eight_is_never_chance() {
        let mut noise = Noise::default();
        assert_eq!(descend(&mut noise, 50.0, 0.8, 8, 5), Meaning::Try);
        assert_eq!(descend(&mut noise, 20.0, 0.8, 8, 4), Meaning::Pace);
        assert_eq!(descend(&mut noise, 20.0, 0.8, 8, 1), Meaning::Pace);
    }

    #[test]
    fn refusals_at_one_pace_are_a_limit() {
        let mut noise = Noise::default();
        for _ in 0..50 {
            let meaning = descend(&mut noise, 20.0, 0.98, 150, 2);
            assert_eq!(meaning, Meaning::Pace);
        }
    }

    #[test]
    fn chance_that_ceases_is_forgotten() {
        let mut noise = Noise::default();
        descend(&mut noise, 50.0, 0.88, 40, 7);
        assert_eq!(noise.refused(50.0, Instant::now()), Meaning::Chance);
        (0..40_000).for_each(|_| noise.succeeded(50.0));
        assert_eq!(noise.refused(50.0, Instant::now()), Meaning::Pace);
    }

    #[test]
    fn a_few_strained_answers_are_not_heavy() {
        let mut strain = Strain::default();
        for n in 0..400 {
            strain.answered(n % 30 == 0);
            assert_eq!(strain.heavy(), None);
        }
        for _ in 0..5 {
            strain.answered(true);
        }
        assert!(strain.heavy().is_some());
        // A server that answers nothing else is heard at once.
        strain.slowed();
        (0..4).for_each(|_| strain.answered(true));
        assert_eq!(strain.heavy(), Some(1.0));
    }
}
