//! A large dataset through a small budget, both ways: what is buffered by the writer's own count,
//! what the store was handed and answered, and what the kernel says that a process which does
//! nothing else has had resident.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use bronze_storage::testing::CountingStore;
use bronze_storage::{
    BronzeConfig, BronzeStore, ParquetFile, ParquetWriter, ReadOptions, WriteOptions,
};
use futures::StreamExt;

const MIB: usize = 1024 * 1024;
const BUDGET: usize = 16 * MIB;
/// What the kernel counts beyond the budget: the allocator's free blocks and its arenas.
const UNCOUNTED: usize = 12 * MIB;
const KEY: &str = "big.parquet";
/// Name the folder and which of the data it is to a child process.
const FOLDER: &str = "BUDGET_FOLDER";
const DATA: &str = "BUDGET_DATA";

/// `rows` texts of `bytes` each, of which `random` cannot be compressed.
fn batch(seed: u64, rows: usize, bytes: usize, random: usize) -> RecordBatch {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let ids = Int64Array::from_iter_values((0..rows).map(|_| next() as i64));
    let rest = "contratação ".repeat(bytes / 12 + 1);
    let mut rest = rest.as_str();
    while rest.len() > bytes - random {
        rest = &rest[..rest.floor_char_boundary(bytes - random)];
    }
    let text = |_| {
        let mut text = String::with_capacity(bytes);
        while text.len() < random {
            text.push_str(&format!("{:016x}", next()));
        }
        text.push_str(rest);
        text
    };
    let texts = StringArray::from_iter_values((0..rows).map(text));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("text", Arc::new(texts) as _)])
        .unwrap()
}

/// What is written over and over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Data {
    /// Texts that shrink to a twentieth: compressing a gigabyte of noise is what takes the time.
    Gigabyte,
    /// What does not compress.
    Noise,
}

impl Data {
    fn name(self) -> &'static str {
        match self {
            Self::Gigabyte => "gigabyte",
            Self::Noise => "noise",
        }
    }

    /// The batches, and how many megabytes of them in all.
    fn batches(self) -> (Vec<RecordBatch>, usize) {
        match self {
            Self::Gigabyte => {
                let batches = (1..4).map(|seed| batch(seed, 256, 16 * 1024, 768));
                (batches.collect(), 1024)
            }
            Self::Noise => {
                let batches = (1..5).map(|seed| batch(seed, 8192, 240, 240));
                (batches.collect(), 48)
            }
        }
    }
}

fn counted(folder: &Path) -> (BronzeStore, CountingStore) {
    let counting = OnceLock::new();
    let local = BronzeStore::open(&BronzeConfig::local(folder)).unwrap();
    let store = local.wrapped(|inner| {
        let wrapped = CountingStore::new(inner);
        counting.set(wrapped.clone()).unwrap();
        Arc::new(wrapped)
    });
    let counting = counting.into_inner().unwrap();
    (store, counting)
}

async fn up(folder: &Path, batches: &[RecordBatch], megabytes: usize) {
    let (store, counting) = counted(folder);
    let options = WriteOptions::within(BUDGET).unwrap();
    let mut writer = ParquetWriter::create(&store, KEY, &batches[0].schema(), &options).unwrap();
    let (mut peak, mut raw, mut rows) = (0, 0, 0_u64);
    for batch in batches.iter().cycle() {
        writer.write(batch).await.unwrap();
        peak = peak.max(writer.memory_bytes());
        raw += batch.get_array_memory_size();
        rows += batch.num_rows() as u64;
        if raw >= megabytes * MIB {
            break;
        }
    }
    let written = writer.finish().await.unwrap();
    let up = counting.counts();
    assert_eq!(written.rows, rows);
    assert!(peak <= BUDGET, "{peak} bytes were buffered");
    assert!(up.largest_bytes as usize <= 5 * MIB, "{up:?}");
    assert!(up.parts >= 3 || megabytes == 0, "{up:?}");
}

