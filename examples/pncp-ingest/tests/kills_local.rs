//! The real command, killed with SIGKILL again and again on a local folder, and resumed until the day is done.
//!
//! `KILLS` sets how many kills count (200 in CI), `KILLS_SEED` the sequence of draws.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bronze_storage::{BronzeConfig, BronzeStore};
use pncp_sim::{Latency, Route, Sim};
use support::kills::{Dice, Falls, Moment, Step, Write, kills, setting};
use support::probe::{Seen, look};
use support::victim::Victim;
use support::{Ended, Lakehouse, compare_many};

const PURCHASES: u32 = 60;
const EVERY: u64 = 10;
const CONCURRENCY: u64 = 4;
/// Contratações that are fetched and not yet safe, at most.
const UNSAFE: u64 = EVERY + CONCURRENCY;

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    Never,
    /// So long after the start.
    At(Duration),
    /// So long after the `nth` new file of this kind, staged or in its place, was seen.
    File {
        write: Write,
        staged: bool,
        nth: u64,
        then: Duration,
    },
}

/// A file of the store: its name, and what tells another version of it.
type Files = HashMap<String, (u64, i64)>;

fn files(store: &Path) -> Files {
    let mut found = Files::new();
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        // What is gone before it was looked at was a staged file.
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().to_string_lossy().into_owned();
                found.insert(name, (metadata.ino(), metadata.mtime_nsec()));
            }
        }
    }
    found
}

/// What a file is, and whether it is still staged: `name#1`.
fn kind(name: &str) -> Option<(Write, bool)> {
    let (name, staged) = match name.rsplit_once('#') {
        Some((name, _)) => (name, true),
        None => (name, false),
    };
    let write = if name.ends_with("/details.parquet") {
        Write::Merge
    } else if name.contains("/_state/") {
        Write::Snapshot
    } else if name.ends_with(".part") || name.ends_with(".parquet") {
        Write::Entry
    } else {
        return None;
    };
    Some((write, staged))
}

/// New files of `after` of one kind.
fn new_files(before: &Files, after: &Files, wanted: (Write, bool)) -> u64 {
    let new = after.iter().filter(|(name, version)| {
        kind(name) == Some(wanted) && before.get(*name) != Some(*version)
    });
    new.count() as u64
}

