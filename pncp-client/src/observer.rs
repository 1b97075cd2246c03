use std::fmt;
use std::time::Duration;

use crate::endpoint::{Endpoint, Family};
use crate::retry::{Action, Answered};

/// Something that happened in a client.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// One request came to its end.
    Request {
        /// The endpoint.
        endpoint: Endpoint,
        /// Path and query.
        target: &'a str,
        /// 1 for the first request of a call.
        attempt: u32,
        /// What came back.
        answered: Answered,
        /// What that meant.
        action: Action,
        /// Bytes of the body, decompressed.
        body_bytes: usize,
        /// From sending to the end of the body.
        elapsed: Duration,
        /// Waited for leave to send.
        waited: Duration,
    },
    /// The call will be made again.
    Retry {
        /// The endpoint.
        endpoint: Endpoint,
        /// Requests so far.
        attempt: u32,
        /// The delay before the next.
        delay: Duration,
    },
    /// A family pauses.
    Paused {
        /// Which.
        family: Family,
        /// For how long.
        wait: Duration,
    },
    /// A family was slowed down.
    Slowed {
        /// Which.
        family: Family,
        /// Its rate now, in requests per second.
        requests_per_second: f64,
    },
}

/// Is told what happens; for metrics. Called in line, so it must be quick.
pub trait ClientObserver: fmt::Debug + Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl ClientObserver for Silent {
    fn on_event(&self, _event: &Event<'_>) {}
}
