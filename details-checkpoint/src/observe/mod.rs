//! Observers for people: the operators' banners, plain timed lines, a progress bar.

mod banner;
#[cfg(feature = "progress-bar")]
mod bar;
mod lines;

pub use banner::BannerObserver;
#[cfg(feature = "progress-bar")]
pub use bar::{BarWriter, ProgressBarObserver};
pub use lines::LineObserver;

use std::time::Duration;

/// `1h02m`, `3m20s`, `4.5s`.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=59 => format!("{:.1}s", duration.as_secs_f64()),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Keys per second, and the time that the rest takes at that pace.
fn pace(done: u64, planned: u64, elapsed: Duration) -> (f64, Option<Duration>) {
    let seconds = elapsed.as_secs_f64();
    if done == 0 || seconds <= 0.0 {
        return (0.0, None);
    }
    let rate = done as f64 / seconds;
    let rest = planned.saturating_sub(done) as f64 / rate;
    (rate, Duration::try_from_secs_f64(rest).ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer whose text the test can read.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(human(Duration::from_millis(4_520)), "4.5s");
        assert_eq!(human(Duration::from_secs(200)), "3m20s");
        assert_eq!(human(Duration::from_secs(3_725)), "1h02m");
    }

    #[test]
    fn the_rest_takes_as_long_as_what_was_done() {
        assert_eq!(pace(0, 10, Duration::from_secs(1)), (0.0, None));
        assert_eq!(
            pace(5, 15, Duration::from_secs(10)),
            (0.5, Some(Duration::from_secs(20)))
        );
        assert_eq!(
            pace(15, 15, Duration::from_secs(10)).1,
            Some(Duration::ZERO)
        );
    }
}
