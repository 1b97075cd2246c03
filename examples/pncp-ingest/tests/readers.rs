//! A whole day with the columns of the API, read by pyarrow, pandas, DuckDB and Polars from a folder
//! and from S3: a log entry, parts, the merged details; values against the truth, types, nulls and
//! empty lists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use bronze_storage::testing::S3Server;
use pncp_sim::Sim;
use serde_json::Value;
use support::{DAY, Ended, Lakehouse};

const PURCHASES: u32 = 60;

async fn lakehouse() -> Lakehouse {
    let sim = Sim::builder().synthetic(PURCHASES).seed(5);
    Lakehouse::new(sim.start().await.unwrap())
}

/// Both halves of 40 purchases in two parts, the itens alone of the others, and what is never
/// fetched stays null.
async fn make_day(lakehouse: &Lakehouse, variables: &[(&str, &str)]) {
    let commands: [&[&str]; 4] = [
        &["daily", "--date", DAY],
        &[
            "details",
            "--date",
            DAY,
            "--max-contratacoes",
            "40",
            "--checkpoint-every",
            "20",
        ],
        &["details", "--date", DAY, "--only", "itens"],
        &["merge", "--date", DAY],
    ];
    for args in commands {
        let mut command = lakehouse.command(args);
        command.envs(variables.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output());
        Ended::from(&output.await.unwrap().unwrap()).expect_code(0);
    }
}

fn check(report: &Value) {
    let sum = |name: &str| -> u64 {
        let parts = report["parts"].as_array().unwrap();
        parts.iter().map(|part| part[name].as_u64().unwrap()).sum()
    };
    let details = &report["details"];
    assert_eq!(report["entry"]["rows"], PURCHASES);
    assert_eq!(details["rows"], PURCHASES);
    assert_eq!(report["parts"].as_array().unwrap().len(), 3, "{report}");
    assert_eq!(details["null"], 20, "arquivos that were never fetched");
    assert!(details["empty"].as_u64().unwrap() > 0, "{report}");
    assert!(details["itens"].as_u64().unwrap() > 500, "{report}");
    for name in ["rows", "itens", "arquivos", "null", "empty"] {
        assert_eq!(details[name], sum(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_readers_agree_with_the_truth_in_a_folder() {
    let lakehouse = lakehouse().await;
    make_day(&lakehouse, &[]).await;
    if let Some(report) = lakehouse.read_with_all(None).await {
        check(&report);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_readers_agree_with_the_truth_on_s3() {
    let Some(server) = S3Server::start().await else {
        return;
    };
    let lakehouse = lakehouse().await;
    let variables = [
        ("STORAGE_TYPE", "minio"),
        ("MINIO_ENDPOINT_URL", server.endpoint()),
        ("MINIO_ACCESS_KEY", "test"),
        ("MINIO_SECRET_KEY", "testtest"),
        ("BUCKET_BRONZE", "bronze"),
    ];
    make_day(&lakehouse, &variables).await;
    let bucket = Some((server.endpoint(), "bronze"));
    if let Some(report) = lakehouse.read_with_all(bucket).await {
        check(&report);
    }
}
