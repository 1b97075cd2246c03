//! What could not be had, one object per key and facet.

use bronze_storage::BronzeStore;
use bytes::Bytes;
use chrono::{DateTime, Duration, NaiveDate, Utc};

use super::sink::storage_error;
use crate::{Candidate, FailedFacet, FailureKind, KeyList, KeyListFull, SinkError};

/// A failure as it lies in the quarantine.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    /// Its object's key.
    pub object: String,
    /// What failed and why; `attempts` counts over all runs.
    pub failure: FailedFacet,
}

/// The folder of a day's quarantine.
fn folder(source: &str, date: NaiveDate) -> String {
    format!(
        "{source}/_quarantine/{}",
        date.format("year=%Y/month=%m/day=%d")
    )
}

/// The object of a key and facet: always the same, so that a failure that repeats itself takes no further space.
pub(crate) fn object_key(source: &str, date: NaiveDate, key: &str, facet: &str) -> String {
    // A key holds characters that stores treat differently; its bytes in hexadecimal are safe, and reversible.
    let safe: String = key
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
            b'|' => "-".to_owned(),
            other => format!("_{other:02x}"),
        })
        .collect();
    format!("{}/{safe}.{facet}.json", folder(source, date))
}

/// Sets a failure aside, adding the attempts of earlier runs to its own.
pub(crate) async fn put(
    store: &BronzeStore,
    source: &str,
    date: NaiveDate,
    failure: &FailedFacet,
) -> Result<String, SinkError> {
    let object = object_key(source, date, &failure.key, &failure.facet);
    let before = match read_quarantine(store, &object).await {
        Ok(before) => before.map_or((0, 0), |before| {
            (before.failure.attempts, before.failure.runs)
        }),
        Err(error) if error.is_transient() => return Err(error),
        // An unreadable note is replaced by a readable one.
        Err(_) => (0, 0),
    };
    let mut failure = failure.clone();
    failure.attempts = failure.attempts.saturating_add(before.0);
    failure.runs = failure.runs.saturating_add(before.1);
    let body =
        serde_json::to_vec(&failure).map_err(|error| SinkError::permanent("quarantine", error))?;
    store
        .put(&object, Bytes::from(body))
        .await
        .map_err(|error| storage_error("quarantine", error))?;
    Ok(object)
}

/// The quarantine of a day, by key.
///
/// # Errors
/// [`SinkError`] if it cannot be listed or a note in it cannot be read.
pub async fn list_quarantine(
    store: &BronzeStore,
    source: &str,
    date: NaiveDate,
) -> Result<Vec<Quarantined>, SinkError> {
    let objects = store
        .list(&folder(source, date))
        .await
        .map_err(|error| storage_error("list quarantine", error))?;
    let mut found = Vec::with_capacity(objects.len());
    for object in objects {
        found.extend(read_quarantine(store, &object.key).await?);
    }
    Ok(found)
}

/// One failure, [`None`] if there is no such object.
///
/// # Errors
/// [`SinkError`] if the store failed or the object is no such note.
pub async fn read_quarantine(
    store: &BronzeStore,
    object: &str,
) -> Result<Option<Quarantined>, SinkError> {
    let bytes = match store.get(object).await {
        Ok((bytes, _)) => bytes,
        Err(bronze_storage::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(storage_error("read quarantine", error)),
    };
    let failure = serde_json::from_slice(&bytes)
        .map_err(|error| SinkError::permanent("read quarantine", error))?;
    Ok(Some(Quarantined {
        object: object.to_owned(),
        failure,
    }))
}

/// Forgets a failure. Its facet stays pending: the next run asks for it again.
///
/// # Errors
/// [`SinkError`] if the store failed.
pub async fn discard_quarantine(store: &BronzeStore, object: &str) -> Result<(), SinkError> {
    store
        .delete(object)
        .await
        .map(drop)
        .map_err(|error| storage_error("discard quarantine", error))
}

/// The keys of failures, each once; a run over them with [`crate::Options::retry_set_aside`] tries them all at once.
///
/// # Errors
/// [`KeyListFull`] as [`KeyList::push`].
pub fn replay_keys(quarantine: &[Quarantined]) -> Result<KeyList, KeyListFull> {
    let mut keys = KeyList::new();
    let mut last: Option<&str> = None;
    for Quarantined { failure, .. } in quarantine {
        if last != Some(failure.key.as_str()) {
            last = Some(&failure.key);
            let mut candidate = Candidate::new(&failure.key);
            candidate.version = failure.version.as_deref().map(Into::into);
            keys.push(candidate)?;
        }
    }
    Ok(keys)
}

/// From when on a failure is tried again. Pure.
///
/// The run after the first failure always tries. After that, what may pass waits 15 minutes, doubled for each further
/// run that gave it up, a day at most; what repeats itself waits six hours, then twelve, then a day.
pub fn retry_at(failure: &FailedFacet) -> DateTime<Utc> {
    if let FailureKind::Deferred { until } = failure.kind {
        return until;
    }
    let base = match failure.kind {
        FailureKind::Permanent => Duration::hours(6),
        FailureKind::Transient | FailureKind::Deferred { .. } => Duration::minutes(15),
    };
    let wait = match failure.runs {
        0 | 1 => Duration::zero(),
        runs => (base * (1 << (runs - 2).min(7))).min(Duration::days(1)),
    };
    failure.at + wait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(key: &str, kind: FailureKind, runs: u32) -> Quarantined {
        let failure = FailedFacet {
            key: key.to_owned(),
            version: Some("v".to_owned()),
            facet: "itens".to_owned(),
            reason: "503".to_owned(),
            kind,
            attempts: 5,
            runs,
            payload: None,
            at: DateTime::UNIX_EPOCH,
        };
        Quarantined {
            object: String::new(),
            failure,
        }
    }

    #[test]
    fn failures_are_tried_later_and_later() {
        let minutes = |kind, runs| retry_at(&failed("a", kind, runs).failure).timestamp() / 60;
        assert_eq!(
            [1, 2, 3, 4, 99].map(|runs| minutes(FailureKind::Transient, runs)),
            [0, 15, 30, 60, 1_440]
        );
        assert_eq!(
            [1, 2, 3, 4, 99].map(|runs| minutes(FailureKind::Permanent, runs)),
            [0, 360, 720, 1_440, 1_440]
        );
        let until = DateTime::UNIX_EPOCH + Duration::minutes(7);
        assert_eq!(minutes(FailureKind::Deferred { until }, 9), 7);
    }

    #[test]
    fn a_key_with_two_failed_facets_is_replayed_once() {
        let all = ["a", "a", "b"].map(|key| failed(key, FailureKind::Transient, 1));
        let keys = replay_keys(&all).unwrap();
        assert_eq!(
            keys.iter().map(|key| key.key).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn objects_have_safe_and_different_names() {
        let date = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
        let name = |key| object_key("pncp_details", date, key, "itens");
        assert_eq!(
            name("83102277000152|2025|423"),
            "pncp_details/_quarantine/year=2025/month=10/day=22/83102277000152-2025-423.itens.json"
        );
        assert_ne!(name("a/b"), name("a-b"));
        assert_ne!(name("a|b"), name("a-b"));
    }
}
