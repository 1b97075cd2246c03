//! Parquet log entries and the keyed merge, on memory and a local folder.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, StructBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Int32Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bronze_storage::BronzeStore;
use bronze_storage::state::{
    IdColumns, MergeError, MergeOptions, Merger, ObjectLogStore, ParquetEntries, ParquetRows,
};
use bytes::Bytes;
use chrono::NaiveDate;
use ingest_state::testing::{check_entry_format, check_log_store};
use ingest_state::{EntryRows, Execution, Layout, Log, LogStore, MemoryStore, Scope};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn log_of(store: &BronzeStore, layout: Layout, columns: IdColumns) -> Log {
    let objects = Arc::new(ObjectLogStore::new(store.object_store().clone()));
    Log::new(objects, Arc::new(ParquetEntries::new(columns)), layout).unwrap()
}

fn records(ids: impl IntoIterator<Item = usize>, payload: usize) -> RecordBatch {
    let ids: Vec<String> = ids.into_iter().map(|n| format!("id-{n:06}")).collect();
    let text = |n: usize| {
        (0..payload)
            .map(|k| char::from(b'a' + (k * 7 + n) as u8 % 26))
            .collect()
    };
    let payloads: Vec<String> = (0..ids.len()).map(text).collect();
    let times = vec!["2025-10-22T08:00:00"; ids.len()];
    RecordBatch::try_from_iter([
        (
            "numeroControlePNCP",
            Arc::new(StringArray::from(ids)) as ArrayRef,
        ),
        ("dataAtualizacaoGlobal", Arc::new(StringArray::from(times))),
        ("payload", Arc::new(StringArray::from(payloads))),
    ])
    .unwrap()
}

#[tokio::test]
async fn parquet_entries_keep_the_contract() {
    for columns in [IdColumns::contratacoes(), IdColumns::details()] {
        let format = ParquetEntries::new(columns);
        check_entry_format(&format, &MemoryStore::new())
            .await
            .unwrap();
    }
    let store = BronzeStore::memory();
    let objects = ObjectLogStore::new(store.object_store().clone());
    check_log_store(&objects, "check").await.unwrap();
}

#[tokio::test]
async fn two_writers_of_one_day_double_nothing() {
    let store = BronzeStore::memory();
    let log = log_of(&store, Layout::parquet("pncp"), IdColumns::contratacoes());
    let mut one = log.load(&scope()).await.unwrap();
    let mut two = log.load(&scope()).await.unwrap();
    let columns = IdColumns::contratacoes();
    let offer = |ids| ParquetRows::new(&records(ids, 10), &columns).unwrap();
    let first = one
        .append(&offer(0..30), &Execution::new("one"))
        .await
        .unwrap();
    let second = two
        .append(&offer(20..50), &Execution::new("two"))
        .await
        .unwrap();
    assert_eq!(
        (first.count(), second.count(), second.races_lost),
        (30, 20, 1)
    );
    two.finish(&Execution::new("two")).await.unwrap();
    assert!(log.verify(&scope()).await.unwrap().is_sound());

    let mut rows = Vec::new();
    for object in store.list("pncp").await.unwrap() {
        if object.key.ends_with(".parquet") {
            let (bytes, _) = store.get(&object.key).await.unwrap();
            rows.extend(keys(&read(bytes), "numeroControlePNCP"));
        }
    }
    rows.sort();
    let expected: Vec<String> = (0..50).map(|n| format!("id-{n:06}")).collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn ids_of_a_large_entry_are_read_by_projection() {
    let columns = IdColumns::contratacoes();
    let batch = records(0..3_000, 900);
    let rows = ParquetRows::new(&batch, &columns).unwrap();
    let head = ingest_state::testing::example_head(3_000);
    let bytes = rows.encode(&head, &vec![true; 3_000]).unwrap();
    let store = BronzeStore::memory();
    let objects = ObjectLogStore::new(store.object_store().clone());
    let padded = bytes.len();
    objects.create("big", bytes).await.unwrap();
    let object = objects.head("big").await.unwrap().unwrap();
    let format = ParquetEntries::new(columns);
    let entry = ingest_state::EntryFormat::read(&format, &objects, &object, &[""])
        .await
        .unwrap();
    assert_eq!((entry.ids.len(), entry.head.rows), (3_000, 3_000));
    assert!(
        entry
            .ids
            .get(7)
            .unwrap()
            .version
            .unwrap()
            .starts_with("2025-10-22T08:00:00#")
    );
    // An overwrite between two reads is seen.
    objects
        .overwrite("big", Bytes::from(vec![0u8; padded]))
        .await
        .unwrap();
    let stale = ingest_state::EntryFormat::read(&format, &objects, &object, &[""]).await;
    assert!(
        matches!(stale, Err(ingest_state::FormatError::Store(_))),
        "{stale:?}"
    );
}

#[tokio::test]
async fn a_large_execution_is_split() {
    let columns = IdColumns::contratacoes();
    let batches = [
        records(0..500, 200),
        records(500..510, 200),
        records(510..2_000, 200),
    ];
    let pieces = ParquetRows::split(&batches, &columns, 64 * 1024).unwrap();
    let total: usize = pieces.iter().map(|piece| piece.ids().len()).sum();
    assert_eq!(total, 2_000);
    assert!(pieces.len() > 5, "{}", pieces.len());
    for piece in &pieces {
        let ids = piece.ids().len();
        let head = ingest_state::testing::example_head(ids as u64);
        let bytes = piece.encode(&head, &vec![true; ids]).unwrap();
        assert!(bytes.len() < 64 * 1024 + 4_096, "{}", bytes.len());
    }
}

/// What a details row says: by facet, number of elements and version; `None` was not fetched.
type Facets = [Option<(i32, u32)>; 2];

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn element() -> Fields {
    Fields::from(vec![Field::new("n", DataType::Int32, true)])
}

fn details_schema() -> SchemaRef {
    let list = DataType::List(Arc::new(Field::new(
        "item",
        DataType::Struct(element()),
        true,
    )));
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("itens", list.clone(), true),
        Field::new("arquivos", list, true),
        Field::new("metadata", DataType::Struct(metadata_fields()), false),
        Field::new("_itens", DataType::Struct(mark_fields()), true),
        Field::new("_arquivos", DataType::Struct(mark_fields()), true),
    ]))
}

