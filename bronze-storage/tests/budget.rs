//! A large dataset through a small budget, both ways: what is buffered, by count.
//!
//! `BRONZE_STREAM_MB=1024` makes it a gigabyte.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, OnceLock};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use bronze_storage::testing::CountingStore;
use bronze_storage::{
    BronzeConfig, BronzeStore, ParquetFile, ParquetWriter, ReadOptions, WriteOptions,
};
use futures::StreamExt;

const MIB: usize = 1024 * 1024;
const BUDGET: usize = 16 * MIB;

/// About 2 MiB that zstd cannot shrink much.
fn batch(seed: u64) -> RecordBatch {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let ids = Int64Array::from_iter_values((0..8192).map(|_| next() as i64));
    let text = |_| {
        (0..15)
            .map(|_| format!("{:016x}", next()))
            .collect::<String>()
    };
    let texts = StringArray::from_iter_values((0..8192).map(text));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("text", Arc::new(texts) as _)])
        .unwrap()
}

#[tokio::test]
async fn a_large_dataset_streams_through_a_small_budget_both_ways() {
    let megabytes: usize =
        std::env::var("BRONZE_STREAM_MB").map_or(96, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let counting = OnceLock::new();
    let local = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    let store = local.wrapped(|inner| {
        let wrapped = CountingStore::new(inner);
        counting.set(wrapped.clone()).unwrap();
        Arc::new(wrapped)
    });
    let batches: Vec<RecordBatch> = (1..5).map(batch).collect();
    let options = WriteOptions::within(BUDGET).unwrap();
    let mut writer =
        ParquetWriter::create(&store, "big.parquet", &batches[0].schema(), &options).unwrap();
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
    let up = counting.get().unwrap().counts();
    assert_eq!(written.rows, rows);
    assert!(
        written.bytes as usize > raw / 4,
        "{} of {raw}",
        written.bytes
    );
    assert!(peak <= BUDGET, "{peak} bytes were buffered");
    assert!(up.largest_bytes as usize <= 5 * MIB, "{up:?}");

    // Back: a row group's columns at a time, as they were written.
    let file = ParquetFile::open(&store, "big.parquet").await.unwrap();
    let largest = file
        .footer()
        .row_groups()
        .iter()
        .map(|group| group.compressed_size())
        .max();
    assert!(
        usize::try_from(largest.unwrap()).unwrap() <= BUDGET / 2,
        "{largest:?}"
    );
    let mut stream = file.read(&ReadOptions::default()).unwrap();
    let (mut back, mut held) = (0_u64, 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        held = held.max(batch.get_array_memory_size());
        back += batch.num_rows() as u64;
    }
    assert_eq!(back, rows);
    let down = counting.get().unwrap().counts();
    assert!(
        down.largest_bytes as usize + held <= BUDGET,
        "{down:?}, batches of {held}"
    );
    assert!(
        down.bytes_down < written.bytes + MIB as u64,
        "every byte once: {down:?}"
    );
}