/// Watches until the trigger, kills, and waits for the end; none if the kill came first.
fn watch(victim: &Victim, store: &Path, before: &Files, trigger: Trigger) -> Option<Ended> {
    let started = Instant::now();
    let (mut seen, mut staged_before) = (0, HashMap::new());
    loop {
        if victim.ended().is_some() {
            return victim.wait();
        }
        let due = match trigger {
            Trigger::Never => false,
            Trigger::At(after) => started.elapsed() >= after,
            Trigger::File {
                write,
                staged,
                nth,
                then,
            } => {
                let now = files(store);
                // A staged file goes again: each is counted when it is first seen.
                for (name, version) in &now {
                    let is_new = kind(name) == Some((write, staged))
                        && before.get(name) != Some(version)
                        && staged_before.insert(name.clone(), *version) != Some(*version);
                    seen += u64::from(is_new);
                }
                let due = seen >= nth;
                if due {
                    std::thread::sleep(then);
                }
                due
            }
        };
        if due {
            victim.kill();
            return victim.wait();
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// The job on one day, from nothing to done.
struct Round {
    lakehouse: Lakehouse,
    store: BronzeStore,
    daily_done: bool,
    details_done: bool,
    merged: bool,
    details_kills: u64,
    daily_kills: u64,
}

impl Round {
    async fn start(seed: u64) -> Self {
        let latency = Latency::Fixed(Duration::from_millis(2));
        let sim = Sim::builder().synthetic(PURCHASES).seed(seed);
        let sim = sim.max_itens(40).latency(latency).start().await.unwrap();
        let lakehouse = Lakehouse::new(sim);
        let config = BronzeConfig::local(lakehouse.folder.path().join("lakehouse"));
        Self {
            store: BronzeStore::open(&config).unwrap(),
            lakehouse,
            daily_done: false,
            details_done: false,
            merged: false,
            details_kills: 0,
            daily_kills: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.daily_done && self.details_done && self.merged
    }

    fn next(&self, dice: &mut Dice, seen: &Seen) -> Step {
        let unmerged = seen.merged < seen.details.entries;
        if !self.daily_done {
            Step::Daily
        } else if self.details_done || (unmerged && dice.once_in(4)) {
            Step::Merge
        } else if dice.once_in(3) {
            Step::SomeDetails
        } else {
            Step::Details
        }
    }

    /// Runs a step; none if it was killed.
    async fn run(&mut self, step: Step, trigger: Trigger, before: Files) -> Option<Ended> {
        let args = step.args(EVERY, CONCURRENCY);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let victim = Victim::start(
            self.lakehouse.command(&args),
            self.lakehouse.folder.path(),
            "attempt",
        );
        let store = self.lakehouse.store();
        let ended =
            tokio::task::spawn_blocking(move || watch(&victim, &store, &before, trigger)).await;
        let Some(ended) = ended.unwrap() else {
            self.details_kills += u64::from(step.fetches());
            self.daily_kills += u64::from(step == Step::Daily);
            return None;
        };
        let ended = ended.expect_code(0);
        match step {
            Step::Daily => self.daily_done = true,
            Step::Details | Step::SomeDetails => self.details_done = ended.last["complete"] == true,
            Step::Merge => self.merged = self.details_done,
        }
        Some(ended)
    }

    /// Calls for details: those that ended in the log, and at most a checkpoint and what was in flight for each kill.
    fn assert_calls(&self, seen: &Seen) -> u64 {
        let stats = self.lakehouse.sim.stats();
        let calls = stats.requests(Route::Itens) + stats.requests(Route::Arquivos);
        let bound = seen.details.ids + self.details_kills * 2 * UNSAFE;
        assert!(
            calls <= bound,
            "{calls} calls for {} facets and {} kills",
            seen.details.ids,
            self.details_kills
        );
        calls.saturating_sub(seen.details.ids)
    }
}

/// Where a kill fell, from what the store held before and after.
fn note(falls: &mut Falls, step: Step, seen: (&Seen, &Seen), files: (&Files, &Files)) {
    let (before, after) = seen;
    let (log_before, log, all) = match step {
        Step::Daily => (&before.bronze, &after.bronze, u64::from(PURCHASES)),
        _ => (&before.details, &after.details, 2 * u64::from(PURCHASES)),
    };
    let staged = Write::ALL.map(|write| (write, new_files(files.0, files.1, (write, true)) > 0));
    for (write, _) in staged.iter().filter(|(_, staged)| *staged) {
        falls.add(*write, Moment::Within);
    }
    let nothing_staged = staged.iter().all(|(_, staged)| !staged);
    let behind = log.snapshot < log.entries;
    if step != Step::Merge {
        if log.entries > log_before.entries && behind {
            falls.add(Write::Entry, Moment::After);
        }
        if log.ids < all && nothing_staged {
            falls.add(Write::Entry, Moment::Before);
        }
        if log.ids == all && behind && nothing_staged {
            falls.add(Write::Snapshot, Moment::Before);
        }
        if log.snapshot > log_before.snapshot {
            falls.add(Write::Snapshot, Moment::After);
        }
    }
    if step != Step::Daily {
        if after.merged > before.merged {
            falls.add(Write::Merge, Moment::After);
        } else if !behind && after.merged < log.entries && nothing_staged {
            falls.add(Write::Merge, Moment::Before);
        }
    }
}

/// Half of the kills at random instants of the command's time, the others around the write and moment that had fewest.
fn aim(dice: &mut Dice, step: Step, usual: Duration, seen: &Seen, falls: &Falls) -> Trigger {
    let micros = u64::try_from(usual.as_micros()).unwrap();
    if dice.once_in(2) {
        return Trigger::At(Duration::from_micros(dice.below(micros)));
    }
    let wanted = step.writes().iter().copied();
    let wanted = wanted.flat_map(|write| Moment::ALL.map(|moment| (write, moment)));
    let (write, moment) = wanted
        .min_by_key(|(write, moment)| (falls.count(*write, *moment), dice.draw()))
        .unwrap();
    let snapshots = if step == Step::Daily { 1 } else { 2 };
    let left = (2 * u64::from(PURCHASES)).saturating_sub(seen.details.ids) / 2;
    let last_entry = if step == Step::Daily {
        1
    } else {
        left.div_ceil(EVERY).max(1)
    };
    let (write, staged, nth) = match (write, moment) {
        (Write::Entry, Moment::Before) => {
            return Trigger::At(Duration::from_micros(dice.below(micros)));
        }
        (Write::Merge, Moment::Before) if step == Step::Merge => {
            return Trigger::At(Duration::from_micros(dice.below(micros)));
        }
        (Write::Entry, Moment::Within) => (Write::Entry, true, 1 + dice.below(last_entry.min(2))),
        (Write::Entry, Moment::After) => (Write::Entry, false, 1 + dice.below(last_entry.min(2))),
        (Write::Snapshot, Moment::Before) => (Write::Entry, false, last_entry),
        (Write::Snapshot, Moment::Within) => (Write::Snapshot, true, 1 + dice.below(snapshots)),
        (Write::Snapshot, Moment::After) => (Write::Snapshot, false, snapshots),
        (Write::Merge, Moment::Before) => (Write::Snapshot, false, snapshots),
        (Write::Merge, Moment::Within) => (Write::Merge, true, 1),
        (Write::Merge, Moment::After) => (Write::Merge, false, 1),
    };
    Trigger::File {
        write,
        staged,
        nth,
        then: Duration::from_micros(dice.pick(&[0, 0, 0, 200, 1_000])),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_instant_a_day_on_a_local_folder_ends_whole() {
    let (wanted, seed) = (kills(60), setting("KILLS_SEED", 1));
    let mut dice = Dice::new(seed);
    let mut usual: HashMap<Step, Duration> = HashMap::new();
    let (mut falls, mut kills, mut wasted) = (Falls::default(), 0, 0);
    let started = Instant::now();
    let mut rounds = Vec::new();
    while kills < wanted || rounds.is_empty() {
        let mut round = Round::start(seed.wrapping_add(rounds.len() as u64)).await;
        let mut before = Seen::default();
        while !round.is_done() {
            let step = round.next(&mut dice, &before);
            let files_before = files(&round.lakehouse.store());
            // The first round tells how long a command takes.
            let trigger = match usual.get(&step) {
                // Daily has the fewest writes: three kills of it a day are enough.
                Some(usual)
                    if kills < wanted
                        && !rounds.is_empty()
                        && (step != Step::Daily || round.daily_kills < 3) =>
                {
                    aim(&mut dice, step, *usual, &before, &falls)
                }
                _ => Trigger::Never,
            };
            let begun = Instant::now();
            let ended = round.run(step, trigger, files_before.clone()).await;
            let after = look(&round.store).await;
            if ended.is_some() {
                let longest = usual.entry(step).or_default();
                *longest = begun.elapsed().max(*longest);
            } else {
                kills += 1;
                let files_after = files(&round.lakehouse.store());
                note(
                    &mut falls,
                    step,
                    (&before, &after),
                    (&files_before, &files_after),
                );
            }
            assert!(
                after.bronze.ids >= before.bronze.ids,
                "{before:?} {after:?}"
            );
            assert!(
                after.details.ids >= before.details.ids,
                "{before:?} {after:?}"
            );
            round.assert_calls(&after);
            before = after;
        }
        assert_eq!(before.bronze.ids, u64::from(PURCHASES));
        assert_eq!(before.details.ids, 2 * u64::from(PURCHASES));
        assert_eq!(before.merged, before.details.entries);
        wasted += round.assert_calls(&before);
        rounds.push(round);
    }
    eprintln!(
        "{kills} kills in {} days and {:.0} s: {falls}{wasted} calls were made again.",
        rounds.len() - 1,
        started.elapsed().as_secs_f64()
    );
    let pairs: Vec<_> = rounds
        .iter()
        .map(|round| (round.lakehouse.store(), round.lakehouse.write_truth()))
        .collect();
    let reports = tokio::task::spawn_blocking(move || compare_many(&pairs)).await;
    for report in reports.unwrap().unwrap_or_default() {
        assert_eq!(report["contratacoes"], PURCHASES);
        assert_eq!(report["details"], PURCHASES);
    }
    if kills >= 50 {
        falls.assert_everywhere();
    }
}