fn metadata_fields() -> Fields {
    Fields::from(vec![
        Field::new("total_itens", DataType::Int32, true),
        Field::new("total_arquivos", DataType::Int32, true),
        Field::new("fetch_timestamp", instant(), false),
    ])
}

fn mark_fields() -> Fields {
    Fields::from(vec![
        Field::new("status", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, true),
        Field::new("fetched_at", instant(), false),
    ])
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

fn version(hour: u32) -> String {
    format!("2025-10-22T{hour:02}:00:00#x")
}

fn details(rows: &[(String, Facets)]) -> RecordBatch {
    let keys: Vec<&str> = rows.iter().map(|(key, _)| key.as_str()).collect();
    let list = |facet: usize| -> ArrayRef {
        let elements = StructBuilder::from_fields(element(), 0);
        let mut lists = ListBuilder::new(elements);
        for (_, facets) in rows {
            let count = facets[facet].map(|(count, _)| count);
            for n in 0..count.unwrap_or(0) {
                lists
                    .values()
                    .field_builder::<Int32Builder>(0)
                    .unwrap()
                    .append_value(n);
                lists.values().append(true);
            }
            lists.append(count.is_some());
        }
        Arc::new(lists.finish())
    };
    let mark = |facet: usize| -> ArrayRef {
        let valid: Vec<bool> = rows
            .iter()
            .map(|(_, facets)| facets[facet].is_some())
            .collect();
        let hours: Vec<u32> = rows
            .iter()
            .map(|(_, f)| f[facet].map_or(0, |(_, hour)| hour))
            .collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["ok"; rows.len()])),
            Arc::new(StringArray::from_iter_values(
                hours.iter().map(|hour| version(*hour)),
            )),
            times(hours.iter().map(|hour| i64::from(*hour)).collect()),
        ];
        Arc::new(StructArray::new(
            mark_fields(),
            columns,
            Some(NullBuffer::from(valid)),
        ))
    };
    let totals = |facet: usize| -> ArrayRef {
        let counts = rows
            .iter()
            .map(|(_, facets)| facets[facet].map(|(count, _)| count));
        Arc::new(counts.collect::<Int32Array>())
    };
    let metadata = StructArray::new(
        metadata_fields(),
        vec![totals(0), totals(1), times(vec![0; rows.len()])],
        None,
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(keys)),
        list(0),
        list(1),
        Arc::new(metadata),
        mark(0),
        mark(1),
    ];
    RecordBatch::try_new(details_schema(), columns).unwrap()
}

