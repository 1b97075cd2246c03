//! A merge brings the same file whatever the number of its threads, and whoever encoded its
//! sources.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod rows;

use std::time::Duration;

use bronze_storage::state::{IdColumns, MergeError, MergeOptions, Merger};
use bronze_storage::{BronzeConfig, BronzeStore};
use bytes::Bytes;
use ingest_state::Layout;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use rows::{Bench, Facets, model, row, scope};

type Rows = Vec<(String, Facets)>;

/// Entries whose keys overlap, `step` apart and four steps long; later ones refresh a part.
fn entries(count: u32, step: u32) -> Vec<Rows> {
    let entry = |n: u32| {
        let first = (n % 4) * step;
        let keys = (first..first + 4 * step).filter(move |key| !(key + n).is_multiple_of(3));
        keys.map(move |key| {
            let itens = Some(((key % 9) as i32, n));
            let arquivos = (key % 4 == n % 4).then_some((2, n));
            row(&format!("k{key:06}"), itens, arquivos)
        })
        .collect()
    };
    (0..count).map(entry).collect()
}

fn merger(bench: &Bench, memory_bytes: usize, threads: usize) -> Merger {
    let (store, log) = (bench.store.clone(), bench.log.clone());
    Merger::new(store, log, IdColumns::details()).with_options(MergeOptions {
        memory_bytes,
        threads,
        ..MergeOptions::default()
    })
}

/// The view after a merge that starts from `old`.
async fn merged(bench: &Bench, old: Option<&Bytes>, memory_bytes: usize, threads: usize) -> Bytes {
    let merger = merger(bench, memory_bytes, threads);
    let (store, key) = (bench.log.store(), merger.key(&scope()));
    match old {
        Some(old) => store.overwrite(&key, old.clone()).await.unwrap(),
        None => drop(bench.store.delete(&key).await.unwrap()),
    }
    merger.merge(&scope()).await.unwrap();
    store.get(&key).await.unwrap().unwrap().bytes
}

fn row_groups(bytes: &Bytes) -> usize {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    reader.metadata().num_row_groups()
}

#[tokio::test]
async fn the_file_is_the_same_on_any_number_of_threads() {
    let entries = entries(8, 800);
    for memory_bytes in [1024 * 1024, 8 * 1024 * 1024] {
        let bench = Bench::new(64);
        for entry in &entries[..5] {
            bench.append(entry).await;
        }
        let old = merged(&bench, None, memory_bytes, 1).await;
        for entry in &entries[5..] {
            bench.append(entry).await;
        }
        for old in [None, Some(&old)] {
            let one = merged(&bench, old, memory_bytes, 1).await;
            assert_eq!(bench.view().await, model(&entries));
            // The first ends within the row groups of the sources.
            assert_eq!(row_groups(&one), 2);
            for threads in [0, 2, 16] {
                let other = merged(&bench, old, memory_bytes, threads).await;
                assert!(one == other, "{threads} threads, {memory_bytes} bytes");
            }
        }
    }
}

/// The same rows and footer, encoded in another way.
fn encoded(bytes: Bytes, properties: WriterPropertiesBuilder, root: &str) -> Bytes {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let pairs: Vec<_> = pairs.unwrap().clone();
    let pairs = pairs.into_iter().filter(|pair| pair.key != "ARROW:schema");
    let properties = properties.set_key_value_metadata(Some(pairs.collect()));
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_schema_root(root.to_owned());
    let schema = reader.schema().clone();
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options).unwrap();
    for batch in reader.build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.into_inner().unwrap().into()
}

#[tokio::test]
async fn entries_that_were_encoded_in_another_way_are_merged_as_well() {
    let entries = entries(12, 150);
    let bench = Bench::new(64);
    for entry in &entries {
        bench.append(entry).await;
    }
    let level = ZstdLevel::try_new(3).unwrap();
    let ways = || {
        let plain = WriterProperties::builder;
        [
            (plain().set_compression(Compression::SNAPPY), "schema"),
            (
                plain().set_max_row_group_row_count(Some(70)),
                "arrow_schema",
            ),
            (
                plain()
                    .set_writer_version(WriterVersion::PARQUET_2_0)
                    .set_compression(Compression::ZSTD(level))
                    .set_data_page_row_count_limit(50)
                    .set_write_batch_size(10),
                "arrow_schema",
            ),
            (
                plain()
                    .set_compression(Compression::ZSTD(level))
                    .set_dictionary_enabled(false)
                    .set_data_page_size_limit(200)
                    .set_write_batch_size(7),
                "root",
            ),
        ]
    };
    // Each entry in its own way, some neighbours in the same.
    let store = bench.log.store();
    for number in 1..=entries.len() {
        let key = Layout::details("pncp_details").entry_key(&scope(), number as u64);
        let bytes = store.get(&key).await.unwrap().unwrap().bytes;
        if let Some((properties, root)) = ways().into_iter().nth(number / 2 % 5) {
            let bytes = encoded(bytes, properties, root);
            store.overwrite(&key, bytes).await.unwrap();
        }
    }
    for (memory_bytes, threads) in [(256 * 1024, 1), (8 * 1024 * 1024, 2)] {
        merged(&bench, None, memory_bytes, threads).await;
        assert_eq!(bench.view().await, model(&entries));
    }
}

