//! `details`: the itens and arquivos of each contratação of a day, saved every N.

use std::io::{IsTerminal as _, stderr, stdout};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use details_checkpoint::{
    BannerObserver, BronzeDetails, Ingester, KeyList, LineObserver, Observer, Options,
    Outcome as RunOutcome, PncpDetails, ProgressBarObserver, Refresh, Report, StopReason, Tee,
};

use crate::calendar;
use crate::cli::{Details, Facet};
use crate::context::{Context, DETAILS, PNCP};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status, peak_resident_bytes};
use crate::say::say;

/// How long saving may take after the grace time of calls in flight, before a run that was told to stop is dropped.
const AFTER_GRACE: Duration = Duration::from_secs(10);

/// Fetches what is pending of the day, saves it checkpoint by checkpoint, merges at the end.
pub(crate) async fn run(context: &Context, args: &Details) -> Result<Outcome, Failure> {
    context.check_day(args.date)?;
    let options = options(context, args)?;
    let sink = sink(context, args.date, args.refresh)?;
    let keys = day_keys(&sink).await?;
    if keys.is_empty() {
        let name = "no_data_from_api";
        say!(
            "⚠️  No contratações of {} in bronze: run `daily` first",
            args.date
        );
        return Ok(Outcome::new("details", Status::Complete)
            .with("date", args.date.to_string())
            .with("processed", 0)
            .with("detail_calls", 0)
            .with("no_data", true)
            .with("reason", name));
    }
    let report = ingest(context, sink, args.date, keys, options).await?;
    Ok(outcome(context, "details", args.date, &report))
}

/// The day's contratações.
pub(crate) async fn day_keys(sink: &BronzeDetails) -> Result<KeyList, Failure> {
    sink.contratacoes(PNCP)
        .await
        .map_err(|error| Failure::of("reading the day's contratações", &error))
}

/// Runs until it is through, or until the operator asks to stop.
///
/// The first signal ends it in good order: no further call, those in flight have the grace time, what arrived is saved.
/// A second one, or a store that does not answer, ends it at once: it resumes behind the last checkpoint all the same.
pub(crate) async fn ingest(
    context: &Context,
    sink: BronzeDetails,
    day: NaiveDate,
    keys: KeyList,
    options: Options,
) -> Result<Report, Failure> {
    let patience = options.grace + AFTER_GRACE;
    let source = Arc::new(PncpDetails::new(context.client.clone()));
    let ingester = Ingester::builder(source, Arc::new(sink))
        .with_options(options)
        .with_observer(Arc::new(observer()))
        .with_label(day.to_string())
        .build()
        .map_err(|error| Failure::usage_of(&error))?;
    let asked = tokio::sync::Notify::new();
    let at_once = async {
        stop_signal().await;
        asked.notify_one();
        tokio::select! {
            () = stop_signal() => {}
            () = tokio::time::sleep(patience) => {}
        }
    };
    let resume = "run the same command again: it resumes behind the last checkpoint";
    tokio::select! {
        biased;
        ended = ingester.run_until(keys, asked.notified()) => {
            ended.map_err(|error| Failure::merge("ingesting details", &error).hint_or(resume))
        }
        () = at_once => {
            Err(Failure::stopped("stopped before everything that arrived was saved").hint(resume))
        }
    }
}

/// Writes details.parquet anew from the day's log.
pub(crate) async fn merge(context: &Context, day: NaiveDate) -> Result<Outcome, Failure> {
    context.check_day(day)?;
    let merged = sink(context, day, false)?
        .merge()
        .await
        .map_err(|error| Failure::merge("merging the day's details", &error))?;
    let outcome = Outcome::new("merge", Status::Complete).with("date", day.to_string());
    match merged.merged {
        Some(key) => {
            say!("✅ Merged {} bytes\n   ✓ {key}", merged.bytes);
            Ok(outcome
                .with("key", key)
                .with("bytes", merged.bytes)
                .with("no_data", false))
        }
        None => {
            say!("⚠️  Nothing to merge: the file covers the whole log");
            Ok(outcome.with("no_data", true).with("reason", "all_merged"))
        }
    }
}

/// The day's details; with `ages`, it knows when each was fetched.
pub(crate) fn sink(
    context: &Context,
    day: NaiveDate,
    ages: bool,
) -> Result<BronzeDetails, Failure> {
    let scope = context.scope(DETAILS, day)?;
    BronzeDetails::builder(context.store.clone(), scope)
        .with_execution(context.settings.execution.as_str())
        .with_ages(ages)
        .build()
        .map_err(|error| Failure::of("opening the details log", &error))
}

/// The latest of the instants so many days after publication that has passed: what was fetched before is due again.
fn refresh_before(day: NaiveDate, days: &[u16], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let begin = calendar::begin(day);
    days.iter()
        .map(|days| begin + chrono::Duration::days(i64::from(*days)))
        .filter(|instant| *instant <= now)
        .max()
}

