//! Rate control against the simulator's hidden limit and its random refusals.

use std::time::Duration;

use futures::StreamExt as _;
use pncp_client::{Family, PncpClient};
use pncp_sim::{Fault, FaultKind, RateLimit, RetryAfter, Sim, SimHandle};

use crate::support::{client_of, day, key, quick};

/// So many calls of one request each, sixteen at a time; the mean of the rate that the client took
/// for right on the way.
async fn call(client: &PncpClient, sim: &SimHandle, calls: usize) -> f64 {
    let keys: Vec<_> = sim.truth(day()).map(|record| key(&record)).collect();
    let calls =
        futures::stream::iter((0..calls).map(|n| keys[n % keys.len()].clone())).map(|key| {
            let client = client.clone();
            async move {
                client.itens_quantidade(&key).await.unwrap();
                client.limits().current(Family::Detail)
            }
        });
    let rates: Vec<f64> = calls.buffer_unordered(16).collect().await;
    rates.iter().sum::<f64>() / rates.len() as f64
}

/// As [`call`], with the share of answers that were refusals.
async fn pace_of(client: &PncpClient, sim: &SimHandle, calls: usize) -> (f64, f64) {
    let before = sim.stats();
    let rate = call(client, sim, calls).await;
    let after = sim.stats();
    let refused = after.rate_limited - before.rate_limited;
    (rate, refused as f64 / (after.total - before.total) as f64)
}

// The limit of twenty a second, five times as fast; the pauses are not told, so that they can be
// shorter than a second. How much of the limit is really used is a question of wall time, which
// `cargo bench -p benches --bench client -- limit` answers.
#[tokio::test]
async fn a_hidden_limit_that_halves_is_found_and_kept() {
    let pause = Duration::from_millis(300);
    let limit = RateLimit {
        per_second: 100.0,
        burst: 10,
        halve_after: Some(500),
        retry_after: RetryAfter::None,
        pause_untold: pause,
    };
    let sim = Sim::builder()
        .synthetic(50)
        .rate_limit(limit)
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.detail.requests_per_second_start = 50.0;
    settings.detail.requests_per_second_max = 1_000.0;
    settings.detail.requests_per_second_min = 1.0;
    settings.detail.default_pause_ms = pause.as_millis() as u64;
    let client = client_of(settings);
    let mut seen = Vec::new();
    for calls in [220, 280, 150, 220] {
        seen.push(pace_of(&client, &sim, calls).await);
    }
    for ((rate, refused), limit) in [(seen[1], 100.0), (seen[3], 50.0)] {
        // 80 and 2 % where nothing else runs, to which src/pace_model.rs holds.
        assert!(rate >= 0.7 * limit && refused < 0.05, "{seen:?}");
    }
    assert_eq!(sim.stats().in_retry_after_pause, 0, "{:?}", sim.stats());
}

#[tokio::test]
async fn random_refusals_leave_the_pace_near_its_ceiling() {
    let sim = Sim::builder()
        .synthetic(50)
        .fault(
            Fault::new(FaultKind::TooMany)
                .rate(0.025)
                .retry_after(RetryAfter::Seconds(0)),
        )
        .fault(Fault::new(FaultKind::ServerError).status(503).rate(0.02))
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.detail.requests_per_second_start = 200.0;
    settings.detail.requests_per_second_max = 500.0;
    settings.detail.requests_per_second_min = 1.0;
    let client = client_of(settings);
    let rate = call(&client, &sim, 2_000).await;
    assert!(rate >= 0.7 * 500.0, "{rate}");
    assert!(sim.stats().injected["429"] > 30, "{:?}", sim.stats());
}

#[tokio::test]
async fn a_single_page_of_the_firewall_stops_nobody() {
    let sim = Sim::builder()
        .synthetic(50)
        .fault(Fault::new(FaultKind::Html200).rate(0.05))
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    // A pause would last longer than any call may.
    settings.detail.default_pause_ms = 3_600_000;
    let client = client_of(settings);
    call(&client, &sim, 600).await;
    assert!(sim.stats().injected["html-200"] > 15);
    assert_eq!(client.limits().paused_for(Family::Detail), None);
}

#[tokio::test]
async fn a_firewall_that_insists_is_left_alone() {
    let sim = Sim::builder()
        .synthetic(50)
        .fault(Fault::new(FaultKind::Html200))
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.detail.default_pause_ms = 3_600_000;
    let client = client_of(settings);
    let key = key(&sim.truth(day()).next().unwrap());
    let error = client.itens(&key).await.unwrap_err();
    assert!(error.retry_at().is_some(), "{error}");
    assert_eq!(sim.stats().total, 5);
    assert!(client.limits().paused_for(Family::Detail).is_some());
    // The other family goes on to its own answer.
    assert_eq!(client.limits().paused_for(Family::List), None);
}

#[tokio::test]
async fn a_total_outage_costs_a_fifth_more_at_most() {
    let limiter = Fault::new(FaultKind::TooMany).retry_after(RetryAfter::Seconds(0));
    for fault in [
        Fault::new(FaultKind::ServerError),
        Fault::new(FaultKind::Cut),
        Fault::new(FaultKind::Html200),
        limiter,
    ] {
        let kind = format!("{fault:?}");
        let sim = Sim::builder()
            .synthetic(50)
            .fault(fault)
            .start()
            .await
            .unwrap();
        let client = client_of(quick(&sim));
        let key = key(&sim.truth(day()).next().unwrap());
        let failed = futures::stream::iter(0..400).map(|_| {
            let (client, key) = (client.clone(), key.clone());
            async move { client.itens_quantidade(&key).await.unwrap_err() }
        });
        let failed = failed.buffer_unordered(16).count().await;
        assert_eq!(failed, 400);
        let sent = sim.stats().total;
        assert!(sent <= 480, "{kind}: {sent} requests for 400 wanted");
    }
}
