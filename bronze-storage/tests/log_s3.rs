//! The log of `ingest-state` on a real S3 server, in memory and in a folder, in both formats of
//! entries, and eight real processes that write the same day of it, each over a store that fails.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};
use std::sync::Arc;

use bronze_storage::state::{IdColumns, ObjectLogStore, ParquetEntries};
use bronze_storage::testing::S3Server;
use bronze_storage::{BronzeConfig, BronzeStore, Secret, StorageType};
use ingest_state::testing::{
    Storm, check_create_race, check_entry_format, check_log, check_log_store,
};
use ingest_state::{JsonEntries, Layout, Log, LogStore};

const ENDPOINT: &str = "LOG_S3_TEST_ENDPOINT";
const NUMBER: &str = "LOG_S3_TEST_NUMBER";
const OUT: &str = "LOG_S3_TEST_OUT";
/// More at once than eight make this server's contended creates take minutes.
const STORM: Storm = Storm {
    writers: 8,
    ids: 24,
    batch: 12,
    one_in: 11,
    seed: 5,
};

fn objects(store: &BronzeStore) -> Arc<dyn LogStore> {
    Arc::new(ObjectLogStore::new(store.object_store().clone()))
}

fn json(store: Arc<dyn LogStore>) -> Log {
    Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap()
}

fn records(store: Arc<dyn LogStore>) -> Log {
    let format = ParquetEntries::new(IdColumns::contratacoes());
    Log::new(store, Arc::new(format), Layout::parquet("pncp")).unwrap()
}

fn details(store: Arc<dyn LogStore>) -> Log {
    let format = ParquetEntries::new(IdColumns::details());
    Log::new(store, Arc::new(format), Layout::details("pncp_details")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_its_promises_on_s3() {
    let Some(server) = S3Server::start().await else {
        return;
    };
    let store = |prefix| objects(&server.store(prefix).unwrap());
    check_log_store(&*store("store"), "check").await.unwrap();
    let format = ParquetEntries::new(IdColumns::contratacoes());
    check_entry_format(&format, &*store("format"))
        .await
        .unwrap();
    for round in 0..3 {
        let key = format!("race/{round}");
        check_create_race(store("race"), &key, 8).await.unwrap();
    }
    check_log(store("json"), &json).await.unwrap();
    check_log(store("records"), &records).await.unwrap();
    check_log(store("details"), &details).await.unwrap();
}

/// The same without a server.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_its_promises_in_memory_and_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let local = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    for store in [BronzeStore::memory(), local] {
        let below = |prefix: &str| {
            let builder = BronzeStore::builder().with_store(store.object_store().clone());
            objects(&builder.with_prefix(prefix).build().unwrap())
        };
        check_log_store(&*below("store"), "check").await.unwrap();
        for (name, columns) in [
            ("format", IdColumns::contratacoes()),
            ("format-details", IdColumns::details()),
        ] {
            let format = ParquetEntries::new(columns);
            check_entry_format(&format, &*below(name)).await.unwrap();
        }
        for round in 0..8 {
            let key = format!("race/{round}");
            check_create_race(below("race"), &key, 8).await.unwrap();
        }
        check_log(below("json"), &json).await.unwrap();
        check_log(below("records"), &records).await.unwrap();
        check_log(below("details"), &details).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "run by the test below, in processes of their own"]
async fn child() {
    let config = BronzeConfig {
        storage_type: StorageType::Minio,
        bucket: "bronze".to_owned(),
        endpoint_url: Some(std::env::var(ENDPOINT).unwrap()),
        access_key: Some(Secret::new("test")),
        secret_key: Some(Secret::new("testtest")),
        ..BronzeConfig::default()
    };
    let number: usize = std::env::var(NUMBER).unwrap().parse().unwrap();
    let store = objects(&BronzeStore::open(&config).unwrap());
    let placed = STORM.write(store, &records, number).await.unwrap();
    std::fs::write(std::env::var(OUT).unwrap(), placed.join("\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_lose_and_double_nothing_on_s3() {
    let Some(server) = S3Server::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = |number: usize| folder.path().join(number.to_string());
    let spawn = |number: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child"])
            .env(ENDPOINT, server.endpoint())
            .env(NUMBER, number.to_string())
            .env(OUT, out(number))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..STORM.writers).map(spawn).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let placed = |number: usize| {
        let text = std::fs::read_to_string(out(number)).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let claimed: Vec<Vec<String>> = (0..STORM.writers).map(placed).collect();
    let log = records(objects(&BronzeStore::open(&server.config()).unwrap()));
    STORM.check(&log, &claimed).await.unwrap();
}