fn options(context: &Context, args: &Details) -> Result<Options, Failure> {
    let variables = &context.settings.variables;
    let number = |flag: Option<usize>, name: &str| match flag {
        Some(number) => Ok(Some(number)),
        None => variables.positive(name),
    };
    let defaults = Options::default();
    let every = number(args.checkpoint_every, "PNCP_DETAILS_CHECKPOINT_EVERY")?;
    let every = every.map(|number| {
        u32::try_from(number)
            .map_err(|_| Failure::usage(format!("--checkpoint-every: {number} is too large")))
    });
    let concurrency = u32::try_from(args.concurrency).unwrap_or(u32::MAX);
    let options = Options {
        checkpoint_every: every.transpose()?.unwrap_or(defaults.checkpoint_every),
        batch_size: number(args.batch_size, "PNCP_DETAILS_BATCH_SIZE")?.map(|n| n as u64),
        max_contratacoes: args.max_contratacoes.map(|n| n as u64),
        auto_resume: !args.no_auto_resume,
        concurrency,
        only: match args.only {
            None => Vec::new(),
            Some(Facet::Itens) => vec!["itens".to_owned()],
            Some(Facet::Arquivos) => vec!["arquivos".to_owned()],
        },
        shard: args.shard,
        since: args.since,
        checkpoint_bytes: args
            .checkpoint_bytes
            .map_or(defaults.checkpoint_bytes, |bytes| bytes as u64),
        checkpoint_interval: (args.checkpoint_interval > 0)
            .then(|| Duration::from_secs(args.checkpoint_interval)),
        failure_threshold: args.failure_threshold,
        refresh: args.refresh.then(|| Refresh {
            fetched_before: refresh_before(args.date, &args.refresh_days, context.started),
            max_calls: args.refresh_calls,
            ..Refresh::default()
        }),
        deadline: context.settings.deadline,
        ..defaults
    };
    options
        .validate()
        .map_err(|error| Failure::usage_of(&error))?;
    Ok(options)
}

/// Banners for operators on stdout; on stderr a bar on a terminal, timed lines elsewhere.
fn observer() -> Tee {
    let banner: Arc<dyn Observer> = Arc::new(BannerObserver::new(stdout()));
    let live: Arc<dyn Observer> = if stderr().is_terminal() {
        Arc::new(ProgressBarObserver::new())
    } else {
        Arc::new(LineObserver::new(stderr()))
    };
    Tee::new(vec![banner, live])
}

/// Resolves when the operator or the scheduler asks to stop.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = terminate => {}
        () = interrupt => {}
    }
}

/// The last line of a run over details, and what people read beside it.
pub(crate) fn outcome(
    context: &Context,
    command: &str,
    day: NaiveDate,
    report: &Report,
) -> Outcome {
    let status = match report.outcome {
        RunOutcome::Complete | RunOutcome::NothingNew => Status::Complete,
        RunOutcome::Partial => Status::Partial,
        RunOutcome::Failed
        | RunOutcome::Stopped {
            reason: StopReason::Cancelled,
        } => Status::Failed,
        RunOutcome::Stopped {
            reason: StopReason::Deadline,
        } => Status::Partial,
        RunOutcome::Deferred { .. } => Status::Deferred,
    };
    let nothing_new = report.outcome == RunOutcome::NothingNew;
    let mut outcome = Outcome::new(command, status)
        .with("date", day.to_string())
        .with("execution", context.settings.execution.as_str())
        .with("listed", report.listed)
        .with("already_done", report.already_done)
        .with("processed", report.processed)
        .with("itens", report.elements("itens"))
        .with("arquivos", report.elements("arquivos"))
        .with("errors", report.failed)
        .with("in_quarantine", report.failed + report.set_aside)
        .with("left", report.left)
        .with("complete", report.complete)
        .with("detail_calls", report.calls)
        .with("retries", report.retries)
        .with("checkpoints", report.checkpoints.len())
        .with("saved_bytes", report.saved_bytes)
        .with("no_data", nothing_new);
    if nothing_new {
        say!("⚠️  No new records to process (all duplicates)");
        outcome = outcome.with("reason", "all_duplicates");
    }
    match report.outcome {
        RunOutcome::Deferred { until } => {
            let until = until.to_rfc3339();
            say!("🔄 The server asks to come back at {until}: run the same command then");
            outcome = outcome.with("retry_at", until);
        }
        RunOutcome::Stopped { reason } => {
            say!(
                "🔄 Stopped with {} contratações left: run the same command to resume",
                report.left
            );
            let reason = match reason {
                StopReason::Cancelled => "signal",
                StopReason::Deadline => "deadline",
            };
            outcome = outcome.with("stopped", reason).with("resumable", true);
        }
        _ => {}
    }
    if report.failed + report.set_aside > 0 {
        say!(
            "⚠️  {} contratações in quarantine: pncp-ingest quarantine list --date {day}",
            report.failed + report.set_aside
        );
    }
    if let Some(key) = &report.finished.merged {
        outcome = outcome.with("merged", key.as_str());
    }
    if let Some(peak) = peak_resident_bytes() {
        outcome = outcome.with("peak_resident_bytes", peak);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_age_that_has_passed_decides() {
        let day = calendar::parse_day("2025-10-22").unwrap();
        let at = |text| calendar::parse_instant(text).unwrap();
        let before = |now| refresh_before(day, &[30, 7], at(now));
        assert_eq!(before("2025-10-28"), None);
        assert_eq!(before("2025-10-29"), Some(at("2025-10-29")));
        assert_eq!(before("2025-11-20"), Some(at("2025-10-29")));
        assert_eq!(before("2026-01-01"), Some(at("2025-11-21")));
    }
}
