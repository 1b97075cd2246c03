//! Faults and kills at every operation of the sink, and the conformance of the in-memory twins.
#![cfg(feature = "test-util")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![allow(dead_code, reason = "shared helpers")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{FACETS, SlowSource, keys};
use details_checkpoint::testing::{FaultSink, When, check_checkpoint_sink, check_detail_source};
use details_checkpoint::{
    CallStats, DetailKey, FetchFailure, Fetched, Ingester, MemorySink, MemorySource, Options,
    Outcome, Payload, TokioClock,
};

fn ingester(
    source: &Arc<SlowSource>,
    sink: Arc<dyn details_checkpoint::CheckpointSink>,
) -> Ingester {
    let options = Options {
        checkpoint_every: 5,
        concurrency: 4,
        failure_threshold: 0.5,
        ..Options::default()
    };
    Ingester::builder(source.clone(), sink)
        .with_options(options)
        .with_clock(Arc::new(TokioClock::starting_at(common::epoch())))
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_twins_keep_the_contracts() {
    let fetched = |_| {
        Fetched::Present(Payload {
            pages: vec!["[{}]".into()],
            count: 1,
            ..Payload::default()
        })
    };
    let key = |n| DetailKey::new(format!("k{n}"));
    check_checkpoint_sink(&MemorySink::new(), &FACETS, key, fetched, common::epoch())
        .await
        .unwrap();
    let source = MemorySource::new(&FACETS).with("a", "itens", 1, "[{}]");
    check_detail_source(&source, &DetailKey::new("a"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_loses_and_doubles_nothing() {
    for when in [When::Before, When::After] {
        for transient in [true, false] {
            for fail_at in 1.. {
                let failing = FetchFailure::permanent("cut").with_stats(CallStats::new(1, 0));
                let source = Arc::new(SlowSource::default().failing("k00007", "itens", failing));
                let memory = MemorySink::new();
                let faulty = Arc::new(FaultSink::new(memory.clone(), fail_at, when, transient));
                let first = ingester(&source, faulty.clone()).run(&keys(23)).await;
                if faulty.calls() < fail_at {
                    assert_eq!(first.unwrap().outcome, Outcome::Partial);
                    break;
                }
                source.heal();
                let healthy = ingester(&source, Arc::new(memory.clone()));
                let second = healthy.run(&keys(23)).await.unwrap();
                assert!(second.complete, "{when:?} at {fail_at}");
                common::assert_exact(&memory, 23);
                assert_eq!(
                    memory.entry_sizes().iter().sum::<usize>(),
                    46,
                    "{when:?} at {fail_at}"
                );
                // A checkpoint that could not be saved, the one that was filling, and the calls in flight.
                assert!(
                    source.repeated() <= 2 * 5 * 2 + 4 + 1,
                    "{} at {fail_at}",
                    source.repeated()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_again_and_again_a_day_still_ends_exact() {
    let source = Arc::new(SlowSource::default());
    let memory = MemorySink::new();
    let mut kills = 0;
    loop {
        let ingester = ingester(&source, Arc::new(memory.clone()));
        // From the start of a run to the first checkpoint takes 300 ms: every kill leaves some progress.
        let life = Duration::from_millis(310 + 97 * (kills % 7));
        match tokio::time::timeout(life, ingester.run(&keys(200))).await {
            Err(_) => kills += 1,
            Ok(report) => {
                assert!(report.unwrap().complete);
                break;
            }
        }
        assert!(kills < 1_000);
    }
    assert!(kills > 5, "{kills}");
    common::assert_exact(&memory, 200);
    assert_eq!(memory.entry_sizes().iter().sum::<usize>(), 400);
    let per_kill = f64::from(source.repeated()) / kills as f64;
    assert!(
        per_kill <= f64::from(5 * 2 + 4),
        "{per_kill} calls repeated for each kill"
    );
}
