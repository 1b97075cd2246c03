use arrow_array::{Array, RecordBatch};
use chrono::NaiveDate;

use crate::dataset::Dataset;
use crate::error::Error;
use crate::format::Format;
use crate::key::Source;
use crate::options::ReadOptions;
use crate::temp_ref::{Stage, TempRef};
use crate::traits::{BronzeSink, TempStore};

/// A small dataset whose rows say who wrote it.
#[allow(clippy::unwrap_used, reason = "for tests: a panic is the verdict")]
fn rows(text: &str, count: usize) -> Dataset {
    Dataset::from_json((0..count).map(|n| {
        format!(r#"{{"n":{n},"who":"{text}","amount":{n}.50,"list":[{{"a":{n}}},null]}}"#)
    }))
    .unwrap()
}

#[allow(clippy::unwrap_used, reason = "for tests: a panic is the verdict")]
async fn content(data: Dataset) -> String {
    data.into_ndjson().await.unwrap()
}

/// What every [`TempStore`] keeps. `run` makes the execution ids of this run its own.
///
/// # Panics
/// On the first promise that is not kept.
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "for tests: a panic is the verdict"
)]
pub async fn check_temp_store(store: &dyn TempStore, run: &str) {
    let long = "x".repeat(250);
    let mut kept: Vec<(TempRef, String)> = Vec::new();
    let ids = [
        format!("{run}manual__2025-10-23T12:00:00+00:00"),
        format!("{run}manual__2025-10-23T12:00:00+00:00.1"),
        format!("{run}a b/../ç"),
        format!("{run}a b/.."),
        format!("{run}{long}a"),
        format!("{run}{long}b"),
    ];
    let stages = [
        Stage::new("raw"),
        Stage::new("raw").shard(1),
        Stage::new("raw").shard(11),
        Stage::new("raw").shard(1).attempt(1),
        Stage::new("raw").attempt(1),
        Stage::new("raw.s1"),
    ];
    for id in &ids {
        for stage in &stages {
            let text = format!("{} {stage:?}", id.len()).replace('"', "'");
            let reference = store
                .upload(rows(&text, 3), id, stage.clone(), Format::Parquet)
                .await
                .unwrap();
            assert_eq!(reference.rows, Some(3));
            let json = serde_json::to_string(&reference).unwrap();
            assert!(json.len() < 400, "{} bytes: {json}", json.len());
            assert_eq!(serde_json::from_str::<TempRef>(&json).unwrap(), reference);
            assert!(
                !kept.iter().any(|(other, _)| other.key == reference.key),
                "{reference}"
            );
            kept.push((reference, content(rows(&text, 3)).await));
        }
    }
    for (reference, expected) in &kept {
        assert_eq!(
            &content(store.read(reference).await.unwrap()).await,
            expected
        );
        let plain: TempRef = reference.to_string().parse().unwrap();
        assert_eq!(&content(store.read(&plain).await.unwrap()).await, expected);
    }
    // Written again: the former reference names bytes that are no more.
    let (former, _) = kept[0].clone();
    let again = store.upload(
        rows("again", 3),
        &ids[0],
        stages[0].clone(),
        Format::Parquet,
    );
    let again = again.await.unwrap();
    assert_eq!(again.key, former.key);
    let read = store.read(&former).await;
    assert!(matches!(read, Err(Error::Altered { .. })), "{read:?}");

    // One execution at a time, and once.
    assert_eq!(store.cleanup(&ids[0]).await.unwrap(), stages.len() as u64);
    assert_eq!(store.cleanup(&ids[0]).await.unwrap(), 0);
    let read = store.read(&again).await;
    assert!(matches!(read, Err(Error::NotFound { .. })), "{read:?}");
    for (reference, _) in &kept[stages.len()..] {
        store.read(reference).await.unwrap();
    }
    for id in &ids[1..] {
        assert!(store.cleanup(id).await.unwrap() >= stages.len() as u64);
    }
    let bad: Result<TempRef, Error> = "_temp/../pncp/a.parquet".parse();
    assert!(matches!(bad, Err(Error::Name { .. })), "{bad:?}");
    let refused = store
        .upload(rows("x", 1), "", Stage::new("raw"), Format::Parquet)
        .await;
    assert!(matches!(refused, Err(Error::Name { .. })), "{refused:?}");
}

