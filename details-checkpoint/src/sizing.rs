//! How often to save: a model of time, repeated work and memory, and what it recommends. Pure.
//!
//! With `K` keys of `c` calls of `L` seconds each, `n` in flight, a key takes `d = c·L / n` seconds. Saves of `N` keys
//! take `s(N) = fixed + N·bytes·per_byte` and go on beside the fetching, so they cost wall time only
//!
//! - where they are slower than filling the next checkpoint: `max(0, s(N) - N·d)` each,
//! - in the processor that encoding takes from fetching: `N·bytes·cpu_per_byte` each,
//! - at the end, when nothing is left to fetch: `s` of the last checkpoint.
//!
//! A failure that strikes at a rate `λ` per hour repeats what was not safe yet: on average half a checkpoint that was
//! filling and the part of one that was being saved, `N/2 + min(N, s(N)/d)` keys, plus the calls in flight.
//! Memory is what waits, what is being saved and what is in flight, and what is held whatever the size. In the store
//! each checkpoint takes something of its own (a footer) beside its rows: there time asks for small checkpoints, and
//! the store for large ones.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was measured, or is assumed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Keys of the day.
    pub keys: f64,
    /// Calls that a key takes.
    pub calls_per_key: f64,
    /// Mean time of a call in seconds.
    pub call_seconds: f64,
    /// Calls in flight.
    pub concurrency: f64,
    /// Bytes of a key's bodies.
    pub bytes_per_key: f64,
    /// Time of a save, whatever its size, in seconds.
    pub save_fixed_seconds: f64,
    /// Time of a save for each byte of bodies, in seconds.
    pub save_seconds_per_byte: f64,
    /// The part of it that keeps the processor from fetching, in seconds for each byte.
    pub cpu_seconds_per_byte: f64,
    /// Bytes that saving holds for each byte of bodies, these included.
    pub save_memory_factor: f64,
    /// Bytes held whatever the size of a checkpoint, beyond the bodies of the calls in flight.
    pub held_fixed_bytes: f64,
    /// Stored bytes of a checkpoint, whatever it holds.
    pub stored_fixed_bytes: f64,
    /// Stored bytes of a key.
    pub stored_bytes_per_key: f64,
    /// Failures (kills) an hour.
    pub failures_per_hour: f64,
}

impl Default for Measured {
    /// A weekday of the PNCP: 6,500 keys, two calls of 0.1 s each, 8 in flight, 17 KB a key, saves to an object store
    /// in which a checkpoint takes 24 KB and 600 bytes a key.
    fn default() -> Self {
        Self {
            keys: 6_500.0,
            calls_per_key: 2.0,
            call_seconds: 0.1,
            concurrency: 8.0,
            bytes_per_key: 17_000.0,
            save_fixed_seconds: 0.05,
            save_seconds_per_byte: 2e-8,
            cpu_seconds_per_byte: 1e-8,
            save_memory_factor: 4.0,
            held_fixed_bytes: 0.0,
            stored_fixed_bytes: 24_000.0,
            stored_bytes_per_key: 600.0,
            failures_per_hour: 0.1,
        }
    }
}

/// What a size of checkpoint leads to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Keys in a checkpoint.
    pub checkpoint_every: u32,
    /// Checkpoints of the day, without failures.
    pub checkpoints: f64,
    /// Wall time if saving cost nothing and nothing failed, in seconds.
    pub ideal_seconds: f64,
    /// Wall time with saves and failures, in seconds.
    pub total_seconds: f64,
    /// What saving adds to the ideal, as a share of it.
    pub save_overhead: f64,
    /// Calls made again because of failures.
    pub repeated_calls: f64,
    /// Bytes held at the peak.
    pub peak_bytes: f64,
    /// Bytes in the store.
    pub stored_bytes: f64,
}

