//! A save and its repetitions; a failure on its way into the quarantine.

use std::sync::Arc;
use std::time::Duration;

use crate::{Checkpoint, DetailKey, Event, FailedFacet, FetchFailure, Ingester, Saved, SinkError};

/// A save that ended.
pub(crate) struct SaveEnd {
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) result: std::result::Result<Saved, SinkError>,
    pub(crate) attempts: u32,
    pub(crate) took: Duration,
    pub(crate) is_final: bool,
}

/// Saves a checkpoint; what may pass is tried again, as the options say.
pub(crate) async fn save_with_retries(
    ingester: &Ingester,
    checkpoint: Arc<Checkpoint>,
    is_final: bool,
) -> SaveEnd {
    let started = ingester.clock.elapsed();
    let mut wait = ingester.options.save_backoff;
    let mut attempts = 1;
    let result = loop {
        match ingester.sink.save(Arc::clone(&checkpoint)).await {
            Err(error) if error.is_transient() && attempts < ingester.options.save_attempts => {
                let reason = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                let event = Event::SaveRetried {
                    number: checkpoint.number,
                    attempt: attempts,
                    reason: &reason,
                    wait,
                };
                ingester.observer.on_event(&event);
                ingester.clock.sleep(wait).await;
                wait = wait.saturating_mul(2);
                attempts += 1;
            }
            result => break result,
        }
    };
    let took = ingester.clock.elapsed().saturating_sub(started);
    SaveEnd {
        checkpoint,
        result,
        attempts,
        took,
        is_final,
    }
}

/// What is set aside of a failure.
pub(crate) fn failed_facet(
    key: &DetailKey,
    facet: &'static str,
    failure: FetchFailure,
    at: chrono::DateTime<chrono::Utc>,
) -> FailedFacet {
    let payload = failure.payload.map(|bytes| {
        let kept = bytes.len().min(FailedFacet::MAX_PAYLOAD_BYTES);
        String::from_utf8_lossy(&bytes[..kept]).into_owned()
    });
    FailedFacet {
        key: key.key.to_string(),
        version: key.version.as_deref().map(ToOwned::to_owned),
        facet: facet.to_owned(),
        reason: failure.reason,
        kind: failure.kind,
        attempts: failure.stats.calls,
        runs: 1,
        payload,
        at,
    }
}
