//! `details`: the itens and arquivos of each contratação of a day, saved every N.

use std::io::{IsTerminal as _, stderr, stdout};
use std::sync::Arc;

use chrono::NaiveDate;
use details_checkpoint::{
    BannerObserver, BronzeDetails, Ingester, LineObserver, Observer, Options,
    Outcome as RunOutcome, PncpDetails, ProgressBarObserver, Report, Shard, StopReason, Tee,
};

use crate::cli::{Details, Facet};
use crate::context::{Context, DETAILS, PNCP};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status, peak_resident_bytes};

/// Fetches what is pending of the day, saves it checkpoint by checkpoint, merges at the end.
pub(crate) async fn run(context: &Context, args: &Details) -> Result<Outcome, Failure> {
    context.check_day(args.date)?;
    let options = options(context, args)?;
    let sink = sink(context, args.date)?;
    let keys = sink
        .contratacoes(PNCP)
        .await
        .map_err(|error| Failure::of("reading the day's contratações", &error))?;
    if keys.is_empty() {
        let name = "no_data_from_api";
        println!(
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
    let source = Arc::new(PncpDetails::new(context.client.clone()));
    let ingester = Ingester::builder(source, Arc::new(sink))
        .with_options(options)
        .with_observer(Arc::new(observer()))
        .with_label(args.date.to_string())
        .build()
        .map_err(|error| Failure::usage_of(&error))?;
    match ingester.run_until(&keys, stop_signal()).await {
        Ok(report) => Ok(outcome(context, args, &report)),
        Err(error) => Err(Failure::of("ingesting details", &error)
            .hint("run the same command again: it resumes behind the last checkpoint")),
    }
}

/// Writes details.parquet anew from the day's log.
pub(crate) async fn merge(context: &Context, day: NaiveDate) -> Result<Outcome, Failure> {
    context.check_day(day)?;
    let merged = sink(context, day)?
        .merge()
        .await
        .map_err(|error| Failure::merge("merging the day's details", &error))?;
    let outcome = Outcome::new("merge", Status::Complete).with("date", day.to_string());
    match merged.merged {
        Some(key) => {
            println!("✅ Merged {} bytes\n   ✓ {key}", merged.bytes);
            Ok(outcome
                .with("key", key)
                .with("bytes", merged.bytes)
                .with("no_data", false))
        }
        None => {
            println!("⚠️  Nothing to merge: the file covers the whole log");
            Ok(outcome.with("no_data", true).with("reason", "all_merged"))
        }
    }
}

fn sink(context: &Context, day: NaiveDate) -> Result<BronzeDetails, Failure> {
    let scope = context.scope(DETAILS, day)?;
    BronzeDetails::builder(context.store.clone(), scope)
        .with_execution(context.settings.execution.as_str())
        .build()
        .map_err(|error| Failure::of("opening the details log", &error))
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
        shard: args
            .shard
            .map(|(index, count)| Shard::new(index, count))
            .transpose()
            .map_err(|error| Failure::usage_of(&error))?,
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

fn outcome(context: &Context, args: &Details, report: &Report) -> Outcome {
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
    let mut outcome = Outcome::new("details", status)
        .with("date", args.date.to_string())
        .with("execution", context.settings.execution.as_str())
        .with("listed", report.listed)
        .with("already_done", report.already_done)
        .with("processed", report.processed)
        .with("itens", report.elements("itens"))
        .with("arquivos", report.elements("arquivos"))
        .with("errors", report.failed)
        .with("left", report.left)
        .with("complete", report.complete)
        .with("detail_calls", report.calls)
        .with("checkpoints", report.checkpoints.len())
        .with("no_data", nothing_new);
    if nothing_new {
        println!("⚠️  No new records to process (all duplicates)");
        outcome = outcome.with("reason", "all_duplicates");
    }
    if let RunOutcome::Deferred { until } = report.outcome {
        outcome = outcome.with("retry_at", until.to_rfc3339());
    }
    if let Some(key) = &report.finished.merged {
        outcome = outcome.with("merged", key.as_str());
    }
    if let Some(peak) = peak_resident_bytes() {
        outcome = outcome.with("peak_resident_bytes", peak);
    }
    outcome
}
