//! The options of `details`, through the command: what is fetched again, what is left to others, when it is saved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use bronze_storage::{BronzeConfig, BronzeStore, ParquetFile, ReadOptions};
use futures::TryStreamExt as _;
use pncp_sim::{Fault, Sim};
use support::{DAY, Ended, Lakehouse};

const VIEW: &str = "pncp_details/year=2025/month=10/day=22/details.parquet";

async fn lakehouse(purchases: u32) -> Lakehouse {
    let lakehouse = Lakehouse::new(Sim::builder().synthetic(purchases).start().await.unwrap());
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    lakehouse
}

async fn details(lakehouse: &Lakehouse, args: &[&str]) -> Ended {
    let mut all = vec!["details", "--date", DAY];
    all.extend(args);
    lakehouse.run(&all).await
}

/// How often each key is in a Parquet object of the store.
async fn keys(lakehouse: &Lakehouse, objects: &[String]) -> BTreeMap<String, u32> {
    let store = BronzeStore::open(&BronzeConfig::local(
        lakehouse.folder.path().join("lakehouse"),
    ));
    let store = store.unwrap();
    let mut keys = BTreeMap::new();
    for object in objects {
        let file = ParquetFile::open(&store, object).await.unwrap();
        let batches: Vec<RecordBatch> = file
            .read(&ReadOptions::columns(["key"]))
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        for batch in batches {
            let column = batch.column_by_name("key").unwrap().as_string::<i32>();
            for key in column.iter().flatten() {
                *keys.entry(key.to_owned()).or_default() += 1;
            }
        }
    }
    keys
}

