//! `quarantine`: what could not be had or read; looked at, tried again, forgotten.

use chrono::SecondsFormat;
use details_checkpoint::bronze::{Quarantined, discard_quarantine, retry_at};
use details_checkpoint::{BronzeDetails, Candidate, FailureKind, KeyList, Options};
use serde_json::{Value, json};

use crate::cli::{Quarantine, QuarantineAction};
use crate::context::{Context, DETAILS, PNCP};
use crate::details;
use crate::failure::Failure;
use crate::outcome::{Outcome, Status};
use crate::say::say;

/// Runs one action on a day's quarantine.
pub(crate) async fn run(context: &Context, args: &Quarantine) -> Result<Outcome, Failure> {
    if args.action == QuarantineAction::Discard && args.key.is_none() && !args.all {
        return Err(Failure::usage("quarantine discard needs --key, or --all"));
    }
    let notes = if args.source == DETAILS {
        failed_details(context, args).await?
    } else {
        rejected_records(context, args).await?
    };
    match args.action {
        QuarantineAction::List => Ok(list(args, &notes)),
        QuarantineAction::Show => Ok(show(args, &notes)),
        QuarantineAction::Replay => replay(context, args, &notes).await,
        QuarantineAction::Discard => discard(context, args, &notes).await,
    }
}

/// Something in the quarantine, as the command shows it.
#[derive(Debug)]
struct Note {
    /// Its object's key.
    object: String,
    /// The contratação's key; for records of a listing their object's.
    key: String,
    /// One line for people.
    line: String,
    /// All that is known of it.
    document: Value,
    /// The same without payloads.
    summary: Value,
}

impl Note {
    fn is_wanted(&self, args: &Quarantine) -> bool {
        let wanted = args.key.as_deref();
        wanted.is_none_or(|wanted| wanted == self.key || wanted == self.object)
    }
}

async fn failed_details(context: &Context, args: &Quarantine) -> Result<Vec<Note>, Failure> {
    let sink = details::sink(context, args.date, false)?;
    let notes = quarantined(&sink).await?.into_iter().map(failed_detail);
    Ok(notes.filter(|note| note.is_wanted(args)).collect())
}

async fn quarantined(sink: &BronzeDetails) -> Result<Vec<Quarantined>, Failure> {
    sink.quarantined()
        .await
        .map_err(|error| Failure::of("reading the quarantine", &error))
}

fn failed_detail(note: Quarantined) -> Note {
    let Quarantined { object, failure } = note;
    let kind = match failure.kind {
        FailureKind::Transient => "transient",
        FailureKind::Permanent => "permanent",
        FailureKind::Deferred { .. } => "deferred",
    };
    let again = retry_at(&failure).to_rfc3339_opts(SecondsFormat::Secs, true);
    let line = format!(
        "❌ {} {}: {} ({kind}, {} runs, {} attempts, again from {again})",
        failure.key, failure.facet, failure.reason, failure.runs, failure.attempts
    );
    let summary = json!({
        "object": object,
        "key": failure.key,
        "facet": failure.facet,
        "reason": failure.reason,
        "kind": kind,
        "runs": failure.runs,
        "attempts": failure.attempts,
        "at": failure.at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "again_from": again,
    });
    let mut document = summary.clone();
    document["version"] = json!(failure.version);
    document["payload"] = json!(failure.payload);
    Note {
        object,
        key: failure.key,
        line,
        document,
        summary,
    }
}

/// The records of listings that `daily` set aside, a note for each execution that did.
async fn rejected_records(context: &Context, args: &Quarantine) -> Result<Vec<Note>, Failure> {
    let day = args.date.format("year=%Y/month=%m/day=%d");
    let reading = |error| Failure::of("reading the quarantine", &error);
    let objects = context
        .store
        .list(&format!("{PNCP}/_quarantine/{day}"))
        .await
        .map_err(reading)?;
    let mut notes = Vec::with_capacity(objects.len());
    for object in objects {
        let read: Result<Option<Value>, _> = context.store.read_json(&object.key).await;
        let note = read
            .map_err(reading)?
            .map(|document| rejected(object.key, document));
        notes.extend(note.filter(|note| note.is_wanted(args)));
    }
    Ok(notes)
}

