//! Eight real processes write the same day of a local folder, each over a store that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chrono::NaiveDate;
use ingest_state::testing::FaultStore;
use ingest_state::{
    Execution, Id, IdList, IdRows, JsonEntries, Layout, Log, LogStore, ObjectLogStore, Scope,
};

const FOLDER: &str = "INGEST_STATE_TEST_FOLDER";
const NUMBER: &str = "INGEST_STATE_TEST_NUMBER";
const PROCESSES: usize = 8;

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn store(folder: &Path) -> Arc<dyn LogStore> {
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder).unwrap();
    Arc::new(ObjectLogStore::new(Arc::new(local)))
}

fn log(store: Arc<dyn LogStore>) -> Log {
    Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap()
}

/// What process `number` has to offer; every id is offered by several.
fn offer(number: usize) -> Vec<String> {
    (0..120)
        .map(|n| format!("id-{:04}", (number * 53 + n * 11) % 500))
        .collect()
}

#[tokio::test]
#[ignore = "run by the test below, in processes of their own"]
async fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let number: usize = std::env::var(NUMBER).unwrap().parse().unwrap();
    let log = log(Arc::new(FaultStore::seeded(
        store(Path::new(&folder)),
        number as u64,
        11,
    )));
    let execution = Execution::new(format!("process-{number}"));
    for batch in offer(number).chunks(15) {
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries < 500, "never got through");
            let Ok(mut day) = log.load(&scope()).await else {
                continue;
            };
            let ids: IdList = batch
                .iter()
                .map(|id| Id {
                    facet: 0,
                    id,
                    version: None,
                })
                .collect();
            let rows = IdRows::new(ids, &JsonEntries, vec![""]);
            if day.append(&rows, &execution).await.is_ok() {
                let _ = day.finish(&execution).await;
                break;
            }
        }
    }
}

#[tokio::test]
async fn eight_processes_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "child"])
                .env(FOLDER, folder.path())
                .env(NUMBER, number.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let log = log(store(folder.path()));
    let report = log.verify(&scope()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    let day = log.load_entries(&scope()).await.unwrap();
    let found: BTreeSet<String> = day.done().ids(0).map(str::to_owned).collect();
    let expected: BTreeSet<String> = (0..PROCESSES).flat_map(offer).collect();
    assert_eq!(found, expected);
    assert!(day.last_entry() > 8, "several entries");
}
