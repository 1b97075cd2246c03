//! How near a day's details come to the ideal wall time, and what checkpoints cost of it: the real client over HTTP
//! against a simulator that takes 100 ms a call, 16 calls in flight, checkpoints of 50 on a local folder with fsync.
//!
//! `cargo bench -p benches --bench details [-- --contratacoes N]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench: a failed step ends it, and the figures are printed"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bronze_storage::{BronzeConfig, BronzeStore};
use chrono::NaiveDate;
use details_checkpoint::bronze::MergePolicy;
use details_checkpoint::{
    BronzeDetails, CheckpointSink, Ingester, KeyList, MemorySink, Options, Outcome, PncpDetails,
    Report,
};
use ingest_state::Scope;
use pncp_client::{ClientSettings, PncpClient};
use pncp_sim::{Latency, Sim, SimHandle};

const LATENCY: Duration = Duration::from_millis(100);
const IN_FLIGHT: u32 = 16;
/// Of each the fastest counts: what slows a run down is somebody else's.
const ROUNDS: u32 = 3;

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

/// A run into `sink`, and its wall time.
async fn run(
    sim: &SimHandle,
    keys: &KeyList,
    sink: Arc<dyn CheckpointSink>,
    every: u32,
) -> (Report, Duration) {
    let mut settings = ClientSettings::default();
    settings.detail.requests_per_second_max = 100_000.0;
    settings.detail.requests_per_second_start = 100_000.0;
    settings.detail.concurrency_max = IN_FLIGHT as usize;
    let client = PncpClient::builder()
        .with_settings(settings)
        .with_api_url(sim.api_url())
        .build()
        .unwrap();
    let options = Options {
        concurrency: IN_FLIGHT,
        checkpoint_every: every,
        ..Options::default()
    };
    let ingester = Ingester::builder(Arc::new(PncpDetails::new(client)), sink)
        .with_options(options)
        .build()
        .unwrap();
    let started = Instant::now();
    let report = ingester.run(keys).await.unwrap();
    let wall = started.elapsed();
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(report.processed, keys.len() as u64);
    (report, wall)
}

fn bronze(folder: &std::path::Path) -> Arc<BronzeDetails> {
    let store = BronzeStore::open(&BronzeConfig::local(folder)).unwrap();
    let sink = BronzeDetails::builder(store, Scope::new("pncp_details", day()).unwrap())
        .with_execution("bench")
        .with_merge(MergePolicy::Never);
    Arc::new(sink.build().unwrap())
}

fn contratacoes() -> u32 {
    let mut args = std::env::args().skip_while(|arg| arg != "--contratacoes");
    args.nth(1)
        .map_or(800, |number| number.parse().expect("--contratacoes N"))
}

fn main() {
    // The server has a thread of its own, as it has a machine of its own.
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let builder = Sim::builder().synthetic(contratacoes());
    let sim = server
        .block_on(builder.latency(Latency::Fixed(LATENCY)).start())
        .unwrap();
    let key = |record: pncp_sim::TruthRecord| {
        format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial)
    };
    let keys = KeyList::from_keys(sim.truth(day()).map(key)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!(
            "{} contratações, {} ms a call, {IN_FLIGHT} in flight",
            keys.len(),
            LATENCY.as_millis()
        );
        let mut fastest = [Duration::MAX; 4];
        let mut saves = [Duration::ZERO; 4];
        let mut calls = 0;
        for _ in 0..ROUNDS {
            for (at, every) in [None, Some(10), Some(50), Some(200)].into_iter().enumerate() {
                let folder = tempfile::tempdir().unwrap();
                let sink: Arc<dyn CheckpointSink> = match every {
                    None => Arc::new(MemorySink::new()),
                    Some(_) => bronze(folder.path()),
                };
                let (report, wall) = run(&sim, &keys, sink, every.unwrap_or(50)).await;
                calls = report.calls;
                if wall < fastest[at] {
                    fastest[at] = wall;
                    saves[at] = report.checkpoints.iter().map(|saved| saved.save).sum();
                }
            }
        }
        let ideal = LATENCY.mul_f64(calls as f64 / f64::from(IN_FLIGHT));
        let names = [
            "nothing saved",
            "saved every 10",
            "saved every 50",
            "saved every 200",
        ];
        for (at, name) in names.into_iter().enumerate() {
            println!(
                "{name:16} {:7.3} s, {:5.1} % of ideal ({:.3} s), {:+5.1} % to nothing saved, saves {:.3} s",
                fastest[at].as_secs_f64(),
                100.0 * ideal.as_secs_f64() / fastest[at].as_secs_f64(),
                ideal.as_secs_f64(),
                100.0 * (fastest[at].as_secs_f64() / fastest[0].as_secs_f64() - 1.0),
                saves[at].as_secs_f64(),
            );
        }
        let share = fastest[0].as_secs_f64() / fastest[2].as_secs_f64();
        assert!(share >= 0.95, "checkpoints cost {:.1} %", 100.0 / share - 100.0);
    });
}
