//! What is handed from task to task by reference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bronze_storage::testing::{CountingStore, Fault, FaultKind, FaultStore, When};
use bronze_storage::{
    BronzeStore, Clock, Dataset, Error, Format, GC_FLOOR, Operation, Stage, TempRef,
};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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
async fn a_plain_key_expires_whatever_the_format() {
    let (store, ahead) = with_clock();
    let mut plain = Vec::new();
    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        let reference = store.upload_temp(data(), ID, "raw", format).await.unwrap();
        plain.push(reference.to_string().parse::<TempRef>().unwrap());
    }
    // A Parquet file of another writer says nothing of it either.
    let (bytes, _) = store.get(&plain[0].key).await.unwrap();
    let foreign = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batches: Vec<_> = foreign.build().unwrap().map(Result::unwrap).collect();
    let schema = batches[0].schema_ref().fields().clone();
    let schema = Arc::new(arrow_schema::Schema::new(schema));
    let batches = batches
        .into_iter()
        .map(|batch| batch.with_schema(schema.clone()).unwrap());
    let foreign = Dataset::from_batches(batches.collect()).unwrap();
    let key = "_temp/foreign/raw.parquet";
    store.write_at(foreign, key, Format::Parquet).await.unwrap();
    plain.push(key.parse().unwrap());
    let days = |days: i64| days * 24 * 3600;
    for reference in &plain {
        ahead.store(days(7) - 60, Ordering::SeqCst);
        store.read_temp(reference).await.unwrap();
        ahead.store(days(7) + 60, Ordering::SeqCst);
        let read = store.read_temp(reference).await;
        assert!(matches!(&read, Err(Error::Expired { key, .. }) if *key == reference.key));
    }
}

#[tokio::test]
async fn a_long_id_is_shown_in_full() {
    let store = BronzeStore::memory();
    let id = |last: &str| format!("{}/{last}", "ç".repeat(250));
    for (last, formats) in [
        ("parquet", &[Format::Parquet][..]),
        ("records", &[Format::Ndjson, Format::Json]),
        ("both", &[Format::Json, Format::Parquet]),
    ] {
        for format in formats {
            let stage = Stage::new("raw");
            store
                .upload_temp(data(), &id(last), stage, *format)
                .await
                .unwrap();
        }
    }
    let usage = store.temp_usage().await.unwrap();
    let shown: Vec<&String> = usage.executions.keys().collect();
    assert_eq!(shown, [&id("both"), &id("parquet"), &id("records")]);
    // Objects that nobody can read do not hide the one that has the id.
    let folder = store.list("_temp").await.unwrap();
    let folder = folder
        .iter()
        .find(|object| object.key.ends_with("raw.parquet"));
    let folder = folder.unwrap().key.rsplit_once('/').unwrap().0.to_owned();
    let broken = format!("{folder}/aa.parquet");
    store
        .put(&broken, Bytes::from_static(b"PAR1"))
        .await
        .unwrap();
    let again = store.temp_usage().await.unwrap();
    assert_eq!(shown, again.executions.keys().collect::<Vec<_>>());
    // Where nothing has it, or what has it is another's, the folder's name has to do.
    let hashed = format!("{}=={}", "x".repeat(54), "0".repeat(64));
    let lone = format!("_temp/{hashed}/_execution");
    store
        .put(&lone, Bytes::from_static(b"another"))
        .await
        .unwrap();
    let again = store.temp_usage().await.unwrap();
    assert_eq!(again.executions[&hashed].objects, 1);
    assert_eq!(again.executions.len(), 4);
}

/// A store in which one object is written over right after its n-th read.
#[derive(Debug)]
struct Changing {
    inner: Arc<dyn ObjectStore>,
    after: u64,
    gets: AtomicU64,
    other: Bytes,
}

impl std::fmt::Display for Changing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("changing")
    }
}

#[async_trait]
impl ObjectStore for Changing {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let answer = self.inner.get_opts(location, options).await;
        if self.gets.fetch_add(1, Ordering::SeqCst) + 1 == self.after {
            let other = self.other.clone().into();
            self.inner
                .put_opts(location, other, PutOptions::default())
                .await?;
        }
        answer
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Above the size that is held, the second pass is of the version that the first one verified.
#[tokio::test]
async fn a_large_object_is_read_twice_and_never_mixed() {
    let rows = |text: &str| {
        let records = (0..5_000).map(|n| format!(r#"{{"n":{n},"text":"{text}"}}"#));
        Dataset::from_json(records.collect::<Vec<_>>()).unwrap()
    };
    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        let inner: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let store = |inner: Arc<dyn ObjectStore>| {
            let builder = BronzeStore::builder().with_store(inner).with_held_bytes(0);
            builder.build().unwrap()
        };
        let plain = store(inner.clone());
        let other = plain
            .upload_temp(rows("two"), "b", "raw", format)
            .await
            .unwrap();
        let (other, _) = plain.get(&other.key).await.unwrap();
        let reference = plain
            .upload_temp(rows("one"), "a", "raw", format)
            .await
            .unwrap();
        let (own, _) = plain.get(&reference.key).await.unwrap();

        // Undisturbed: all bytes twice (of Parquet the pages), and the rows are right.
        let counting = CountingStore::new(inner.clone());
        let read = store(Arc::new(counting.clone()))
            .read_temp(&reference)
            .await;
        let text = read.unwrap().into_ndjson().await.unwrap();
        assert_eq!(text.lines().count(), 5_000);
        assert!(
            text.lines().all(|line| line.ends_with(r#""text":"one"}"#)),
            "{format}"
        );
        let counts = counting.counts();
        assert!(
            counts.bytes_down > own.len() as u64 * 3 / 2,
            "{format}: {counts:?}"
        );
        let gets = counts.gets + counts.heads;

        // Replaced after any read but the last: an error, and never rows of two versions.
        for after in 1..gets {
            plain.put(&reference.key, own.clone()).await.unwrap();
            let changing = Changing {
                inner: inner.clone(),
                after,
                gets: AtomicU64::new(0),
                other: other.clone(),
            };
            let read = match store(Arc::new(changing)).read_temp(&reference).await {
                Ok(data) => data.into_ndjson().await,
                Err(error) => Err(error),
            };
            let changed = matches!(&read, Err(Error::Changed { key, .. }) if *key == reference.key);
            assert!(changed, "{format}, after {after} of {gets}: {read:?}");
        }
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

#[test]
fn a_life_that_is_no_time_is_refused() {
    for (ttl, is_fine) in [
        (TimeDelta::MAX, false),
        (TimeDelta::MIN, false),
        (TimeDelta::zero(), false),
        (TimeDelta::seconds(1), true),
        (TimeDelta::days(36_500), true),
    ] {
        let built = BronzeStore::builder()
            .with_store(Arc::new(object_store::memory::InMemory::new()))
            .with_temp_ttl(ttl)
            .build();
        assert_eq!(built.is_ok(), is_fine, "{ttl}: {built:?}");
        let told = built.map_or_else(|error| error.to_string(), |_| "temp_ttl".to_owned());
        assert!(told.contains("temp_ttl"), "{told}");
    }
}
