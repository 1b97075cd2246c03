//! Runs of the ingester over in-memory twins, in paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{FACETS, Recorder, SlowSink, SlowSource, keys};
use details_checkpoint::{
    CallStats, CheckpointSink, DetailSource, Error, FailureKind, FetchFailure, Fetched, Ingester,
    KeyList, MemorySink, Options, Outcome, Report, Shard, StopReason, TokioClock,
};

fn ingester(
    source: &Arc<SlowSource>,
    sink: &Arc<SlowSink>,
    options: Options,
) -> (Ingester, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let source: Arc<dyn DetailSource> = source.clone();
    let sink: Arc<dyn CheckpointSink> = sink.clone();
    let ingester = Ingester::builder(source, sink)
        .with_options(options)
        .with_observer(recorder.clone())
        .with_clock(Arc::new(TokioClock::starting_at(common::epoch())))
        .with_label("2025-10-22")
        .build()
        .unwrap();
    (ingester, recorder)
}

async fn run(
    source: &Arc<SlowSource>,
    sink: &Arc<SlowSink>,
    options: Options,
    keys: &KeyList,
) -> Report {
    ingester(source, sink, options).0.run(keys).await.unwrap()
}

fn fresh() -> (Arc<SlowSource>, Arc<SlowSink>) {
    (
        Arc::new(SlowSource::default()),
        Arc::new(SlowSink::default()),
    )
}

