//! A file system that is really full: nothing becomes half visible, the error names the object,
//! and the next write after space was made goes through.
//!
//! The file system is a small one in memory, mounted by a child process in a namespace of its own
//! (`unshare`), which takes no privileges where the kernel lets users do that. Where it does not:
//! `SKIPPED`, or with `REQUIRE_FULL_DISK=1` a failure.
#![cfg(all(target_os = "linux", feature = "state"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod rows;
mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bronze_storage::state::{IdColumns, ParquetRows};
use bronze_storage::{
    BronzeConfig, BronzeStore, Dataset, Error, Format, Object, ParquetWriter, Source, TempRef,
    WriteOptions, Written,
};
use chrono::NaiveDate;
use ingest_state::Execution;
use rows::{Bench, Facets, details, row, scope};

/// Names the mounted file system to the process that fills it.
const FOLDER: &str = "FULL_DISK_FOLDER";
/// What the shell ends with if there is no such file system.
const NO_MOUNT: i32 = 77;

/// The child, in a namespace with a file system of 64 MiB; `None` where that is not allowed.
fn spawn(folder: &Path) -> Option<std::process::Output> {
    let script = format!(
        "mount -t tmpfs -o size=64m none \"${FOLDER}\" || exit {NO_MOUNT}\n\
         exec \"$0\" --ignored --exact child --nocapture"
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .output();
    let reason = match output {
        Err(error) => format!("unshare: {error}"),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let mounted = output.status.code() != Some(NO_MOUNT) && !told.starts_with("unshare:");
            if mounted {
                return Some(output);
            }
            told.trim().to_owned()
        }
    };
    let required = std::env::var("REQUIRE_FULL_DISK").is_ok_and(|value| value == "1");
    assert!(!required, "no file system of a known size: {reason}");
    eprintln!("SKIPPED: no file system of a known size: {reason}");
    None
}

#[test]
fn a_full_disk_leaves_nothing_half_visible() {
    let folder = tempfile::tempdir().unwrap();
    let Some(output) = spawn(folder.path()) else {
        return;
    };
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "the child ran: {out}");
    // It was a file system of its own.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A file that takes all the space but so many bytes.
struct Filler(std::path::PathBuf);

