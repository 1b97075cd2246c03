//! `state` through the command itself: what it prints, with which exit code, and what it repairs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::path::PathBuf;

use pncp_sim::{Fault, Sim};
use serde_json::{Value, json};
use support::{DAY, Ended, Lakehouse, day};

const PURCHASES: u64 = 40;
const FOLDERS: &str = "year=2025/month=10/day=22";

async fn lakehouse() -> Lakehouse {
    let sim = Sim::builder().synthetic(PURCHASES as u32).seed(11);
    Lakehouse::new(sim.start().await.unwrap())
}

async fn filled() -> Lakehouse {
    let lakehouse = lakehouse().await;
    let run = lakehouse.run(&["daily", "--date", DAY]);
    run.await.expect_code(0);
    let run = lakehouse.run(&["details", "--date", DAY]);
    run.await.expect_code(0);
    lakehouse
}

/// `state {action} --source {source} --date {DAY}` and more.
async fn state(lakehouse: &Lakehouse, action: &str, source: &str, more: &[&str]) -> Ended {
    let mut args = vec!["state", action, "--source", source, "--date", DAY];
    args.extend(more);
    lakehouse.run(&args).await
}

/// The JSON lines on stdout, without the last.
fn lines(ended: &Ended) -> Vec<Value> {
    let mut lines: Vec<&str> = ended.stdout.lines().collect();
    lines.pop();
    let parse = |line: &&str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    lines.iter().map(parse).collect()
}

/// The ids of the day.
fn known(lakehouse: &Lakehouse) -> Vec<String> {
    let records = lakehouse.sim.truth(day()).filter(|record| !record.vanished);
    let id = |record: pncp_sim::TruthRecord| {
        let record: Value = serde_json::from_str(&record.contratacao).unwrap();
        record["numeroControlePNCP"].as_str().unwrap().to_owned()
    };
    records.map(id).collect()
}

fn path(lakehouse: &Lakehouse, key: &str) -> PathBuf {
    lakehouse.store().join(key)
}

