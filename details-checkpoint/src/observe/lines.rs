//! Progress where there is no terminal: a line now and then.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{human, pace};
use crate::{Event, Observer, Progress};

/// Prints a line with count, rate and expected rest, at most one per interval and one at the end.
///
/// Errors of the writer are ignored.
pub struct LineObserver<W> {
    every: Duration,
    state: Mutex<State<W>>,
}

struct State<W> {
    writer: W,
    last: Option<Duration>,
}

impl<W> fmt::Debug for LineObserver<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineObserver")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> LineObserver<W> {
    /// Prints to `writer` at most every ten seconds.
    pub fn new(writer: W) -> Self {
        Self {
            every: Duration::from_secs(10),
            state: Mutex::new(State { writer, last: None }),
        }
    }

    /// At most every so often.
    #[must_use]
    pub fn with_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }
}

impl<W: Write + Send + 'static> Observer for LineObserver<W> {
    fn on_event(&self, event: &Event<'_>) {
        let Event::Progress(progress) = event else {
            return;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.last.unwrap_or_default() + self.every <= progress.elapsed;
        if !due && progress.done < progress.planned {
            return;
        }
        state.last = Some(progress.elapsed);
        // Nobody to tell: see the type's documentation.
        let _ = writeln!(state.writer, "{}", line(progress)).and_then(|()| state.writer.flush());
    }
}

fn line(progress: &Progress) -> String {
    let (rate, rest) = pace(progress.done, progress.planned, progress.elapsed);
    let rest = rest.map_or_else(String::new, |rest| format!(", {} to go", human(rest)));
    format!(
        "[{}] {}/{} contratacoes, {} failed, {rate:.1}/s{rest}",
        human(progress.elapsed),
        progress.done,
        progress.planned,
        progress.failed
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::Shared;
    use super::*;

    #[test]
    fn a_line_per_interval_and_one_at_the_end() {
        let shared = Shared::default();
        let observer = LineObserver::new(shared.clone());
        for (done, seconds) in [(1, 1), (20, 10), (21, 11), (39, 19), (40, 21), (50, 25)] {
            let elapsed = Duration::from_secs(seconds);
            observer.on_event(&Event::Progress(Progress {
                done,
                planned: 50,
                failed: 1,
                elapsed,
            }));
        }
        let expected = "[10.0s] 20/50 contratacoes, 1 failed, 2.0/s, 15.0s to go\n\
                        [21.0s] 40/50 contratacoes, 1 failed, 1.9/s, 5.2s to go\n\
                        [25.0s] 50/50 contratacoes, 1 failed, 2.0/s, 0.0s to go\n";
        assert_eq!(shared.text(), expected);
    }
}
