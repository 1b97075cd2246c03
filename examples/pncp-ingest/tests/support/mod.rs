//! What the end-to-end tests share: a simulator, the command as a child process, the comparison.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: each test binary uses its part, and a failed step fails the test"
)]

pub mod answer;
pub mod gate;
pub mod kills;
pub mod probe;
pub mod python;
pub mod readers;
pub mod shape;
pub mod victim;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::NaiveDate;
use pncp_sim::SimHandle;
use serde_json::Value;
use tempfile::TempDir;

/// The day of all tests.
pub const DAY: &str = "2025-10-22";

/// [`DAY`] as a date.
pub fn day() -> NaiveDate {
    DAY.parse().unwrap()
}

/// A store folder, and the simulator that the commands talk to.
#[derive(Debug)]
pub struct Lakehouse {
    pub folder: TempDir,
    pub sim: SimHandle,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The JSON object of the last line.
    pub last: Value,
}

impl Ended {
    pub fn from(output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = stdout.lines().last().unwrap_or_default();
        assert!(line.len() <= 1024, "the last line has {} bytes", line.len());
        let last = serde_json::from_str(line).unwrap_or(Value::Null);
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout,
            stderr,
            last,
        }
    }

    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// A count of the last line.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        self.last[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {name} in {}", self.last))
    }
}

impl Lakehouse {
    pub fn new(sim: SimHandle) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            sim,
        }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("lakehouse/lh-bronze")
    }

    /// The command with this lakehouse and simulator in its environment, and nothing else of ours.
    pub fn command(&self, args: &[&str]) -> Command {
        // CI names the release binary, which people run.
        let program = std::env::var_os("PNCP_INGEST");
        let built = env!("CARGO_BIN_EXE_pncp-ingest");
        let mut command = Command::new(program.unwrap_or_else(|| built.into()));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("STORAGE_TYPE", "local")
            .env("LOCAL_STORAGE_PATH", self.folder.path().join("lakehouse"))
            .env("PNCP_CONSULTA_URL", self.sim.consulta_url())
            .env("PNCP_API_URL", self.sim.api_url())
            .env("PNCP_PAUSE_SECONDS", "1")
            .env("PNCP_LISTS_PER_SECOND", "2000")
            .env("PNCP_DETAILS_PER_SECOND", "20000")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end, on a blocking thread: the simulator lives on this runtime.
    pub async fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        Ended::from(&output)
    }

    /// Compares the store with the simulator's truth; the counts, or none without Python.
    pub async fn compare(&self, extra: &[&str]) -> Option<Value> {
        let file = self.write_truth();
        let store = self.store();
        let extra: Vec<String> = extra.iter().map(|text| (*text).to_owned()).collect();
        tokio::task::spawn_blocking(move || compare(&store, &file, &extra))
            .await
            .unwrap()
    }

    /// What the simulator serves of the day, for the comparison.
    pub fn write_truth(&self) -> PathBuf {
        let mut truth = String::new();
        for record in self.sim.truth(day()) {
            if record.vanished {
                continue;
            }
            writeln!(
                truth,
                r#"{{"contratacao":{},"itens":[{}],"arquivos":[{}]}}"#,
                record.contratacao,
                record.itens.join(","),
                record.arquivos.join(",")
            )
            .unwrap();
        }
        let file = self.folder.path().join("truth.ndjson");
        std::fs::write(&file, truth).unwrap();
        file
    }

    /// Every object of the store below `folder` with its size, sorted; without `_ledger`.
    pub fn objects(&self, folder: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        walk(&self.store().join(folder), &mut found);
        found.retain(|(path, _)| !path.contains("/_ledger/"));
        found.sort();
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<(String, u64)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            walk(&entry.path(), found);
        } else {
            found.push((entry.path().to_string_lossy().into_owned(), metadata.len()));
        }
    }
}

fn compare(store: &Path, truth: &Path, extra: &[String]) -> Option<Value> {
    let python = python::interpreter()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare.py");
    let mut args = vec![script.to_str()?, store.to_str()?, truth.to_str()?, DAY];
    args.extend(extra.iter().map(String::as_str));
    let output = python::run(python, &args).unwrap_or_else(|error| panic!("{error}"));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Runs the comparison for many stores in one interpreter: pairs of a store's folder and its truth; the counts of
/// each, or none without Python.
pub fn compare_many(pairs: &[(PathBuf, PathBuf)]) -> Option<Vec<Value>> {
    const EACH: &str = "import runpy, sys
script, day, *pairs = sys.argv[1:]
for store, truth in zip(pairs[::2], pairs[1::2]):
    sys.argv = [script, store, truth, day]
    runpy.run_path(script)";
    let python = python::interpreter()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare.py");
    let mut args = vec!["-c", EACH, script.to_str()?, DAY];
    for (store, truth) in pairs {
        args.extend([store.to_str()?, truth.to_str()?]);
    }
    let output = python::run(python, &args).unwrap_or_else(|error| panic!("{error}"));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}
