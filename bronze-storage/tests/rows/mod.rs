//! Rows of details for tests, a day of them in memory, and what its merge must be.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "tests"
)]

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
    IdColumns, MergeOptions, Merger, ObjectLogStore, ParquetEntries, ParquetRows,
};
use bytes::Bytes;
use chrono::NaiveDate;
use ingest_state::{Execution, Layout, Log, Scope};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

pub fn log_of(store: &BronzeStore, layout: Layout, columns: IdColumns) -> Log {
    let objects = Arc::new(ObjectLogStore::new(store.object_store().clone()));
    Log::new(objects, Arc::new(ParquetEntries::new(columns)), layout).unwrap()
}

/// What a details row says: by facet, number of elements and version; `None` was not fetched.
pub type Facets = [Option<(i32, u32)>; 2];

pub fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub fn element() -> Fields {
    Fields::from(vec![Field::new("n", DataType::Int32, true)])
}

pub fn details_schema() -> SchemaRef {
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

pub fn metadata_fields() -> Fields {
    Fields::from(vec![
        Field::new("total_itens", DataType::Int32, true),
        Field::new("total_arquivos", DataType::Int32, true),
        Field::new("fetch_timestamp", instant(), false),
    ])
}

pub fn mark_fields() -> Fields {
    Fields::from(vec![
        Field::new("status", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, true),
        Field::new("fetched_at", instant(), false),
    ])
}

pub fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

pub fn version(hour: u32) -> String {
    format!("2025-10-22T{hour:02}:00:00#x")
}

pub fn details(rows: &[(String, Facets)]) -> RecordBatch {
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

pub fn read(bytes: Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .unwrap()
        .build()
        .unwrap();
    reader.map(Result::unwrap).collect()
}

pub fn keys(batches: &[RecordBatch], column: &str) -> Vec<String> {
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
pub async fn view(store: &BronzeStore, key: &str) -> Vec<(String, Facets)> {
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
pub fn model(entries: &[Vec<(String, Facets)>]) -> Vec<(String, Facets)> {
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

/// A day in memory.
pub struct Bench {
    pub store: BronzeStore,
    pub log: Log,
    pub merger: Merger,
}

impl Bench {
    pub fn new(max_sources: usize) -> Self {
        Self::on(BronzeStore::memory(), max_sources)
    }

    /// The same in another store.
    pub fn on(store: BronzeStore, max_sources: usize) -> Self {
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

    pub async fn append(&self, rows: &[(String, Facets)]) {
        let rows = ParquetRows::new(&details(rows), &IdColumns::details()).unwrap();
        let mut day = self.log.load(&scope()).await.unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
    }

    pub async fn view(&self) -> Vec<(String, Facets)> {
        view(&self.store, &self.merger.key(&scope())).await
    }
}

pub fn row(key: &str, itens: Option<(i32, u32)>, arquivos: Option<(i32, u32)>) -> (String, Facets) {
    (key.to_owned(), [itens, arquivos])
}
