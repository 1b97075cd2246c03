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
use arrow_array::{Array, RecordBatch};
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use details_checkpoint::bronze::MergePolicy;
use details_checkpoint::{
    BronzeDetails, CallStats, Candidate, Fetched, Ingester, KeyList, MemorySource, Options,
    Outcome, Payload, Refresh, Report, TokioClock,
};
use futures::TryStreamExt;
use ingest_state::Scope;

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

/// The number of itens of each row of an object, by key; a key twice fails.
async fn itens(store: &BronzeStore, object: &str) -> BTreeMap<String, usize> {
    let file = ParquetFile::open(store, object).await.unwrap();
    let batches: Vec<RecordBatch> = file
        .read(&ReadOptions::default())
        .unwrap()
        .try_collect()
        .await
        .unwrap();
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
