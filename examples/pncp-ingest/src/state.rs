//! `state`: looks into a day's state, proves it against the log, or makes it anew; and `check`.

mod ledger;
mod repair;

use std::io::Read as _;
use std::path::Path;

use bronze_storage::Problem;
use ingest_state::{DayLog, Error, Log, Scope, Warning};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::{State, StateAction};
use crate::context::{Context, DETAILS};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status};

/// A day whose state cannot be used, with what to do about it.
pub(crate) fn refused(error: &Error) -> Failure {
    let failure = Failure::of("reading the day's state", error);
    match error {
        Error::Unreadable { .. } => failure.hint(
            "restore that object from a backup; `pncp-ingest state verify` tells the extent, and \
             `state quarantine-entry` what going on without it means",
        ),
        Error::Gap { .. } => failure.hint(
            "an entry was deleted: restore it from a backup; `pncp-ingest state verify` tells the \
             extent, and `state quarantine-entry` what going on without it means",
        ),
        Error::Newer { .. } => failure.hint("a later release wrote it: use that one"),
        Error::Legacy { .. } => {
            failure.hint("take its ids into the log first: `pncp-ingest state import`")
        }
        Error::StateUnreadable { .. } => failure.hint(
            "nothing was changed. Restore that file (one of the previous system then goes into the \
             log with `pncp-ingest state import`); if its ids are lost or nobody needs them, delete \
             it, and everything of the day counts as new",
        ),
        _ => failure,
    }
}

/// What was put right while the day was loaded.
pub(crate) fn warning_text(warning: &Warning) -> String {
    match warning {
        Warning::SnapshotUnreadable { key, reason } => {
            format!("The snapshot {key} cannot be read ({reason}): rebuilt from the log")
        }
        Warning::SnapshotAhead { snapshot, last } => format!(
            "The snapshot speaks of entry {snapshot}, the log ends at {last}: rebuilt from the log"
        ),
        other => format!("{other:?}"),
    }
}

/// Runs one action on a day's state.
pub(crate) async fn run(context: &Context, args: &State) -> Result<Outcome, Failure> {
    let log = if args.source == DETAILS {
        context.details_log()?
    } else {
        context.contratacoes_log()?
    };
    let scope = context.scope(&args.source, args.date)?;
    match args.action {
        StateAction::Load => load(context, args, &log, &scope).await,
        StateAction::Summary => summary(args, &log, &scope).await,
        StateAction::Filter => filter(args, &log, &scope).await,
        StateAction::Verify => repair::verify(context, args, &log, &scope).await,
        StateAction::Rebuild => repair::rebuild(args, &log, &scope).await,
        StateAction::Import => repair::import(context, args, &log, &scope).await,
        StateAction::QuarantineEntry => repair::quarantine(context, args, &log, &scope).await,
    }
}

fn outcome(args: &State, status: Status) -> Outcome {
    Outcome::new("state", status)
        .with("source", args.source.as_str())
        .with("date", args.date.to_string())
}

async fn day(log: &Log, scope: &Scope) -> Result<DayLog, Failure> {
    log.load(scope).await.map_err(|error| refused(&error))
}

/// Prints the snapshots as they lie in the store.
async fn load(
    context: &Context,
    args: &State,
    log: &Log,
    scope: &Scope,
) -> Result<Outcome, Failure> {
    let mut found = 0;
    for facet in log.layout().facet_names() {
        let key = log.layout().snapshot_key(scope, facet);
        let value: Option<Value> = context
            .store
            .read_json(&key)
            .await
            .map_err(|error| Failure::of("reading the snapshot", &error))?;
        match value {
            Some(value) => {
                found += 1;
                if args.json {
                    println!("{value}");
                } else {
                    println!("{value:#}");
                }
            }
            None => eprintln!("no snapshot yet: {key}"),
        }
    }
    Ok(outcome(args, Status::Complete).with("snapshots", found))
}