fn read(bytes: Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .unwrap()
        .build()
        .unwrap();
    reader.map(Result::unwrap).collect()
}

fn keys(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let texts = batches.iter().flat_map(|batch| {
        let texts = batch
            .column_by_name(column)
            .unwrap()
            .as_string::<i32>()
            .clone();
        (0..texts.len())
            .map(move |row| texts.value(row).to_owned())
            .collect::<Vec<_>>()
    });
    texts.collect()
}

/// The merged file as keys and facets; checks order, totals and time on the way.
async fn view(store: &BronzeStore, key: &str) -> Vec<(String, Facets)> {
    let (bytes, _) = store.get(key).await.unwrap();
    let batches = read(bytes);
    let names = keys(&batches, "key");
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let facet = |data: &str| -> Option<(i32, u32)> {
                let mark = batch
                    .column_by_name(&format!("_{data}"))
                    .unwrap()
                    .as_struct();
                let lists = batch.column_by_name(data).unwrap().as_list::<i32>();
                assert_eq!(lists.is_null(row), mark.is_null(row));
                let totals = batch.column_by_name("metadata").unwrap().as_struct();
                let totals = totals.column_by_name(&format!("total_{data}")).unwrap();
                let totals = totals.as_primitive::<Int32Type>();
                assert_eq!(totals.is_null(row), mark.is_null(row));
                if mark.is_null(row) {
                    return None;
                }
                assert_eq!(totals.value(row), lists.value_length(row));
                let hours = mark.column_by_name("fetched_at").unwrap();
                let hour = hours.as_primitive::<TimestampMicrosecondType>().value(row);
                Some((lists.value_length(row), u32::try_from(hour).unwrap()))
            };
            let facets = [facet("itens"), facet("arquivos")];
            let latest = facets
                .iter()
                .flatten()
                .map(|(_, hour)| i64::from(*hour))
                .max();
            let metadata = batch.column_by_name("metadata").unwrap().as_struct();
            let at = metadata.column_by_name("fetch_timestamp").unwrap();
            let at = at.as_primitive::<TimestampMicrosecondType>().value(row);
            assert_eq!(at, latest.unwrap_or(0));
            rows.push((names[rows.len()].clone(), facets));
        }
    }
    rows
}

/// What the merge of these entries must be.
fn model(entries: &[Vec<(String, Facets)>]) -> Vec<(String, Facets)> {
    let mut rows: BTreeMap<String, Facets> = BTreeMap::new();
    for (key, facets) in entries.iter().flatten() {
        let row = rows.entry(key.clone()).or_default();
        for (known, offered) in row.iter_mut().zip(facets) {
            if let Some((_, hour)) = offered {
                // A log takes a version once, and only a later one again.
                if known.is_none_or(|(_, before)| *hour > before) {
                    *known = *offered;
                }
            }
        }
    }
    rows.into_iter()
        .filter(|(_, facets)| facets.iter().any(Option::is_some))
        .collect()
}

struct Bench {
    store: BronzeStore,
    log: Log,
    merger: Merger,
}

impl Bench {
    fn new(max_sources: usize) -> Self {
        let store = BronzeStore::memory();
        let log = log_of(
            &store,
            Layout::details("pncp_details"),
            IdColumns::details(),
        );
        let options = MergeOptions {
            max_sources,
            ..MergeOptions::default()
        };
        let merger = Merger::new(store.clone(), log.clone(), IdColumns::details());
        Self {
            store,
            log,
            merger: merger.with_options(options),
        }
    }

    async fn append(&self, rows: &[(String, Facets)]) {
        let rows = ParquetRows::new(&details(rows), &IdColumns::details()).unwrap();
        let mut day = self.log.load(&scope()).await.unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
    }

    async fn view(&self) -> Vec<(String, Facets)> {
        view(&self.store, &self.merger.key(&scope())).await
    }
}

fn row(key: &str, itens: Option<(i32, u32)>, arquivos: Option<(i32, u32)>) -> (String, Facets) {
    (key.to_owned(), [itens, arquivos])
}

