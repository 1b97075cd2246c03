//! What proves a day's state, and what puts it right.

use bronze_storage::state::{IdColumns, Merger};
use ingest_state::{Error, Execution, Log, Quarantined, Scope, Verification, View, Warning};
use serde_json::json;

use super::{ledger, outcome, refused, warning_text};
use crate::cli::State;
use crate::context::{Context, DETAILS};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status};
use crate::say::{say, tell};

/// Compares entries, snapshots and, for details, the merged file; for contratações, also the log
/// of their later versions.
pub(super) async fn verify(
    context: &Context,
    args: &State,
    log: &Log,
    scope: &Scope,
) -> Result<Outcome, Failure> {
    let failed = |error: Error| Failure::of("verifying the day's state", &error);
    let mut reports = Vec::new();
    if args.source == DETAILS {
        let merger = Merger::new(context.store.clone(), log.clone(), IdColumns::details());
        let views: [&dyn View; 1] = [&merger];
        reports.push(log.verify_with(scope, &views).await.map_err(failed)?);
    } else {
        let versions = context.versions_log()?;
        reports.push(log.verify(scope).await.map_err(failed)?);
        reports.push(versions.verify(scope).await.map_err(failed)?);
    }
    let findings: Vec<_> = reports.iter().flat_map(|report| &report.findings).collect();
    for finding in &findings {
        let mark = if args.json { "" } else { "❌ " };
        say!("{mark}{}", json!(finding));
    }
    let sound = findings.is_empty();
    let status = if sound {
        Status::Complete
    } else {
        tell!("{}", advice());
        Status::Failed
    };
    let first = reports.first().map_or((0, 0), |r| (r.entries, r.ids));
    if sound && !args.json {
        say!("✅ {scope}: {} entries, {} ids, sound", first.0, first.1);
    }
    let mut ended = outcome(args, status)
        .with("entries", first.0)
        .with("ids", first.1);
    for view in reports.iter().flat_map(|report| &report.views) {
        if sound && !args.json {
            let (key, rows, through) = (&view.key, view.rows, view.through);
            say!("   ✓ {key}: {rows} rows, holds entries up to {through}");
        }
        ended = ended
            .with("merged_through", view.through)
            .with("merged_rows", view.rows);
    }
    if let [_, Verification { entries, ids, .. }] = &reports[..] {
        ended = ended
            .with("version_entries", *entries)
            .with("versions", *ids);
    }
    Ok(ended.with("findings", findings.len()))
}

fn advice() -> &'static str {
    "   snapshot: `state rebuild`; view: `merge` (delete the file first if its ids differ);\n   \
     state file that the log cannot stand in for: restore it, or delete it to start afresh;\n   \
     entry: restore the object from a backup, or see `state quarantine-entry`"
}

/// Makes the snapshots anew from the entries and the ledger of executions, or with `--dry-run` says what would change.
pub(super) async fn rebuild(args: &State, log: &Log, scope: &Scope) -> Result<Outcome, Failure> {
    let ledger = ledger::executions(log, scope).await?;
    let changes = log
        .rebuild_with(scope, &ledger, args.dry_run)
        .await
        .map_err(|error| refused(&error))?;
    for change in &changes {
        if args.json {
            say!("{}", json!(change));
            continue;
        }
        let verb = if change.written {
            "rebuilt"
        } else {
            "would rebuild"
        };
        say!(
            "♻️  {verb} {}: {} ids ({} added, {} removed, {} of another version), executions: {} added, \
             {} changed",
            change.key,
            change.total,
            change.added,
            change.removed,
            change.versions,
            change.executions_added,
            change.executions_changed
        );
    }
    let written = changes.iter().filter(|change| change.written).count();
    let sum = |part: fn(&ingest_state::Rebuilt) -> u64| changes.iter().map(part).sum::<u64>();
    Ok(outcome(args, Status::Complete)
        .with("rebuilt", written)
        .with("added", sum(|change| change.added))
        .with("removed", sum(|change| change.removed))
        .with("versions", sum(|change| change.versions))
        .with("executions_added", sum(|change| change.executions_added))
        .with(
            "executions_changed",
            sum(|change| change.executions_changed),
        ))
}

