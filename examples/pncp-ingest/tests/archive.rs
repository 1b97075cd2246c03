//! `archive` on the command line: a closed day moves into one base, and stays what it was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step fails the test, and the bytes that are saved are a figure"
)]

mod support;

use pncp_sim::Sim;
use support::{DAY, Lakehouse};

/// The merged file's bytes.
fn view(lakehouse: &Lakehouse) -> Vec<u8> {
    let day = "pncp_details/year=2025/month=10/day=22/details.parquet";
    std::fs::read(lakehouse.store().join(day)).unwrap()
}

async fn details(lakehouse: &Lakehouse, further: &[&str]) {
    let args = [&["details", "--date", DAY], further].concat();
    lakehouse.run(&args).await.expect_code(0);
}

async fn sound(lakehouse: &Lakehouse) {
    let verify = ["state", "verify", "--date", DAY, "--source", "pncp_details"];
    let ended = lakehouse.run(&verify).await.expect_code(0);
    assert_eq!(ended.last["status"], "complete", "{}", ended.last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_day_reads_as_before_and_takes_new_entries() {
    let sim = Sim::builder().synthetic(200).seed(9).start().await.unwrap();
    let lakehouse = Lakehouse::new(sim);
    let archive = ["archive", "--date", DAY];
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    let none = lakehouse.run(&archive).await.expect_code(0);
    assert_eq!((none.number("stubbed"), none.number("through")), (0, 0));
    assert_eq!(none.last["no_data"], true);

    // Two checkpoints of both halves, and the itens alone of others.
    let some = ["--max-contratacoes", "100", "--checkpoint-every", "50"];
    details(&lakehouse, &some).await;
    let more = ["--max-contratacoes", "150", "--only", "itens"];
    details(&lakehouse, &more).await;
    lakehouse
        .run(&["merge", "--date", DAY])
        .await
        .expect_code(0);
    let before = (view(&lakehouse), lakehouse.read_with_all(None).await);

    let archived = lakehouse.run(&archive).await.expect_code(0);
    assert_eq!(archived.last["no_data"], false);
    let through = archived.number("through");
    assert!(through >= 3, "{}", archived.last);
    assert_eq!(archived.number("stubbed"), through);
    let (from, to) = (
        archived.number("bytes_before"),
        archived.number("bytes_after"),
    );
    assert!(to < from, "{from} bytes before, {to} after");
    let base = archived.last["base"].as_str().unwrap();
    let name = format!("pncp_details/_parts/year=2025/month=10/day=22/base_{through:08}.part");
    assert_eq!(base, name);
    sound(&lakehouse).await;
    assert_eq!(view(&lakehouse), before.0, "the merged file is untouched");
    if let (Some(before), Some(after)) = (before.1, lakehouse.read_with_all(None).await) {
        for object in ["entry", "details"] {
            assert_eq!(after[object], before[object], "{object}");
        }
        // The rows are where readers find them, and in the base for mergers.
        assert_eq!(after["bases"][0], before["details"]);
        assert_eq!(after["stubs"], through);
        assert_eq!(after["parts"].as_array().unwrap().len(), 0);
    }

    // A second time there is nothing to do, and nothing is fetched again.
    let objects = lakehouse.objects("");
    let again = lakehouse.run(&archive).await.expect_code(0);
    assert_eq!(
        (again.number("stubbed"), again.number("bytes_after")),
        (0, to)
    );
    assert_eq!(again.last["no_data"], true);
    assert_eq!(lakehouse.objects(""), objects);
    let calls = lakehouse.sim.stats().detail_calls();
    details(&lakehouse, &["--max-contratacoes", "100"]).await;
    assert_eq!(lakehouse.sim.stats().detail_calls(), calls);

    // What comes later is merged on top of the base, also where the merged file is lost.
    std::fs::remove_file(
        lakehouse
            .store()
            .join("pncp_details/year=2025/month=10/day=22/details.parquet"),
    )
    .unwrap();
    details(&lakehouse, &[]).await;
    lakehouse
        .run(&["merge", "--date", DAY])
        .await
        .expect_code(0);
    sound(&lakehouse).await;
    if let Some(report) = lakehouse.compare(&[]).await {
        assert_eq!(
            (&report["contratacoes"], &report["details"]),
            (&200.into(), &200.into())
        );
    }
    let last = lakehouse.run(&archive).await.expect_code(0);
    assert!(last.number("through") > through);
    assert_eq!(last.number("stubbed"), last.number("through") - through);
    sound(&lakehouse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_not_merged_or_not_over_is_refused() {
    let sim = Sim::builder().synthetic(60).seed(9).start().await.unwrap();
    let lakehouse = Lakehouse::new(sim);
    let today = chrono::Utc::now().date_naive() + chrono::Days::new(1);
    let today = today.to_string();
    let open = lakehouse.run(&["archive", "--date", &today]).await;
    assert_eq!(open.expect_code(2).last["status"], "usage");
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    details(&lakehouse, &[]).await;
    std::fs::remove_file(
        lakehouse
            .store()
            .join("pncp_details/year=2025/month=10/day=22/details.parquet"),
    )
    .unwrap();
    let parts = lakehouse.objects("pncp_details/_parts");
    let behind = lakehouse
        .run(&["archive", "--date", DAY])
        .await
        .expect_code(1);
    assert!(
        behind.stderr.contains("pncp-ingest merge"),
        "{}",
        behind.stderr
    );
    assert_eq!(lakehouse.objects("pncp_details/_parts"), parts);
}

/// What archiving saves of a weekday: `cargo test -p pncp-ingest --test archive -- --ignored
/// --nocapture saved`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: a day of 6,500 contratações"]
async fn bytes_saved_of_a_weekday() {
    let sim = Sim::builder()
        .synthetic(6_500)
        .seed(1)
        .start()
        .await
        .unwrap();
    let lakehouse = Lakehouse::new(sim);
    for command in ["daily", "details", "merge"] {
        lakehouse
            .run(&[command, "--date", DAY])
            .await
            .expect_code(0);
    }
    let archived = lakehouse
        .run(&["archive", "--date", DAY])
        .await
        .expect_code(0);
    let (from, to) = (
        archived.number("bytes_before"),
        archived.number("bytes_after"),
    );
    let saved = (from - to) * 1000 / from;
    println!(
        "archive: {} entries, {}.{} to {}.{} MB, {}.{} % saved",
        archived.number("through"),
        from / 1_000_000,
        from / 100_000 % 10,
        to / 1_000_000,
        to / 100_000 % 10,
        saved / 10,
        saved % 10
    );
    assert!(saved > 300, "{from} bytes, then {to}");
}
