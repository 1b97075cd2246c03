//! A million ids: how much the resident set of a process grows while a day is loaded.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use chrono::NaiveDate;
use ingest_state::{JsonEntries, Layout, Log, ObjectLogStore, Scope};

const IDS: usize = 1_000_000;
const FOLDER: &str = "INGEST_STATE_TEST_FOLDER";

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

/// The peak resident set of this process so far, in bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(&folder).unwrap();
    let store = Arc::new(ObjectLogStore::new(Arc::new(local)));
    let log = Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let before = peak_bytes();
    let day = runtime.block_on(log.load(&scope())).unwrap();
    assert_eq!(day.done().len(), IDS);
    let grown = peak_bytes() - before;
    std::fs::write(format!("{folder}/grown"), grown.to_string()).unwrap();
}

#[test]
fn a_million_ids_take_at_most_64_bytes_each_beyond_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::json("pncp");
    let path = |key: String| {
        let path = folder.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::BufWriter::new(std::fs::File::create(path).unwrap())
    };
    // One entry without ids, and a snapshot that speaks of it, in the shape that is written.
    let head = ingest_state::testing::example_head(0);
    let entry = serde_json::json!({"head": head, "entries": []});
    write!(path(layout.entry_key(&scope(), 1)), "{entry}").unwrap();
    let mut out = path(layout.snapshot_key(&scope(), ""));
    let mut own = 0;
    write!(
        out,
        "{{\n  \"date\": \"2025-10-22\",\n  \"processed_ids\": ["
    )
    .unwrap();
    for n in 0..IDS {
        let id = format!("{:014}-1-{:06}/2025", n / 1_000, n);
        own += id.len();
        write!(out, "{}\n    \"{id}\"", if n == 0 { "" } else { "," }).unwrap();
    }
    write!(
        out,
        "\n  ],\n  \"total_processed\": {IDS}, \"version\": 1, \"last_entry\": 1}}"
    )
    .unwrap();
    drop(out);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child"])
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let grown: usize = std::fs::read_to_string(folder.path().join("grown"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(grown > own, "{grown} bytes cannot hold {own}");
    let beyond = (grown - own) / IDS;
    assert!(beyond <= 64, "{beyond} bytes an id beyond their own");
}