/// What `checkpoint_every` keys a checkpoint lead to.
///
/// `checkpoint_every` of 0 counts as 1; measures below zero or not finite count as zero.
pub fn expect(measured: &Measured, checkpoint_every: u32) -> Expected {
    let m = clean(measured);
    let n = f64::from(checkpoint_every.max(1)).min(m.keys.max(1.0));
    let key_seconds = m.calls_per_key * m.call_seconds / m.concurrency.max(1.0);
    let ideal = m.keys * key_seconds;
    let checkpoints = (m.keys / n).ceil();
    let save = m.save_fixed_seconds + n * m.bytes_per_key * m.save_seconds_per_byte;
    let stall = (save - n * key_seconds).max(0.0);
    let cpu = n * m.bytes_per_key * m.cpu_seconds_per_byte;
    let last = m.keys - n * (checkpoints - 1.0).max(0.0);
    let tail = if m.keys > 0.0 {
        m.save_fixed_seconds + last * m.bytes_per_key * m.save_seconds_per_byte
    } else {
        0.0
    };
    let saving = (checkpoints - 1.0).max(0.0) * stall + checkpoints * cpu + tail;
    let without_failures = ideal + saving;
    let being_saved = if key_seconds > 0.0 {
        (save / key_seconds).min(n)
    } else {
        n
    };
    let lost_keys = (n / 2.0 + being_saved + m.concurrency / m.calls_per_key.max(1.0)).min(m.keys);
    let per_second = m.failures_per_hour / 3_600.0;
    // Each failure adds the time of what it repeats, during which the next may strike: a geometric series.
    let repeat_share = (per_second * lost_keys * key_seconds).min(0.99);
    let failures = per_second * without_failures / (1.0 - repeat_share);
    let in_flight = m.concurrency * m.bytes_per_key / m.calls_per_key.max(1.0);
    Expected {
        checkpoint_every: checkpoint_every.max(1),
        checkpoints,
        ideal_seconds: ideal,
        total_seconds: without_failures + failures * lost_keys * key_seconds,
        save_overhead: if ideal > 0.0 { saving / ideal } else { 0.0 },
        repeated_calls: failures * lost_keys * m.calls_per_key,
        peak_bytes: m.held_fixed_bytes
            + n * m.bytes_per_key * (1.0 + m.save_memory_factor)
            + in_flight,
        stored_bytes: checkpoints * m.stored_fixed_bytes + m.keys * m.stored_bytes_per_key,
    }
}

/// The size that suits time, memory and store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What to set, and what it leads to.
    pub best: Expected,
    /// Whether even one key a checkpoint goes over the memory limit.
    pub over_limit: bool,
    measured: Measured,
    memory_bytes: f64,
}

/// The sizes that are considered: 1, 2, 5, 10, … as people write them.
const SIZES: [u32; 14] = [
    1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000, 2_000, 5_000,
];
/// Sizes whose time is within this share of the shortest are as good: the smallest loses and holds least.
const AS_GOOD: f64 = 1.005;
/// What the store asks for may take this share of the time more.
const WORTH_IT: f64 = 1.02;
/// The store is content when checkpoints take at most so many times what the rows in them need.
const ROOM: f64 = 2.0;

/// Recommends a size for what was measured, within `memory_bytes`.
///
/// Among the sizes whose total time is within 0.5 % of the shortest it takes the smallest: less is lost and held. That
/// is raised until the checkpoints take at most twice the bytes that the rows in them need, as long as memory does and
/// the time is within 2 % of the shortest.
pub fn recommend(measured: &Measured, memory_bytes: f64) -> Recommendation {
    let all = SIZES.map(|size| expect(measured, size));
    let fitting: Vec<Expected> = all
        .into_iter()
        .filter(|expected| expected.peak_bytes <= memory_bytes)
        .collect();
    let times = fitting.iter().map(|expected| expected.total_seconds);
    let shortest = times.fold(f64::INFINITY, f64::min);
    let measured = clean(measured);
    let rows = measured.keys * measured.stored_bytes_per_key;
    let as_good = |expected: &&Expected| expected.total_seconds <= shortest * AS_GOOD;
    let by_time = fitting.iter().find(as_good);
    let best = by_time.map(|by_time| {
        let from = fitting
            .iter()
            .skip_while(|expected| expected.checkpoint_every < by_time.checkpoint_every)
            .take_while(|expected| expected.total_seconds <= shortest * WORTH_IT);
        let is_enough = |expected: &&Expected| expected.stored_bytes <= rows * ROOM;
        let content = from.clone().find(is_enough).or(from.last());
        *content.unwrap_or(by_time)
    });
    Recommendation {
        best: best.unwrap_or(all[0]),
        over_limit: best.is_none(),
        measured,
        memory_bytes,
    }
}