#[tokio::test(start_paused = true)]
async fn a_day_is_fetched_saved_every_n_and_not_fetched_again() {
    let (source, sink) = fresh();
    let (ingester, recorder) = ingester(
        &source,
        &sink,
        Options {
            concurrency: 1,
            ..Options::default()
        },
    );
    let keys = keys(215);
    let report = ingester.run(&keys).await.unwrap();
    assert_eq!((report.outcome, report.complete), (Outcome::Complete, true));
    assert_eq!(
        (report.planned, report.processed, report.calls, report.left),
        (215, 215, 430, 0)
    );
    assert_eq!(sink.inner.entry_sizes(), [100, 100, 100, 100, 30]);
    assert_eq!(
        recorder.headlines(),
        ["50/215", "100/215", "150/215", "200/215", "final 215/215"]
    );
    common::assert_exact(&sink.inner, 215);
    let again = ingester.run(&keys).await.unwrap();
    assert_eq!(
        (again.outcome, again.calls, again.already_done),
        (Outcome::NothingNew, 0, 215)
    );
    assert_eq!(
        sink.inner.entry_sizes().len(),
        5,
        "a finished day writes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_run_side_by_side_and_no_more_than_allowed() {
    let (source, sink) = fresh();
    let started = tokio::time::Instant::now();
    let options = Options {
        concurrency: 16,
        ..Options::default()
    };
    run(&source, &sink, options, &keys(400)).await;
    assert_eq!(source.highest_in_flight(), 16);
    // 800 calls of 100 ms, 16 at a time, and the last checkpoint's save of 50 ms.
    let ideal = Duration::from_secs(5);
    assert!(
        started.elapsed() < ideal.mul_f64(1.02),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn fetching_goes_on_during_a_save_with_two_checkpoints_held_at_most() {
    let source = Arc::new(SlowSource::default().with_body_bytes(1_000));
    let sink = Arc::new(
        SlowSink::default()
            .with_save_time(Duration::from_secs(60))
            .watching(&source),
    );
    let options = Options {
        checkpoint_interval: None,
        checkpoint_every: 10,
        concurrency: 4,
        ..Options::default()
    };
    let report = run(&source, &sink, options, &keys(40)).await;
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(
        sink.overlapping_fetches(),
        3,
        "the next checkpoint fills while one is saved"
    );
    // Ten keys being saved, ten that wait; calls in flight are taken to hold 64 KiB each.
    let rows = 20 * (2 * 1_000 + 30);
    assert!(
        report.peak_held_bytes <= rows + 4 * 64 * 1024,
        "{}",
        report.peak_held_bytes
    );
    // A kill repeats one checkpoint and two calls a place, though a save takes as long as 600 calls.
    assert_eq!(sink.most_calls_unsaved(), 2 * 10 + 2 * 4);
}

#[tokio::test(start_paused = true)]
async fn the_byte_budget_holds_and_a_huge_key_is_a_checkpoint_of_its_own() {
    let source = Arc::new(
        SlowSource::default()
            .with_body_bytes(100_000)
            .with_huge("k00010", 3_000_000),
    );
    let sink = Arc::new(SlowSink::default().with_peak_factor(3));
    let options = Options {
        memory_bytes: 2_000_000,
        checkpoint_bytes: 500_000,
        ..Options::default()
    };
    let report = run(&source, &sink, options, &keys(40)).await;
    assert_eq!(report.outcome, Outcome::Complete);
    common::assert_exact(&sink.inner, 40);
    let huge = report
        .checkpoints
        .iter()
        .find(|checkpoint| checkpoint.body_bytes > 3_000_000)
        .unwrap();
    assert_eq!(huge.rows, 1);
    // The huge key (both facets) alone takes three times its size to be encoded; beside it nothing exceeds the budget.
    assert!(
        report.peak_held_bytes <= 2_000_000 + 3 * 6_000_100,
        "{}",
        report.peak_held_bytes
    );
    let (source, sink) = (
        Arc::new(SlowSource::default().with_body_bytes(60_000)),
        Arc::new(SlowSink::default().with_peak_factor(3)),
    );
    let options = Options {
        memory_bytes: 2_000_000,
        checkpoint_bytes: 500_000,
        concurrency: 64,
        ..Options::default()
    };
    let report = run(&source, &sink, options, &keys(100)).await;
    assert!(
        report.peak_held_bytes <= 2_000_000,
        "{}",
        report.peak_held_bytes
    );
    assert_eq!(report.outcome, Outcome::Complete);
}

#[tokio::test(start_paused = true)]
async fn bytes_and_time_trip_a_checkpoint_too() {
    let source = Arc::new(SlowSource::default().with_body_bytes(1_000));
    let sink = Arc::new(SlowSink::default());
    let options = Options {
        checkpoint_bytes: 10_000,
        concurrency: 1,
        ..Options::default()
    };
    let report = run(&source, &sink, options, &keys(20)).await;
    assert!(
        report
            .checkpoints
            .iter()
            .all(|checkpoint| checkpoint.body_bytes <= 10_000)
    );
    assert_eq!(report.checkpoints[0].rows, 4);
    let (source, sink) = fresh();
    let interval = Some(Duration::from_millis(1_050));
    let options = Options {
        checkpoint_interval: interval,
        concurrency: 1,
        ..Options::default()
    };
    let report = run(&source, &sink, options, &keys(20)).await;
    // A key takes 200 ms; from the first that waits, 1,050 ms later six are there.
    assert_eq!(
        report
            .checkpoints
            .iter()
            .map(|c| c.rows)
            .collect::<Vec<_>>(),
        [6, 6, 6, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_facet_is_set_aside_the_rest_proceeds_and_the_next_run_tries_it_again() {
    let failure = FetchFailure::permanent("cut body")
        .with_stats(CallStats::new(5, 4))
        .with_payload("{\"cut");
    let source = Arc::new(SlowSource::default().failing("k00003", "arquivos", failure));
    let sink = Arc::new(SlowSink::default());
    let keys = keys(20);
    let options = Options {
        failure_threshold: 0.1,
        ..Options::default()
    };
    let report = run(&source, &sink, options.clone(), &keys).await;
    assert_eq!((report.outcome, report.complete), (Outcome::Partial, false));
    assert_eq!((report.processed, report.failed, report.left), (20, 1, 0));
    assert_eq!(report.calls, 39 + 5);
    let aside = sink.inner.quarantined();
    assert_eq!(aside.len(), 1);
    assert_eq!(
        (
            aside[0].key.as_str(),
            aside[0].facet.as_str(),
            aside[0].attempts
        ),
        ("k00003", "arquivos", 5)
    );
    assert_eq!(
        (aside[0].reason.as_str(), aside[0].payload.as_deref()),
        ("cut body", Some("{\"cut"))
    );
    assert_eq!(aside[0].kind, FailureKind::Permanent);
    source.heal();
    let again = run(&source, &sink, options, &keys).await;
    assert_eq!(
        (again.outcome, again.calls, again.complete),
        (Outcome::Complete, 1, true),
        "arquivos of one key only"
    );
    common::assert_exact(&sink.inner, 20);
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_end_the_run_early_and_keep_what_was_saved() {
    let mut source = SlowSource::default();
    for n in 0..100 {
        source = source.failing(&common::key(n), "itens", FetchFailure::transient("503"));
    }
    let (source, sink) = (Arc::new(source), Arc::new(SlowSink::default()));
    let options = Options {
        failure_threshold: 0.2,
        concurrency: 2,
        ..Options::default()
    };
    let report = run(&source, &sink, options, &keys(100)).await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!((21..=23).contains(&report.failed), "{}", report.failed);
    assert_eq!(report.left, 100 - report.failed);
    assert!(
        sink.inner
            .rows()
            .keys()
            .all(|(_, facet)| *facet == "arquivos"),
        "a failed facet is never done"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_come_back_defers_the_run() {
    let until = common::epoch() + chrono::Duration::hours(1);
    let source = Arc::new(SlowSource::default().failing(
        "k00010",
        "itens",
        FetchFailure::deferred(until, "429"),
    ));
    let sink = Arc::new(SlowSink::default());
    let report = run(
        &source,
        &sink,
        Options {
            concurrency: 1,
            ..Options::default()
        },
        &keys(20),
    )
    .await;
    assert_eq!(report.outcome, Outcome::Deferred { until });
    assert_eq!((report.processed, report.failed, report.left), (10, 0, 10));
    assert!(sink.inner.quarantined().is_empty());
    source.heal();
    let again = run(&source, &sink, Options::default(), &keys(20)).await;
    assert_eq!((again.outcome, again.calls), (Outcome::Complete, 20));
    common::assert_exact(&sink.inner, 20);
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_a_run_saves_what_arrived_and_resumes_without_repeating_it() {
    let (source, sink) = fresh();
    let (ingester, recorder) = ingester(
        &source,
        &sink,
        Options {
            concurrency: 3,
            ..Options::default()
        },
    );
    let keys = keys(100);
    let stop = tokio::time::sleep(Duration::from_millis(1_010));
    let report = ingester.run_until(&keys, stop).await.unwrap();
    assert_eq!(
        report.outcome,
        Outcome::Stopped {
            reason: StopReason::Cancelled
        }
    );
    assert!(report.is_resumable() && report.left > 0);
    assert_eq!(
        report.calls, 33,
        "ten rounds of three, and the three in flight were let end"
    );
    assert!(recorder.headlines().last().unwrap().starts_with("final"));
    let again = ingester.run(&keys).await.unwrap();
    assert_eq!((again.outcome, again.calls), (Outcome::Complete, 200 - 33));
    common::assert_exact(&sink.inner, 100);
}

#[tokio::test(start_paused = true)]
async fn calls_that_outlast_the_grace_time_are_dropped() {
    let source = Arc::new(SlowSource::default().stuck("k00002", "arquivos"));
    let sink = Arc::new(SlowSink::default());
    let options = Options {
        deadline: Some(Duration::from_secs(5)),
        grace: Duration::from_secs(2),
        ..Options::default()
    };
    let started = tokio::time::Instant::now();
    let report = run(&source, &sink, options, &keys(10)).await;
    assert_eq!(
        report.outcome,
        Outcome::Stopped {
            reason: StopReason::Deadline
        }
    );
    assert!(
        (Duration::from_secs(7)..Duration::from_secs(8)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        sink.inner.rows().len(),
        19,
        "the stuck key's itens are kept"
    );
    assert_eq!(report.left, 1);
}

#[tokio::test(start_paused = true)]
async fn a_save_is_repeated_for_a_passing_reason_only() {
    let (source, sink) = fresh();
    sink.fail_saves(2, true, false);
    let (passing, recorder) = ingester(&source, &sink, Options::default());
    let report = passing.run(&keys(60)).await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(
        (recorder.retries(), report.checkpoints[0].save_attempts),
        (2, 3)
    );
    let (source, sink) = fresh();
    let (lasting, _) = ingester(
        &source,
        &sink,
        Options {
            concurrency: 1,
            ..Options::default()
        },
    );
    sink.fail_saves_after(1, 1, false);
    let error = lasting.run(&keys(120)).await.unwrap_err();
    let Error::Save {
        number: 2,
        attempts: 1,
        report,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((report.processed, report.left > 0), (50, true));
    assert_eq!(
        sink.inner.entry_sizes(),
        [100],
        "what was committed before is intact"
    );
    assert!(!error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn a_save_that_took_effect_and_reported_an_error_doubles_nothing() {
    let (source, sink) = fresh();
    sink.fail_saves(1, true, true);
    let report = run(&source, &sink, Options::default(), &keys(60)).await;
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(sink.inner.entry_sizes().iter().sum::<usize>(), 120);
    common::assert_exact(&sink.inner, 60);
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_instant_a_run_loses_and_doubles_nothing() {
    for millis in (10..1_500).step_by(37) {
        let (source, sink) = fresh();
        let options = Options {
            checkpoint_every: 7,
            concurrency: 4,
            ..Options::default()
        };
        let keys = keys(25);
        let (ingester, _) = ingester(&source, &sink, options);
        let cut = tokio::time::timeout(Duration::from_millis(millis), ingester.run(&keys)).await;
        let saved = sink.inner.rows().len();
        let report = ingester.run(&keys).await.unwrap();
        if cut.is_err() {
            assert_eq!(
                report.calls as usize,
                50 - saved,
                "only what was not saved is fetched"
            );
            // One checkpoint that was being saved, one that was filling, and the calls in flight.
            assert!(
                source.repeated() <= 2 * 7 * 2 + 4,
                "{} at {millis} ms",
                source.repeated()
            );
        }
        common::assert_exact(&sink.inner, 25);
        assert_eq!(sink.inner.entry_sizes().iter().sum::<usize>(), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn two_runs_at_once_double_nothing() {
    let (source, sink) = fresh();
    let keys = keys(60);
    let options = |i| Options {
        shard: Shard::new(i, 2).ok(),
        ..Options::default()
    };
    let ((one, _), (two, _)) = (
        ingester(&source, &sink, options(1)),
        ingester(&source, &sink, options(2)),
    );
    let (first, second) = tokio::join!(one.run(&keys), two.run(&keys));
    assert_eq!(first.unwrap().planned + second.unwrap().planned, 60);
    assert_eq!(source.repeated(), 0, "shards do not overlap");
    common::assert_exact(&sink.inner, 60);
    let (source, sink) = fresh();
    let ((one, _), (two, _)) = (
        ingester(&source, &sink, Options::default()),
        ingester(&source, &sink, Options::default()),
    );
    let (first, second) = tokio::join!(one.run(&keys), two.run(&keys));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(
        sink.inner.entry_sizes().iter().sum::<usize>(),
        120,
        "what the other took is dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn batches_follow_each_other_until_the_day_is_done() {
    let (source, sink) = fresh();
    let options = Options {
        batch_size: Some(10),
        ..Options::default()
    };
    let keys = keys(25);
    let mut sizes = Vec::new();
    loop {
        let report = run(&source, &sink, options.clone(), &keys).await;
        if report.outcome == Outcome::NothingNew {
            break;
        }
        sizes.push((report.planned, report.complete));
    }
    assert_eq!(sizes, [(10, false), (10, false), (5, true)]);
    assert_eq!(source.repeated(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_facet_at_a_time_and_gone_is_an_answer_for_good() {
    let source = Arc::new(SlowSource::default().gone("k00001"));
    let sink = Arc::new(SlowSink::default());
    let keys = keys(5);
    let only = |facet: &str| Options {
        only: vec![facet.to_owned()],
        ..Options::default()
    };
    let itens = run(&source, &sink, only("itens"), &keys).await;
    assert_eq!(
        (itens.outcome, itens.complete, itens.calls),
        (Outcome::Complete, false, 5)
    );
    let arquivos = run(&source, &sink, only("arquivos"), &keys).await;
    assert_eq!((arquivos.complete, arquivos.calls), (true, 5));
    assert_eq!(arquivos.facets[1].gone, 1);
    assert!(matches!(
        sink.inner.rows()[&("k00001".to_owned(), FACETS[0])].fetched,
        Fetched::Gone(_)
    ));
    assert_eq!(
        run(&source, &sink, Options::default(), &keys).await.calls,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn without_auto_resume_all_is_fetched_again_and_replaced() {
    let (source, sink) = fresh();
    let keys = keys(5);
    run(&source, &sink, Options::default(), &keys).await;
    let report = run(
        &source,
        &sink,
        Options {
            auto_resume: false,
            ..Options::default()
        },
        &keys,
    )
    .await;
    assert_eq!((report.calls, report.already_done), (10, 0));
    common::assert_exact(&sink.inner, 5);
}

#[tokio::test]
async fn a_facet_that_the_source_does_not_have_is_refused() {
    let (source, _) = fresh();
    let options = Options {
        only: vec!["precos".into()],
        ..Options::default()
    };
    let error = Ingester::builder(source, Arc::new(MemorySink::new()))
        .with_options(options)
        .build()
        .unwrap_err();
    assert!(
        matches!(error, Error::Invalid { field: "only", .. }),
        "{error}"
    );
}
