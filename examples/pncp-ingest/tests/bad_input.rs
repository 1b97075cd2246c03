//! Bad input: exit 2 or 1, one clear message that names the setting, nothing written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use pncp_sim::Sim;
use support::{DAY, Lakehouse};

async fn lakehouse() -> Lakehouse {
    Lakehouse::new(Sim::builder().synthetic(20).start().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_arguments_are_refused_before_anything_happens() {
    let lakehouse = lakehouse().await;
    let tomorrow = (chrono::Utc::now() + chrono::Duration::days(2))
        .format("%Y-%m-%d")
        .to_string();
    let cases: [(&[&str], &str); 12] = [
        (&["daily", "--date", "2025-02-30"], "2025-02-30"),
        (&["daily", "--date", "22/10/2025"], "--date"),
        (&["daily", "--date", "2021-03-31"], "2021-04-01"),
        (&["daily", "--date", &tomorrow], "future"),
        (&["daily", "--date", DAY, "--page-size", "9"], "--page-size"),
        (
            &["daily", "--date", DAY, "--page-size", "51"],
            "--page-size",
        ),
        (
            &["daily", "--date", DAY, "--consulta-url", "ftp://x"],
            "consulta_url",
        ),
        (
            &["details", "--date", DAY, "--checkpoint-every", "0"],
            "--checkpoint-every",
        ),
        (
            &["details", "--date", DAY, "--batch-size", "-1"],
            "--batch-size",
        ),
        (&["details", "--date", &tomorrow], "future"),
        (
            &["daily", "--date", DAY, "--storage-type", "floppy"],
            "STORAGE_TYPE",
        ),
        (
            &["daily", "--date", DAY, "--storage-type", "minio"],
            "endpoint",
        ),
    ];
    for (args, names) in cases {
        let ended = lakehouse.run(args).await.expect_code(2);
        assert!(
            ended.stderr.contains(names),
            "{args:?}: no {names} in\n{}",
            ended.stderr
        );
        assert_eq!(ended.last["status"], "usage", "{args:?}");
    }
    assert!(lakehouse.objects("").is_empty(), "something was written");
    assert_eq!(lakehouse.sim.stats().total, 0, "something was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_variables_are_refused_by_name() {
    let lakehouse = lakehouse().await;
    for (name, value) in [
        ("PNCP_DETAILS_CHECKPOINT_EVERY", "0"),
        ("PNCP_DETAILS_BATCH_SIZE", "many"),
    ] {
        let mut command = lakehouse.command(&["details", "--date", DAY]);
        command.env(name, value);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(name));
    }
    assert!(lakehouse.objects("").is_empty(), "something was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unwritable_folder_is_named() {
    let lakehouse = lakehouse().await;
    // A file where the folder should be: unwritable for every user, root too.
    let path = lakehouse.folder.path().join("occupied");
    std::fs::write(&path, "not a folder").unwrap();
    let text = path.to_string_lossy().into_owned();
    let ended = lakehouse
        .run(&["daily", "--date", DAY, "--local-storage-path", &text])
        .await;
    assert!(
        matches!(ended.code, 1 | 2),
        "exit {}\n{}",
        ended.code,
        ended.stderr
    );
    assert!(ended.stderr.contains("occupied"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a folder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_api_fails_and_writes_no_data() {
    let lakehouse = lakehouse().await;
    let args = [
        "daily",
        "--date",
        DAY,
        "--consulta-url",
        "http://127.0.0.1:9/api/consulta",
    ];
    let all = [
        &args[..],
        &[
            "--api-url",
            "http://127.0.0.1:9/api/pncp",
            "--deadline",
            "3",
        ],
    ]
    .concat();
    let ended = lakehouse.run(&all).await.expect_code(1);
    assert!(
        ended.stderr.contains("PNCP_CONSULTA_URL"),
        "{}",
        ended.stderr
    );
    assert!(
        lakehouse
            .objects("")
            .iter()
            .all(|(path, _)| !path.ends_with(".parquet"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_before_daily_says_so() {
    let lakehouse = lakehouse().await;
    let ended = lakehouse
        .run(&["details", "--date", DAY])
        .await
        .expect_code(0);
    assert_eq!(ended.last["no_data"], true);
    assert!(
        ended.stdout.contains("run `daily` first"),
        "{}",
        ended.stdout
    );
    assert_eq!(lakehouse.sim.stats().detail_calls(), 0);
    assert!(lakehouse.objects("").is_empty(), "something was written");
}
