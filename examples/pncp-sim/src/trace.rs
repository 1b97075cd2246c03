//! Recorded series of requests, replayed as the behaviour of the server.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// How long a request is kept without an answer where the recorded client gave up, as a multiple
/// of its patience. A more patient one gets 504 then.
const HELD: u32 = 2;
/// The read timeout of the clients whose logs tell no durations.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// A series of requests that somebody recorded. `data/README.md` says who and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trace {
    /// One connection, 446 requests to consulta (21 times 429, three slow 500, four read
    /// timeouts) and 400 to pncp, with their durations. The n-th request to a base is treated as
    /// the n-th recorded one.
    SequentialCrawl,
    /// Five workers over 697 pages of one list: 63 read timeouts, two 204 in the middle. The
    /// n-th request for a page is treated as the n-th recorded one for the page of that number.
    FiveWorkers,
    /// One week, modality by modality: 66 read timeouts, nine 429, a 400 on a valid page, and a
    /// modality without any purchase (204). As above, by modality and page.
    WeekAllModalities,
}

const NAMES: [(Trace, &str); 3] = [
    (Trace::SequentialCrawl, "sequential-crawl"),
    (Trace::FiveWorkers, "five-workers"),
    (Trace::WeekAllModalities, "week-all-modalities"),
];

impl Trace {
    /// Every trace that there is.
    pub const ALL: [Self; 3] = [
        Self::SequentialCrawl,
        Self::FiveWorkers,
        Self::WeekAllModalities,
    ];

    /// Its spelling on the command line.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(trace, _)| *trace == self)
            .map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Trace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found
            .map(|(trace, _)| *trace)
            .ok_or_else(|| Error::Setting {
                setting: "trace",
                value: text.to_owned(),
                reason: "known are sequential-crawl, five-workers, week-all-modalities".to_owned(),
            })
    }
}

/// What came of a recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) after: Duration,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The right answer.
    Right,
    /// This status instead of it.
    Status(u16),
    /// Nothing, for longer than the client cared to wait.
    Timeout,
}

impl Outcome {
    /// Its name in the statistics.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Right => None,
            Self::Status(204) => Some("trace-204"),
            Self::Status(400) => Some("trace-400"),
            Self::Status(429) => Some("trace-429"),
            Self::Status(_) => Some("trace-5xx"),
            Self::Timeout => Some("trace-timeout"),
        }
    }
}

/// Modality and page of a list.
pub(crate) type PageOf = (Option<u32>, u64);

/// A trace, and how far it has been replayed.
#[derive(Debug)]
pub(crate) struct Replayer {
    scale: f64,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    /// By base, in order.
    InOrder([(Vec<Event>, AtomicUsize); 2]),
    /// By page, each in order.
    ByPage {
        with_modality: bool,
        events: HashMap<PageOf, Vec<Event>>,
        taken: Mutex<HashMap<PageOf, usize>>,
    },
}

impl Replayer {
    pub(crate) fn new(trace: Trace, scale: f64) -> Self {
        let rows = match trace {
            Trace::SequentialCrawl => in_order(include_str!("../data/traces/sequential-crawl.txt")),
            Trace::FiveWorkers => by_page(include_str!("../data/traces/five-workers.txt"), false),
            Trace::WeekAllModalities => {
                by_page(include_str!("../data/traces/week-all-modalities.txt"), true)
            }
        };
        Self { scale, rows }
    }

