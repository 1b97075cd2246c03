//! The only file that knows the `backoff` crate (unmaintained, so kept where it can be replaced
//! in ten lines). Its own randomisation and its clock are off; ours is seeded.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::settings::RetrySettings;

/// The delays of one call: uniform between 0 and an end that doubles, up to a bound.
#[derive(Debug)]
pub(crate) struct Delays {
    ends: ExponentialBackoff,
    random: u64,
}

impl Delays {
    pub(crate) fn new(settings: &RetrySettings, seed: u64) -> Self {
        let first = Duration::from_millis(settings.first_delay_ms);
        let ends = ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            max_interval: Duration::from_millis(settings.delay_max_ms),
            multiplier: 2.0,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { ends, random: seed }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let end = self.ends.next_backoff().unwrap_or(self.ends.max_interval);
        let end_us = u64::try_from(end.as_micros()).unwrap_or(u64::MAX);
        let part = (u128::from(self.split_mix()) * (u128::from(end_us) + 1)) >> 64;
        Duration::from_micros(u64::try_from(part).unwrap_or(end_us))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn split_mix(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_seeded_and_spread() {
        let settings = RetrySettings {
            first_delay_ms: 100,
            delay_max_ms: 1_000,
            ..RetrySettings::default()
        };
        let draw = |seed| {
            let mut delays = Delays::new(&settings, seed);
            (0..8).map(|_| delays.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for seed in 0..200 {
            for (index, delay) in draw(seed).into_iter().enumerate() {
                let end = (100 << index).min(1_000);
                assert!(delay <= Duration::from_millis(end), "{index} {delay:?}");
            }
        }
        let mean: Duration = (0..2_000).map(|seed| draw(seed)[0]).sum::<Duration>() / 2_000;
        assert!((45..=55).contains(&mean.as_millis()), "{mean:?}");
    }
}
