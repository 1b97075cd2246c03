//! The recorded series of requests, as a client meets them.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{get, publicacao};
use pncp_sim::{Sim, Trace};

const DAY: &str = "20251022";

#[tokio::test]
async fn a_page_fails_as_often_as_recorded_and_then_comes() {
    let sim = Sim::builder()
        .synthetic(900)
        .trace(Trace::WeekAllModalities, 0.0)
        .start()
        .await
        .unwrap();
    let path = publicacao(DAY, 9, 1, 10);
    assert_eq!(get(sim.url(), &path).await.status, 200);
    // Modality 9, page 89 was refused three times; there are 18 pages here, so it is past the end.
    let path = publicacao(DAY, 9, 89, 10);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(get(sim.url(), &path).await.status);
    }
    assert_eq!(statuses, [429, 429, 429, 204, 204]);
    assert_eq!(sim.stats().injected["trace-429"], 3);
    sim.reset();
    assert_eq!(get(sim.url(), &path).await.status, 429);
}

#[tokio::test]
async fn the_crawl_goes_on_in_order_whatever_is_asked() {
    let sim = Sim::builder()
        .synthetic(100)
        .trace(Trace::SequentialCrawl, 0.0)
        .start()
        .await
        .unwrap();
    let mut statuses = Vec::new();
    for n in 0..36 {
        let path = publicacao(DAY, 8, n % 4 + 1, 10);
        statuses.push(get(sim.url(), &path).await.status);
    }
    let failed: Vec<_> = statuses
        .iter()
        .enumerate()
        .filter(|(_, s)| **s != 200)
        .collect();
    let expected = [
        (10, &429),
        (17, &429),
        (24, &500),
        (25, &500),
        (26, &504),
        (27, &500),
        (35, &429),
    ];
    assert_eq!(failed, expected);
    // The other base has a history of its own.
    assert_eq!(get(sim.url(), "/api/pncp/v1/modalidades").await.status, 200);
}

#[tokio::test]
async fn a_scale_that_cannot_be_meant_is_refused() {
    for scale in [-1.0, f64::NAN] {
        let sim = Sim::builder().trace(Trace::FiveWorkers, scale);
        assert!(sim.start().await.is_err());
    }
}
