//! Eight real processes write the same day of a local folder, each over a store that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ingest_state::testing::Storm;
use ingest_state::{JsonEntries, Layout, Log, LogStore, ObjectLogStore};

const FOLDER: &str = "INGEST_STATE_TEST_FOLDER";
const NUMBER: &str = "INGEST_STATE_TEST_NUMBER";
const STORM: Storm = Storm {
    writers: 8,
    ids: 120,
    batch: 15,
    one_in: 11,
    seed: 3,
};

fn store(folder: &Path) -> Arc<dyn LogStore> {
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder).unwrap();
    Arc::new(ObjectLogStore::new(Arc::new(local)))
}

fn log(store: Arc<dyn LogStore>) -> Log {
    Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap()
}

#[tokio::test]
#[ignore = "run by the test below, in processes of their own"]
async fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let number: usize = std::env::var(NUMBER).unwrap().parse().unwrap();
    let store = store(Path::new(&folder));
    let placed = STORM.write(store, &log, number).await.unwrap();
    std::fs::write(format!("{folder}/placed-{number}"), placed.join("\n")).unwrap();
}

#[tokio::test]
async fn eight_processes_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spawn = |number: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child"])
            .env(FOLDER, folder.path())
            .env(NUMBER, number.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..STORM.writers).map(spawn).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let placed = |number: usize| {
        let text = std::fs::read_to_string(folder.path().join(format!("placed-{number}")));
        text.unwrap().lines().map(str::to_owned).collect()
    };
    let claimed: Vec<Vec<String>> = (0..STORM.writers).map(placed).collect();
    let log = log(store(folder.path()));
    STORM.check(&log, &claimed).await.unwrap();
}
