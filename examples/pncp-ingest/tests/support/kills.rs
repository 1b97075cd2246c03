//! The commands that are killed, where kills fell, and the draws that decide where the next one is aimed.

use std::collections::BTreeMap;
use std::fmt;

use super::DAY;

/// A command of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Daily,
    Details,
    /// Two checkpoints of the details: the merge then comes in the middle of the day's work.
    SomeDetails,
    Merge,
}

impl Step {
    pub fn args(self, every: u64, concurrency: u64) -> Vec<String> {
        let details =
            format!("details --date {DAY} --checkpoint-every {every} --concurrency {concurrency}");
        let text = match self {
            Self::Daily => format!("daily --date {DAY}"),
            Self::Details => details,
            Self::SomeDetails => format!("{details} --batch-size {}", 2 * every),
            Self::Merge => format!("merge --date {DAY}"),
        };
        text.split(' ').map(str::to_owned).collect()
    }

    /// Whether it asks for details.
    pub fn fetches(self) -> bool {
        matches!(self, Self::Details | Self::SomeDetails)
    }

    /// Where a kill of this command can fall.
    pub fn writes(self) -> &'static [Write] {
        match self {
            Self::Daily => &[Write::Entry, Write::Snapshot],
            Self::Details | Self::SomeDetails => &Write::ALL,
            Self::Merge => &[Write::Merge],
        }
    }
}

/// What a process was killed around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    /// A log entry: the commit itself.
    Entry,
    /// A snapshot of a log.
    Snapshot,
    /// `details.parquet`.
    Merge,
}

/// When, as to that write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    Before,
    Within,
    After,
}

impl Write {
    pub const ALL: [Self; 3] = [Self::Entry, Self::Snapshot, Self::Merge];
}

impl Moment {
    pub const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];
}

/// How many kills fell where.
#[derive(Debug, Default)]
pub struct Falls(BTreeMap<(Write, Moment), u32>);

impl Falls {
    pub fn add(&mut self, write: Write, moment: Moment) {
        *self.0.entry((write, moment)).or_default() += 1;
    }

    pub fn count(&self, write: Write, moment: Moment) -> u32 {
        self.0.get(&(write, moment)).copied().unwrap_or(0)
    }

    /// Fails unless kills fell before, within and after each kind of write.
    pub fn assert_everywhere(&self) {
        for write in Write::ALL {
            for moment in Moment::ALL {
                assert!(
                    self.count(write, moment) > 0,
                    "no kill fell {moment:?} {write:?}: {self}"
                );
            }
        }
    }
}

impl fmt::Display for Falls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for write in Write::ALL {
            let [before, within, after] = Moment::ALL.map(|moment| self.count(write, moment));
            write!(
                f,
                "{write:?}: {before} before, {within} within, {after} after. "
            )?;
        }
        Ok(())
    }
}

/// A sequence of draws that a seed decides (splitmix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// How many kills a run makes: `KILLS`, which is [`ALL`] in CI, or as few as everyday tests have time for.
pub fn kills(everyday: u64) -> u64 {
    setting("KILLS", everyday)
}

/// From so many kills on, a run leaves nothing out.
pub const ALL: u64 = 200;

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}=`{text}` is no number")),
        Err(_) => default,
    }
}
