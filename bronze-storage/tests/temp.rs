//! What is handed from task to task by reference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bronze_storage::testing::{Fault, FaultKind, FaultStore, When};
use bronze_storage::{
    BronzeStore, Clock, Dataset, Error, Format, GC_FLOOR, Operation, Stage, TempRef,
};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};

const ID: &str = "manual__2025-10-23T12:00:00+00:00";

fn data() -> Dataset {
    Dataset::from_json([
        r#"{"a":1,"b":"x","v":0.10}"#,
        r#"{"a":2,"b":null,"v":12.5}"#,
    ])
    .unwrap()
}

/// A store whose clock is ahead of the real one by so many seconds.
fn with_clock() -> (BronzeStore, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let shared = Arc::clone(&ahead);
    let clock: Clock =
        Arc::new(move || Utc::now() + TimeDelta::seconds(shared.load(Ordering::SeqCst)));
    let inner = Arc::new(object_store::memory::InMemory::new());
    let store = BronzeStore::builder()
        .with_store(inner)
        .with_clock(clock)
        .build()
        .unwrap();
    (store, ahead)
}

#[tokio::test]
async fn what_goes_through_the_scheduler_stays_small() {
    let store = BronzeStore::memory();
    let stage = Stage::new("s".repeat(40)).shard(u32::MAX).attempt(u16::MAX);
    for id in [ID.to_owned(), "é".repeat(250)] {
        for format in [Format::Parquet, Format::Ndjson, Format::Json] {
            let reference = store
                .upload_temp(data(), &id, stage.clone(), format)
                .await
                .unwrap();
            let json = serde_json::to_string(&reference).unwrap();
            assert!(json.len() < 400, "{} bytes", json.len());
            let read = store
                .read_temp(&reference)
                .await
                .unwrap()
                .into_ndjson()
                .await
                .unwrap();
            let first = read.lines().next().unwrap();
            assert_eq!(first, r#"{"a":1,"b":"x","v":0.10}"#, "{format}");
        }
    }
    let too_long = store
        .upload_temp(data(), ID, Stage::new("s".repeat(41)), Format::Json)
        .await;
    assert!(matches!(too_long, Err(Error::Name { .. })));
}

#[tokio::test]
async fn missing_expired_and_altered_are_different_errors() {
    let (store, ahead) = with_clock();
    let reference = store
        .upload_temp(data(), ID, "raw", Format::Parquet)
        .await
        .unwrap();
    let (bytes, _) = store.get(&reference.key).await.unwrap();

    // Altered: another size, another byte, other columns under the same key.
    store
        .put(&reference.key, bytes.slice(..bytes.len() - 1))
        .await
        .unwrap();
    assert!(matches!(
        store.read_temp(&reference).await,
        Err(Error::Altered { .. })
    ));
    let mut flipped = bytes.to_vec();
    flipped[10] ^= 1;
    store
        .put(&reference.key, Bytes::from(flipped))
        .await
        .unwrap();
    assert!(matches!(
        store.read_temp(&reference).await,
        Err(Error::Altered { .. })
    ));
    // A plain key cannot tell what it was; a truncated file it can.
    let plain: TempRef = reference.to_string().parse().unwrap();
    store
        .put(&reference.key, bytes.slice(..bytes.len() / 2))
        .await
        .unwrap();
    assert!(matches!(
        store.read_temp(&plain).await,
        Err(Error::Format { .. })
    ));

    store.put(&reference.key, bytes.clone()).await.unwrap();
    store.read_temp(&reference).await.unwrap();
    let other = TempRef {
        schema: Some("0".repeat(16)),
        ..reference.clone()
    };
    assert!(matches!(
        store.read_temp(&other).await,
        Err(Error::Altered { .. })
    ));
    let other = TempRef {
        rows: Some(3),
        ..reference.clone()
    };
    assert!(matches!(
        store.read_temp(&other).await,
        Err(Error::Altered { .. })
    ));

    ahead.store(8 * 24 * 3600, Ordering::SeqCst);
    assert!(matches!(
        store.read_temp(&reference).await,
        Err(Error::Expired { .. })
    ));
    // The object itself carries its time.
    assert!(matches!(
        store.read_temp(&plain).await,
        Err(Error::Expired { .. })
    ));
    ahead.store(0, Ordering::SeqCst);

    assert_eq!(store.cleanup_temp(ID).await.unwrap(), 1);
    assert!(matches!(
        store.read_temp(&reference).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn records_are_verified_as_tables_are() {
    let store = BronzeStore::memory();
    for format in [Format::Ndjson, Format::Json] {
        let reference = store.upload_temp(data(), ID, "raw", format).await.unwrap();
        let (bytes, _) = store.get(&reference.key).await.unwrap();
        let mut flipped = bytes.to_vec();
        flipped[bytes.len() / 2] ^= 1;
        for altered in [bytes.slice(1..), Bytes::from(flipped)] {
            store.put(&reference.key, altered).await.unwrap();
            let read = store.read_temp(&reference).await;
            assert!(matches!(&read, Err(Error::Altered { key, .. }) if *key == reference.key));
        }
        store.put(&reference.key, bytes.clone()).await.unwrap();
        let more = TempRef {
            rows: Some(3),
            ..reference.clone()
        };
        let read = store.read_temp(&more).await;
        assert!(matches!(read, Err(Error::Altered { .. })), "{read:?}");
        store.read_temp(&reference).await.unwrap();
        // A plain key has nothing to compare with; a cut object is told nevertheless.
        let plain: TempRef = reference.to_string().parse().unwrap();
        let half = bytes.slice(..bytes.len() / 2);
        store.put(&reference.key, half).await.unwrap();
        let read = store.read_temp(&plain).await;
        assert!(matches!(&read, Err(Error::Format { key, .. }) if *key == reference.key));
    }
}

#[tokio::test]
async fn a_cleanup_stops_at_its_own_execution() {
    let store = BronzeStore::memory();
    let ids = [
        "run",
        "run1",
        "run/1",
        "run 1",
        "ru",
        "RUN",
        "run%",
        "run.parquet",
    ];
    let mut references = Vec::new();
    for id in ids {
        references.push(
            store
                .upload_temp(data(), id, "raw", Format::Parquet)
                .await
                .unwrap(),
        );
    }
    let usage = store.temp_usage().await.unwrap();
    assert_eq!(
        usage
            .executions
            .keys()
            .map(String::as_str)
            .collect::<std::collections::BTreeSet<_>>(),
        ids.into()
    );
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(store.cleanup_temp(id).await.unwrap(), 1, "{id}");
        assert_eq!(store.cleanup_temp(id).await.unwrap(), 0, "{id}");
        for left in &references[n + 1..] {
            store.read_temp(left).await.unwrap();
        }
    }
    assert_eq!(store.temp_usage().await.unwrap().objects, 0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_no_data() {
    let faults = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
    let store = BronzeStore::from_store(Arc::new(faults.clone()));
    let reference = store
        .upload_temp(data(), ID, "raw", Format::Parquet)
        .await
        .unwrap();
    // The head is the first read, the body the second.
    faults.add(Fault::new(
        Operation::Get,
        When::Nth(2),
        FaultKind::CutHalfway,
    ));
    let cut = store.read_temp(&reference).await;
    assert!(
        matches!(&cut, Err(error) if error.is_transient()),
        "{cut:?}"
    );
    assert_eq!(faults.struck(), 1);
    store.read_temp(&reference).await.unwrap();
}

#[tokio::test]
async fn gc_takes_whole_executions_and_never_what_is_young() {
    let (store, ahead) = with_clock();
    store
        .upload_temp(data(), "a", "raw", Format::Parquet)
        .await
        .unwrap();
    store
        .upload_temp(data(), "ab", "raw", Format::Parquet)
        .await
        .unwrap();
    store
        .upload_temp(data(), "ab", "clean", Format::Json)
        .await
        .unwrap();
    store
        .put("_temp/foreign.txt", Bytes::from_static(b"x"))
        .await
        .unwrap();
    store
        .put("pncp/a.parquet", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let usage = store.temp_usage().await.unwrap();
    assert_eq!((usage.objects, usage.executions["ab"].objects), (3, 2));
    assert_eq!(usage.oldest, Some(usage.executions["a"].oldest));
    assert!(usage.bytes > 1000);

    // Asked for everything, it keeps the floor.
    let none = store.gc(Duration::ZERO, false).await.unwrap();
    assert_eq!(none.objects, 0);
    ahead.store(
        i64::try_from(GC_FLOOR.as_secs()).unwrap() + 60,
        Ordering::SeqCst,
    );
    let dry = store.gc(Duration::ZERO, true).await.unwrap();
    assert_eq!((dry.executions, dry.objects), (2, 3));
    let two_hours = store.gc(Duration::from_secs(7200), false).await.unwrap();
    assert_eq!(two_hours.objects, 0);
    assert_eq!(store.gc(Duration::ZERO, false).await.unwrap(), dry);
    assert_eq!(store.temp_usage().await.unwrap().objects, 0);
    assert!(store.head("_temp/foreign.txt").await.unwrap().is_some());
    assert!(store.head("pncp/a.parquet").await.unwrap().is_some());
}