#[tokio::test]
async fn a_column_that_does_not_decode_is_refused_by_the_name_of_its_entry() {
    let entries = entries(8, 800);
    let bench = Bench::new(64);
    for entry in &entries {
        bench.append(entry).await;
    }
    let (store, layout) = (bench.log.store(), Layout::details("pncp_details"));
    let key = layout.entry_key(&scope(), 6);
    let bytes = store.get(&key).await.unwrap().unwrap().bytes;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let columns = reader.metadata().row_group(0).columns().iter();
    let itens = columns.filter(|column| column.column_path().string().starts_with("itens."));
    let (start, length) = itens.last().unwrap().byte_range();
    // The end of the last page: the footer, the keys and the marks are as they were.
    let mut bytes = bytes.to_vec();
    let end = usize::try_from(start + length).unwrap();
    bytes[end - 24..end].fill(0xff);
    store.overwrite(&key, bytes.into()).await.unwrap();
    for threads in [1, 2] {
        let refused = merger(&bench, 8 * 1024 * 1024, threads)
            .merge(&scope())
            .await;
        assert!(
            matches!(&refused, Err(MergeError::Source { key: named, .. }) if *named == key),
            "{refused:?}"
        );
        let listed = bench.store.list("pncp_details").await.unwrap();
        let view = listed
            .iter()
            .find(|object| object.key.ends_with("details.parquet"));
        assert!(view.is_none(), "{view:?}");
    }
}

/// The file with a footer that says that a column is `size` bytes when uncompressed.
fn with_uncompressed_size(bytes: &Bytes, column: &str, size: i64) -> Bytes {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let metadata = reader.metadata().as_ref().clone();
    let mut groups = Vec::new();
    for group in metadata.row_groups() {
        let columns = group.columns().iter().cloned().map(|chunk| {
            if chunk.column_path().string() != column {
                return chunk;
            }
            let chunk = chunk.into_builder().set_total_uncompressed_size(size);
            chunk.build().unwrap()
        });
        let columns = columns.collect();
        let group = group.clone().into_builder().set_column_metadata(columns);
        groups.push(group.build().unwrap());
    }
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    let tail = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap());
    let mut changed = bytes[..tail - length as usize].to_vec();
    let writer = ParquetMetaDataWriter::new(&mut changed, &metadata);
    writer.finish().unwrap();
    changed.into()
}

#[tokio::test]
async fn a_footer_that_says_more_than_a_column_can_be_is_refused_by_the_name_of_its_entry() {
    let entries = entries(8, 800);
    let bench = Bench::new(64);
    for entry in &entries {
        bench.append(entry).await;
    }
    let (store, layout) = (bench.log.store(), Layout::details("pncp_details"));
    let key = layout.entry_key(&scope(), 6);
    let whole = store.get(&key).await.unwrap().unwrap().bytes;
    let reader = ParquetRecordBatchReaderBuilder::try_new(whole.clone()).unwrap();
    let columns = reader.metadata().row_group(0).columns().iter();
    let mut paths = columns.map(|column| column.column_path().string());
    let itens = paths.find(|path| path.starts_with("itens.")).unwrap();
    for column in ["key", &itens] {
        let changed = with_uncompressed_size(&whole, column, 1 << 60);
        store.overwrite(&key, changed).await.unwrap();
        for threads in [1, 2] {
            let merger = merger(&bench, 8 * 1024 * 1024, threads);
            let refused = merger.merge(&scope()).await;
            let Err(MergeError::Source { key: named, source }) = refused else {
                panic!("{column}: {refused:?}");
            };
            assert_eq!(named, key);
            assert!(format!("{source:?}").contains("of zstd are"), "{source:?}");
        }
    }
}

/// Rows whose keys are a kilobyte each and compress to half of it.
fn large(count: u64) -> Rows {
    let word = |n: u64, at: u64| {
        let mixed = (n * 64 + at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
    };
    let key = |n| {
        let words = (0..64).map(|at| format!("{:016x}", word(n, at)));
        words.collect::<String>()
    };
    let keys = (0..count).map(key);
    let mut rows: Rows = keys.map(|key| row(&key, Some((2, 1)), None)).collect();
    rows.sort();
    rows
}

#[test]
fn a_merge_waits_for_no_thread_of_the_runtime() {
    // Parts of a local file are written by a thread of this kind, of which there is one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let merged = runtime.block_on(async {
        let rows = large(6_000);
        let benches = folders.each_ref().map(|folder| {
            let store = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
            Bench::on(store, 64)
        });
        for bench in &benches {
            bench.append(&rows).await;
        }
        // Row groups of several parts, and little enough that the threads wait until what they
        // encoded is written.
        let merge = async |bench| merger(bench, 8 * 1024 * 1024, 2).merge(&scope()).await;
        let both = async { tokio::join!(merge(&benches[0]), merge(&benches[1])) };
        let both = tokio::time::timeout(Duration::from_secs(120), both).await;
        let (one, other) = both.expect("each waits for the other");
        let merger = merger(&benches[0], 8 * 1024 * 1024, 2);
        let key = merger.key(&scope());
        let head = benches[0].log.store().head(&key).await.unwrap();
        // Several parts of 512 KiB.
        assert!(head.unwrap().size > 1024 * 1024);
        [one.unwrap(), other.unwrap()]
    });
    assert_eq!(merged.map(|merged| merged.rows), [6_000; 2]);
}
