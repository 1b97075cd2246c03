//! What is written and asked for in all, counted at the store and at the server: a day at once, a day in 24 hourly runs.
#![cfg(all(feature = "pncp", feature = "bronze"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use bronze_storage::BronzeStore;
use bronze_storage::testing::CountingStore;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use details_checkpoint::{
    BronzeDetails, Candidate, Ingester, KeyList, Options, Outcome, PncpDetails, Report,
};
use ingest_state::Scope;
use object_store::memory::InMemory;
use pncp_client::{ClientSettings, PncpClient};
use pncp_sim::{Sim, SimHandle};

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

/// A server, a counted store, and the day's keys as they come in.
struct Day {
    sim: SimHandle,
    counting: CountingStore,
    keys: Vec<String>,
}

impl Day {
    async fn of(contratacoes: u32) -> Self {
        let sim = Sim::builder().synthetic(contratacoes).seed(9).start();
        let sim = sim.await.unwrap();
        let key = |record: pncp_sim::TruthRecord| {
            format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial)
        };
        Self {
            keys: sim.truth(day()).map(key).collect(),
            sim,
            counting: CountingStore::new(Arc::new(InMemory::new())),
        }
    }

    fn store(&self) -> BronzeStore {
        BronzeStore::from_store(Arc::new(self.counting.clone()))
    }

    /// A run over the first `count` keys, which came in one after another, a minute apart.
    async fn run(&self, count: usize, options: Options) -> Report {
        let mut settings = ClientSettings::default();
        settings.detail.requests_per_second_max = 100_000.0;
        settings.detail.requests_per_second_start = 100_000.0;
        let client = PncpClient::builder()
            .with_settings(settings)
            .with_consulta_url(self.sim.consulta_url())
            .with_api_url(self.sim.api_url())
            .build()
            .unwrap();
        let scope = Scope::new("pncp_details", day()).unwrap();
        let sink = BronzeDetails::builder(self.store(), scope)
            .with_execution("x")
            .build()
            .unwrap();
        let mut keys = KeyList::new();
        for (minute, key) in self.keys[..count].iter().enumerate() {
            let candidate = Candidate::new(key)
                .with_version("2025-10-22T10:00:00")
                .with_arrived(begin() + Duration::minutes(minute as i64));
            keys.push(candidate).unwrap();
        }
        let source = Arc::new(PncpDetails::new(client));
        let ingester = Ingester::builder(source, Arc::new(sink))
            .with_options(options)
            .build()
            .unwrap();
        ingester.run(keys).await.unwrap()
    }

    async fn bytes_below(&self, prefix: &str) -> u64 {
        let objects = self.store().list(prefix).await.unwrap();
        objects.iter().map(|object| object.size).sum()
    }
}

fn begin() -> DateTime<Utc> {
    day().and_hms_opt(3, 0, 0).unwrap().and_utc()
}

#[tokio::test]
async fn bytes_written_grow_with_the_day_and_no_faster() {
    let mut each = Vec::new();
    for contratacoes in [60, 120, 240] {
        let day = Day::of(contratacoes).await;
        let count = day.keys.len();
        let report = day.run(count, Options::default()).await;
        assert_eq!(report.outcome, Outcome::Complete);
        // What is fetched differs from day to day: what is written is measured by it.
        each.push(day.counting.counts().bytes_up as f64 / report.body_bytes as f64);
    }
    let [small, middle, large] = [each[0], each[1], each[2]];
    assert!(
        middle < small * 1.1 && large < small * 1.1,
        "bytes written for each byte fetched: {each:?}"
    );
}

#[tokio::test]
async fn twenty_four_hourly_runs_write_a_small_multiple_of_the_days_bytes_and_ask_for_nothing_twice()
 {
    let whole = Day::of(192).await;
    let once = whole.run(192, Options::default()).await;
    let at_once = whole.counting.counts().bytes_up;

    let hourly = Day::of(192).await;
    let mut calls = 0;
    for hour in 1..=24 {
        let options = Options {
            since: Some(begin() + Duration::minutes(8 * (hour - 1))),
            ..Options::default()
        };
        let report = hourly.run(8 * hour as usize, options).await;
        assert_eq!((report.outcome, report.processed), (Outcome::Complete, 8));
        calls += report.calls;
    }
    assert_eq!(calls, once.calls);
    assert_eq!(hourly.sim.stats().detail_calls(), calls);
    assert_eq!(hourly.sim.stats().repeated_identical, 0);
    let parts = hourly.bytes_below("pncp_details/_parts").await;
    let written = hourly.counting.counts().bytes_up;
    // Once as parts, four times by merges that come when a third of the file is unmerged, once as snapshots.
    assert!(
        written < 7 * parts,
        "{written} bytes written for {parts} bytes of parts, {at_once} for a day at once"
    );

    let before = hourly.counting.counts();
    let again = hourly.run(192, Options::default()).await;
    assert_eq!((again.outcome, again.calls), (Outcome::NothingNew, 0));
    let after = hourly.counting.counts();
    assert_eq!(
        (after.creates, after.uploads),
        (before.creates, before.uploads)
    );
    assert_eq!(after.puts - before.puts, 2, "only the two snapshots");
}
