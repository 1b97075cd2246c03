//! A run is killed at every single operation of the object store, before it and after it took effect, and resumed.
#![cfg(all(feature = "pncp", feature = "bronze"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use async_trait::async_trait;
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions};
use chrono::NaiveDate;
use details_checkpoint::bronze::MergePolicy;
use details_checkpoint::{BronzeDetails, Candidate, Ingester, KeyList, MemorySource, Options};
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};
use ingest_state::Scope;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

const KEYS: u32 = 14;
const CHECKPOINT: u32 = 4;
const CONCURRENCY: u32 = 2;

/// Stops for ever at one operation and says so.
#[derive(Debug)]
struct KillStore {
    inner: Arc<InMemory>,
    at: u64,
    after_effect: bool,
    operations: AtomicU64,
    killed: Arc<Notify>,
}

impl KillStore {
    fn is_due(&self) -> bool {
        self.operations.fetch_add(1, Ordering::Relaxed) + 1 == self.at
    }

    async fn operate<T>(&self, operation: impl Future<Output = T>) -> T {
        if self.is_due() {
            if self.after_effect {
                let _ = operation.await;
            }
            self.killed.notify_one();
            std::future::pending::<()>().await;
            unreachable!("pending for ever");
        }
        operation.await
    }
}

impl fmt::Display for KillStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kill({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for KillStore {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.operate(self.inner.put_opts(at, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.operate(self.inner.put_multipart_opts(at, opts)).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.operate(self.inner.get_opts(at, options)).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.is_due() {
            self.killed.notify_one();
            return futures::stream::pending().boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.operate(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.operate(self.inner.copy_opts(from, to, options)).await
    }
}

fn key(n: u32) -> String {
    format!("83102277000152|2025|{n}")
}

fn keys() -> KeyList {
    let mut keys = KeyList::new();
    for n in 1..=KEYS {
        keys.push(Candidate::new(&key(n)).with_version("2025-10-22T10:00:00"))
            .unwrap();
    }
    keys
}

fn source() -> Arc<MemorySource> {
    let mut source = MemorySource::new(&["itens", "arquivos"]);
    for n in 1..=KEYS {
        let items: Vec<String> = (0..n)
            .map(|item| format!("{{\"numeroItem\":{item}}}"))
            .collect();
        let body = format!("[{}]", items.join(","));
        source = source
            .with(&key(n), "itens", n, body)
            .with(&key(n), "arquivos", 0, "[]");
    }
    Arc::new(source)
}

fn ingester(source: &Arc<MemorySource>, store: BronzeStore) -> Ingester {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let scope = Scope::new("pncp_details", day).unwrap();
    let sink = BronzeDetails::builder(store, scope)
        .with_execution("kill")
        .with_merge(MergePolicy::Always)
        .build()
        .unwrap();
    let options = Options {
        checkpoint_every: CHECKPOINT,
        concurrency: CONCURRENCY,
        ..Options::default()
    };
    Ingester::builder(source.clone(), Arc::new(sink))
        .with_options(options)
        .build()
        .unwrap()
}

async fn batches(store: &BronzeStore, key: &str) -> Vec<RecordBatch> {
    let file = ParquetFile::open(store, key).await.unwrap();
    file.read(&ReadOptions::default())
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

/// Every contratação once, with as many itens as the source gives.
async fn assert_view(store: &BronzeStore, at: &str) {
    let view = "pncp_details/year=2025/month=10/day=22/details.parquet";
    let mut rows = BTreeMap::new();
    for batch in batches(store, view).await {
        let keys = batch.column_by_name("key").unwrap().as_string::<i32>();
        let itens = batch.column_by_name("itens").unwrap().as_list::<i32>();
        let arquivos = batch.column_by_name("arquivos").unwrap().as_list::<i32>();
        for row in 0..batch.num_rows() {
            assert!(itens.is_valid(row) && arquivos.is_valid(row), "{at}");
            let before = rows.insert(keys.value(row).to_owned(), itens.value(row).len() as u32);
            assert_eq!(before, None, "doubled: {at}");
        }
    }
    assert_eq!(rows, (1..=KEYS).map(|n| (key(n), n)).collect(), "{at}");
}

/// Every facet of every key is in exactly one entry.
async fn assert_entries(store: &BronzeStore, at: &str) {
    let mut facets = BTreeMap::<(String, &str), u32>::new();
    for object in store.list("pncp_details/_parts").await.unwrap() {
        for batch in batches(store, &object.key).await {
            let keys = batch.column_by_name("key").unwrap().as_string::<i32>();
            for facet in ["_itens", "_arquivos"] {
                let marks = batch.column_by_name(facet).unwrap();
                for row in (0..batch.num_rows()).filter(|row| marks.is_valid(*row)) {
                    *facets
                        .entry((keys.value(row).to_owned(), facet))
                        .or_default() += 1;
                }
            }
        }
    }
    assert_eq!(facets.len() as u32, 2 * KEYS, "{at}");
    assert!(facets.values().all(|times| *times == 1), "{at}: {facets:?}");
}

#[tokio::test]
async fn killed_at_any_operation_of_the_store_nothing_is_lost_or_doubled() {
    let mut kills = 0;
    for after_effect in [false, true] {
        for operation in 1.. {
            let at = format!("operation {operation}, after effect: {after_effect}");
            let inner = Arc::new(InMemory::new());
            let killed = Arc::new(Notify::new());
            let deadly = KillStore {
                inner: Arc::clone(&inner),
                at: operation,
                after_effect,
                operations: AtomicU64::new(0),
                killed: Arc::clone(&killed),
            };
            let source = source();
            let keys = keys();
            let first = ingester(&source, BronzeStore::from_store(Arc::new(deadly)));
            let survived = tokio::select! {
                biased;
                report = first.run(&keys) => Some(report),
                () = killed.notified() => None,
            };
            let store = BronzeStore::from_store(inner);
            if let Some(report) = survived {
                assert!(report.unwrap().complete);
                assert!(kills > 25, "only {kills} operations");
                break;
            }
            kills += 1;
            let report = ingester(&source, store.clone()).run(&keys).await.unwrap();
            assert!(report.complete, "{at}");
            assert_view(&store, &at).await;
            assert_entries(&store, &at).await;
            let asked: u32 = source.asked().values().sum();
            // One checkpoint, and the keys of the calls in flight: fetching ahead of a save goes no further.
            let repeated = asked - 2 * KEYS;
            assert!(
                repeated <= 2 * (CHECKPOINT + CONCURRENCY),
                "{repeated} repeated: {at}"
            );
        }
    }
}
