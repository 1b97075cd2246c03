//! Objects in the making: in parts, cut off, without an answer, by writers that were killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use bronze_storage::testing::{CountingStore, Fault, FaultKind, FaultStore, When};
use bronze_storage::{
    BronzeConfig, BronzeStore, Dataset, Format, Operation, ParquetFile, ParquetWriter, Source,
    WriteOptions,
};
use bytes::Bytes;
use support::{large_objects_go_up_in_parts, noise};

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_go_up_in_parts_locally_too() {
    large_objects_go_up_in_parts(&BronzeStore::memory()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    large_objects_go_up_in_parts(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fills_up_leaves_nothing_visible() {
    let folder = tempfile::tempdir().unwrap();
    let local = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    // 18 MB in three parts, once compressed.
    let batch = noise(12_000);
    for store in [BronzeStore::memory(), local] {
        // The upload is opened, one part goes, the second does not; it is not even opened; all
        // parts go, and the completion fails.
        for (nth, parts) in [(3, 2), (1, 0), (5, 3)] {
            let counting = std::sync::OnceLock::new();
            let full = store.wrapped(|inner| {
                let wrapped = CountingStore::new(inner);
                counting.set(wrapped.clone()).unwrap();
                let fault = Fault::new(Operation::Multipart, When::From(nth), FaultKind::Before);
                Arc::new(FaultStore::new(Arc::new(wrapped)).with(fault))
            });
            let options = WriteOptions::within(16 * 1024 * 1024).unwrap();
            let mut writer =
                ParquetWriter::create(&full, "big.parquet", &batch.schema(), &options).unwrap();
            let mut failed = None;
            for _ in 0..3 {
                if let Err(error) = writer.write(&batch).await {
                    failed = Some(error);
                    break;
                }
            }
            let error = match failed {
                Some(error) => {
                    drop(writer);
                    error
                }
                None => writer.finish().await.unwrap_err(),
            };
            assert!(error.to_string().contains("big.parquet"), "{error}");
            assert!(!error.certainly_not_applied());
            assert!(store.list("").await.unwrap().is_empty());
            let counts = counting.get().unwrap().counts();
            assert_eq!((counts.aborted, counts.completed), (u64::from(nth > 1), 0));
            assert_eq!(counts.parts, parts);
        }
    }
    // Records go the same way.
    let local = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    let full = local.wrapped(|inner| {
        let fault = Fault::new(Operation::Multipart, When::From(3), FaultKind::Before);
        Arc::new(FaultStore::new(inner).with(fault))
    });
    let source = Source::new("pncp").unwrap();
    let day = chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    for format in [Format::Ndjson, Format::Json] {
        let data = Dataset::from_batches(vec![batch.clone(); 2]).unwrap();
        let error = full
            .upload_to_bronze(data, &source, day, format)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("pncp/year=2025/month=10/day=22/"),
            "{error}"
        );
        assert!(local.list("").await.unwrap().is_empty());
    }
    let left = walk(folder.path());
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path))
        } else {
            found.push(path)
        }
    }
    found
}

#[tokio::test]
async fn a_dropped_writer_aborts_what_it_sent() {
    let counting = CountingStore::new(Arc::new(object_store::memory::InMemory::new()));
    let store = BronzeStore::from_store(Arc::new(counting.clone()));
    let batch = noise(40_000);
    let mut writer = ParquetWriter::create(
        &store,
        "big.parquet",
        &batch.schema(),
        &WriteOptions::default(),
    )
    .unwrap();
    writer.write(&batch).await.unwrap();
    drop(writer);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (counting.counts().uploads, counting.counts().aborted),
        (1, 1)
    );
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_not_made_twice() {
    let day = chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let source = Source::new("pncp").unwrap();
    let upload = async |store: &BronzeStore| {
        let data = bronze_storage::Dataset::from_json([r#"{"a":1}"#]).unwrap();
        store
            .upload_to_bronze(data, &source, day, bronze_storage::Format::Parquet)
            .await
    };
    for (kind, objects) in [(FaultKind::After, 1), (FaultKind::Before, 0)] {
        let faults = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
        let store = BronzeStore::from_store(Arc::new(faults.clone()));
        faults.add(Fault::new(Operation::Create, When::Nth(1), kind));
        let written = upload(&store).await;
        assert_eq!(written.is_ok(), objects == 1, "{written:?}");
        assert_eq!(store.list("").await.unwrap().len(), objects);
    }
}

#[tokio::test]
async fn under_seeded_faults_every_object_that_is_seen_is_whole() {
    for seed in 0..20 {
        let faults = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
        let store = BronzeStore::from_store(Arc::new(faults.clone()));
        for kind in [FaultKind::Before, FaultKind::After, FaultKind::CutHalfway] {
            let when = When::Rate {
                seed: seed + kind as u64 * 1000,
                per_mille: 150,
            };
            faults.add(Fault {
                operation: None,
                key_contains: String::new(),
                when,
                kind,
            });
        }
        let mut kept = Vec::new();
        for n in 0..20 {
            let data = bronze_storage::Dataset::from_json([format!(r#"{{"n":{n}}}"#)]).unwrap();
            let id = format!("run-{n}");
            let upload = store.upload_temp(data, &id, "raw", bronze_storage::Format::Parquet);
            if let Ok(reference) = upload.await {
                kept.push((n, reference));
            }
        }
        assert!(faults.struck() > 0, "seed {seed}");
        // While it fails, a read is right or an error; healed, everything that was acknowledged
        // is there, and everything that is there is whole.
        for (n, reference) in &kept {
            if let Ok(read) = store.read_temp(reference).await {
                assert_eq!(
                    read.into_ndjson().await.unwrap(),
                    format!("{{\"n\":{n}}}\n")
                );
            }
        }
        faults.heal();
        for (n, reference) in &kept {
            let read = store.read_temp(reference).await.unwrap();
            assert_eq!(
                read.into_ndjson().await.unwrap(),
                format!("{{\"n\":{n}}}\n")
            );
        }
        for object in store.list("_temp").await.unwrap() {
            assert_eq!(
                ParquetFile::open(&store, &object.key).await.unwrap().rows(),
                1
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_files_of_killed_writers_are_swept_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let shared = ahead.clone();
    let store = BronzeStore::builder()
        .with_config(BronzeConfig::local(folder.path()))
        .with_clock(Arc::new(move || {
            let seconds = shared.load(std::sync::atomic::Ordering::SeqCst);
            chrono::Utc::now() + chrono::TimeDelta::seconds(seconds)
        }))
        .build()
        .unwrap();
    store
        .put("pncp/a.parquet", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let staged = folder.path().join("lh-bronze/pncp/b.parquet#1");
    std::fs::write(&staged, "half").unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(
        store.sweep(std::time::Duration::ZERO).await.unwrap(),
        0,
        "younger than the floor"
    );
    ahead.store(7200, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(store.sweep(hour * 3).await.unwrap(), 0);
    assert_eq!(store.sweep(hour).await.unwrap(), 1);
    assert!(!staged.exists());
    assert!(store.head("pncp/a.parquet").await.unwrap().is_some());
    assert_eq!(BronzeStore::memory().sweep(hour).await.unwrap(), 0);
}