fn entry_of(source: &str) -> String {
    match source {
        "pncp" => format!("pncp/{FOLDERS}/pncp_20251022_00000001.parquet"),
        _ => format!("pncp_details/_parts/{FOLDERS}/00000001.part"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_and_summary() {
    let lakehouse = lakehouse().await;
    let load = state(&lakehouse, "load", "pncp", &[]).await.expect_code(0);
    assert_eq!(load.number("snapshots"), 0);
    let summary = state(&lakehouse, "summary", "pncp_details", &["--json"]).await;
    let summary = summary.expect_code(0);
    assert_eq!((summary.number("itens"), summary.number("entries")), (0, 0));
    let verify = state(&lakehouse, "verify", "pncp_details", &[]).await;
    assert_eq!(verify.expect_code(0).number("merged_through"), 0);

    let first = lakehouse.run(&["daily", "--date", DAY]).await;
    let first = first.expect_code(0);
    for line in [
        "State Filtering: 40 input → 40 new (0 duplicates filtered)",
        "State updated: 40 new IDs added",
    ] {
        assert!(first.stdout.contains(line), "{line} in {}", first.stdout);
    }
    let second = lakehouse.run(&["daily", "--date", DAY]).await;
    let second = second.expect_code(0);
    for line in [
        "State Filtering: 40 input → 0 new (40 duplicates filtered)",
        "No new records to process (all duplicates)",
    ] {
        assert!(second.stdout.contains(line), "{line} in {}", second.stdout);
    }
    let run = lakehouse.run(&["details", "--date", DAY]).await;
    run.expect_code(0);

    // As people and old readers see it.
    let load = state(&lakehouse, "load", "pncp", &[]).await.expect_code(0);
    let (text, _) = load.stdout.trim_end().rsplit_once('\n').unwrap();
    let snapshot: Value = serde_json::from_str(text).unwrap();
    assert_eq!(snapshot["date"], DAY);
    assert_eq!(snapshot["total_processed"], PURCHASES);
    let ids = snapshot["processed_ids"].as_array().unwrap();
    assert_eq!(ids.len() as u64, PURCHASES);
    assert!(snapshot["created_at"].is_string() && snapshot["last_execution"].is_string());
    let executions = snapshot["executions"].as_array().unwrap();
    let rates: Vec<_> = executions.iter().map(|e| &e["filter_rate"]).collect();
    assert_eq!(rates, [0.0, 100.0]);
    let load = state(&lakehouse, "load", "pncp_details", &["--json"]).await;
    let load = lines(&load.expect_code(0));
    assert_eq!(load.len(), 2, "one a facet, one a line");
    for snapshot in &load {
        let keys = snapshot["processed_keys"].as_array().unwrap();
        assert_eq!(keys[0].as_str().unwrap().split('|').count(), 3);
        assert_eq!(keys.len() as u64, PURCHASES);
    }

    let summary = state(&lakehouse, "summary", "pncp", &["--json"]).await;
    let summary = summary.expect_code(0);
    assert_eq!(summary.number("total_processed"), PURCHASES);
    assert_eq!(
        lines(&summary)[0]["executions"].as_array().unwrap().len(),
        2
    );
    let line = &lines(&summary)[0];
    assert_eq!(
        (&line["filter_rate"], &line["date"]),
        (&json!(50.0), &json!(DAY))
    );
    assert_eq!(line["first_execution"], executions[0]["timestamp"]);
    assert_eq!(line["last_execution"], executions[1]["timestamp"]);
    let summary = state(&lakehouse, "summary", "pncp_details", &[]).await;
    let summary = summary.expect_code(0);
    assert!(
        summary
            .stdout
            .contains("itens: 40 processed in 1 executions")
    );
    assert_eq!(summary.number("arquivos"), PURCHASES);
    // Without a snapshot, or with a broken one, both say what the log has.
    let file = path(
        &lakehouse,
        &format!("pncp/_state/{FOLDERS}/state_20251022.json"),
    );
    for damage in [None, Some("{\"processed_ids\": [")] {
        std::fs::remove_file(&file).unwrap();
        if let Some(text) = damage {
            std::fs::write(&file, text).unwrap();
        }
        let load = state(&lakehouse, "load", "pncp", &["--json"]).await;
        let load = load.expect_code(0);
        assert_eq!((load.number("snapshots"), load.number("from_log")), (0, 1));
        assert!(load.stderr.contains("state rebuild"), "{}", load.stderr);
        let shown = &lines(&load)[0];
        assert_eq!(shown["processed_ids"], snapshot["processed_ids"]);
        let summary = state(&lakehouse, "summary", "pncp", &[]).await;
        let summary = summary.expect_code(0);
        assert_eq!(summary.number("total_processed"), PURCHASES);
        assert_eq!(
            summary.stderr.contains("rebuilt from the log"),
            damage.is_some()
        );
        std::fs::write(&file, "").unwrap();
    }
    // Midnight: the next day is another state.
    let args = ["state", "summary", "--date", "2025-10-23"];
    let next = lakehouse.run(&args).await.expect_code(0);
    assert_eq!(next.number("total_processed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filter_prints_what_is_new() {
    let lakehouse = filled().await;
    let known = known(&lakehouse);
    let record = |id: &str| json!({"numeroControlePNCP": id, "valor": 1000.10});
    let filter = async |text: String, source: &str| {
        let file = lakehouse.folder.path().join("records");
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        state(&lakehouse, "filter", source, &["--json", "--file", file]).await
    };

    let records = json!([
        record(&known[0]),
        record("new-1"),
        record("new-1"),
        {"valor": 1},
        record(&known[1]),
    ]);
    let ended = filter(records.to_string(), "pncp").await.expect_code(0);
    assert_eq!(lines(&ended), [record("new-1"), json!({"valor": 1})]);
    let line = "State Filtering: 5 input → 1 new (3 duplicates filtered)";
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    let counts = [
        "input",
        "new_records",
        "already_processed",
        "repeated",
        "without_id",
    ];
    assert_eq!(counts.map(|name| ended.number(name)), [5, 1, 2, 1, 1]);

    let ids = format!("{}\n\n{}\n", json!(known[2]), json!("new-2"));
    let ended = filter(ids, "pncp").await.expect_code(0);
    assert_eq!(lines(&ended), [json!("new-2")]);

    let ended = filter(json!([known[0]]).to_string(), "pncp").await;
    let ended = ended.expect_code(0);
    assert_eq!(ended.last["reason"], "all_duplicates");
    let line = "No new records to process (all duplicates)";
    assert_eq!(ended.stderr.matches(line).count(), 1, "{}", ended.stderr);

    // The same time is the same version, a later one is none that is new.
    let truth = lakehouse.sim.truth(day()).next().unwrap().contratacao;
    let whole: Value = serde_json::from_str(&truth).unwrap();
    let mut later = whole.clone();
    later["dataAtualizacaoGlobal"] = json!("2031-01-01T00:00:00");
    let both = json!([whole, later, later]).to_string();
    let ended = filter(both.clone(), "pncp").await.expect_code(0);
    assert_eq!(lines(&ended), Vec::<Value>::new());
    let counts = ["new_records", "updated", "already_processed", "repeated"];
    assert_eq!(counts.map(|name| ended.number(name)), [0, 1, 1, 1]);
    assert!(
        ended.stderr.contains("1 later versions"),
        "{}",
        ended.stderr
    );
    let file = lakehouse.folder.path().join("records");
    let more = ["--updated", "--file", file.to_str().unwrap()];
    let ended = state(&lakehouse, "filter", "pncp", &more).await;
    assert_eq!(lines(&ended.expect_code(0)), [later]);
    let ended = filter("[]".to_owned(), "pncp").await.expect_code(0);
    assert_eq!(ended.last["reason"], "no_data_from_api");

    let (cnpj, rest) = known[0].split_once("-1-").unwrap();
    let (number, year) = rest.split_once('/').unwrap();
    let key = format!("{cnpj}|{year}|{}", number.trim_start_matches('0'));
    let ended = filter(json!([{"key": key}, "1|2|3"]).to_string(), "pncp_details").await;
    assert_eq!(lines(&ended.expect_code(0)), [json!("1|2|3")]);

    filter("{\"a\": ".to_owned(), "pncp").await.expect_code(2);
    let missing = state(&lakehouse, "filter", "pncp", &[])
        .await
        .expect_code(2);
    assert!(missing.stderr.contains("--file"), "{}", missing.stderr);
    let absent = state(&lakehouse, "filter", "pncp", &["--file", "absent.json"]).await;
    assert!(absent.expect_code(2).stderr.contains("absent.json"));
}

/// What `verify` finds, by name.
async fn findings(lakehouse: &Lakehouse, source: &str) -> Vec<String> {
    let ended = state(lakehouse, "verify", source, &["--json"]).await;
    let found = lines(&ended);
    assert_eq!(ended.number("findings"), found.len() as u64);
    assert_eq!(ended.code, i32::from(!found.is_empty()), "{}", ended.stdout);
    let name = |finding: &Value| finding["finding"].as_str().unwrap().to_owned();
    found.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_it_and_rebuild_or_merge_puts_it_right() {
    let lakehouse = filled().await;
    for source in ["pncp", "pncp_details"] {
        assert_eq!(findings(&lakehouse, source).await, [""; 0]);
    }
    let sound = state(&lakehouse, "verify", "pncp_details", &[]).await;
    let sound = sound.expect_code(0);
    assert_eq!(sound.number("merged_rows"), PURCHASES);
    assert!(sound.stdout.contains("sound"), "{}", sound.stdout);

    let snapshot = path(
        &lakehouse,
        &format!("pncp/_state/{FOLDERS}/state_20251022.json"),
    );
    let text = std::fs::read_to_string(&snapshot).unwrap();
    for (damage, name) in [
        (text[..200].to_owned(), "snapshot"),
        (text.replacen("-1-", "-2-", 1), "snapshot_ids"),
    ] {
        std::fs::write(&snapshot, damage).unwrap();
        assert_eq!(findings(&lakehouse, "pncp").await, [name]);
        let shown = state(&lakehouse, "rebuild", "pncp", &["--dry-run"]).await;
        let shown = shown.expect_code(0);
        assert!(shown.stdout.contains("would rebuild"), "{}", shown.stdout);
        assert_eq!(shown.number("rebuilt"), 0);
        assert_eq!(findings(&lakehouse, "pncp").await, [name], "only shown");
        let done = state(&lakehouse, "rebuild", "pncp", &["--json"]).await;
        let done = lines(&done.expect_code(0));
        assert_eq!(
            (&done[0]["written"], &done[0]["total"]),
            (&json!(true), &json!(PURCHASES))
        );
        assert_eq!(findings(&lakehouse, "pncp").await, [""; 0]);
    }

    let merged = path(
        &lakehouse,
        &format!("pncp_details/{FOLDERS}/details.parquet"),
    );
    let whole = std::fs::read(&merged).unwrap();
    std::fs::remove_file(&merged).unwrap();
    assert_eq!(findings(&lakehouse, "pncp_details").await, ["view_behind"]);
    std::fs::write(&merged, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(
        findings(&lakehouse, "pncp_details").await,
        ["view_unreadable"]
    );
    let run = lakehouse.run(&["merge", "--date", DAY]).await;
    run.expect_code(0);
    assert_eq!(findings(&lakehouse, "pncp_details").await, [""; 0]);

    // Written by a later release: refused by all.
    std::fs::write(&snapshot, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    for action in ["verify", "summary", "rebuild"] {
        let refused = state(&lakehouse, action, "pncp", &[]).await.expect_code(1);
        assert!(
            refused.stderr.contains("newer format"),
            "{}",
            refused.stderr
        );
    }
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_entry_is_refused_and_quarantined_on_request() {
    let lakehouse = filled().await;
    for source in ["pncp", "pncp_details"] {
        let entry = path(&lakehouse, &entry_of(source));
        let whole = std::fs::read(&entry).unwrap();
        for refused in [&[][..], &["--entry", "1"], &["--entry", "7", "--yes"]] {
            let ended = state(&lakehouse, "quarantine-entry", source, refused).await;
            ended.expect_code(2);
        }
        std::fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
        assert!(
            findings(&lakehouse, source)
                .await
                .contains(&"unreadable".to_owned())
        );

        let one = ["--entry", "1"];
        let shown = state(&lakehouse, "quarantine-entry", source, &one).await;
        let shown = shown.expect_code(0);
        for text in [
            "restore",
            "loses nothing",
            "count as new again",
            "Nothing was changed",
        ] {
            assert!(shown.stdout.contains(text), "{text} in {}", shown.stdout);
        }
        assert_eq!(shown.last["done"], false);
        assert_eq!(std::fs::read(&entry).unwrap().len(), whole.len() / 2);

        // Put back from a backup, all is as it was.
        std::fs::write(&entry, &whole).unwrap();
        assert_eq!(findings(&lakehouse, source).await, [""; 0]);

        std::fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
        let done = state(
            &lakehouse,
            "quarantine-entry",
            source,
            &["--entry", "1", "--yes", "--json"],
        );
        let done = lines(&done.await.expect_code(0)).remove(0);
        let facets = if source == "pncp" { 1 } else { 2 };
        assert_eq!(done["new_again"], PURCHASES * facets);
        let kept = path(&lakehouse, done["kept_at"].as_str().unwrap());
        assert_eq!(std::fs::read(kept).unwrap(), &whole[..whole.len() / 2]);
    }
    assert_eq!(findings(&lakehouse, "pncp").await, [""; 0]);
    // What was merged is still there, and the log does not have it until it is fetched again.
    assert_eq!(findings(&lakehouse, "pncp_details").await, ["view_ids"]);
    let daily = lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    assert_eq!(daily.number("new_records"), PURCHASES);
    let details = lakehouse.run(&["details", "--date", DAY]).await;
    assert_eq!(details.expect_code(0).number("processed"), PURCHASES);
    for source in ["pncp", "pncp_details"] {
        assert_eq!(findings(&lakehouse, source).await, [""; 0]);
    }
    if let Some(report) = lakehouse.compare(&[]).await {
        assert_eq!(report["contratacoes"], PURCHASES);
        assert_eq!(report["details"], PURCHASES);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_an_unreadable_entry_stops_everything_by_name() {
    let lakehouse = filled().await;
    let entry = path(&lakehouse, &entry_of("pncp"));
    std::fs::write(&entry, "PAR1").unwrap();
    let snapshot = path(
        &lakehouse,
        &format!("pncp/_state/{FOLDERS}/state_20251022.json"),
    );
    std::fs::remove_file(snapshot).unwrap();
    for args in [
        &["state", "summary", "--date", DAY][..],
        &["state", "rebuild", "--date", DAY],
        &["daily", "--date", DAY],
        &["details", "--date", DAY],
    ] {
        let ended = lakehouse.run(args).await.expect_code(1);
        let name = "pncp_20251022_00000001.parquet";
        assert!(ended.stderr.contains(name), "{args:?}: {}", ended.stderr);
    }
    std::fs::remove_file(&entry).unwrap();
    // Nothing left: an empty day, which the details still speak of.
    assert_eq!(findings(&lakehouse, "pncp").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_systems_state_is_imported() {
    let lakehouse = lakehouse().await;
    let write = |key: String, state: Value| {
        let file = path(&lakehouse, &key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, state.to_string()).unwrap();
    };
    let known = known(&lakehouse).remove(0);
    write(
        format!("pncp/_state/{FOLDERS}/state_20251022.json"),
        json!({
            "date": DAY,
            "processed_ids": ["old-1", "old-2", known],
            "last_execution": "2025-10-22T12:00:00Z",
            "total_processed": 3,
            "executions": [{"timestamp": "2025-10-22T12:00:00Z", "new_records": 3,
                            "duplicates_filtered": 1, "filter_rate": 25.0}],
            "created_at": "2025-10-22T08:00:00Z"
        }),
    );
    for facet in ["itens", "arquivos"] {
        let key = format!("pncp_details/_state/{facet}/{FOLDERS}/state_20251022.json");
        write(key, json!({"date": DAY, "processed_keys": ["1|2025|3"]}));
    }
    for (source, imported) in [("pncp", 3), ("pncp_details", 2)] {
        let shown = state(&lakehouse, "load", source, &[]).await;
        assert!(shown.expect_code(0).stderr.contains("state import"));
        let refused = state(&lakehouse, "summary", source, &[])
            .await
            .expect_code(1);
        assert!(
            refused.stderr.contains("state import"),
            "{}",
            refused.stderr
        );
        assert!(
            findings(&lakehouse, source)
                .await
                .contains(&"snapshot".to_owned())
        );
        let done = state(&lakehouse, "import", source, &[])
            .await
            .expect_code(0);
        assert_eq!(done.number("imported"), imported);
        assert!(done.stdout.contains("♻️  Imported"), "{}", done.stdout);
        let again = state(&lakehouse, "import", source, &["--json"]).await;
        assert_eq!(again.expect_code(0).last["reason"], "nothing_to_import");
    }
    assert_eq!(findings(&lakehouse, "pncp").await, [""; 0]);
    let summary = state(&lakehouse, "summary", "pncp", &["--json"]).await;
    let summary = lines(&summary.expect_code(0)).remove(0);
    assert_eq!(
        summary["executions"][0]["filter_rate"], 25.0,
        "the old trail"
    );
    // The one of them that the API has is not taken again.
    let daily = lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    assert_eq!(daily.number("new_records"), PURCHASES - 1);
    assert_eq!(findings(&lakehouse, "pncp").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_state_file_without_a_log_is_never_overwritten() {
    let lakehouse = lakehouse().await;
    let key = format!("pncp/_state/{FOLDERS}/state_20251022.json");
    let file = path(&lakehouse, &key);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let truncated = r#"{"date": "2025-10-22", "processed_ids": ["old-1", "old-"#;
    std::fs::write(&file, truncated).unwrap();
    for args in [
        &["state", "load"][..],
        &["state", "summary"],
        &["state", "import"],
        &["state", "rebuild"],
        &["state", "rebuild", "--dry-run"],
        &["daily"],
    ] {
        let args = [args, &["--date", DAY]].concat();
        let ended = lakehouse.run(&args).await.expect_code(1);
        for text in [key.as_str(), "restore it", "delete it"] {
            assert!(ended.stderr.contains(text), "{args:?}: {}", ended.stderr);
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), truncated);
    }
    assert_eq!(findings(&lakehouse, "pncp").await, ["state_unreadable"]);
    std::fs::remove_file(&file).unwrap();
    let daily = lakehouse.run(&["daily", "--date", DAY]).await;
    assert_eq!(daily.expect_code(0).number("new_records"), PURCHASES);
    // The log has its ids now, and there is nothing to import in what is broken.
    std::fs::write(&file, truncated).unwrap();
    let refused = state(&lakehouse, "import", "pncp", &[]).await;
    assert!(refused.expect_code(1).stderr.contains("state rebuild"));
    state(&lakehouse, "rebuild", "pncp", &[])
        .await
        .expect_code(0);
    assert_eq!(findings(&lakehouse, "pncp").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_changes_while_it_is_listed_is_in_once_and_its_later_version_is_kept() {
    let mut sim = Sim::builder().synthetic(150).seed(11);
    // What is deleted has the list read again, and finds the others as they are by then.
    for fault in ["vanish:rate=0.3,count=6", "move:rate=0.6,count=24"] {
        let fault = format!("{fault},route=publicacao");
        sim = sim.fault(fault.parse::<Fault>().unwrap());
    }
    let lakehouse = Lakehouse::new(sim.start().await.unwrap());
    let daily = ["daily", "--date", DAY, "--page-size", "10"];
    let first = lakehouse.run(&daily).await;
    let later = first.number("later_versions");
    assert!(later > 0, "{}", first.last);
    let verify = state(&lakehouse, "verify", "pncp", &[])
        .await
        .expect_code(0);
    assert_eq!(verify.number("versions"), later);
    assert_eq!(verify.number("ids"), first.number("new_records"));
    assert_eq!(
        first.number("input"),
        first.number("new_records") + first.number("duplicates_filtered")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_copied_to_another_day_is_refused() {
    let lakehouse = filled().await;
    for source in ["pncp", "pncp_details"] {
        let entry = entry_of(source);
        let copy = entry
            .replace("day=22", "day=23")
            .replace("20251022", "20251023");
        std::fs::create_dir_all(path(&lakehouse, &copy).parent().unwrap()).unwrap();
        std::fs::copy(path(&lakehouse, &entry), path(&lakehouse, &copy)).unwrap();
        for (action, said) in [("summary", "restore"), ("verify", "state quarantine-entry")] {
            let args = ["state", action, "--source", source, "--date", "2025-10-23"];
            let ended = lakehouse.run(&args).await.expect_code(1);
            let text = ended.stdout + &ended.stderr;
            let named = format!("an entry of {source} 2025-10-22, not of {source} 2025-10-23");
            for text_of in [copy.as_str(), &named, said] {
                assert!(text.contains(text_of), "{text_of} in {text}");
            }
        }
    }
    let merge = lakehouse.run(&["merge", "--date", "2025-10-23"]).await;
    let merge = merge.expect_code(1);
    let text = merge.stdout + &merge.stderr;
    assert!(text.contains("not of pncp_details 2025-10-23"), "{text}");
    let view = "pncp_details/year=2025/month=10/day=23/details.parquet";
    assert!(!path(&lakehouse, view).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_has_the_whole_audit_trail_from_the_ledger() {
    let lakehouse = lakehouse().await;
    let file = path(
        &lakehouse,
        &format!("pncp/_state/{FOLDERS}/state_20251022.json"),
    );
    let trail = || {
        let text = std::fs::read_to_string(&file).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["executions"].clone()
    };
    for execution in ["08h", "12h", "16h"] {
        let args = ["daily", "--date", DAY, "--execution-id", execution];
        lakehouse.run(&args).await.expect_code(0);
    }
    let whole = trail();
    let names = |trail: &Value| {
        let records = trail.as_array().unwrap().iter();
        let names = records.map(|record| record["execution"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&whole), ["08h", "12h", "16h"]);
    assert_eq!(whole[1]["duplicates_filtered"], PURCHASES);

    std::fs::remove_file(&file).unwrap();
    let shown = state(&lakehouse, "rebuild", "pncp", &["--dry-run"]).await;
    let shown = shown.expect_code(0);
    assert_eq!(shown.number("executions_added"), 3);
    assert!(!file.exists());
    let done = state(&lakehouse, "rebuild", "pncp", &["--json"]).await;
    let line = lines(&done.expect_code(0)).remove(0);
    assert_eq!(
        (&line["executions_added"], &line["added"]),
        (&json!(3), &json!(PURCHASES))
    );
    assert_eq!(trail(), whole);
    let again = state(&lakehouse, "rebuild", "pncp", &["--dry-run"]).await;
    let again = again.expect_code(0);
    let changes = ["added", "executions_added", "executions_changed"];
    assert_eq!(changes.map(|name| again.number(name)), [0, 0, 0]);

    // One that was copied from another day is none of this day's.
    let ledger = lakehouse.store().join(format!("pncp/_ledger/{FOLDERS}"));
    let one = std::fs::read_dir(&ledger).unwrap().next().unwrap().unwrap();
    let mut other: Value = serde_json::from_slice(&std::fs::read(one.path()).unwrap()).unwrap();
    (other["date"], other["execution"]) = ("2025-10-23".into(), "copied".into());
    std::fs::write(
        ledger.join("20261023T000000Z_copied.json"),
        other.to_string(),
    )
    .unwrap();
    let told = state(&lakehouse, "rebuild", "pncp", &[]).await;
    assert!(told.expect_code(0).stderr.contains("is of another day"));
    assert_eq!(trail(), whole);

    // Of one whose ledger cannot be read the entries still tell, or else the old snapshot.
    for file in std::fs::read_dir(ledger).unwrap() {
        std::fs::write(file.unwrap().path(), "{").unwrap();
    }
    let told = state(&lakehouse, "rebuild", "pncp", &[]).await;
    assert!(told.expect_code(0).stderr.contains("is no ledger"));
    assert_eq!(trail(), whole);
    std::fs::remove_file(&file).unwrap();
    state(&lakehouse, "rebuild", "pncp", &[])
        .await
        .expect_code(0);
    assert_eq!(names(&trail()), ["08h"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_option_of_filter_is_refused_elsewhere() {
    let lakehouse = lakehouse().await;
    let refused = state(&lakehouse, "verify", "pncp", &["--updated"]).await;
    let refused = refused.expect_code(2);
    assert!(refused.stderr.contains("--updated"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_shows_what_is_stored_beside_an_entry_that_cannot_be_read() {
    let lakehouse = filled().await;
    let first = entry_of("pncp");
    // The second cannot be read; where it is the third, the second is missing.
    let others = ["00000002", "00000003"].map(|n| path(&lakehouse, &first.replace("00000001", n)));
    std::fs::write(&others[0], "no entry").unwrap();
    for _ in 0..2 {
        let shown = state(&lakehouse, "load", "pncp", &["--json"]).await;
        let shown = shown.expect_code(0);
        assert!(shown.stderr.contains("00000002"), "{}", shown.stderr);
        let snapshot = lines(&shown).remove(0);
        assert_eq!(snapshot["total_processed"], PURCHASES);
        let _ = std::fs::rename(&others[0], &others[1]);
    }
}