/// One paragraph for people.
impl fmt::Display for Recommendation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, e) = (&self.measured, &self.best);
        write!(
            f,
            "{:.0} keys at {:.1} calls of {:.0} ms each, {:.0} in flight, take {:.0} s at best. Saving every {} keys makes \
             {:.0} checkpoints of about {:.2} MB; writing them adds {:.1} % to the time, since it goes on beside the \
             fetching. At {} failures an hour about {:.0} calls are made again, so the run is expected to take {:.0} s. In \
             the store they take {:.1} MB, of which {:.1} are rows. It holds about {:.1} MB",
            m.keys,
            m.calls_per_key,
            m.call_seconds * 1e3,
            m.concurrency,
            e.ideal_seconds,
            e.checkpoint_every,
            e.checkpoints,
            f64::from(e.checkpoint_every) * m.bytes_per_key / 1e6,
            e.save_overhead * 1e2,
            m.failures_per_hour,
            e.repeated_calls,
            e.total_seconds,
            e.stored_bytes / 1e6,
            m.keys * m.stored_bytes_per_key / 1e6,
            e.peak_bytes / 1e6,
        )?;
        let allowed = self.memory_bytes / 1e6;
        if self.over_limit {
            return write!(
                f,
                ", which is more than the {allowed:.1} MB allowed: no size fits."
            );
        }
        write!(
            f,
            " of the {allowed:.1} MB allowed; smaller checkpoints would take longer or more room in the store, larger ones \
             would lose and hold more."
        )
    }
}

