//! `state`: looks into a day's state, proves it against the log, or makes it anew; and `check`.

mod ledger;
mod repair;

use std::io::Read as _;
use std::path::Path;

use bronze_storage::Problem;
use ingest_state::{DayLog, Error, Filter, Log, Outcome as Sorted, Scope, Warning};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::{State, StateAction};
use crate::context::{Context, DETAILS};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status};
use crate::say::{say, tell};

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
    if args.updated && !matches!(args.action, StateAction::Filter) {
        return Err(Failure::usage("--updated is for `state filter` alone"));
    }
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

/// The day as the log has it. What was put right on the way is a line of the log on stderr.
async fn day(log: &Log, scope: &Scope) -> Result<DayLog, Failure> {
    log.load(scope).await.map_err(|error| refused(&error))
}

/// Prints the snapshots as they lie in the store. Where there is none that can be read, what the
/// log has is printed in its form.
async fn load(
    context: &Context,
    args: &State,
    log: &Log,
    scope: &Scope,
) -> Result<Outcome, Failure> {
    let day = match log.load(scope).await {
        Ok(day) => Some(day),
        // People may look at it all the same.
        Err(Error::Legacy { key }) => {
            tell!("⚠️  {key} is of the previous system: `pncp-ingest state import` takes it in");
            None
        }
        Err(error @ (Error::Unreadable { .. } | Error::Gap { .. })) => {
            tell!("{}", refused(&error).text());
            None
        }
        Err(error) => return Err(refused(&error)),
    };
    let (mut stored, mut from_log) = (0, 0);
    for (facet, name) in log.layout().facet_names().into_iter().enumerate() {
        let (facet, key) = (facet as u8, log.layout().snapshot_key(scope, name));
        let is_broken = |day: &DayLog| {
            let mut warnings = day.warnings().iter();
            warnings.any(|w| matches!(w, Warning::SnapshotUnreadable { key: k, .. } if *k == key))
        };
        let mut value: Option<Value> = None;
        if !day.as_ref().is_some_and(is_broken) {
            value = read_json(context, &key).await?;
            stored += u64::from(value.is_some());
        }
        let in_log = day.as_ref().filter(|day| day.done().count(facet) > 0);
        if let (None, Some(day)) = (&value, in_log) {
            tell!("⚠️  No snapshot that can be read: {key}");
            tell!("   shown as the log has it; `pncp-ingest state rebuild` writes it");
            value = Some(as_the_log_has_it(day, facet)?);
            from_log += 1;
        }
        match value {
            Some(value) if args.json => say!("{value}"),
            Some(value) => say!("{value:#}"),
            None => tell!("no snapshot yet: {key}"),
        }
    }
    Ok(outcome(args, Status::Complete)
        .with("snapshots", stored)
        .with("from_log", from_log))
}

async fn read_json(context: &Context, key: &str) -> Result<Option<Value>, Failure> {
    let read = context.store.read_json(key).await;
    read.map_err(|error| {
        Failure::of("reading the snapshot", &error)
            .hint("`pncp-ingest state verify` tells what is wrong with it")
    })
}

fn as_the_log_has_it(day: &DayLog, facet: u8) -> Result<Value, Failure> {
    let doing = "reading the log";
    let bytes = day.to_snapshot(facet);
    let bytes = bytes.map_err(|error| Failure::of(doing, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::of(doing, &error))
}

/// Totals, executions and filter rates, by facet.
async fn summary(args: &State, log: &Log, scope: &Scope) -> Result<Outcome, Failure> {
    let day = day(log, scope).await?;
    let mut ended = outcome(args, Status::Complete).with("entries", day.last_entry());
    for (number, facet) in log.layout().facet_names().into_iter().enumerate() {
        let summary = day.summary_of(number as u8);
        let total = summary.total_processed;
        let name = if facet.is_empty() {
            "total_processed"
        } else {
            facet
        };
        ended = ended.with(name, total);
        if args.json {
            let mut value = json!(summary);
            value["facet"] = facet.into();
            say!("{value}");
            continue;
        }
        let (executions, rate) = (summary.total_executions, summary.filter_rate);
        say!(
            "📅 {scope} {facet}: {total} processed in {executions} executions, {rate:.2} % filtered"
        );
        if let (Some(first), Some(last)) = (&summary.first_execution, &summary.last_execution) {
            say!("   first {first}, last {last}");
        }
        for record in &summary.executions {
            say!(
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

/// Prints the records or ids of the file that are not in yet, one a line, as they were; or with
/// `--updated` the later versions of those that are.
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
    let mut filter = Filter::new(&day, 0);
    for record in records {
        let is_wanted = match filter.next(record.id.as_deref(), record.version.as_deref()) {
            Sorted::New | Sorted::WithoutId => !args.updated,
            Sorted::Updated => args.updated,
            Sorted::AlreadyProcessed | Sorted::Repeated => false,
        };
        if is_wanted {
            say!("{}", record.raw);
        }
    }
    let stats = filter.stats();
    tell!(
        "📊 State Filtering: {} input → {} new ({} duplicates filtered)",
        stats.input,
        stats.new_records,
        stats.already_processed + stats.repeated
    );
    if stats.updated > 0 {
        let shown = if args.updated {
            "printed"
        } else {
            "--updated prints them"
        };
        let count = stats.updated;
        tell!("🔄 {count} later versions of records that are in ({shown})");
    }
    let mut ended = outcome(args, Status::Complete);
    if let Some(reason) = stats.no_data_reason() {
        let text = match reason {
            "all_duplicates" => "No new records to process (all duplicates)",
            _ => "No records in the file",
        };
        tell!("⚠️  {text}");
        ended = ended.with("no_data", true).with("reason", reason);
    }
    Ok(ended
        .with("input", stats.input)
        .with("new_records", stats.new_records)
        .with("updated", stats.updated)
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

/// What tells a version of a record.
const VERSION: &str = "dataAtualizacaoGlobal";

#[derive(Debug)]
struct Record<'a> {
    raw: &'a str,
    id: Option<String>,
    version: Option<String>,
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
        let (id, version) = match serde_json::from_str(value.get())? {
            Value::String(id) => (Some(id), None),
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                let text = |name: &str| text(name).map(str::to_owned);
                (text(field), text(VERSION))
            }
            _ => (None, None),
        };
        Ok(Record {
            raw: value.get(),
            id,
            version,
        })
    };
    values.into_iter().map(record).collect()
}

/// Proves on the real bucket that it can be trusted with state.
pub(crate) async fn check(context: &Context) -> Result<Outcome, Failure> {
    let checked = context.store.check().await.map_err(|error| {
        Failure::of("checking the bucket", &error).hint(check_hint(error.problem))
    })?;
    say!(
        "✅ {}: writes, reads, lists, deletes, and refuses to create twice ({} writers, {} races)",
        checked.location,
        checked.writers,
        checked.races
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