fn parts(lakehouse: &Lakehouse) -> Vec<String> {
    let store = lakehouse.store();
    let relative = |path: String| {
        let path = std::path::PathBuf::from(path);
        path.strip_prefix(&store)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let objects = lakehouse.objects("pncp_details/_parts");
    objects
        .into_iter()
        .map(|(path, _)| relative(path))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_fetches_what_has_a_later_version_replaces_its_row_and_keeps_the_earlier_one() {
    let fault: Fault = "move:rate=0.6,count=24,route=publicacao".parse().unwrap();
    let sim = Sim::builder().synthetic(150).fault(fault).start();
    let lakehouse = Lakehouse::new(sim.await.unwrap());
    let daily = ["daily", "--date", DAY, "--page-size", "10"];
    // Records change after they were listed: the second listing sees their later versions.
    lakehouse.run(&daily).await;
    details(&lakehouse, &[]).await.expect_code(0);
    let again = lakehouse.run(&daily).await;
    let moved = again.number("later_versions");
    assert!(moved >= 3, "{}", again.last);
    let unasked = details(&lakehouse, &[]).await.expect_code(0);
    assert_eq!(unasked.number("detail_calls"), 0, "only --refresh looks");

    let before = keys(&lakehouse, &parts(&lakehouse)).await;
    let calls = lakehouse.sim.stats().detail_calls();
    let some = details(&lakehouse, &["--refresh", "--refresh-calls", "4"])
        .await
        .expect_code(0);
    assert_eq!(some.number("processed"), 2, "two calls each: {}", some.last);
    let rest = details(&lakehouse, &["--refresh"]).await.expect_code(0);
    assert_eq!(rest.number("processed"), moved - 2);
    let none = details(&lakehouse, &["--refresh"]).await.expect_code(0);
    assert_eq!(none.last["no_data"], true, "{}", none.last);
    assert!(lakehouse.sim.stats().detail_calls() - calls >= 2 * moved);

    let merge = lakehouse.run(&["merge", "--date", DAY]).await;
    assert_eq!(merge.code, 0);
    let view = keys(&lakehouse, &[VIEW.to_owned()]).await;
    assert_eq!(view.len(), 150);
    assert!(view.values().all(|times| *times == 1), "a row is doubled");
    let after = keys(&lakehouse, &parts(&lakehouse)).await;
    let twice = after.values().filter(|times| **times == 2).count() as u64;
    assert_eq!(twice, moved, "the earlier version stays in its part");
    assert!(before.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_share_a_day_and_leave_nothing_out() {
    let lakehouse = lakehouse(120).await;
    let listed_twice = lakehouse.sim.stats().repeated_identical;
    let mut processed = 0;
    for shard in ["1/3", "2/3", "3/3"] {
        let ended = details(&lakehouse, &["--shard", shard])
            .await
            .expect_code(0);
        let part = ended.number("processed");
        assert!((20..=60).contains(&part), "{shard}: {part}");
        assert_eq!(ended.last["complete"], shard == "3/3");
        processed += part;
    }
    assert_eq!(processed, 120);
    assert_eq!(lakehouse.sim.stats().repeated_identical, listed_twice);
    if let Some(report) = lakehouse.compare(&[]).await {
        assert_eq!(report["details"], 120);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_facet_and_what_came_in_since_are_choices() {
    let lakehouse = lakehouse(60).await;
    let later = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    let none = details(&lakehouse, &["--since", &later])
        .await
        .expect_code(0);
    assert_eq!(none.number("detail_calls"), 0);
    assert_eq!(none.last["complete"], false);
    let arquivos = details(&lakehouse, &["--only", "arquivos"])
        .await
        .expect_code(0);
    assert_eq!(arquivos.number("itens"), 0);
    let stats = lakehouse.sim.stats();
    assert_eq!(stats.requests(pncp_sim::Route::Itens), 0);
    let earlier = (chrono::Utc::now() - chrono::Duration::hours(1)).to_rfc3339();
    let itens = details(&lakehouse, &["--since", &earlier])
        .await
        .expect_code(0);
    assert_eq!(itens.number("arquivos"), 0, "arquivos are in already");
    assert_eq!(itens.last["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_and_seconds_trip_a_checkpoint_as_the_count_does() {
    let lakehouse = lakehouse(60).await;
    let by_bytes = details(&lakehouse, &["--checkpoint-bytes", "20000"])
        .await
        .expect_code(0);
    assert!(by_bytes.number("checkpoints") > 3, "{}", by_bytes.last);
    let latency = pncp_sim::Latency::Fixed(std::time::Duration::from_millis(120));
    let sim = Sim::builder().synthetic(60).latency(latency).start();
    let slow = Lakehouse::new(sim.await.unwrap());
    slow.run(&["daily", "--date", DAY]).await.expect_code(0);
    let by_time = details(&slow, &["--checkpoint-interval", "1", "--concurrency", "4"])
        .await
        .expect_code(0);
    // 120 calls of 120 ms, four at a time: 3.6 s.
    assert!(by_time.number("checkpoints") >= 3, "{}", by_time.last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_what_arrived_is_saved_and_the_next_run_resumes() {
    let latency = pncp_sim::Latency::Fixed(std::time::Duration::from_millis(60));
    let sim = Sim::builder().synthetic(150).latency(latency).start();
    let lakehouse = Lakehouse::new(sim.await.unwrap());
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    let listed_twice = lakehouse.sim.stats().repeated_identical;
    let stopped = details(&lakehouse, &["--deadline", "1"])
        .await
        .expect_code(3);
    assert_eq!(stopped.last["stopped"], "deadline");
    let saved = stopped.number("processed");
    // A purchase of which one facet arrived is saved and left.
    assert!(saved > 0 && stopped.number("left") >= 150 - saved);
    assert!(stopped.stdout.contains("same command to resume"));
    let resumed = details(&lakehouse, &["--concurrency", "16"])
        .await
        .expect_code(0);
    assert_eq!(
        resumed.number("already_done") + resumed.number("processed"),
        150
    );
    assert_eq!(lakehouse.sim.stats().repeated_identical, listed_twice);
}