/// Totals, executions and filter rates, by facet.
async fn summary(args: &State, log: &Log, scope: &Scope) -> Result<Outcome, Failure> {
    let day = day(log, scope).await?;
    let mut ended = outcome(args, Status::Complete).with("entries", day.last_entry());
    for (number, facet) in log.layout().facet_names().into_iter().enumerate() {
        let number = number as u8;
        let total = day.done().count(number);
        let executions = day.executions(number);
        let name = if facet.is_empty() {
            "total_processed"
        } else {
            facet
        };
        ended = ended.with(name, total);
        if args.json {
            let value =
                json!({ "facet": facet, "total_processed": total, "executions": executions });
            println!("{value}");
            continue;
        }
        println!(
            "📅 {} {}: {total} processed in {} executions",
            scope,
            facet,
            executions.len()
        );
        for record in &executions {
            println!(
                "   {}  {:>7} new  {:>7} filtered  {:>6.2} %  {}",
                record.timestamp,
                record.new_records,
                record.duplicates_filtered,
                record.filter_rate,
                record.execution.as_deref().unwrap_or_default()
            );
        }
    }
    Ok(ended)
}

/// Prints the records or ids of the file that are not in yet, one a line, as they were.
async fn filter(args: &State, log: &Log, scope: &Scope) -> Result<Outcome, Failure> {
    let Some(path) = &args.file else {
        return Err(Failure::usage(
            "state filter needs --file with records or ids",
        ));
    };
    let text = read(path)?;
    let field = if args.source == DETAILS {
        "key"
    } else {
        "numeroControlePNCP"
    };
    let records = records(&text, field)
        .map_err(|error| Failure::usage(format!("--file {}: {error}", path.display())))?;
    let day = day(log, scope).await?;
    let (new, stats) = day.filter_by(records, |record| record.id.as_deref());
    for record in &new {
        println!("{}", record.raw);
    }
    eprintln!(
        "📊 State Filtering: {} input → {} new ({} duplicates filtered)",
        stats.input,
        stats.new_records,
        stats.already_processed + stats.repeated
    );
    let mut ended = outcome(args, Status::Complete);
    if let Some(reason) = stats.no_data_reason() {
        let text = match reason {
            "all_duplicates" => "No new records to process (all duplicates)",
            _ => "No records in the file",
        };
        eprintln!("⚠️  {text}");
        ended = ended.with("no_data", true).with("reason", reason);
    }
    Ok(ended
        .with("input", stats.input)
        .with("new_records", stats.new_records)
        .with("already_processed", stats.already_processed)
        .with("repeated", stats.repeated)
        .with("without_id", stats.without_id))
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::usage(format!("--file {}: {error}", path.display())))?;
    Ok(text)
}

#[derive(Debug)]
struct Record<'a> {
    raw: &'a str,
    id: Option<String>,
}

/// A JSON array, or one JSON value a line; strings are ids, objects have theirs in `field`.
fn records<'a>(text: &'a str, field: &str) -> Result<Vec<Record<'a>>, serde_json::Error> {
    let values: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)?
    } else {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(serde_json::from_str).collect::<Result<_, _>>()?
    };
    let record = |value: &'a RawValue| {
        let id = match serde_json::from_str(value.get())? {
            Value::String(id) => Some(id),
            Value::Object(members) => members
                .get(field)
                .and_then(Value::as_str)
                .map(str::to_owned),
            _ => None,
        };
        Ok(Record {
            raw: value.get(),
            id,
        })
    };
    values.into_iter().map(record).collect()
}

/// Proves on the real bucket that it can be trusted with state.
pub(crate) async fn check(context: &Context) -> Result<Outcome, Failure> {
    let checked = context.store.check().await.map_err(|error| {
        Failure::of("checking the bucket", &error).hint(check_hint(error.problem))
    })?;
    println!(
        "✅ {}: writes, reads, lists, deletes, and refuses to create twice ({} writers, {} races)",
        checked.location, checked.writers, checked.races
    );
    Ok(Outcome::new("check", Status::Complete).with("location", checked.location))
}

/// What to do about it; that state must not be kept there only where it is the bucket's fault.
fn check_hint(problem: Problem) -> &'static str {
    match problem {
        problem if problem.forbids_state() => "state must not be kept in this bucket",
        Problem::NoBucket => "create the bucket, or name another: BUCKET_BRONZE",
        Problem::Denied(_) => "see the credentials, and what they may do with the bucket",
        Problem::ClockSkew => "set this machine's clock, then check again",
        Problem::Unwritable => "see LOCAL_STORAGE_PATH, and who may write there",
        Problem::Unreachable => "see STORAGE_TYPE and the endpoint; then check again",
        _ => "nothing was proved: see the server's answer above, then check again",
    }
}