fn clean(measured: &Measured) -> Measured {
    let positive = |value: f64| {
        if value.is_finite() && value > 0.0 {
            value
        } else {
            0.0
        }
    };
    Measured {
        keys: positive(measured.keys),
        calls_per_key: positive(measured.calls_per_key),
        call_seconds: positive(measured.call_seconds),
        concurrency: positive(measured.concurrency),
        bytes_per_key: positive(measured.bytes_per_key),
        save_fixed_seconds: positive(measured.save_fixed_seconds),
        save_seconds_per_byte: positive(measured.save_seconds_per_byte),
        cpu_seconds_per_byte: positive(measured.cpu_seconds_per_byte),
        save_memory_factor: positive(measured.save_memory_factor),
        held_fixed_bytes: positive(measured.held_fixed_bytes),
        stored_fixed_bytes: positive(measured.stored_fixed_bytes),
        stored_bytes_per_key: positive(measured.stored_bytes_per_key),
        failures_per_hour: positive(measured.failures_per_hour),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
    }

    #[test]
    fn a_day_without_failures_takes_the_ideal_and_its_saves() {
        let measured = Measured {
            failures_per_hour: 0.0,
            ..Measured::default()
        };
        let expected = expect(&measured, 50);
        assert!(
            near(expected.ideal_seconds, 6_500.0 * 2.0 * 0.1 / 8.0),
            "{expected:?}"
        );
        assert!(near(expected.checkpoints, 130.0));
        // Encoding: 6,500 keys; the last save: 50 keys. None is slower than the fetching.
        let saving = 6_500.0 * 17_000.0 * 1e-8 + 0.05 + 50.0 * 17_000.0 * 2e-8;
        assert!(
            near(expected.total_seconds, expected.ideal_seconds + saving),
            "{expected:?}"
        );
        assert!(expected.save_overhead < 0.02);
        assert!(near(expected.repeated_calls, 0.0));
    }

    #[test]
    fn saves_that_are_slower_than_fetching_stall_it() {
        let slow = Measured {
            save_fixed_seconds: 5.0,
            failures_per_hour: 0.0,
            ..Measured::default()
        };
        let (small, large) = (expect(&slow, 10), expect(&slow, 1_000));
        assert!(small.save_overhead > 10.0, "{small:?}");
        assert!(large.save_overhead < 0.1, "{large:?}");
    }

    #[test]
    fn larger_checkpoints_hold_and_lose_more() {
        let measured = Measured {
            failures_per_hour: 6.0,
            ..Measured::default()
        };
        let sizes = [10, 50, 250, 1_000].map(|size| expect(&measured, size));
        assert!(
            sizes
                .windows(2)
                .all(|pair| pair[0].peak_bytes < pair[1].peak_bytes)
        );
        assert!(
            sizes
                .windows(2)
                .all(|pair| pair[0].repeated_calls < pair[1].repeated_calls)
        );
    }

    #[test]
    fn the_recommendation_keeps_within_memory_and_grows_with_the_cost_of_a_save() {
        let limit = 64e6;
        let usual = recommend(&Measured::default(), limit);
        assert!(!usual.over_limit && usual.best.peak_bytes <= limit);
        let slow = recommend(
            &Measured {
                save_fixed_seconds: 4.0,
                ..Measured::default()
            },
            limit,
        );
        assert!(slow.best.checkpoint_every > usual.best.checkpoint_every);
        let shaky = recommend(
            &Measured {
                save_fixed_seconds: 4.0,
                failures_per_hour: 60.0,
                ..Measured::default()
            },
            limit,
        );
        assert!(shaky.best.checkpoint_every <= slow.best.checkpoint_every);
        let tight = recommend(&Measured::default(), 1.0);
        assert!(tight.over_limit && tight.to_string().contains("no size fits"));
        assert!(
            usual
                .to_string()
                .starts_with("6500 keys at 2.0 calls of 100 ms each, 8 in flight"),
            "{usual}"
        );
    }

    #[test]
    fn the_store_asks_for_larger_checkpoints_as_far_as_time_and_memory_allow() {
        let free = Measured {
            stored_fixed_bytes: 0.0,
            ..Measured::default()
        };
        let by_time = recommend(&free, 64e6).best;
        let usual = recommend(&Measured::default(), 64e6).best;
        assert!(by_time.checkpoint_every < usual.checkpoint_every);
        let rows = 6_500.0 * 600.0;
        assert!(usual.stored_bytes <= 2.0 * rows, "{usual:?}");
        assert!(near(
            usual.stored_bytes,
            usual.checkpoints * 24_000.0 + rows
        ));
        // Where memory does not do for that, as far as it does.
        let limit = by_time.peak_bytes + 1.0;
        let tight = recommend(&Measured::default(), limit).best;
        assert_eq!(tight.checkpoint_every, by_time.checkpoint_every);
        // Where failures make large checkpoints slow, time decides.
        let shaky = Measured {
            failures_per_hour: 600.0,
            stored_fixed_bytes: 1e9,
            ..Measured::default()
        };
        let (shaky, shortest) = (recommend(&shaky, 64e6).best, expect(&shaky, 5));
        assert!(
            shaky.total_seconds <= shortest.total_seconds * 1.03,
            "{shaky:?}"
        );
    }

    #[test]
    fn nothing_is_nan_or_infinite() {
        let zero = Measured {
            keys: 0.0,
            calls_per_key: 0.0,
            call_seconds: f64::NAN,
            concurrency: 0.0,
            bytes_per_key: -1.0,
            save_fixed_seconds: f64::INFINITY,
            save_seconds_per_byte: 0.0,
            cpu_seconds_per_byte: 0.0,
            save_memory_factor: 0.0,
            held_fixed_bytes: f64::NEG_INFINITY,
            stored_fixed_bytes: f64::NAN,
            stored_bytes_per_key: -3.0,
            failures_per_hour: 1e9,
        };
        for measured in [
            zero,
            Measured {
                failures_per_hour: 1e9,
                ..Measured::default()
            },
        ] {
            let e = expect(&measured, 0);
            let all = [
                e.checkpoints,
                e.ideal_seconds,
                e.total_seconds,
                e.save_overhead,
                e.repeated_calls,
                e.peak_bytes,
                e.stored_bytes,
            ];
            assert!(
                all.iter().all(|value| value.is_finite() && *value >= 0.0),
                "{e:?}"
            );
        }
    }
}