#[tokio::test]
async fn later_entries_fill_and_refresh_halves() {
    let bench = Bench::new(32);
    bench
        .append(&[row("b", Some((2, 1)), None), row("a", None, Some((0, 1)))])
        .await;
    let merged = bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(
        merged.key,
        "pncp_details/year=2025/month=10/day=22/details.parquet"
    );
    assert_eq!(
        (merged.through, merged.rows, merged.entries, merged.rounds),
        (1, 2, 1, 1)
    );
    assert!(bench.merger.status(&scope()).await.unwrap().unmerged_bytes == 0);

    bench
        .append(&[
            row("b", None, Some((3, 1))),
            row("c", Some((1, 2)), Some((1, 2))),
        ])
        .await;
    bench.append(&[row("b", Some((5, 2)), None)]).await;
    let status = bench.merger.status(&scope()).await.unwrap();
    assert_eq!((status.through, status.last_entry), (1, 3));
    assert!(status.is_due());
    bench.merger.merge(&scope()).await.unwrap();
    let expected = [
        row("a", None, Some((0, 1))),
        row("b", Some((5, 2)), Some((3, 1))),
        row("c", Some((1, 2)), Some((1, 2))),
    ];
    assert_eq!(bench.view().await, expected);
    // Nothing to do: nothing is written.
    assert_eq!(bench.merger.merge(&scope()).await.unwrap().rounds, 0);
}

#[tokio::test]
async fn a_file_that_is_broken_or_stale_is_made_anew() {
    let bench = Bench::new(2);
    let key = bench.merger.key(&scope());
    let mut stale = Bytes::new();
    for n in 0..5 {
        bench
            .append(&[row(&format!("k{n}"), Some((n, 1)), None)])
            .await;
        if n == 2 {
            let merged = bench.merger.merge(&scope()).await.unwrap();
            assert_eq!(merged.rounds, 1, "three entries whose keys do not overlap");
            stale = bench.store.get(&key).await.unwrap().0;
        }
    }
    bench.merger.merge(&scope()).await.unwrap();
    let whole = bench.view().await;
    assert_eq!(whole.len(), 5);
    for body in [
        stale,
        Bytes::from_static(b"PAR1 not at all PAR1"),
        Bytes::new(),
    ] {
        bench.store.put(&key, body).await.unwrap();
        bench.merger.merge(&scope()).await.unwrap();
        assert_eq!(bench.view().await, whole);
    }
}

#[tokio::test]
async fn a_broken_entry_is_refused_by_name() {
    let bench = Bench::new(8);
    bench.append(&[row("a", Some((1, 1)), None)]).await;
    let entry = bench.log.layout().entry_key(&scope(), 1);
    let (bytes, _) = bench.store.get(&entry).await.unwrap();
    bench
        .store
        .put(&entry, bytes.slice(..bytes.len() - 9))
        .await
        .unwrap();
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::Source { key, .. } if *key == entry),
        "{error:?}"
    );
    assert!(
        !bench
            .store
            .list("pncp_details")
            .await
            .unwrap()
            .iter()
            .any(|o| o.key.ends_with("details.parquet"))
    );
}

#[tokio::test]
async fn mergers_at_once_leave_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&bronze_storage::BronzeConfig::local(folder.path())).unwrap();
    let log = log_of(
        &store,
        Layout::details("pncp_details"),
        IdColumns::details(),
    );
    let merger = Merger::new(store.clone(), log.clone(), IdColumns::details());
    for n in 0..12 {
        let rows: Vec<_> = (0..40)
            .map(|k| {
                row(
                    &format!("k{:03}", (k * 13 + n * 5) % 97),
                    Some((k, n as u32)),
                    None,
                )
            })
            .collect();
        let mut unique: BTreeMap<String, Facets> = BTreeMap::new();
        unique.extend(rows);
        let rows: Vec<_> = unique.into_iter().collect();
        let rows = ParquetRows::new(&details(&rows), &IdColumns::details()).unwrap();
        let mut day = log.load(&scope()).await.unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
        let day = scope();
        let all = futures::future::join_all((0..3).map(|_| merger.merge(&day))).await;
        assert!(all.iter().any(Result::is_ok), "{all:?}");
    }
    merger.merge(&scope()).await.unwrap();
    let rows = view(&store, &merger.key(&scope())).await;
    let day = log.load(&scope()).await.unwrap();
    assert_eq!(rows.len(), day.done().count(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_merge_is_the_model(
        entries in prop::collection::vec(
            prop::collection::btree_map(
                "[a-f]{1,2}",
                (prop::option::of((0..4i32, 0..4u32)), prop::option::of((0..4i32, 0..4u32))),
                1..12,
            ),
            1..9,
        ),
        max_sources in 1..5usize,
        merges in prop::collection::vec(any::<bool>(), 9),
    ) {
        let entries: Vec<Vec<(String, Facets)>> = entries
            .into_iter()
            .map(|rows| rows.into_iter().map(|(key, (a, b))| row(&key, a, b)).collect())
            .collect();
        let expected = model(&entries);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(max_sources);
            for (entry, merge) in entries.iter().zip(&merges) {
                bench.append(entry).await;
                if *merge {
                    bench.merger.merge(&scope()).await.unwrap();
                }
            }
            let merged = bench.merger.merge(&scope()).await.unwrap();
            if merged.through == 0 {
                assert!(expected.is_empty());
            } else {
                assert_eq!(bench.view().await, expected);
            }
        });
    }
}

