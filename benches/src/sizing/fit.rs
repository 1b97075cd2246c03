//! From measured runs to what the model needs. Pure.

use details_checkpoint::sizing::Measured;

use super::child::{Done, Save};

/// What the model needs, from a run that only fetched, and runs that saved with the smallest and the largest
/// checkpoints.
///
/// `keys` is the day's size, `small` and `large` come with their checkpoints' sizes.
pub fn calibrate(
    keys: u32,
    concurrency: u32,
    fetching: &Done,
    small: (u32, &Done),
    large: (u32, &Done),
    kills_per_hour: f64,
) -> Measured {
    let keys = f64::from(keys.max(1));
    let calls = (fetching.calls as f64).max(1.0);
    let bytes_per_key = fetching.body_bytes as f64 / keys;
    let saves: Vec<Save> = [small.1, large.1]
        .into_iter()
        .flat_map(|done| done.saves.iter().copied())
        .collect();
    let points: Vec<(f64, f64)> = saves
        .iter()
        .map(|save| (save.body_bytes as f64, save.seconds))
        .collect();
    let (save_fixed_seconds, save_seconds_per_byte) = line(&points);
    let bodies: f64 = saves.iter().map(|save| save.body_bytes as f64).sum();
    let encode: f64 = saves.iter().map(|save| save.encode_seconds).sum();
    let calls_per_key = calls / keys;
    let in_flight = f64::from(concurrency) * bytes_per_key / calls_per_key.max(1.0);
    let filling = |every: u32| f64::from(every).min(keys) * bytes_per_key;
    let held = [small, large].map(|(every, done)| (filling(every), done.held_bytes as f64));
    let (held_fixed_bytes, slope) = match line(&held) {
        // One size only says nothing of what is fixed.
        (all, slope) if slope <= 1.0 => (0.0, (all - in_flight) / filling(large.0).max(1.0)),
        (fixed, slope) => ((fixed - in_flight).max(0.0), slope),
    };
    let stored = [small, large].map(|(every, done)| {
        let checkpoints = (keys / f64::from(every)).ceil();
        (checkpoints, done.stored_bytes as f64)
    });
    let (of_keys, stored_fixed_bytes) = line(&stored);
    Measured {
        keys,
        calls_per_key,
        call_seconds: fetching.seconds * f64::from(concurrency) / calls,
        concurrency: f64::from(concurrency),
        bytes_per_key,
        save_fixed_seconds,
        save_seconds_per_byte,
        cpu_seconds_per_byte: encode / bodies.max(1.0),
        save_memory_factor: (slope - 1.0).max(0.0),
        held_fixed_bytes,
        stored_fixed_bytes,
        stored_bytes_per_key: of_keys / keys,
        failures_per_hour: kills_per_hour,
    }
}

/// The line through points by least squares: its value at 0 and its slope, neither below 0.
///
/// Points of one place only have no slope: all is fixed.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    if points.is_empty() {
        return (0.0, 0.0);
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    if spread <= f64::EPSILON {
        return (y.max(0.0), 0.0);
    }
    let slope = (common / spread).max(0.0);
    let fixed = y - slope * x;
    if fixed < 0.0 {
        return (0.0, if x > 0.0 { (y / x).max(0.0) } else { 0.0 });
    }
    (fixed, slope)
}

#[cfg(test)]
mod tests {
    use details_checkpoint::sizing::expect;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-6 * b.abs().max(1e-9)
    }

    #[test]
    fn a_line_is_found_again_and_never_goes_below_zero() {
        let points: Vec<_> = [10.0, 20.0, 50.0].map(|x| (x, 3.0 + 0.5 * x)).to_vec();
        let (fixed, slope) = line(&points);
        assert!(near(fixed, 3.0) && near(slope, 0.5), "{fixed} {slope}");
        assert_eq!(line(&[]), (0.0, 0.0));
        assert_eq!(line(&[(5.0, 2.0), (5.0, 4.0)]), (3.0, 0.0));
        let (fixed, slope) = line(&[(1.0, 4.0), (2.0, 2.0)]);
        assert!(
            near(fixed, 3.0) && near(slope + 1.0, 1.0),
            "{fixed} {slope}"
        );
        let (fixed, slope) = line(&[(10.0, 1.0), (20.0, 11.0)]);
        assert!(
            near(fixed + 1.0, 1.0) && near(slope, 0.4),
            "{fixed} {slope}"
        );
    }

    #[test]
    fn a_calibration_gives_back_what_it_was_made_from() {
        // 100 keys of two calls of 0.1 s, 4 in flight, 1,000 bytes; a save takes 0.2 s and 1 µs a byte.
        let fetching = Done {
            seconds: 5.0,
            calls: 200,
            body_bytes: 100_000,
            ..Done::default()
        };
        let saved = |every: u32, held_bytes| {
            let body_bytes = u64::from(every) * 1_000;
            let save = Save {
                body_bytes,
                seconds: 0.2 + 1e-6 * body_bytes as f64,
                encode_seconds: 5e-7 * body_bytes as f64,
            };
            let saves = vec![save; (100 / every) as usize];
            let stored_bytes = saves.len() as u64 * 7_000 + 100 * 300;
            Done {
                held_bytes,
                stored_bytes,
                saves,
                ..fetching.clone()
            }
        };
        // One checkpoint fills while the other is held three times over; two keys are in flight; 300 KB are fixed.
        let held = |every: u64| every * 1_000 * 4 + 2_000 + 300_000;
        let (small, large) = (saved(10, held(10)), saved(50, held(50)));
        let measured = calibrate(100, 4, &fetching, (10, &small), (50, &large), 6.0);
        assert!(near(measured.call_seconds, 0.1), "{measured:?}");
        assert!(near(measured.calls_per_key, 2.0));
        assert!(near(measured.save_fixed_seconds, 0.2));
        assert!(near(measured.save_seconds_per_byte, 1e-6));
        assert!(near(measured.cpu_seconds_per_byte, 5e-7));
        assert!(near(measured.save_memory_factor, 3.0));
        let predicted = expect(&measured, 20);
        assert!(near(predicted.ideal_seconds, 5.0));
        assert!(near(predicted.stored_bytes, 5.0 * 7_000.0 + 30_000.0));
        assert!(near(predicted.peak_bytes, held(20) as f64));
    }
}