impl Filler {
    fn all_but(folder: &Path, free: usize) -> Self {
        let path = folder.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let chunk = vec![7; 4096];
        let full = loop {
            if let Err(error) = file.write_all(&chunk) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let size = file.metadata().unwrap().len();
        file.set_len(size - free as u64).unwrap();
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A megabyte. The same bytes in the same second would be the same file, so rows tell them apart.
fn noise(rows: usize) -> Dataset {
    Dataset::from_batches(vec![support::noise(rows)]).unwrap()
}

fn pncp() -> Source {
    Source::new("pncp").unwrap()
}

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

/// An error that says that the disk is full, of the object whose key begins so.
#[track_caller]
fn full<T: std::fmt::Debug>(result: Result<T, Error>, key: &str) {
    match result.unwrap_err() {
        Error::Store {
            key: at,
            transient: false,
            source,
            ..
        } => {
            assert!(at.starts_with(key), "{at} is not {key}");
            let text = chain(&*source);
            assert!(text.contains("No space left"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}

/// Keys that hardly compress, each with the itens of this version.
fn entry(number: u32, version: u32) -> Vec<(String, Facets)> {
    let mut state = u64::from(number) << 32 | 0x9e37_79b9;
    let rows = (0..8_000).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        row(&format!("{state:016x}"), Some((1, version)), None)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

async fn append(bench: &Bench, number: u32) -> Result<(), String> {
    let rows = ParquetRows::new(&details(&entry(number, 1)), &IdColumns::details()).unwrap();
    let mut day = bench
        .log
        .load(&scope())
        .await
        .map_err(|error| chain(&error))?;
    let appended = day.append(&rows, &Execution::new("x")).await;
    appended.map(drop).map_err(|error| chain(&error))
}

/// What is there: keys, sizes, versions.
async fn visible(store: &BronzeStore) -> Vec<(String, u64, Option<String>)> {
    let listed = store.list("").await.unwrap();
    let seen = |object: Object| (object.key, object.size, object.e_tag);
    listed.into_iter().map(seen).collect()
}

/// Every kind of write, one after another, each of which has to fail.
async fn nothing_goes(bench: &Bench, big: usize) {
    let store = &bench.store;
    let before = visible(store).await;
    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        let uploaded = store
            .upload_to_bronze(noise(2_100), &pncp(), day(), format)
            .await;
        full(uploaded, "pncp/year=2025/month=10/day=22/pncp_20251022_");
        full(
            store.upload_temp(noise(2_100), "run", "late", format).await,
            "_temp/run/late.",
        );
    }
    full(large(store, big).await, "big.parquet");
    let error = append(bench, 3).await.unwrap_err();
    assert!(error.contains("No space left"), "{error}");
    let key = bench.log.layout().entry_key(&scope(), 3);
    assert!(error.contains(&key), "{error} does not name {key}");
    let error = chain(&bench.merger.merge(&scope()).await.unwrap_err());
    assert!(error.contains("No space left"), "{error}");
    let key = bench.merger.key(&scope());
    assert!(error.contains(&key), "{error} does not name {key}");
    assert_eq!(visible(store).await, before, "nothing new, nothing changed");
}

/// An object that goes up in parts.
async fn large(store: &BronzeStore, batches: usize) -> Result<Written, Error> {
    let batch = support::noise(4_000);
    let options = WriteOptions::within(8 * 1024 * 1024)?;
    let mut writer = ParquetWriter::create(store, "big.parquet", &batch.schema(), &options)?;
    for _ in 0..batches {
        writer.write(&batch).await?;
    }
    writer.finish().await
}

#[tokio::test]
#[ignore = "run by the test above, on a file system of its own"]
async fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    let store = BronzeStore::open(&BronzeConfig::local(folder.join("lake"))).unwrap();
    let bench = Bench::on(store.clone(), 8);
    let early = store
        .upload_to_bronze(noise(2_000), &pncp(), day(), Format::Parquet)
        .await
        .unwrap();
    let (early_bytes, _) = store.get(&early.key).await.unwrap();
    let reference: TempRef = store
        .upload_temp(noise(2_000), "run", "early", Format::Parquet)
        .await
        .unwrap();
    append(&bench, 1).await.unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    append(&bench, 2).await.unwrap();
    let view = bench.view().await;
    assert_eq!(view.len(), 8_000);

    // Not a byte, and enough to begin with.
    for free in [0, 32 * 1024] {
        let filler = Filler::all_but(folder, free);
        nothing_goes(&bench, 4).await;
        // What was there before is what it was.
        assert_eq!(store.get(&early.key).await.unwrap().0, early_bytes);
        store.read_temp(&reference).await.unwrap();
        assert_eq!(bench.view().await, view);
        assert_eq!(bench.log.load(&scope()).await.unwrap().last_entry(), 2);
        drop(filler);
    }
    // Nothing is left over that would keep the space.
    let staged = walk(folder).into_iter().filter(|name| name.contains('#'));
    assert_eq!(staged.collect::<Vec<_>>(), Vec::<String>::new());

    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        store
            .upload_to_bronze(noise(2_100), &pncp(), day(), format)
            .await
            .unwrap();
        let late = store
            .upload_temp(noise(2_100), "run", "late", format)
            .await
            .unwrap();
        store.read_temp(&late).await.unwrap();
    }
    assert_eq!(large(&store, 4).await.unwrap().rows, 16_000);
    append(&bench, 3).await.unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(bench.view().await.len(), 24_000);
    let report = bench
        .log
        .verify_with(&scope(), &[&bench.merger])
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(walk(&path));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}
