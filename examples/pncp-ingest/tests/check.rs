//! `check` on the command line: a bucket that must not be trusted, and those that cannot be tried.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::path::Path;

use pncp_sim::Sim;
use support::{Ended, Lakehouse, answer};

const FORBIDDEN: &str = "state must not be kept in this bucket";

/// s3s-fs, in this process: it honours create-if-absent one writer at a time only.
async fn s3s_fs(folder: &Path) -> String {
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single("test", "testtest"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let socket = hyper_util::rt::TokioIo::new(socket);
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(socket, service.clone()));
        }
    });
    endpoint
}

/// `check` on an endpoint, as people run it.
async fn check(lakehouse: &Lakehouse, endpoint: &str, secret: &str) -> Ended {
    let mut command = lakehouse.command(&["check"]);
    command
        .env("STORAGE_TYPE", "minio")
        .env("MINIO_ENDPOINT_URL", endpoint)
        .env("MINIO_ACCESS_KEY", "test")
        .env("MINIO_SECRET_KEY", secret);
    let output = tokio::task::spawn_blocking(move || command.output());
    let ended = Ended::from(&output.await.unwrap().unwrap());
    assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret));
    ended
}

async fn lakehouse() -> Lakehouse {
    Lakehouse::new(Sim::builder().synthetic(1).start().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_without_the_promise_is_refused() {
    let lakehouse = lakehouse().await;
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().join("lh-bronze");
    std::fs::create_dir(&bucket).unwrap();
    let endpoint = s3s_fs(folder.path()).await;
    let ended = check(&lakehouse, &endpoint, "testtest")
        .await
        .expect_code(1);
    assert_eq!(ended.last["status"], "failed");
    for text in [
        &ended.stderr,
        ended.last["error"].as_str().unwrap_or_default(),
    ] {
        assert!(text.contains("racing creates of one key"), "{text}");
        assert!(text.contains("s3://lh-bronze"), "{text}");
    }
    assert!(ended.stderr.contains(FORBIDDEN), "{}", ended.stderr);
    let left = std::fs::read_dir(&bucket).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty() || left == ["_check"], "{left:?}");

    let wrong = check(&lakehouse, &endpoint, "another-secret").await;
    let wrong = wrong.expect_code(1);
    assert!(wrong.stderr.contains("may not put"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains(FORBIDDEN), "{}", wrong.stderr);
}

/// A server that has no such bucket, whatever is asked.
async fn without_bucket() -> String {
    let body = "<Error><Code>NoSuchBucket</Code></Error>";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    answer::always(answer).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_named_with_what_to_do() {
    let lakehouse = lakehouse().await;
    let ended = check(&lakehouse, &without_bucket().await, "testtest").await;
    let ended = ended.expect_code(1);
    assert!(ended.stderr.contains("no such bucket"), "{}", ended.stderr);
    assert!(ended.stderr.contains("BUCKET_BRONZE"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(FORBIDDEN), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_where_nobody_answers_says_nothing_about_the_bucket() {
    let lakehouse = lakehouse().await;
    let ended = check(&lakehouse, "http://127.0.0.1:1", "testtest").await;
    let ended = ended.expect_code(1);
    assert_eq!(ended.last["status"], "failed");
    let told = ended.stderr.contains("nobody answers at the endpoint");
    assert!(told, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("see STORAGE_TYPE"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains(FORBIDDEN), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_proved_and_left_clean() {
    let lakehouse = lakehouse().await;
    let ended = lakehouse.run(&["check"]).await.expect_code(0);
    assert_eq!(ended.last["status"], "complete");
    assert!(
        ended.last["location"]
            .as_str()
            .unwrap()
            .starts_with("file:")
    );
    assert_eq!(lakehouse.objects(""), []);
}
