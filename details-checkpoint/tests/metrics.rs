//! What each checkpoint took: told by events, kept in the report, in the entries' footers and in the snapshots.
#![cfg(all(feature = "pncp", feature = "bronze"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bronze_storage::{BronzeStore, ParquetFile};
use chrono::NaiveDate;
use details_checkpoint::{
    BronzeDetails, CheckpointMetrics, Event, Ingester, KeyList, Observer, Options, PncpDetails,
    Report,
};
use ingest_state::Scope;
use pncp_client::{ClientSettings, PncpClient};
use pncp_sim::{Fault, Sim};
use serde_json::Value;

#[derive(Debug, Default)]
struct Saved(Mutex<Vec<CheckpointMetrics>>);

impl Observer for Saved {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::CheckpointSaved(saved) = event {
            self.0.lock().unwrap().push(saved.metrics.clone());
        }
    }
}

async fn run(store: &BronzeStore) -> (Report, Vec<CheckpointMetrics>, u64) {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let mut builder = Sim::builder().synthetic(25);
    for fault in [
        "5xx:status=500,route=itens,count=4",
        "cut:route=arquivos,count=3",
    ] {
        builder = builder.fault(fault.parse::<Fault>().unwrap());
    }
    let sim = builder.start().await.unwrap();
    let mut settings = ClientSettings::default();
    settings.retry.first_delay_ms = 1;
    settings.retry.delay_max_ms = 5;
    settings.detail.requests_per_second_max = 10_000.0;
    settings.detail.requests_per_second_start = 10_000.0;
    let client = PncpClient::builder()
        .with_settings(settings)
        .with_api_url(sim.api_url())
        .build()
        .unwrap();
    let sink = BronzeDetails::builder(store.clone(), Scope::new("pncp_details", day).unwrap())
        .with_execution("x")
        .build()
        .unwrap();
    let keys = sim
        .truth(day)
        .map(|record| format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial));
    let watcher = Arc::new(Saved::default());
    let options = Options {
        checkpoint_every: 10,
        ..Options::default()
    };
    let ingester = Ingester::builder(Arc::new(PncpDetails::new(client)), Arc::new(sink))
        .with_options(options)
        .with_observer(watcher.clone())
        .build()
        .unwrap();
    let report = ingester.run(KeyList::from_keys(keys).unwrap()).await;
    let saved = std::mem::take(&mut *watcher.0.lock().unwrap());
    (report.unwrap(), saved, sim.stats().detail_calls())
}

/// Whether everything that a checkpoint takes is there.
fn assert_whole(metrics: &CheckpointMetrics) {
    let times = [metrics.fetch, metrics.encode, metrics.commit, metrics.save];
    assert!(
        times.iter().all(|time| *time > Duration::ZERO),
        "{metrics:?}"
    );
    assert!(metrics.save >= metrics.encode, "{metrics:?}");
    let counts = [
        metrics.rows,
        metrics.body_bytes,
        metrics.saved_bytes,
        metrics.held_bytes,
        metrics.calls,
    ];
    assert!(counts.iter().all(|count| *count > 0), "{metrics:?}");
    assert!(metrics.held_bytes > metrics.body_bytes, "{metrics:?}");
    assert!(
        metrics.calls - metrics.retries >= 2 * metrics.rows,
        "{metrics:?}"
    );
}

#[tokio::test]
async fn every_checkpoint_says_what_it_took() {
    let store = BronzeStore::memory();
    let (report, events, calls) = run(&store).await;
    assert_eq!(report.checkpoints.len(), 3);
    assert_eq!(events, report.checkpoints);
    report.checkpoints.iter().for_each(assert_whole);
    let sum = |count: fn(&CheckpointMetrics) -> u64| events.iter().map(count).sum::<u64>();
    assert_eq!(sum(|metrics| metrics.calls), report.calls);
    assert_eq!(sum(|metrics| metrics.retries), report.retries);
    assert_eq!(report.calls, calls, "what the server counted");
    assert!(report.retries >= 7, "{}", report.retries);

    let mut previous: Option<Value> = None;
    for metrics in &events {
        let head = store.head(&metrics.key).await.unwrap().unwrap();
        assert_eq!(head.size, metrics.saved_bytes);
        let file = ParquetFile::open(&store, &metrics.key).await.unwrap();
        let footer: Value = serde_json::from_str(file.metadata("ingest-state").unwrap()).unwrap();
        let noted = &footer["metadata"]["checkpoint"];
        let whole = serde_json::to_value(metrics).unwrap();
        for known in [
            "number",
            "rows",
            "calls",
            "retries",
            "body_bytes",
            "held_bytes",
            "fetch_us",
        ] {
            assert_eq!(noted[known], whole[known], "{known}");
        }
        // What saving an entry took is known once it is saved: the next one holds it, or the snapshot.
        let before = footer["metadata"].get("previous_checkpoint").cloned();
        assert_eq!(before, previous);
        previous = Some(whole);
    }
    let snapshot = "pncp_details/_state/itens/year=2025/month=10/day=22/state_20251022.json";
    let (snapshot, _) = store.get(snapshot).await.unwrap();
    let snapshot: Value = serde_json::from_slice(&snapshot).unwrap();
    let noted = &snapshot["executions"][0]["last_checkpoint"];
    assert_eq!(Some(noted), previous.as_ref());
}
