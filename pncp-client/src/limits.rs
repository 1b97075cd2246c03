use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::aimd::{Aimd, Objection, Slot};
use crate::endpoint::Family;
use crate::error::Result;
use crate::settings::ClientSettings;

/// Times that a place in time that was slept through is given back.
const RETAKEN_MAX: u32 = 3;

/// The pace of each family, and how many requests are in flight.
///
/// Clones share it: give one to every client of a process, so that together they keep the
/// server's limits.
#[derive(Debug, Clone)]
pub struct RateLimits {
    list: Arc<Gate>,
    detail: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    pace: Mutex<Aimd>,
    room: Arc<Semaphore>,
}

/// Leave to send one request; the room is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    slot: Slot,
    _room: OwnedSemaphorePermit,
    /// How long it was waited for.
    pub(crate) waited: Duration,
}

impl RateLimits {
    /// Fresh limits.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the settings are.
    pub fn new(settings: &ClientSettings) -> Result<Self> {
        settings.validate()?;
        let gate = |family| {
            let settings = settings.family(family);
            Arc::new(Gate {
                pace: Mutex::new(Aimd::new(settings)),
                room: Arc::new(Semaphore::new(settings.concurrency_max)),
            })
        };
        Ok(Self {
            list: gate(Family::List),
            detail: gate(Family::Detail),
        })
    }

    /// Whether this family does nothing but refuse.
    pub(crate) fn shut(&self, family: Family) -> bool {
        self.gate(family).pace().shut()
    }

    /// The present rate in requests per second.
    pub fn current(&self, family: Family) -> f64 {
        self.gate(family).pace().rate()
    }

    /// How much is left of a pause that the server asked for.
    pub fn paused_for(&self, family: Family) -> Option<Duration> {
        self.gate(family).pace().paused_for(Instant::now())
    }

    /// Lets nothing of this family out for this long.
    pub fn pause(&self, family: Family, wait: Duration) {
        self.gate(family).pace().pause(Instant::now() + wait);
    }

    /// Waits for leave to send.
    ///
    /// # Errors
    /// What is left of a pause that does not end before `deadline`.
    pub(crate) async fn acquire(
        &self,
        family: Family,
        deadline: Instant,
    ) -> Result<Permit, Duration> {
        let gate = Arc::clone(self.gate(family));
        let begun = Instant::now();
        let room = match Arc::clone(&gate.room).acquire_owned().await {
            Ok(room) => room,
            Err(_closed) => unreachable!("the semaphore is never closed"),
        };
        let mut taken = 0;
        loop {
            let now = Instant::now();
            let slot = {
                let mut pace = gate.pace();
                if let Some(left) = pace.paused_for(now).filter(|&left| now + left > deadline) {
                    return Err(left);
                }
                pace.slot(now)
            };
            if slot.at > now {
                tokio::time::sleep_until(slot.at).await;
            }
            let now = Instant::now();
            taken += 1;
            if gate.pace().confirm(slot, taken > RETAKEN_MAX, now) {
                return Ok(Permit {
                    slot,
                    _room: room,
                    waited: now - begun,
                    gate,
                });
            }
        }
    }

    fn gate(&self, family: Family) -> &Arc<Gate> {
        match family {
            Family::List => &self.list,
            Family::Detail => &self.detail,
        }
    }
}

impl Gate {
    fn pace(&self) -> MutexGuard<'_, Aimd> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    pub(crate) fn succeeded(&self) {
        self.gate.pace().succeeded(self.slot);
    }

    /// The new rate, if it fell.
    pub(crate) fn objected(&self, objection: Objection) -> Option<f64> {
        let mut pace = self.gate.pace();
        pace.objected(self.slot, objection, Instant::now())
            .then(|| pace.rate())
    }

    /// Counts a page of the firewall; true if it is one too many in a row.
    pub(crate) fn walled(&self) -> bool {
        self.gate.pace().walled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_leaves_inside_a_pause() {
        let limits = RateLimits::new(&ClientSettings::default()).unwrap();
        let far = Instant::now() + Duration::from_secs(3600);
        let begun = Instant::now();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let limits = limits.clone();
                tokio::spawn(async move {
                    limits.acquire(Family::List, far).await.unwrap();
                    Instant::now()
                })
            })
            .collect();
        tokio::task::yield_now().await;
        limits.pause(Family::List, Duration::from_secs(30));
        let mut times = Vec::new();
        for task in waiting {
            times.push((task.await.unwrap() - begun).as_secs_f64());
        }
        let inside = times.iter().filter(|&&t| t > 0.1 && t < 30.0).count();
        assert_eq!(inside, 0, "{times:?}");
        // The other family goes on.
        assert_eq!(limits.paused_for(Family::Detail), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_beyond_the_deadline_is_told() {
        let limits = RateLimits::new(&ClientSettings::default()).unwrap();
        limits.pause(Family::Detail, Duration::from_secs(100));
        let deadline = Instant::now() + Duration::from_secs(10);
        let left = limits.acquire(Family::Detail, deadline).await.unwrap_err();
        assert_eq!(left.as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_given_back() {
        let mut settings = ClientSettings::default();
        settings.detail.concurrency_max = 2;
        settings.detail.requests_per_second_max = 1e6;
        settings.detail.requests_per_second_start = 1e6;
        let limits = RateLimits::new(&settings).unwrap();
        let far = Instant::now() + Duration::from_secs(10);
        let first = limits.acquire(Family::Detail, far).await.unwrap();
        let _second = limits.acquire(Family::Detail, far).await.unwrap();
        let third =
            tokio::time::timeout(Duration::from_secs(1), limits.acquire(Family::Detail, far));
        assert!(third.await.is_err());
        drop(first);
        assert!(limits.acquire(Family::Detail, far).await.is_ok());
    }
}
