//! The memory of a merge does not grow with the day: counted by the kernel, in processes that do
//! nothing but merge.
#![allow(clippy::unwrap_used, reason = "tests")]

mod rows;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use bronze_storage::state::{IdColumns, MergeOptions, Merger, ParquetRows};
use bronze_storage::{BronzeConfig, BronzeStore};
use ingest_state::{Execution, Layout, Log};
use rows::{details, log_of, row, scope};

/// Contratações in an entry.
const ROWS: u32 = 50;
/// What the merge may hold of its sources; the smaller day fills it already.
const MEMORY_BYTES: usize = 1024 * 1024;
/// What two runs on the same day differ by: the allocator's and the kernel's granularity.
const NOISE: u64 = 1024 * 1024;
/// Names the folder to the process that merges.
const FOLDER: &str = "MERGE_MEMORY_FOLDER";
/// Tells it on how many threads.
const THREADS: &str = "MERGE_MEMORY_THREADS";

fn opened(folder: &Path) -> (BronzeStore, Log) {
    let store = BronzeStore::open(&BronzeConfig::local(folder)).unwrap();
    let layout = Layout::details("pncp_details");
    let log = log_of(&store, layout, IdColumns::details());
    (store, log)
}

/// The same rows from a later release: with a column more, and one more in the elements of itens.
fn later(batch: &RecordBatch) -> RecordBatch {
    let texts = (0..batch.num_rows()).map(|row| format!("text {row}"));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let lists = batch.column_by_name("itens").unwrap().as_list::<i32>();
    let numbers = lists.values().as_struct().column(0).clone();
    let columns = vec![("m", numbers.clone()), ("n", numbers)];
    let field = |name, column: &ArrayRef| Field::new(name, column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(|(name, c)| field(*name, c)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let elements = StructArray::new(fields.into(), columns, lists.values().nulls().cloned());
    let item = Field::new("item", elements.data_type().clone(), true);
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    let lists = ListArray::new(Arc::new(item), offsets, Arc::new(elements), nulls);
    let lists: ArrayRef = Arc::new(lists);
    let mut fields = vec![Field::new("novo", DataType::Utf8, true)];
    let mut columns = vec![texts];
    let schema = batch.schema();
    for (old, column) in schema.fields().iter().zip(batch.columns()) {
        let is_itens = old.name() == "itens";
        let column = if is_itens { &lists } else { column };
        let data_type = column.data_type().clone();
        fields.push(old.as_ref().clone().with_data_type(data_type));
        columns.push(column.clone());
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A day that was fetched in the order of its keys; one in `every` by a later release.
async fn write(folder: &Path, entries: u32, every: Option<u32>) {
    let (_, log) = opened(folder);
    let mut day = log.load(&scope()).await.unwrap();
    for entry in 0..entries {
        let one = |n| row(&format!("k{n:08}"), Some((4, 1)), Some((1, 1)));
        let rows: Vec<_> = (entry * ROWS..(entry + 1) * ROWS).map(one).collect();
        let mut rows = details(&rows);
        if every.is_some_and(|every| entry % every == 0) {
            rows = later(&rows);
        }
        let rows = ParquetRows::new(&rows, &IdColumns::details()).unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
    }
}

/// Not a test of its own: merges the folder that it is given, and prints its peak.
#[tokio::test]
async fn merges_what_it_is_given() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (store, log) = opened(Path::new(&folder));
    let threads = std::env::var(THREADS).unwrap().parse().unwrap();
    let options = MergeOptions {
        memory_bytes: MEMORY_BYTES,
        threads,
        ..MergeOptions::default()
    };
    let merger = Merger::new(store, log, IdColumns::details()).with_options(options);
    let merged = merger.merge(&scope()).await.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    eprintln!("rows {} {}", merged.rows, peak.unwrap());
}

/// The peak resident set of a process that merges the folder, in bytes.
fn peak(folder: &Path, entries: u32, threads: usize) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "merges_what_it_is_given", "--nocapture"])
        .env(FOLDER, folder)
        .env(THREADS, threads.to_string())
        // As the command line has it: what is counted is the merge, not glibc's arenas.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find(|line| line.starts_with("rows "));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[1], (entries * ROWS).to_string());
    words[3].parse::<u64>().unwrap() * 1024
}

/// That the longer of two days of which one entry in `every` is of a later release takes no more,
/// on so many threads.
#[cfg(target_os = "linux")]
async fn takes_no_more(every: Option<u32>, threads: &[usize]) {
    let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(few.path(), 80, every).await;
    write(many.path(), 400, every).await;
    let rows = u64::from(ROWS) * (400 - 80);
    let short = peak(few.path(), 80, 1);
    for threads in threads {
        // The same folder, merged anew.
        let view = many.path().join("lh-bronze/pncp_details/year=2025");
        if view.exists() {
            std::fs::remove_dir_all(&view).unwrap();
        }
        let long = peak(many.path(), 400, *threads);
        let grown = long.saturating_sub(short);
        eprintln!("{threads} threads: {short} bytes, {long} bytes: {grown} more");
        assert!(
            grown <= 64 * rows + NOISE,
            "{threads} threads: {short} bytes for 80 entries, {long} for 400"
        );
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_merge_takes_no_more_memory_for_a_longer_day() {
    takes_no_more(None, &[1, 2, 32]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nor_does_one_of_several_releases() {
    takes_no_more(Some(3), &[1, 2]).await;
}
