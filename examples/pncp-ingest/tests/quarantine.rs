//! What fails for good: set aside, told by the exit code, looked at, tried again, forgotten; through the command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use pncp_sim::{Fault, Sim};
use serde_json::Value;
use support::{DAY, Ended, Lakehouse};

/// A day of 90 contratações, which are in; details meet this fault.
async fn lakehouse(fault: &str) -> Lakehouse {
    sized(90, fault).await
}

async fn sized(purchases: u32, fault: &str) -> Lakehouse {
    let fault: Fault = fault.parse().unwrap();
    let builder = Sim::builder().synthetic(purchases).seed(5).fault(fault);
    let lakehouse = Lakehouse::new(builder.start().await.unwrap());
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    lakehouse
}

async fn quarantine(lakehouse: &Lakehouse, args: &[&str]) -> Ended {
    let mut all = vec!["quarantine"];
    all.extend(args);
    all.extend(["--date", DAY]);
    lakehouse.run(&all).await
}

/// The JSON lines before the last.
fn lines(ended: &Ended) -> Vec<Value> {
    let mut lines: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.pop();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_listed_shown_replayed_and_gone_once_it_succeeds() {
    // A 400 is final for a call; the first eight calls for itens get one.
    let lakehouse = lakehouse("400:route=itens,count=8").await;
    let failed = 4;
    let four = ["details", "--date", DAY, "--batch-size", "4"];
    let first = lakehouse.run(&four).await.expect_code(3);
    assert_eq!(
        (first.number("errors"), first.number("in_quarantine")),
        (4, 4)
    );
    assert_eq!(first.last["status"], "partial");

    let listed = quarantine(&lakehouse, &["list", "--json"])
        .await
        .expect_code(0);
    assert_eq!(listed.number("found"), failed);
    let notes = lines(&listed);
    assert_eq!(notes.len() as u64, failed);
    for note in &notes {
        assert_eq!(note["facet"], "itens");
        assert_eq!(note["runs"], 1);
        assert!(note["reason"].as_str().unwrap().contains("400"), "{note}");
    }
    let key = notes[0]["key"].as_str().unwrap();
    let shown = quarantine(&lakehouse, &["show", "--json", "--key", key])
        .await
        .expect_code(0);
    let documents = lines(&shown);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["key"], key);
    assert!(documents[0]["payload"].is_string(), "{}", documents[0]);
    let text = quarantine(&lakehouse, &["list"]).await.expect_code(0);
    assert!(text.stdout.contains(key), "{}", text.stdout);

    let calls = lakehouse.sim.stats().detail_calls();
    let again = quarantine(&lakehouse, &["replay"]).await.expect_code(3);
    assert_eq!(again.number("errors"), failed);
    let asked = lakehouse.sim.stats().detail_calls() - calls;
    assert_eq!(asked, failed, "a replay asks for nothing else");

    // Having failed twice they wait for their time; a run takes the others, and says so.
    let details = ["details", "--date", DAY];
    let waiting = lakehouse.run(&details).await.expect_code(3);
    assert_eq!(
        (waiting.number("processed"), waiting.number("errors")),
        (86, 0)
    );
    assert_eq!(waiting.number("in_quarantine"), failed);
    let calls = lakehouse.sim.stats().detail_calls();
    let still = lakehouse.run(&details).await.expect_code(3);
    assert_eq!(still.number("in_quarantine"), failed);
    assert_eq!(lakehouse.sim.stats().detail_calls(), calls);

    let healed = quarantine(&lakehouse, &["replay"]).await.expect_code(0);
    assert_eq!(healed.number("processed"), failed);
    assert_eq!(healed.last["complete"], true);
    let empty = quarantine(&lakehouse, &["list"]).await.expect_code(0);
    assert_eq!(empty.number("found"), 0);
    if let Some(report) = lakehouse.compare(&[]).await {
        assert_eq!(report["details"], 90);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_is_asked_for_as_if_for_the_first_time() {
    let lakehouse = lakehouse("400:route=arquivos,count=8").await;
    let failed = 4;
    for _ in 0..2 {
        let four = ["details", "--date", DAY, "--batch-size", "4"];
        let ended = lakehouse.run(&four).await.expect_code(3);
        assert_eq!(ended.number("errors"), failed);
    }
    let refused = quarantine(&lakehouse, &["discard"]).await.expect_code(2);
    assert!(refused.stderr.contains("--key"), "{}", refused.stderr);
    let listed = lines(&quarantine(&lakehouse, &["list", "--json"]).await);
    assert!(listed.iter().all(|note| note["runs"] == 2));
    let key = listed[0]["key"].as_str().unwrap();
    let one = quarantine(&lakehouse, &["discard", "--key", key])
        .await
        .expect_code(0);
    assert_eq!(one.number("discarded"), 1);
    let rest = quarantine(&lakehouse, &["discard", "--all"])
        .await
        .expect_code(0);
    assert_eq!(rest.number("discarded"), failed - 1);
    let details = ["details", "--date", DAY];
    let healed = lakehouse.run(&details).await.expect_code(0);
    assert_eq!(healed.number("processed"), 90);
    assert_eq!(healed.last["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_failures_fails_the_run_and_a_handful_does_not() {
    let many = sized(40, "400:route=itens,count=10").await;
    let details = ["details", "--date", DAY];
    let failed = many.run(&details).await.expect_code(1);
    assert_eq!(failed.last["status"], "failed");
    assert_eq!(failed.number("errors"), 10, "{}", failed.last);
    let saved = many.objects("pncp_details/_parts");
    assert!(!saved.is_empty(), "what was got before is kept");
    many.run(&details).await.expect_code(0);

    let few = sized(40, "400:route=itens,count=9").await;
    let partial = few.run(&details).await.expect_code(3);
    assert_eq!(partial.number("errors"), 9, "{}", partial.last);

    let all = sized(3, "400:route=itens,count=9").await;
    all.run(&details).await.expect_code(1);

    let strict = sized(40, "400:route=itens,count=30").await;
    let patient = [&details[..], &["--failure-threshold", "1"]].concat();
    strict.run(&patient).await.expect_code(3);
    let bad = [&details[..], &["--failure-threshold", "1.5"]].concat();
    let refused = strict.run(&bad).await.expect_code(2);
    assert!(
        refused.stderr.contains("failure_threshold"),
        "{}",
        refused.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_to_come_back_ends_the_run_as_deferred() {
    let fault = "429:route=itens,retry_after=7200,after=60,count=1";
    let lakehouse = lakehouse(fault).await;
    let details = ["details", "--date", DAY];
    let deferred = lakehouse.run(&details).await.expect_code(4);
    assert_eq!(deferred.last["status"], "deferred");
    let until = deferred.last["retry_at"].as_str().unwrap();
    let until = chrono::DateTime::parse_from_rfc3339(until).unwrap();
    let wait = until.to_utc() - chrono::Utc::now();
    assert!((100..=121).contains(&wait.num_minutes()), "{wait}");
    assert!(deferred.number("processed") > 0 && deferred.number("left") > 0);
    let resumed = lakehouse.run(&details).await.expect_code(0);
    assert_eq!(resumed.last["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_listing_are_listed_and_discarded_too() {
    let lakehouse = lakehouse("400:count=0").await;
    let folder = "pncp/_quarantine/year=2025/month=10/day=22";
    let folder = lakehouse.store().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let document = r#"{"execution":"x","records":[{"reason":"no control number","payload":"{}"}]}"#;
    std::fs::write(folder.join("20251022T120000Z_x.json"), document).unwrap();
    let of_listings =
        async |args: &[&str]| quarantine(&lakehouse, &[args, &["--source", "pncp"]].concat()).await;
    let listed = of_listings(&["list", "--json"]).await.expect_code(0);
    let notes = lines(&listed);
    assert_eq!((notes.len(), &notes[0]["records"]), (1, &1.into()));
    let object = notes[0]["object"].as_str().unwrap();
    let shown = of_listings(&["show", "--json", "--key", object]).await;
    let shown = lines(&shown.expect_code(0));
    assert_eq!(shown[0]["records"][0]["reason"], "no control number");
    let replayed = of_listings(&["replay"]).await.expect_code(2);
    assert!(replayed.stderr.contains("daily"), "{}", replayed.stderr);
    let gone = of_listings(&["discard", "--all"]).await.expect_code(0);
    assert_eq!(gone.number("discarded"), 1);
    assert!(lakehouse.objects("pncp/_quarantine").is_empty());
}