/// Takes the previous system's state files of the day into the log.
pub(super) async fn import(
    context: &Context,
    args: &State,
    log: &Log,
    scope: &Scope,
) -> Result<Outcome, Failure> {
    let execution = Execution::new(context.settings.execution.as_str());
    let (mut files, mut imported) = (0, 0);
    for (number, facet) in log.layout().facet_names().into_iter().enumerate() {
        let key = log.layout().snapshot_key(scope, facet);
        let legacy = match log.load(scope).await {
            Err(Error::Legacy { key: found }) => found == key,
            Err(error) => return Err(refused(&error)),
            Ok(day) => {
                if let Some(warning) = day.warnings().first() {
                    return Err(not_imported(warning));
                }
                false
            }
        };
        if !legacy {
            continue;
        }
        let appended = log
            .import(scope, number as u8, &key, &execution)
            .await
            .map_err(|error| Failure::of("importing the state file", &error))?;
        let ids = appended.count();
        if args.json {
            say!("{}", json!({ "key": key, "imported": ids }));
        } else {
            say!("♻️  Imported {ids} ids of {key}\n   ✓ kept as {key}.imported");
        }
        files += 1;
        imported += ids;
    }
    let mut ended = outcome(args, Status::Complete);
    if files == 0 {
        tell!("⚠️  No state file of the previous system for this day");
        ended = ended
            .with("no_data", true)
            .with("reason", "nothing_to_import");
    }
    Ok(ended.with("files", files).with("imported", imported))
}

/// A state file that is no longer of use to anybody, beside a log that has ids.
fn not_imported(warning: &Warning) -> Failure {
    let text = format!("nothing can be imported: {}", warning_text(warning));
    Failure::stopped(text).hint(
        "restore the file if it is of the previous system; if it is only the log's snapshot, \
         `pncp-ingest state rebuild` writes it anew",
    )
}

/// Shows what going on without an unreadable entry means; with `--yes` does it.
pub(super) async fn quarantine(
    context: &Context,
    args: &State,
    log: &Log,
    scope: &Scope,
) -> Result<Outcome, Failure> {
    let number = args
        .entry
        .ok_or_else(|| Failure::usage("state quarantine-entry needs --entry with its number"))?;
    let execution = Execution::new(context.settings.execution.as_str());
    let found = log.quarantine_entry(scope, number, &execution, !args.yes);
    let found = found.await.map_err(|error| match error {
        Error::Invalid { .. } => Failure::usage_of(&error),
        error => refused(&error),
    })?;
    if args.json {
        say!("{}", json!(found));
    } else {
        say!("{}", meaning(&found));
    }
    Ok(outcome(args, Status::Complete)
        .with("entry", number)
        .with("key", found.key)
        .with("done", found.done))
}

/// What was done or would be, for people.
fn meaning(found: &Quarantined) -> String {
    let Quarantined { key, reason, .. } = found;
    let again = match found.new_again {
        Some(ids) => format!("{ids} ids that only it held count as new again"),
        None => "what only it held counts as new again; no snapshot tells how many ids".to_owned(),
    };
    let bytes = match (&found.size, &found.kept_at) {
        (Some(size), Some(kept_at)) => format!("its {size} bytes are kept as {kept_at}"),
        _ => "there are no bytes to keep".to_owned(),
    };
    let states: Vec<String> = found
        .states_kept_at
        .iter()
        .map(|kept_at| format!("; the state file, unreadable too, as {kept_at}"))
        .collect();
    let bytes = format!("{bytes}{}", states.concat());
    if found.done {
        return format!(
            "✅ Entry {} is empty now\n   ✓ {bytes}\n   ✓ {again}: run the day again\n   ✓ do not \
             restore {key} any more: its ids would be in two entries",
            found.number
        );
    }
    format!(
        "⚠️  {key} cannot be read: {reason}\n   A restore of that object from a backup, under the \
         same key, loses nothing: try that first.\n   With --yes: {bytes}; an empty entry takes \
         its place;\n   {again}, and the next run takes in what the API still has of them.\n   \
         Nothing was changed."
    )
}
