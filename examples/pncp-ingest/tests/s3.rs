//! The main job on a real S3 server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use bronze_storage::testing::S3Server;
use pncp_sim::Sim;
use support::{DAY, Ended, Lakehouse};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_runs_on_s3() {
    let Some(server) = S3Server::start().await else {
        return;
    };
    let config = server.config();
    let lakehouse = Lakehouse::new(Sim::builder().synthetic(120).seed(5).start().await.unwrap());
    let run = async |args: &[&str], bucket: &str| {
        let mut command = lakehouse.command(args);
        command
            .env("STORAGE_TYPE", "minio")
            .env("MINIO_ENDPOINT_URL", server.endpoint())
            .env(
                "MINIO_ACCESS_KEY",
                config.access_key.as_ref().unwrap().expose(),
            )
            .env(
                "MINIO_SECRET_KEY",
                config.secret_key.as_ref().unwrap().expose(),
            )
            .env("BUCKET_BRONZE", bucket);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        Ended::from(&output)
    };

    run(&["check"], &config.bucket).await.expect_code(0);
    let daily = run(&["daily", "--date", DAY], &config.bucket)
        .await
        .expect_code(0);
    assert_eq!(daily.number("new_records"), 120);
    let details = run(&["details", "--date", DAY], &config.bucket)
        .await
        .expect_code(0);
    assert_eq!(details.number("processed"), 120);
    let again = run(&["daily", "--date", DAY], &config.bucket)
        .await
        .expect_code(0);
    assert_eq!(again.last["reason"], "all_duplicates");
    let again = run(&["details", "--date", DAY], &config.bucket)
        .await
        .expect_code(0);
    assert_eq!(again.number("detail_calls"), 0);

    let missing = run(&["daily", "--date", DAY], "no-such-bucket").await;
    assert!(
        matches!(missing.code, 1 | 2),
        "exit {}: {}",
        missing.code,
        missing.stderr
    );
    assert!(
        missing.stderr.contains("no-such-bucket"),
        "{}",
        missing.stderr
    );
    let secret = config.secret_key.as_ref().unwrap().expose();
    assert!(!missing.stderr.contains(secret) && !missing.stdout.contains(secret));
}