/// What every [`BronzeSink`] keeps. `source` has no data yet.
///
/// # Panics
/// On the first promise that is not kept.
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "for tests: a panic is the verdict"
)]
pub async fn check_bronze_sink(sink: &dyn BronzeSink, source: &Source) {
    let day = |d| NaiveDate::from_ymd_opt(2025, 10, d).unwrap();
    let read = async |from, to, options: ReadOptions| -> Vec<RecordBatch> {
        let stream = sink.read(source, from, to, &options).await.unwrap();
        stream.collect_batches().await.unwrap()
    };
    let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();

    let nothing = sink
        .read(source, day(1), day(31), &ReadOptions::default())
        .await;
    assert!(
        matches!(nothing, Err(Error::NotFound { .. })),
        "{nothing:?}"
    );
    assert!(sink.list(source, day(1), day(31)).await.unwrap().is_empty());

    let mut keys = Vec::new();
    for (d, who) in [(21, "a"), (22, "b"), (22, "c"), (23, "d")] {
        let written = sink
            .upload(rows(who, 5), source, day(d), Format::Parquet)
            .await
            .unwrap();
        assert_eq!(written.rows, 5);
        let folder = format!("{source}/year=2025/month=10/day={d}/{source}_202510{d}_");
        assert!(written.key.starts_with(&folder), "{}", written.key);
        keys.push(written.key);
    }
    let listed = sink.list(source, day(21), day(23)).await.unwrap();
    let listed: Vec<String> = listed.into_iter().map(|object| object.object.key).collect();
    keys.sort();
    assert_eq!(listed, keys, "nothing was written over");
    assert_eq!(
        count(&read(day(22), day(22), ReadOptions::default()).await),
        10
    );
    assert_eq!(
        count(&read(day(1), day(31), ReadOptions::default()).await),
        20
    );

    // A column that comes later is null before.
    let wider = Dataset::from_json([r#"{"n":9,"later":"yes"}"#]).unwrap();
    sink.upload(wider, source, day(24), Format::Parquet)
        .await
        .unwrap();
    let batches = read(day(23), day(24), ReadOptions::columns(["n"])).await;
    assert_eq!(batches[0].num_columns(), 1);
    let batches = read(day(23), day(24), ReadOptions::default()).await;
    assert_eq!(count(&batches), 6);
    let first = &batches[0];
    assert_eq!(
        first.column_by_name("later").unwrap().null_count(),
        first.num_rows()
    );

    // Also where it is asked for by name; a column that no file has is an error.
    let batches = read(day(23), day(24), ReadOptions::columns(["n", "later"])).await;
    let columns = batches.iter().map(|batch| &batch.columns()[1]);
    let nulls: Vec<usize> = columns.map(|column| column.logical_null_count()).collect();
    assert_eq!(nulls, [5, 0]);
    let nowhere = ReadOptions::columns(["n", "nowhere"]);
    let nowhere = sink.read(source, day(23), day(24), &nowhere).await;
    assert!(
        matches!(&nowhere, Err(Error::Schema { at, .. }) if at == "nowhere"),
        "{nowhere:?}"
    );

    // A column of another type is an error that names the object.
    let other = Dataset::from_json([r#"{"n":"text"}"#]).unwrap();
    let written = sink
        .upload(other, source, day(25), Format::Parquet)
        .await
        .unwrap();
    match sink
        .read(source, day(24), day(25), &ReadOptions::default())
        .await
    {
        Err(Error::Schema { at, reason }) => {
            assert_eq!(at, "n");
            assert!(reason.contains(&written.key), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
