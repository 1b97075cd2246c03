//! A live bar on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::pace;
use crate::{Event, Observer};

const TEMPLATE: &str = "{elapsed_precise} [{bar:40}] {pos}/{len} contratacoes {msg} ETA {eta}";

/// A bar with count, rate and expected rest on stderr; nothing where stderr is no terminal.
///
/// Text printed meanwhile should go through [`ProgressBarObserver::writer`], which moves the bar out of its way.
#[derive(Debug)]
pub struct ProgressBarObserver {
    bar: ProgressBar,
}

impl Default for ProgressBarObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressBarObserver {
    /// A bar on stderr.
    pub fn new() -> Self {
        Self::with_draw_target(ProgressDrawTarget::stderr_with_hz(5))
    }

    /// A bar elsewhere.
    pub fn with_draw_target(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style =
            ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        Self { bar }
    }

    /// A writer that hides the bar while it writes to `inner`.
    pub fn writer<W: std::io::Write>(&self, inner: W) -> BarWriter<W> {
        BarWriter {
            bar: self.bar.clone(),
            inner,
        }
    }
}

impl Observer for ProgressBarObserver {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Started(started) => {
                self.bar.set_length(started.planned);
                self.bar.reset();
            }
            Event::Progress(progress) => {
                let (rate, _) = pace(progress.done, progress.planned, progress.elapsed);
                self.bar.set_message(format!("{rate:.1}/s"));
                self.bar.set_position(progress.done);
            }
            Event::Finished(_) => self.bar.finish_and_clear(),
            _ => {}
        }
    }
}

/// Writes whole blocks with the bar out of the way.
#[derive(Debug)]
pub struct BarWriter<W> {
    bar: ProgressBar,
    inner: W,
}

impl<W: std::io::Write> std::io::Write for BarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bar.suspend(|| self.inner.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Progress, Started};

    #[test]
    fn the_bar_shows_count_and_rate() {
        let observer = ProgressBarObserver::with_draw_target(ProgressDrawTarget::hidden());
        let started = Started {
            label: String::new(),
            listed: 100,
            planned: 100,
            already_done: 0,
            checkpoint_every: 50,
            batch_size: None,
            auto_resume: true,
            facets: vec!["itens"],
        };
        observer.on_event(&Event::Started(&started));
        let progress = Progress {
            done: 40,
            planned: 100,
            failed: 0,
            elapsed: Duration::from_secs(10),
        };
        observer.on_event(&Event::Progress(progress));
        assert_eq!(
            (observer.bar.position(), observer.bar.length()),
            (40, Some(100))
        );
        assert_eq!(observer.bar.message(), "4.0/s");
    }
}