fn rejected(object: String, document: Value) -> Note {
    let records = document["records"].as_array().map_or(0, Vec::len);
    let reason = document["records"][0]["reason"]
        .as_str()
        .unwrap_or_default();
    let line = format!("❌ {object}: {records} records, the first: {reason}");
    let summary = json!({
        "object": object,
        "execution": document["execution"],
        "records": records,
        "reason": reason,
    });
    Note {
        key: object.clone(),
        object,
        line,
        document,
        summary,
    }
}

fn outcome(args: &Quarantine, action: &str, status: Status) -> Outcome {
    Outcome::new("quarantine", status)
        .with("action", action)
        .with("source", args.source.as_str())
        .with("date", args.date.to_string())
}

fn list(args: &Quarantine, notes: &[Note]) -> Outcome {
    for note in notes {
        if args.json {
            say!("{}", note.summary);
        } else {
            say!("{}", note.line);
        }
    }
    if notes.is_empty() && !args.json {
        say!("✅ Nothing in quarantine");
    }
    outcome(args, "list", Status::Complete).with("found", notes.len())
}

fn show(args: &Quarantine, notes: &[Note]) -> Outcome {
    for note in notes {
        if args.json {
            say!("{}", note.document);
        } else {
            say!("{}\n{:#}", note.line, note.document);
        }
    }
    outcome(args, "show", Status::Complete).with("found", notes.len())
}

async fn discard(context: &Context, args: &Quarantine, notes: &[Note]) -> Result<Outcome, Failure> {
    for note in notes {
        discard_quarantine(&context.store, &note.object)
            .await
            .map_err(|error| Failure::of("discarding", &error))?;
        if args.json {
            say!("{}", note.summary);
        } else {
            say!("♻️  Forgotten: {}", note.object);
        }
    }
    Ok(outcome(args, "discard", Status::Complete).with("discarded", notes.len()))
}

/// Asks for what waits in the quarantine now, whatever its time, and for nothing else.
async fn replay(context: &Context, args: &Quarantine, notes: &[Note]) -> Result<Outcome, Failure> {
    if args.source != DETAILS {
        let reason = "records of a listing are not asked for one by one";
        return Err(Failure::usage(reason).hint("run `daily` again: it takes the day's list anew"));
    }
    if notes.is_empty() {
        say!("✅ Nothing in quarantine");
        return Ok(outcome(args, "replay", Status::Complete)
            .with("detail_calls", 0)
            .with("no_data", true));
    }
    let sink = details::sink(context, args.date, false)?;
    let listed = details::day_keys(&sink).await?;
    let keys = match &args.key {
        None => listed,
        Some(_) => {
            chosen(&listed, notes).map_err(|error| Failure::of("listing what to replay", &error))?
        }
    };
    let options = Options {
        retry_set_aside: true,
        only_set_aside: true,
        deadline: context.settings.deadline,
        ..Options::default()
    };
    let report = details::ingest(context, sink, args.date, keys, options).await?;
    let outcome = details::outcome(context, "quarantine", args.date, &report);
    Ok(outcome
        .with("action", "replay")
        .with("complete", report.complete && args.key.is_none()))
}

/// The candidates that the notes are about.
fn chosen(listed: &KeyList, notes: &[Note]) -> Result<KeyList, details_checkpoint::KeyListFull> {
    let mut keys = KeyList::new();
    let is_chosen =
        |candidate: &Candidate<'_>| notes.iter().any(|note| *note.key == *candidate.key);
    for candidate in listed.iter().filter(is_chosen) {
        keys.push(candidate)?;
    }
    Ok(keys)
}