/// Back: a row group's columns at a time, as they were written.
async fn down(folder: &Path, batches: &[RecordBatch], megabytes: usize) {
    let (store, counting) = counted(folder);
    let file = ParquetFile::open(&store, KEY).await.unwrap();
    let groups = file.footer().row_groups();
    let largest = groups.iter().map(|group| group.compressed_size()).max();
    let largest = usize::try_from(largest.unwrap()).unwrap();
    assert!(largest <= BUDGET / 2, "{largest}");
    let (groups, bytes) = (groups.len(), file.version().size);
    let large = bytes as usize > 12 * MIB && groups > 3;
    assert!(large || megabytes == 0, "{bytes} bytes, {groups} groups");
    let options = ReadOptions {
        batch_rows: batches[0].num_rows(),
        ..ReadOptions::default()
    };
    let mut stream = file.read(&options).unwrap();
    let (mut back, mut raw, mut held) = (0_u64, 0, 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        held = held.max(batch.get_array_memory_size());
        raw += batch.columns().iter().map(bytes_of).sum::<usize>();
        back += batch.num_rows() as u64;
    }
    assert_eq!(back, file.rows());
    assert!(raw * 5 / 4 >= megabytes * MIB, "{raw}");
    let down = counting.counts();
    assert!(
        down.largest_bytes as usize + held <= BUDGET,
        "{down:?}, batches of {held}"
    );
    assert!(
        down.bytes_down < bytes + MIB as u64,
        "every byte once: {down:?}"
    );
}

/// What the rows of a column take, without what its buffers have in reserve.
fn bytes_of(column: &arrow_array::ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap()
}

/// The most that this process has had resident so far, where the kernel tells it.
fn peak_resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// One way of one kind of data; prints by how much the most that the process had resident grew
/// beyond what a file of one batch took.
async fn child(go: impl AsyncFn(&Path, &[RecordBatch], usize)) {
    let folder = std::env::var(FOLDER).unwrap();
    let name = std::env::var(DATA).unwrap();
    let data = [Data::Gigabyte, Data::Noise];
    let data = data.into_iter().find(|data| data.name() == name).unwrap();
    let (batches, megabytes) = data.batches();
    // Code that is touched for the first time is no data.
    let warm = tempfile::tempdir().unwrap();
    up(warm.path(), &batches[..1], 0).await;
    down(warm.path(), &batches[..1], 0).await;
    let before = peak_resident_bytes();
    go(Path::new(&folder), &batches, megabytes).await;
    if let (Some(before), Some(after)) = (before, peak_resident_bytes()) {
        println!("resident {}", after - before);
    }
}

#[tokio::test]
#[ignore = "run by the tests below, in processes of their own"]
async fn child_up() {
    child(up).await;
}

#[tokio::test]
#[ignore = "run by the tests below, in processes of their own"]
async fn child_down() {
    child(down).await;
}

/// Both ways in two processes, one after the other.
fn both_ways(data: Data) {
    let folder = tempfile::tempdir().unwrap();
    for way in ["child_up", "child_down"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", way, "--nocapture"])
            .env(FOLDER, folder.path())
            .env(DATA, data.name())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{way}: {out}\n{err}");
        let resident = out.lines().find_map(|line| {
            let (_, bytes) = line.split_once("resident ")?;
            bytes.trim().parse::<usize>().ok()
        });
        if cfg!(target_os = "linux") {
            let resident = resident.unwrap();
            println!("{data:?} {way}: {} KiB resident", resident / 1024);
            assert!(resident <= BUDGET + UNCOUNTED, "{way}: {resident} bytes");
        }
    }
}

#[test]
fn a_gigabyte_streams_through_sixteen_megabytes_both_ways() {
    both_ways(Data::Gigabyte);
}

#[test]
fn what_does_not_compress_streams_through_as_little() {
    both_ways(Data::Noise);
}
