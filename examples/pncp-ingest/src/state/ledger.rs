//! The ledger of a day's executions, as far as the audit trail is made from it.

use chrono::{DateTime, SecondsFormat, Utc};
use ingest_state::{ExecutionRecord, Log, Scope, filter_rate};
use serde_json::{Map, Value};

use crate::context::{LEDGER, PNCP, day_folder};
use crate::failure::Failure;
use crate::say::tell;

/// What `daily` wrote of an execution; `None` if it lacks something.
fn record(ledger: &Value) -> Option<ExecutionRecord> {
    let text = |name: &str| ledger[name].as_str().map(str::to_owned);
    let number = |name: &str| ledger[name].as_u64();
    let finished: DateTime<Utc> = ledger["finished_at"].as_str()?.parse().ok()?;
    let (new, duplicates) = (number("new_records")?, number("duplicates_filtered")?);
    let entries = ledger["entries"].as_array()?.iter();
    let verdict = ("verdict".to_owned(), text("verdict")?.into());
    Some(ExecutionRecord {
        timestamp: finished.to_rfc3339_opts(SecondsFormat::Secs, true),
        new_records: new,
        duplicates_filtered: duplicates,
        filter_rate: filter_rate(duplicates, new),
        execution: Some(text("execution")?),
        files: entries
            .map(|key| key.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        metadata: Map::from_iter([verdict]),
    })
}

/// The day's executions by the ledger, oldest first; none for a source that keeps no ledger.
///
/// A file of it that cannot be read is told, and left out: its execution is then taken from where
/// it is known besides.
pub(super) async fn executions(log: &Log, scope: &Scope) -> Result<Vec<ExecutionRecord>, Failure> {
    if scope.source() != PNCP {
        return Ok(Vec::new());
    }
    let failed = |error: ingest_state::StoreError| Failure::of("reading the ledger", &error);
    let folder = day_folder(LEDGER, scope.date());
    let listed = log.store().list(&folder).await.map_err(failed)?;
    let mut keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    // Their names begin with the time.
    keys.sort_unstable();
    let mut executions = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(object) = log.store().get(&key).await.map_err(failed)? else {
            continue;
        };
        let ledger: Option<Value> = serde_json::from_slice(&object.bytes).ok();
        let date = ledger.as_ref().and_then(|ledger| ledger["date"].as_str());
        if date.is_some_and(|date| date != scope.date().to_string()) {
            tell!("⚠️  {key} is of another day, as it says: left out");
            continue;
        }
        match ledger.as_ref().and_then(record) {
            Some(record) => executions.push(record),
            None => tell!("⚠️  {key} is no ledger of an execution: left out"),
        }
    }
    Ok(executions)
}
