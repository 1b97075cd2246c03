use std::fmt;

use chrono::{DateTime, Utc};

/// Tells the date and time, for `fetched_at`, proofs, and dates in `Retry-After`. Waiting goes
/// by tokio's clock, which tests pause.
pub trait WallClock: fmt::Debug + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
