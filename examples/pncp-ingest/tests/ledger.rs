//! The ledger of executions, as it lies in the store: fields and types, one golden file for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use pncp_sim::Sim;
use serde_json::Value;
use support::shape::shape;
use support::{DAY, Lakehouse};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_has_the_shape_of_the_golden_file() {
    let sim = Sim::builder().synthetic(12).seed(3).start().await.unwrap();
    let lakehouse = Lakehouse::new(sim);
    let folder = lakehouse
        .store()
        .join("pncp/_ledger/year=2025/month=10/day=22");
    for (execution, new, duplicates) in [("first", 12, 0), ("second", 0, 12)] {
        let args = ["daily", "--date", DAY, "--execution-id", execution];
        lakehouse.run(&args).await.expect_code(0);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.to_string_lossy()
                    .ends_with(&format!("_{execution}.json"))
            })
            .collect();
        let file = files.pop().expect("a ledger of its own for each execution");
        let ledger: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(ledger["execution"], execution);
        assert_eq!(ledger["date"], DAY);
        assert_eq!(
            (&ledger["new_records"], &ledger["duplicates_filtered"]),
            (&new.into(), &duplicates.into())
        );
        assert_eq!(
            (&ledger["input"], &ledger["verdict"]),
            (&12.into(), &"complete".into())
        );
        assert_eq!(
            ledger["entries"].as_array().unwrap().len(),
            usize::from(new > 0)
        );
        if new == 0 {
            continue;
        }
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/v1_ledger_shape.json"
        );
        let found = shape(&ledger);
        if std::env::var("WRITE_GOLDEN").is_ok_and(|value| value == "1") {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
            std::fs::write(golden, format!("{found:#}\n")).unwrap();
        }
        let expected: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
        assert_eq!(found, expected);
    }
}
