//! The same promises on every store: memory, a folder, a real S3 server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use bronze_storage::testing::{
    CountingStore, FaultStore, S3Server, check_bronze_sink, check_temp_store,
};
use bronze_storage::{
    BronzeConfig, BronzeStore, Created, Error, MemoryBronze, MemoryTemp, Operation, Problem,
    Secret, Source,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use support::large_objects_go_up_in_parts;

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
    for (identity, denied) in [
        ("reader", Operation::Put),
        ("writer", Operation::Get),
        ("unlisted", Operation::List),
    ] {
        let found = problem(identity_of(&config, identity)).await;
        assert_eq!(found, Problem::Denied(denied), "{identity}");
    }
    // It makes buckets for administrators; others are denied what is not there. (A server that
    // says that there is none: rclone, in `lawless_server.rs`.)
    let missing = BronzeConfig {
        bucket: "no-such-bucket".to_owned(),
        ..identity_of(&config, "user")
    };
    assert_eq!(problem(missing).await, Problem::Denied(Operation::Put));
    let user = BronzeStore::open(&identity_of(&config, "user")).unwrap();
    let key = "_check/by-user";
    user.put(key, Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(user.list("_check").await.unwrap().len(), 1);
    user.delete(key).await.unwrap();
    let admin = BronzeStore::open(&config).unwrap();
    assert_eq!(
        admin.list("_check").await.unwrap(),
        [],
        "what was denied is gone too"
    );
}

fn identity_of(config: &BronzeConfig, identity: &str) -> BronzeConfig {
    BronzeConfig {
        access_key: Some(Secret::new(identity)),
        secret_key: Some(Secret::new(identity.repeat(2))),
        ..config.clone()
    }
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
        winners: 2,
        writers: 2,
    };
    assert_eq!(error.problem, problem);
    assert!(
        error.to_string().contains("2 of 2 racing creates"),
        "{error}"
    );
    assert!(
        store.list("").await.unwrap().is_empty(),
        "the probe's objects are gone"
    );
}
