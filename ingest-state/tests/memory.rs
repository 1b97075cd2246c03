//! A million ids: how much the resident set of a process grows while a day is loaded, filtered
//! against, and written.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chrono::NaiveDate;
use ingest_state::{
    Filter, Id, JsonEntries, Layout, Log, ObjectLogStore, Outcome, Scope, Standing,
};

const IDS: usize = 1_000_000;
const FOLDER: &str = "INGEST_STATE_TEST_FOLDER";
const DETAILS: &str = "INGEST_STATE_TEST_DETAILS";

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn layout(details: bool) -> Layout {
    if details {
        Layout::details("pncp")
    } else {
        Layout::json("pncp")
    }
}

fn id(n: usize) -> String {
    format!("{:014}-1-{n:06}/2025", n / 1_000)
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
#[ignore = "run by the tests below, in a process of its own"]
fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let details = std::env::var(DETAILS).unwrap() == "true";
    let local = object_store::local::LocalFileSystem::new_with_prefix(&folder).unwrap();
    let store = Arc::new(ObjectLogStore::new(Arc::new(local)));
    let log = Log::new(store, Arc::new(JsonEntries), layout(details)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let before = peak_bytes();
    let day = runtime.block_on(log.load(&scope())).unwrap();
    assert_eq!(day.done().len(), IDS);
    assert!(day.entries().is_empty() && day.warnings().is_empty());
    let mut filter = Filter::new(&day, 0);
    let of = |n: usize| filter.next(Some(&id(n)), None);
    let outcomes: Vec<Outcome> = (IDS - 2_500..IDS + 2_500).map(of).collect();
    assert_eq!(
        (outcomes[2_499], outcomes[2_500]),
        (Outcome::AlreadyProcessed, Outcome::New)
    );
    let versioned = std::fs::exists(format!("{folder}/versioned")).unwrap();
    for (version, standing) in [
        ("2025-10-22T08:00:00#a", Standing::AlreadyProcessed),
        ("2025-10-22T08:00:00#b", Standing::Updated),
        ("2025-10-22T08:00:01#a", Standing::Updated),
        ("2025-10-22T07:59:59#b", Standing::AlreadyProcessed),
    ] {
        let id = Id {
            facet: 0,
            id: &id(777_777),
            version: Some(version),
        };
        if versioned {
            assert_eq!(day.standing(id), standing, "{version}");
        }
    }
    let grown = peak_bytes() - before;
    std::fs::write(format!("{folder}/grown"), grown.to_string()).unwrap();
}

/// Writes a day: one entry without ids, and snapshots that speak of it, as they are written.
/// Returns the bytes of the ids themselves.
fn write_day(folder: &Path, details: bool, versions: bool) -> usize {
    let layout = layout(details);
    let file = |key: String| {
        let path = folder.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::BufWriter::new(std::fs::File::create(path).unwrap())
    };
    let head = ingest_state::testing::example_head(0);
    let entry = serde_json::json!({"head": head, "entries": []});
    write!(file(layout.entry_key(&scope(), 1)), "{entry}").unwrap();
    let comma = |n: usize| if n == 0 { "" } else { "," };
    // What the golden file has for a version of the same form.
    let version = fnv_text("2025-10-22T08:00:00#a");
    for facet in layout.facet_names() {
        let mut out = file(layout.snapshot_key(&scope(), facet));
        let field = &layout.ids_field;
        write!(out, "{{\n  \"date\": \"2025-10-22\",\n  \"{field}\": [").unwrap();
        for n in 0..IDS {
            write!(out, "{}\n    \"{}\"", comma(n), id(n)).unwrap();
        }
        let counts = format!("\"total_processed\": {IDS}, \"version\": 1, \"last_entry\": 1");
        write!(out, "\n  ],\n  {counts}").unwrap();
        if versions {
            write!(out, ",\n  \"processed_versions\": [").unwrap();
            for n in 0..IDS {
                write!(out, "{}\n    \"{version}\"", comma(n)).unwrap();
            }
            write!(out, "\n  ]").unwrap();
        }
        write!(out, "\n}}\n").unwrap();
    }
    if versions {
        std::fs::write(folder.join("versioned"), "").unwrap();
    }
    (0..IDS).map(|n| id(n).len()).sum()
}

/// `{microseconds}:{hash}`, as a snapshot has it.
fn fnv_text(version: &str) -> String {
    let hash = version.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let (at, _) = version.split_once('#').unwrap();
    let at: chrono::NaiveDateTime = at.parse().unwrap();
    format!("{}:{hash:016x}", at.and_utc().timestamp_micros())
}

#[test]
fn a_million_ids_take_at_most_64_bytes_each_beyond_their_own() {
    for (details, versions) in [(false, false), (false, true), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        let own = write_day(folder.path(), details, versions);
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child"])
            .env(FOLDER, folder.path())
            .env(DETAILS, details.to_string())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "details {details}, versions {versions}");
        let grown = std::fs::read_to_string(folder.path().join("grown")).unwrap();
        let grown: usize = grown.parse().unwrap();
        assert!(grown > own, "{grown} bytes cannot hold {own}");
        let beyond = (grown - own) / IDS;
        eprintln!("details {details}, versions {versions}: {beyond} bytes an id beyond its own");
        assert!(
            beyond <= 64,
            "details {details}, versions {versions}: {beyond} bytes an id"
        );
    }
}