    pub(crate) fn reset(&self) {
        match &self.rows {
            Rows::InOrder(bases) => {
                for (_, next) in bases {
                    next.store(0, Ordering::Relaxed);
                }
            }
            Rows::ByPage { taken, .. } => {
                taken.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
        }
    }

    /// What happens to the next request to this base, or for this page; `None` when the
    /// recording is over.
    pub(crate) fn next(&self, base: usize, page: Option<PageOf>) -> Option<Event> {
        let event = match &self.rows {
            Rows::InOrder(bases) => {
                let (events, next) = &bases[base];
                *events.get(next.fetch_add(1, Ordering::Relaxed))?
            }
            Rows::ByPage {
                with_modality,
                events,
                taken,
            } => {
                let (modality, page) = page?;
                let page = (modality.filter(|_| *with_modality), page);
                let events = events.get(&page)?;
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                let nth = taken.entry(page).or_default();
                *nth += 1;
                *events.get(*nth - 1)?
            }
        };
        Some(Event {
            after: event.after.mul_f64(self.scale.max(0.0)),
            ..event
        })
    }
}

/// Lines of base, milliseconds, outcome.
fn in_order(text: &str) -> Rows {
    let of = |base: &str| -> (Vec<Event>, AtomicUsize) {
        let lines = text.lines().filter_map(|line| line.strip_prefix(base));
        let events = lines.filter_map(|line| {
            let (ms, outcome) = line.trim().split_once(' ')?;
            let recorded = Duration::from_millis(ms.parse().ok()?);
            Some(match outcome {
                "timeout" => Event {
                    after: recorded * HELD,
                    outcome: Outcome::Timeout,
                },
                // There was nothing to answer: here it depends on what is asked.
                "200" | "204" => Event {
                    after: recorded,
                    outcome: Outcome::Right,
                },
                status => Event {
                    after: recorded,
                    outcome: Outcome::Status(status.parse().ok()?),
                },
            })
        });
        (events.collect(), AtomicUsize::new(0))
    };
    Rows::InOrder([of("consulta "), of("pncp ")])
}

/// Lines of modality (or `-`), page, outcome.
fn by_page(text: &str, with_modality: bool) -> Rows {
    let mut events: HashMap<PageOf, Vec<Event>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(modality), Some(page), Some(outcome)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (Ok(page), modality) = (page.parse(), modality.parse().ok()) else {
            continue;
        };
        let (after, outcome) = match outcome {
            "ok" => (Duration::ZERO, Outcome::Right),
            "timeout" => (READ_TIMEOUT * HELD, Outcome::Timeout),
            status => match status.parse() {
                Ok(status) => (Duration::ZERO, Outcome::Status(status)),
                Err(_) => continue,
            },
        };
        let of_page = events.entry((modality, page)).or_default();
        of_page.push(Event { after, outcome });
    }
    Rows::ByPage {
        with_modality,
        events,
        taken: Mutex::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for trace in Trace::ALL {
            assert_eq!(trace.name().parse::<Trace>().unwrap(), trace);
        }
        assert!("yesterday".parse::<Trace>().is_err());
    }

    #[test]
    fn all_that_was_recorded_comes_in_order() {
        let crawl = Replayer::new(Trace::SequentialCrawl, 0.5);
        let consulta: Vec<_> = std::iter::from_fn(|| crawl.next(0, None)).collect();
        let pncp: Vec<_> = std::iter::from_fn(|| crawl.next(1, None)).collect();
        assert_eq!((consulta.len(), pncp.len()), (446, 400));
        let count = |wanted| consulta.iter().filter(|e| e.outcome == wanted).count();
        assert_eq!(count(Outcome::Status(429)), 21);
        assert_eq!(count(Outcome::Status(500)), 3);
        assert_eq!(count(Outcome::Timeout), 4);
        assert_eq!(consulta[0].after, Duration::from_millis(178));
        crawl.reset();
        assert_eq!(crawl.next(0, None), Some(consulta[0]));
    }

    #[test]
    fn each_page_has_its_own_history() {
        let outcomes = |trace, page| -> Vec<Outcome> {
            let replayer = Replayer::new(trace, 0.001);
            std::iter::from_fn(|| replayer.next(0, Some(page)))
                .map(|event| event.outcome)
                .collect()
        };
        use Outcome::{Right, Status, Timeout};
        assert_eq!(
            outcomes(Trace::FiveWorkers, (Some(6), 6)),
            [Status(204), Timeout, Right]
        );
        assert_eq!(
            outcomes(Trace::WeekAllModalities, (Some(8), 307)),
            [Status(400), Timeout, Right]
        );
        assert_eq!(outcomes(Trace::WeekAllModalities, (Some(6), 307)), []);
    }
}
