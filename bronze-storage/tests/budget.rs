//! A large dataset through a small budget, both ways: what is buffered, by count.
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

/// Writes `megabytes` of `batches`, over and over, and reads them back, within the budget.
async fn both_ways(batches: &[RecordBatch], megabytes: usize) -> (u64, usize) {
    let folder = tempfile::tempdir().unwrap();
    let counting = OnceLock::new();
    let local = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    let store = local.wrapped(|inner| {
        let wrapped = CountingStore::new(inner);
        counting.set(wrapped.clone()).unwrap();
        Arc::new(wrapped)
    });
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
    assert!(peak <= BUDGET, "{peak} bytes were buffered");
    assert!(up.largest_bytes as usize <= 5 * MIB, "{up:?}");
    assert!(up.parts >= 3, "{up:?}");

    // Back: a row group's columns at a time, as they were written.
    let file = ParquetFile::open(&store, "big.parquet").await.unwrap();
    let groups = file.footer().row_groups();
    let largest = groups.iter().map(|group| group.compressed_size()).max();
    let largest = usize::try_from(largest.unwrap()).unwrap();
    assert!(largest <= BUDGET / 2, "{largest}");
    let groups = groups.len();
    let options = ReadOptions {
        batch_rows: batches[0].num_rows(),
        ..ReadOptions::default()
    };
    let mut stream = file.read(&options).unwrap();
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
    (written.bytes, groups)
}

#[tokio::test]
async fn a_gigabyte_streams_through_sixteen_megabytes_both_ways() {
    // Texts that shrink to a twentieth: compressing a gigabyte of noise is what takes the time.
    let batches: Vec<_> = (1..4)
        .map(|seed| batch(seed, 256, 16 * 1024, 768))
        .collect();
    let (bytes, groups) = both_ways(&batches, 1024).await;
    assert!(
        bytes as usize > 16 * MIB && groups > 4,
        "{bytes} bytes, {groups} row groups"
    );
}

#[tokio::test]
async fn what_does_not_compress_streams_through_as_little() {
    let batches: Vec<_> = (1..5).map(|seed| batch(seed, 8192, 240, 240)).collect();
    let (bytes, groups) = both_ways(&batches, 48).await;
    assert!(
        bytes as usize > 12 * MIB && groups > 3,
        "{bytes} bytes, {groups} row groups"
    );
}
