//! A refresh by age: what was fetched long ago is fetched again until it is final; rows are replaced, versions kept.
#![cfg(all(feature = "pncp", feature = "bronze"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray};
use arrow_schema::{Field, Schema};
use bronze_storage::state::{IdColumns, ObjectLogStore, ParquetEntries, ParquetRows};
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use details_checkpoint::bronze::MergePolicy;
use details_checkpoint::{
    BronzeDetails, CallStats, Candidate, Fetched, Ingester, KeyList, MemorySource, Options,
    Outcome, Payload, Refresh, Report, TokioClock,
};
use futures::TryStreamExt;
use ingest_state::{Execution, Layout, Log, Scope};

const KEYS: u32 = 6;

fn published() -> DateTime<Utc> {
    "2025-10-22T03:00:00Z".parse().unwrap()
}

fn key(n: u32) -> String {
    format!("83102277000152|2025|{n}")
}

fn scope() -> Scope {
    Scope::new(
        "pncp_details",
        NaiveDate::from_ymd_opt(2025, 10, 22).unwrap(),
    )
    .unwrap()
}

/// The keys `numbers`; the last of all is final.
fn keys(numbers: std::ops::RangeInclusive<u32>) -> KeyList {
    let mut keys = KeyList::new();
    for n in numbers {
        let key = key(n);
        let candidate = Candidate::new(&key)
            .with_version("2025-10-22T10:00:00")
            .with_final(n == KEYS);
        keys.push(candidate).unwrap();
    }
    keys
}