/// A Parquet entry as the first release wrote it: 30 rows, read for ever.
#[tokio::test]
async fn the_golden_entry_is_read() {
    let golden = Bytes::from_static(include_bytes!("golden/v1_entry.parquet"));
    let store = MemoryStore::new();
    store.create("entry", golden).await.unwrap();
    let object = store.head("entry").await.unwrap().unwrap();
    let format = ParquetEntries::new(IdColumns::contratacoes());
    let entry = ingest_state::EntryFormat::read(&format, &store, &object, &[""])
        .await
        .unwrap();
    let head = ingest_state::EntryHead {
        rows: 30,
        ..ingest_state::testing::example_head(30)
    };
    assert_eq!(entry.head, head);
    let ids: Vec<&str> = entry.ids.iter().map(|id| id.id).collect();
    assert_eq!((ids[0], ids[29]), ("id-000000", "id-000029"));
}

#[tokio::test]
async fn later_versions_have_a_log_of_their_own() {
    let store = BronzeStore::memory();
    let log = log_of(&store, Layout::versions("pncp"), IdColumns::versions());
    let mut day = log.load(&scope()).await.unwrap();
    let offer = ParquetRows::new(&records(0..3, 5), &IdColumns::versions()).unwrap();
    let first = day.append(&offer, &Execution::new("one")).await.unwrap();
    assert_eq!(
        first.key.as_deref(),
        Some("pncp/_versions/year=2025/month=10/day=22/pncp_20251022_00000001.parquet")
    );
    let again = day.append(&offer, &Execution::new("two")).await.unwrap();
    assert_eq!((first.count(), again.count()), (3, 0));
    assert!(day.done().contains(0, "id-000001@2025-10-22T08:00:00#"));
}

/// A day as it is: 130 checkpoints of 50 contratações, merged in a small budget.
#[tokio::test]
async fn a_day_of_checkpoints_is_merged_in_rounds() {
    let bench = Bench::new(32);
    let mut day = bench.log.load(&scope()).await.unwrap();
    for part in 0..130 {
        let rows: Vec<_> = (0..50)
            .map(|n| {
                row(
                    &format!("k{:05}", (part * 50 + n) * 7_919 % 6_500),
                    Some((9, 1)),
                    Some((2, 1)),
                )
            })
            .collect();
        let rows = ParquetRows::new(&details(&rows), &IdColumns::details()).unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
        if part == 9 {
            bench.merger.merge(&scope()).await.unwrap();
        }
    }
    let merged = bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(
        (merged.through, merged.rows, merged.entries),
        (130, 6_500, 120)
    );
    assert_eq!(merged.rounds, 4, "120 entries, 32 at once");
    let view = bench.view().await;
    assert_eq!(view.len(), 6_500);
    assert!(
        view.iter()
            .all(|(_, facets)| *facets == [Some((9, 1)), Some((2, 1))])
    );
}

#[tokio::test]
async fn an_entry_whose_rows_are_elsewhere_is_not_merged() {
    let bench = Bench::new(8);
    let format = ParquetEntries::new(IdColumns::details());
    let ids = [ingest_state::Id {
        facet: 0,
        id: "a",
        version: None,
    }]
    .into_iter()
    .collect();
    let head = ingest_state::EntryHead {
        stub: true,
        ..ingest_state::testing::example_head(1)
    };
    let facets = ["itens", "arquivos"];
    let stub = ingest_state::EntryFormat::encode_ids(&format, &head, &ids, &facets).unwrap();
    let key = bench.log.layout().entry_key(&scope(), 1);
    bench.store.put(&key, stub).await.unwrap();
    assert!(
        bench
            .log
            .load(&scope())
            .await
            .unwrap()
            .done()
            .contains(0, "a")
    );
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(matches!(error, MergeError::Source { .. }), "{error:?}");
}
