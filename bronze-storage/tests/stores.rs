//! The same promises on every store: memory, a folder, a real S3 server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use bronze_storage::testing::{
    CountingStore, Fault, FaultKind, FaultStore, S3Server, When, check_bronze_sink,
    check_temp_store,
};
use bronze_storage::{
    BronzeConfig, BronzeStore, Created, Dataset, Error, Format, MemoryBronze, MemoryTemp,
    Operation, ParquetFile, ParquetWriter, Problem, ReadOptions, Secret, Source, WriteOptions,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

async fn primitives(store: &BronzeStore) {
    let body = Bytes::from_static(b"some bytes");
    assert_eq!(store.head("a/x").await.unwrap(), None);
    assert!(matches!(store.get("a/x").await, Err(Error::NotFound { key, .. }) if key == "a/x"));
    assert!(matches!(
        store.create("a/x", body.clone()).await.unwrap(),
        Created::New(_)
    ));
    let again = store
        .create("a/x", Bytes::from_static(b"other"))
        .await
        .unwrap();
    assert_eq!(again, Created::Exists);
    let (read, version) = store.get("a/x").await.unwrap();
    assert_eq!((&read, version.size), (&body, 10));
    assert_eq!(store.head("a/x").await.unwrap().unwrap(), version);
    assert_eq!(
        store.get_range("a/x", 5..10, &version).await.unwrap(),
        body.slice(5..10)
    );
    store
        .put("a/x", Bytes::from_static(b"SOME BYTES"))
        .await
        .unwrap();
    let stale = store.get_range("a/x", 0..4, &version).await;
    assert!(matches!(stale, Err(Error::Changed { .. })), "{stale:?}");
    store.put("a-b/y", body.clone()).await.unwrap();
    store.put("a/x/z", body.clone()).await.ok();
    let listed: Vec<String> = store
        .list("a")
        .await
        .unwrap()
        .into_iter()
        .map(|object| object.key)
        .collect();
    assert!(listed.contains(&"a/x".to_owned()) && !listed.contains(&"a-b/y".to_owned()));
    assert!(store.list("nothing/here").await.unwrap().is_empty());
    assert!(store.delete("a/x").await.unwrap());
    store.delete("a/x").await.unwrap();
    assert_eq!(store.head("a/x").await.unwrap(), None);
    store.write_json("s.json", &vec![1, 2]).await.unwrap();
    assert_eq!(
        store.read_json::<Vec<i32>>("s.json").await.unwrap(),
        Some(vec![1, 2])
    );
    assert_eq!(store.read_json::<Vec<i32>>("t.json").await.unwrap(), None);
    let wrong = store.read_json::<String>("s.json").await;
    assert!(matches!(wrong, Err(Error::Format { key, .. }) if key == "s.json"));
    for bad in ["", "/a", "a/../b", "a//b"] {
        assert!(
            matches!(store.get(bad).await, Err(Error::Name { .. })),
            "{bad}"
        );
    }
}

async fn suite(store: &BronzeStore) {
    let checked = store.check().await.unwrap();
    assert_eq!((checked.writers, checked.races), (8, 14));
    assert!(store.list("_check").await.unwrap().is_empty());
    primitives(store).await;
    check_temp_store(store, "r").await;
    check_bronze_sink(store, &Source::new("pncp").unwrap()).await;
    assert!(store.list("_temp").await.unwrap().is_empty());
}

#[tokio::test]
async fn memory_keeps_every_promise() {
    suite(&BronzeStore::memory()).await;
    check_temp_store(&MemoryTemp::default(), "r").await;
    check_bronze_sink(&MemoryBronze::default(), &Source::new("pncp").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_every_promise_and_appears_with_the_first_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a lake ç/house");
    let store = BronzeStore::open(&BronzeConfig::local(&path)).unwrap();
    assert!(store.list("pncp").await.unwrap().is_empty());
    assert!(!path.exists(), "reading must not create it");
    suite(&store).await;
    assert!(
        path.join("lh-bronze/pncp/year=2025/month=10/day=22")
            .is_dir()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrappers_forward_every_promise() {
    let counting = CountingStore::new(Arc::new(object_store::memory::InMemory::new()));
    let faults = FaultStore::new(Arc::new(counting.clone()));
    suite(&BronzeStore::from_store(Arc::new(faults.clone()))).await;
    let counts = counting.counts();
    assert!(counts.creates > 16 && counts.gets > 0 && counts.deletes > 0 && counts.lists > 0);
    assert_eq!(faults.struck(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_every_promise_and_says_what_is_wrong() {
    let Some(server) = S3Server::start().await else {
        return;
    };
    suite(&server.store("suite").unwrap()).await;
    large_objects_go_up_in_parts(&server.store("parts").unwrap()).await;

    let problem = async |config: BronzeConfig| {
        BronzeStore::open(&config)
            .unwrap()
            .check()
            .await
            .unwrap_err()
            .problem
    };
    let config = server.config();
    let wrong_key = BronzeConfig {
        secret_key: Some(Secret::new("wrong")),
        ..config.clone()
    };
    assert_eq!(problem(wrong_key).await, Problem::Denied(Operation::Put));
    let nowhere = BronzeConfig {
        endpoint_url: Some("http://127.0.0.1:1".to_owned()),
        max_retries: 0,
        ..config.clone()
    };
    assert_eq!(problem(nowhere).await, Problem::Unreachable);
    let reader = BronzeConfig {
        access_key: Some(Secret::new("reader")),
        secret_key: Some(Secret::new("readerreader")),
        ..config
    };
    assert_eq!(problem(reader).await, Problem::Denied(Operation::Put));
}

/// Any other S3 server: `BRONZE_TEST_S3_BUCKET`, `BRONZE_TEST_S3_ENDPOINT` (absent: Amazon's), the
/// usual `AWS_*`. Writes below a prefix of its own, and cleans it.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "whoever asked for it sees what ran")]
async fn the_s3_server_of_the_environment_keeps_every_promise() {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(bucket) = var("BRONZE_TEST_S3_BUCKET") else {
        eprintln!("SKIPPED: BRONZE_TEST_S3_BUCKET names no bucket");
        return;
    };
    let config = BronzeConfig::from_vars(|name| match name {
        "STORAGE_TYPE" => Some("s3".to_owned()),
        "BUCKET_BRONZE" => Some(bucket.clone()),
        "AWS_ENDPOINT_URL_S3" => var("BRONZE_TEST_S3_ENDPOINT"),
        name if name.starts_with("AWS_") => var(name),
        _ => None,
    });
    let config = config.unwrap();
    let run = format!("bronze-storage-test/{}", std::process::id());
    let store = BronzeStore::builder()
        .with_config(config)
        .with_prefix(run)
        .build()
        .unwrap();
    suite(&store).await;
    for object in store.list("").await.unwrap() {
        store.delete(&object.key).await.unwrap();
    }
    large_objects_go_up_in_parts(&store).await;
    store.delete("big.parquet").await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
    eprintln!("the suite ran on {}", store.location());
}

/// The endpoint of a server that answers every request alike.
async fn answering(status: &'static str, code: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = format!("<Error><Code>{code}</Code></Error>");
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    endpoint
}

#[tokio::test]
async fn what_a_server_answers_is_told_apart() {
    for (status, code, problem) in [
        ("404 Not Found", "NoSuchBucket", Problem::NoBucket),
        ("403 Forbidden", "RequestTimeTooSkewed", Problem::ClockSkew),
        (
            "403 Forbidden",
            "AccessDenied",
            Problem::Denied(Operation::Put),
        ),
        (
            "401 Unauthorized",
            "InvalidAccessKeyId",
            Problem::Denied(Operation::Put),
        ),
        (
            "507 Insufficient Storage",
            "Full",
            Problem::Failed(Operation::Put),
        ),
    ] {
        let config = BronzeConfig {
            storage_type: bronze_storage::StorageType::Minio,
            endpoint_url: Some(answering(status, code).await),
            access_key: Some(Secret::new("test")),
            secret_key: Some(Secret::new("do-not-show")),
            max_retries: 0,
            ..BronzeConfig::default()
        };
        let error = BronzeStore::open(&config)
            .unwrap()
            .check()
            .await
            .unwrap_err();
        assert_eq!(error.problem, problem, "{error:?}");
        let answer = format!("{error:?}");
        assert!(answer.contains(code), "{answer}");
        assert!(!answer.contains("do-not-show"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let opened = BronzeStore::open(&BronzeConfig::local(&file));
    assert!(
        matches!(
            opened,
            Err(Error::Config {
                field: "local_path",
                ..
            })
        ),
        "{opened:?}"
    );
    // Nobody writes there, the administrator neither.
    let store = BronzeStore::open(&BronzeConfig::local("/proc/bronze")).unwrap();
    let error = store.check().await.unwrap_err();
    assert_eq!(error.problem, Problem::Unwritable);
    assert!(error.to_string().contains("/proc/bronze"), "{error}");
}

/// A batch of text that hardly compresses, 512 bytes a row.
fn noise(rows: usize) -> arrow_array::RecordBatch {
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

async fn large_objects_go_up_in_parts(store: &BronzeStore) {
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
    let batch = noise(20_000);
    for store in [BronzeStore::memory(), local] {
        // The upload is opened, one part goes; the second does not. Then: the completion fails.
        for (nth, kind) in [
            (3, FaultKind::Before),
            (1, FaultKind::Before),
            (6, FaultKind::Before),
        ] {
            let counting = std::sync::OnceLock::new();
            let full = store.wrapped(|inner| {
                let wrapped = CountingStore::new(inner);
                counting.set(wrapped.clone()).unwrap();
                let fault = Fault::new(Operation::Multipart, When::From(nth), kind);
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
            assert_eq!(
                counting.get().unwrap().counts().aborted,
                u64::from(nth > 1),
                "{nth}"
            );
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

/// A server that breaks the rules of create-if-absent.
#[derive(Debug)]
struct Lawless {
    inner: Arc<dyn ObjectStore>,
    /// Honours the condition while nobody else is at it.
    one_at_a_time: bool,
}

impl std::fmt::Display for Lawless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lawless")
    }
}

#[async_trait]
impl ObjectStore for Lawless {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        use object_store::ObjectStoreExt;
        if opts.mode == PutMode::Create && self.one_at_a_time {
            let there = self.inner.head(location).await.is_ok();
            // What others do meanwhile it does not see.
            tokio::task::yield_now().await;
            if there {
                return Err(object_store::Error::AlreadyExists {
                    path: location.to_string(),
                    source: "412".into(),
                });
            }
        }
        self.inner.put(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn servers_that_ignore_or_race_conditions_are_refused_in_words() {
    let lawless = |one_at_a_time| {
        let inner = Arc::new(object_store::memory::InMemory::new());
        BronzeStore::from_store(Arc::new(Lawless {
            inner,
            one_at_a_time,
        }))
    };
    let error = lawless(false).check().await.unwrap_err();
    assert_eq!(error.problem, Problem::ConditionsIgnored);
    assert!(
        error.to_string().contains("answered success to a create"),
        "{error}"
    );
    let store = lawless(true);
    let error = store.check().await.unwrap_err();
    let problem = Problem::RaceLost {
        winners: 8,
        writers: 8,
    };
    assert_eq!(error.problem, problem);
    assert!(
        error.to_string().contains("8 of 8 racing creates"),
        "{error}"
    );
    assert!(
        store.list("").await.unwrap().is_empty(),
        "the probe's objects are gone"
    );
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
