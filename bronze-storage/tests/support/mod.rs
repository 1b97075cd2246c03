//! Large objects, for the tests of stores and of uploads.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::Arc;

use bronze_storage::testing::CountingStore;
use bronze_storage::{BronzeStore, ParquetFile, ParquetWriter, ReadOptions, WriteOptions};

/// A batch of text that hardly compresses, 512 bytes a row.
pub(crate) fn noise(rows: usize) -> arrow_array::RecordBatch {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::with_capacity(512);
    let texts = (0..rows).map(|_| {
        text.clear();
        while text.len() < 512 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.extend(state.to_le_bytes().map(|byte| char::from(b' ' + byte % 64)));
        }
        text.clone()
    });
    let texts = arrow_array::StringArray::from_iter_values(texts);
    arrow_array::RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap()
}

/// Writes 30 MB in parts, invisible until the end, and reads them back.
pub(crate) async fn large_objects_go_up_in_parts(store: &BronzeStore) {
    let counting = std::sync::OnceLock::new();
    let store = store.wrapped(|inner| {
        let wrapped = CountingStore::new(inner);
        counting.set(wrapped.clone()).unwrap();
        Arc::new(wrapped)
    });
    let batch = noise(20_000);
    let options = WriteOptions::within(16 * 1024 * 1024).unwrap();
    let mut writer =
        ParquetWriter::create(&store, "big.parquet", &batch.schema(), &options).unwrap();
    for _ in 0..3 {
        writer.write(&batch).await.unwrap();
        assert!(
            store.list("").await.unwrap().is_empty(),
            "visible before it is whole"
        );
    }
    let written = writer.finish().await.unwrap();
    let counts = counting.get().unwrap().counts();
    assert_eq!(
        (counts.uploads, counts.completed, counts.aborted),
        (1, 1, 0)
    );
    assert!(counts.parts >= 3, "{counts:?}");
    assert_eq!(counts.largest_bytes, 5 * 1024 * 1024);
    let file = ParquetFile::open(&store, "big.parquet").await.unwrap();
    assert_eq!((file.rows(), file.version().size), (60_000, written.bytes));
    let batches = file
        .read(&ReadOptions::default())
        .unwrap()
        .collect_batches()
        .await
        .unwrap();
    let rows: Vec<_> = batches
        .iter()
        .map(arrow_array::RecordBatch::num_rows)
        .collect();
    assert_eq!(rows.iter().sum::<usize>(), 60_000);
    assert_eq!(batches[0].slice(0, 100), batch.slice(0, 100));
}
