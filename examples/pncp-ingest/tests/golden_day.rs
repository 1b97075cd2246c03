//! A day as the first release left it: log entries, stubs, a base with the API's columns, ledger,
//! snapshots, quarantine. Read for ever by whatever comes later.
//!
//! `WRITE_GOLDEN=1` writes it anew, which only a new version of a format is a reason for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::path::{Path, PathBuf};

use pncp_sim::{Fault, Sim};
use serde_json::Value;
use support::answer;
use support::shape::shape;
use support::{DAY, Ended, Lakehouse};

const FOLDER: &str = "year=2025/month=10/day=22";
const VIEW: &str = "pncp_details/year=2025/month=10/day=22/details.parquet";

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(name)
}

fn writes() -> bool {
    std::env::var("WRITE_GOLDEN").is_ok_and(|value| value == "1")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

async fn run(lakehouse: &Lakehouse, args: &[&str], code: i32) -> Ended {
    let execution = ["--date", DAY, "--execution-id", "golden"];
    let all = [args, &execution].concat();
    lakehouse.run(&all).await.expect_code(code)
}

/// Six purchases: the itens of five in an entry that is archived, those of one in quarantine, all
/// arquivos in an entry after the base.
async fn day_of_today() -> Lakehouse {
    let fault: Fault = "400:route=itens,count=1".parse().unwrap();
    let sim = Sim::builder().synthetic(6).seed(21).fault(fault);
    let lakehouse = Lakehouse::new(sim.start().await.unwrap());
    run(&lakehouse, &["daily"], 0).await;
    let details = ["details", "--concurrency", "1", "--only", "itens"];
    let itens = run(&lakehouse, &details, 3).await;
    assert_eq!(itens.number("in_quarantine"), 1, "{}", itens.last);
    run(&lakehouse, &["merge"], 0).await;
    let archived = run(&lakehouse, &["archive"], 0).await;
    assert_eq!(archived.number("stubbed"), 1);
    run(&lakehouse, &["details", "--only", "arquivos"], 0).await;
    lakehouse
}

/// A list endpoint whose one record cannot be known by anything.
async fn listing_without_a_number() -> String {
    let record = r#"{"anoCompra":2025,"objetoCompra":"sem número","valorTotalEstimado":10.50}"#;
    let page = format!(
        r#"{{"data":[{record}],"totalRegistros":1,"totalPaginas":1,"numeroPagina":1,"paginasRestantes":0,"empty":false}}"#
    );
    let length = page.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{page}"
    );
    format!("{}/api/consulta", answer::always(answer).await)
}

/// The one note of a quarantine, as it lies in the store.
fn note(store: &Path, source: &str) -> Value {
    let folder = store.join(source).join("_quarantine").join(FOLDER);
    let mut files = std::fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "one note only");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Adds the quarantine of a listing; what could not be taken ends as partial, and is kept.
async fn reject_a_record(lakehouse: &Lakehouse) {
    let url = listing_without_a_number().await;
    let args = ["daily", "--modalidades", "6", "--consulta-url", &url];
    let ended = run(lakehouse, &args, 3).await;
    assert_eq!(ended.number("quarantined"), 1, "{}", ended.last);
}

fn quarantine_lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    let mut lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.pop();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_the_first_release_is_read() {
    let today = day_of_today().await;
    let listing = Lakehouse::new(Sim::builder().synthetic(1).start().await.unwrap());
    reject_a_record(&listing).await;
    if writes() {
        let _ = std::fs::remove_dir_all(golden("v1_day"));
        copy(&today.store(), &golden("v1_day"));
        std::fs::remove_file(golden("v1_day").join(VIEW)).unwrap();
        let quarantine = Path::new("pncp/_quarantine");
        copy(
            &listing.store().join(quarantine),
            &golden("v1_day").join(quarantine),
        );
        std::fs::copy(today.write_truth(), golden("v1_day_truth.ndjson")).unwrap();
    }

    let old = Lakehouse::new(Sim::builder().synthetic(1).start().await.unwrap());
    copy(&golden("v1_day"), &old.store());
    let merged = run(&old, &["merge"], 0).await;
    assert_eq!(merged.last["status"], "complete", "{}", merged.last);
    assert!(old.store().join(VIEW).exists());
    for source in ["pncp", "pncp_details"] {
        run(&old, &["state", "verify", "--source", source], 0).await;
        let summary = run(&old, &["state", "summary", "--source", source], 0).await;
        if source == "pncp" {
            assert_eq!(summary.number("total_processed"), 6);
        } else {
            let counts = ["entries", "itens", "arquivos"].map(|name| summary.number(name));
            assert_eq!(counts, [2, 5, 6]);
        }
    }
    let truth = golden("v1_day_truth.ndjson");
    if let Some(report) = old.read_against(&truth, None).await {
        assert_eq!(report["entry"]["rows"], 6);
        assert_eq!(
            (&report["details"]["rows"], &report["stubs"]),
            (&6.into(), &1.into())
        );
        assert_eq!(
            (&report["bases"][0]["rows"], &report["details"]["null"]),
            (&5.into(), &1.into())
        );
        let arquivos = &report["parts"][0]["arquivos"];
        assert_eq!(&report["details"]["arquivos"], arquivos);
    }

    // The quarantine, in the words of its formats, and as it is written today.
    for (source, made_by) in [("pncp_details", &today), ("pncp", &listing)] {
        let show = ["quarantine", "show", "--json", "--source", source];
        let shown = quarantine_lines(&run(&old, &show, 0).await);
        assert_eq!(shown.len(), 1, "{source}");
        if source == "pncp" {
            let record = &shown[0]["records"][0];
            assert_eq!(shown[0]["execution"], "golden");
            let payload: Value = serde_json::from_str(record["payload"].as_str().unwrap()).unwrap();
            assert_eq!(payload["objetoCompra"], "sem número");
            assert!(record["payload"].as_str().unwrap().contains("10.50"));
        } else {
            let facts = [&shown[0]["facet"], &shown[0]["kind"]];
            assert_eq!(facts, [&Value::from("itens"), &"transient".into()]);
            assert_eq!(
                (&shown[0]["runs"], &shown[0]["attempts"]),
                (&1.into(), &1.into())
            );
        }
        let (old, today) = (note(&old.store(), source), note(&made_by.store(), source));
        assert_eq!(shape(&old), shape(&today), "{source}");
    }
}