/// Runs so many days after publication, when every purchase has `itens` itens.
async fn run(
    store: &BronzeStore,
    days: i64,
    keys: KeyList,
    itens: u32,
    merge: MergePolicy,
    refresh: Option<Refresh>,
) -> Report {
    let now = published() + Duration::days(days);
    let payload = |count: u32| {
        Fetched::Present(Payload {
            pages: vec![
                format!(
                    "[{}]",
                    vec![r#"{"numeroItem":1}"#; count as usize].join(",")
                )
                .into(),
            ],
            count,
            fetched_at: Some(now),
            stats: CallStats::new(1, 0),
            ..Payload::default()
        })
    };
    let mut source = MemorySource::new(&["itens", "arquivos"]);
    for n in 1..=KEYS {
        source = source
            .with_answer(&key(n), "itens", Ok(payload(itens)))
            .with_answer(&key(n), "arquivos", Ok(payload(0)));
    }
    let sink = BronzeDetails::builder(store.clone(), scope())
        .with_execution(format!("day {days}"))
        .with_ages(refresh.is_some())
        .with_merge(merge)
        .build()
        .unwrap();
    let options = Options {
        refresh,
        ..Options::default()
    };
    let ingester = Ingester::builder(Arc::new(source), Arc::new(sink))
        .with_options(options)
        .with_clock(Arc::new(TokioClock::starting_at(now)))
        .build()
        .unwrap();
    ingester.run(keys).await.unwrap()
}

async fn batches(store: &BronzeStore, object: &str) -> Vec<RecordBatch> {
    let file = ParquetFile::open(store, object).await.unwrap();
    let batches = file.read(&ReadOptions::default()).unwrap();
    batches.try_collect().await.unwrap()
}

/// The number of itens of each row of an object, by key; a key twice fails.
async fn itens(store: &BronzeStore, object: &str) -> BTreeMap<String, usize> {
    let batches = batches(store, object).await;
    let mut rows = BTreeMap::new();
    for batch in batches {
        let keys = batch.column_by_name("key").unwrap().as_string::<i32>();
        let itens = batch.column_by_name("itens").unwrap().as_list::<i32>();
        for row in 0..batch.num_rows() {
            let before = rows.insert(keys.value(row).to_owned(), itens.value(row).len());
            assert_eq!(before, None, "a key twice in {object}");
        }
    }
    rows
}

/// After seven days and after thirty.
fn due(days: i64) -> Option<Refresh> {
    let instants = [7, 30].map(|age| published() + Duration::days(age));
    let now = published() + Duration::days(days);
    Some(Refresh {
        fetched_before: instants.into_iter().filter(|at| *at <= now).max(),
        ..Refresh::default()
    })
}

#[tokio::test]
async fn each_age_is_taken_once_until_the_situation_is_final() {
    let store = BronzeStore::memory();
    let always = MergePolicy::Always;
    run(&store, 0, keys(1..=KEYS), 1, always, None).await;
    let early = run(&store, 6, keys(1..=KEYS), 2, always, due(6)).await;
    assert_eq!(early.outcome, Outcome::NothingNew);
    let week = run(&store, 8, keys(1..=KEYS), 2, always, due(8)).await;
    assert_eq!(
        (week.processed, week.calls),
        (5, 10),
        "all but the final one"
    );
    let again = run(&store, 9, keys(1..=KEYS), 3, always, due(9)).await;
    assert_eq!(again.outcome, Outcome::NothingNew, "seven days count once");
    let month = run(&store, 31, keys(1..=KEYS), 4, always, due(31)).await;
    assert_eq!(month.processed, 5);

    let view = "pncp_details/year=2025/month=10/day=22/details.parquet";
    let rows = itens(&store, view).await;
    let expected = (1..=KEYS).map(|n| (key(n), if n == KEYS { 1 } else { 4 }));
    assert_eq!(rows, expected.collect());
    let parts = store.list("pncp_details/_parts").await.unwrap();
    let mut versions = Vec::new();
    for part in &parts {
        versions.push(itens(&store, &part.key).await.get(&key(1)).copied());
    }
    assert_eq!(
        versions,
        [Some(1), Some(2), Some(4)],
        "each version is kept"
    );
}

#[tokio::test]
async fn an_allowance_bounds_a_refresh_and_the_next_run_goes_on() {
    let store = BronzeStore::memory();
    run(&store, 0, keys(1..=KEYS), 1, MergePolicy::Always, None).await;
    let mut processed = Vec::new();
    for _ in 0..4 {
        let refresh = due(8).map(|due| Refresh {
            max_calls: Some(4),
            ..due
        });
        let report = run(&store, 8, keys(1..=KEYS), 2, MergePolicy::Auto, refresh).await;
        processed.push(report.processed);
    }
    assert_eq!(processed, [2, 2, 1, 0]);
}

#[tokio::test]
async fn ages_of_parts_that_are_not_merged_yet_count_too() {
    let store = BronzeStore::memory();
    run(&store, 0, keys(1..=3), 1, MergePolicy::Always, None).await;
    run(&store, 1, keys(1..=5), 1, MergePolicy::Never, None).await;
    let week = run(&store, 8, keys(1..=5), 2, MergePolicy::Never, due(8)).await;
    assert_eq!(week.processed, 5, "three merged ones, two unmerged");
    let again = run(&store, 9, keys(1..=5), 2, MergePolicy::Never, due(9)).await;
    assert_eq!(
        again.outcome,
        Outcome::NothingNew,
        "the refreshed parts are young"
    );
}

/// `batch` from a release that knew neither `numeroControlePNCP` nor the `valorTotal` of itens.
fn older(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.filter(|(field, _)| field.name() != "numeroControlePNCP");
    let columns = columns.map(|(field, column)| -> (Field, ArrayRef) {
        if field.name() != "itens" {
            return (field.as_ref().clone(), column.clone());
        }
        let lists = column.as_list::<i32>();
        let values = lists.values().as_struct();
        let fields = values.fields().iter().zip(values.columns());
        let fields = fields.filter(|(field, _)| field.name() != "valorTotal");
        let (fields, kept): (Vec<_>, Vec<_>) = fields.map(|(f, c)| (f.clone(), c.clone())).unzip();
        assert!(fields.len() < values.fields().len());
        let values = StructArray::new(fields.into(), kept, values.nulls().cloned());
        let item = Field::new("item", values.data_type().clone(), true);
        let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
        let lists = ListArray::new(Arc::new(item), offsets, Arc::new(values), nulls);
        let field = field.as_ref().clone();
        (
            field.with_data_type(lists.data_type().clone()),
            Arc::new(lists),
        )
    });
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
    assert!(fields.len() < schema.fields().len());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[tokio::test]
async fn what_an_older_release_wrote_is_merged_and_refreshed() {
    let today = BronzeStore::memory();
    run(&today, 0, keys(1..=3), 1, MergePolicy::Never, None).await;
    let parts = today.list("pncp_details/_parts").await.unwrap();
    let rows = older(&batches(&today, &parts[0].key).await[0]);
    let store = BronzeStore::memory();
    let objects = Arc::new(ObjectLogStore::new(store.object_store().clone()));
    let format = Arc::new(ParquetEntries::new(IdColumns::details()));
    let log = Log::new(objects, format, Layout::details("pncp_details")).unwrap();
    let rows = ParquetRows::new(&rows, &IdColumns::details()).unwrap();
    let mut day = log.load(&scope()).await.unwrap();
    day.append(&rows, &Execution::new("day 0")).await.unwrap();

    let always = MergePolicy::Always;
    let more = run(&store, 1, keys(1..=5), 1, always, None).await;
    assert_eq!(more.processed, 2, "three are in already");
    let view = "pncp_details/year=2025/month=10/day=22/details.parquet";
    let numbers = |batches: &[RecordBatch]| -> Vec<bool> {
        let numbers = batches.iter().map(|batch| {
            let numbers = batch.column_by_name("numeroControlePNCP").unwrap();
            (0..numbers.len())
                .map(|row| numbers.is_valid(row))
                .collect()
        });
        numbers.collect::<Vec<Vec<bool>>>().concat()
    };
    let merged = batches(&store, view).await;
    assert_eq!(numbers(&merged), [false, false, false, true, true]);
    assert!(itens(&store, view).await.values().all(|count| *count == 1));

    let week = run(&store, 8, keys(1..=5), 2, always, due(8)).await;
    assert_eq!(
        week.processed, 5,
        "the ages of both releases' rows are read"
    );
    let merged = batches(&store, view).await;
    assert_eq!(numbers(&merged), [true; 5]);
    assert!(itens(&store, view).await.values().all(|count| *count == 2));
    let again = run(&store, 9, keys(1..=5), 3, always, due(9)).await;
    assert_eq!(again.outcome, Outcome::NothingNew);
}
