//! An explicit-state check of the real append, merge and archive code.
//!
//! Writers, mergers and archivers run over a store whose every call waits for the test, which
//! tries every order of the calls, and at each call that it works, that it takes effect but the
//! answer is lost, that it fails, or that the actor is killed and its write takes effect now,
//! later or never: the stalled merger that puts an older file over a newer one, the stalled
//! archiver. In each state that comes about, what readers see must be right and the day must be
//! whole. Planted mistakes show that the check would find them.
//!
//! Two are tried call by call with a fault; three call by call, and with a fault where the reads of
//! entries come together with the call before. `INTERLEAVINGS=2` allows one fault more in each of
//! these, and lets four at it; it takes minutes, and `.ci/run` does it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use bronze_storage::BronzeStore;
use bronze_storage::state::{Archiver, IdColumns, Merger, ParquetEntries, ParquetRows};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use ingest_state::testing::{Actor, Explored, Fixed, Scenario, ScriptedStore, Wrong};
use ingest_state::{
    Created, Execution, Finding, Layout, Listed, Log, LogStore, MemoryStore, Object, ObjectHead,
    Scope, StoreError,
};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Loads and appends these keys, each with its first letter as a number.
    Writer(&'static [&'static str]),
    Merger,
    Archiver,
    /// A merger that stalled before its last call: it puts the view of the first entry.
    Stalled,
}

/// A mistake that is planted to see whether the check finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The store ignores the condition of a create.
    CarelessCreate,
    /// The merger's ranged reads are of whatever lies there by now.
    Unpinned,
    /// The archiver's base appears after the stubs.
    StubsFirst,
    /// The archiver removes entries.
    FreesKeys,
    /// An append whose answer is lost counts as done.
    NoReadBack,
}

const SOURCE: &str = "pncp_details";

fn scope() -> Scope {
    Scope::new(SOURCE, NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn columns() -> IdColumns {
    IdColumns::Facets {
        key: "key".to_owned(),
        marks: vec!["_n".to_owned()],
    }
}

fn layout() -> Layout {
    Layout {
        facets: vec!["n".to_owned()],
        ..Layout::details(SOURCE)
    }
}

fn log(store: Arc<dyn LogStore>, name: &str) -> Log {
    let log = Log::new(store, Arc::new(ParquetEntries::new(columns())), layout()).unwrap();
    log.with_ambient(Arc::new(Fixed::new(name, DateTime::UNIX_EPOCH)))
}

fn merger(store: Arc<dyn LogStore>) -> Merger {
    let bronze = BronzeStore::from_store(Arc::new(Puts(store.clone())));
    Merger::new(bronze, log(store, "m"), columns())
}

/// What a key's row holds besides: the merge must bring the same.
fn number(key: &str) -> i32 {
    i32::from(key.as_bytes()[0])
}

fn rows(keys: &[&str]) -> ParquetRows {
    let mark = Field::new("version", DataType::Utf8, true);
    let versions: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; keys.len()]));
    let mark = StructArray::from(vec![(Arc::new(mark), versions)]);
    let schema = Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("n", DataType::Int32, true),
        Field::new("_n", mark.data_type_of(), true),
    ]);
    let numbers: Int32Array = keys.iter().map(|key| Some(number(key))).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(keys.to_vec())),
        Arc::new(numbers),
        Arc::new(mark),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    ParquetRows::new(&batch, &self::columns()).unwrap()
}

trait TypeOf {
    fn data_type_of(&self) -> DataType;
}

impl TypeOf for StructArray {
    fn data_type_of(&self) -> DataType {
        arrow_array::Array::data_type(self).clone()
    }
}

async fn append(store: Arc<dyn LogStore>, name: &str, keys: &[&str]) -> bool {
    let Ok(mut day) = log(store, name).load(&scope()).await else {
        return false;
    };
    day.append(&rows(keys), &Execution::new(name)).await.is_ok()
}

async fn merge(store: Arc<dyn LogStore>) -> bool {
    merger(store).merge(&scope()).await.is_ok()
}

async fn archive(store: Arc<dyn LogStore>) -> bool {
    Archiver::new(merger(store)).archive(&scope()).await.is_ok()
}

/// What the merger asks of an object store: to put whole objects.
#[derive(Debug)]
struct Puts(Arc<dyn LogStore>);

impl fmt::Display for Puts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

fn never<T>() -> object_store::Result<T> {
    panic!("the merger only puts")
}

#[async_trait]
impl ObjectStore for Puts {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        let failed = |source: StoreError| object_store::Error::Generic {
            store: "scripted",
            source: source.into(),
        };
        self.0
            .overwrite(at.as_ref(), payload.into())
            .await
            .map_err(failed)?;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }
    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        never()
    }
    async fn get_opts(&self, _: &Path, _: GetOptions) -> object_store::Result<GetResult> {
        never()
    }
    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        futures::stream::once(async { never() }).boxed()
    }
    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        futures::stream::once(async { never() }).boxed()
    }
    async fn list_with_delimiter(&self, _: Option<&Path>) -> object_store::Result<ListResult> {
        never()
    }
    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        never()
    }
}

/// A store through which an actor makes a mistake.
#[derive(Debug)]
struct Mistaken {
    inner: ScriptedStore,
    mistake: Mistake,
    withheld: Mutex<Option<(String, Bytes)>>,
}

#[async_trait]
impl LogStore for Mistaken {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        if self.mistake == Mistake::StubsFirst && key.contains("base_") {
            *self.withheld.lock().unwrap() = Some((key.to_owned(), body));
            return Ok(Created::Created);
        }
        match self.inner.create(key, body).await {
            Err(_) if self.mistake == Mistake::NoReadBack => Ok(Created::Created),
            answer => answer,
        }
    }
    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        if self.mistake == Mistake::FreesKeys && key.contains("_parts") {
            return self.inner.delete(key).await;
        }
        self.inner.overwrite(key, body).await
    }
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let withheld = self.withheld.lock().unwrap().clone();
        match withheld.filter(|(name, _)| name == key) {
            Some((_, body)) => {
                let store = MemoryStore::new();
                store.create(key, body).await?;
                store.get(key).await
            }
            None => self.inner.get(key).await,
        }
    }
    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError> {
        self.inner.head(key).await
    }
    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.mistake != Mistake::Unpinned {
            return self.inner.get_range(object, range).await;
        }
        // Files of one row more or less have the same size only by chance: whoever does not pin
        // also takes the size as it finds it.
        let there = self.inner.get(&object.key).await?;
        let bytes = there.map(|there| there.bytes).unwrap_or_default();
        let whole = range.start == 0 && range.end == object.size;
        let end = if whole {
            bytes.len()
        } else {
            range.end as usize
        };
        Ok(bytes.slice((range.start as usize).min(end)..end.min(bytes.len())))
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

/// What a reader who globs sees: the keys of `details.parquet`; each row as it was taken.
fn seen(objects: &MemoryStore) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let files = objects.dump().into_iter();
    for (key, bytes) in files.filter(|(key, _)| key.ends_with(".parquet")) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|file| file.build());
        for batch in reader.map_err(|error| format!("{key}: {error}"))? {
            let batch = batch.map_err(|error| error.to_string())?;
            let keys = batch.column(0).as_string::<i32>();
            let numbers = batch.column(1).as_primitive::<Int32Type>();
            for (key, value) in keys.iter().zip(numbers) {
                let key = key.unwrap_or_default();
                if value != Some(number(key)) {
                    return Err(format!("row {key} holds {value:?}"));
                }
                found.push(key.to_owned());
            }
        }
    }
    found.sort();
    match found.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{} in two rows", pair[0])),
        None => Ok(found),
    }
}

/// The log with its view as `verify` compares them; whether the view is behind is another matter.
fn verified(objects: &MemoryStore, complete: bool) -> Result<(), String> {
    let store: Arc<dyn LogStore> = Arc::new(objects.clone());
    let view = merger(store.clone());
    let log = log(store, "v");
    let day = scope();
    let report = log.verify_with(&day, &[&view]).now_or_never().unwrap();
    let report = report.map_err(|error| format!("{error:?}"))?;
    let wrong = |finding: &&Finding| complete || !matches!(finding, Finding::ViewBehind { .. });
    match report.findings.iter().find(wrong) {
        Some(finding) => Err(format!("{finding:?}")),
        None => Ok(()),
    }
}

/// What must hold at any instant.
fn check(objects: &MemoryStore, acknowledged: &[&str]) -> Result<(), String> {
    seen(objects)?;
    verified(objects, false)?;
    // From here one more merge makes it whole, with the view that there is and without any.
    for anew in [false, true] {
        let store = objects.fork();
        if anew {
            let view = merger(Arc::new(store.clone())).key(&scope());
            store.delete(&view).now_or_never().unwrap().unwrap();
        }
        let merger = merger(Arc::new(store.clone()));
        let merged = merger.merge(&scope()).now_or_never().unwrap();
        let merged = merged.map_err(|error| format!("cannot be merged: {error:?}"))?;
        if merged.through > 0 {
            verified(&store, true)?;
        }
        let seen = seen(&store)?;
        if let Some(lost) = acknowledged
            .iter()
            .find(|key| seen.iter().all(|k| k != *key))
        {
            return Err(format!("lost {lost}"));
        }
    }
    Ok(())
}

/// A day with entries of these keys, whose view was made when there were so many.
fn day(entries: &[&[&str]], merged_at: &[usize]) -> MemoryStore {
    let objects = MemoryStore::new();
    let store: Arc<dyn LogStore> = Arc::new(objects.clone());
    for (at, keys) in entries.iter().enumerate() {
        let name = format!("before{at}");
        assert!(append(store.clone(), &name, keys).now_or_never().unwrap());
        if merged_at.contains(&(at + 1)) {
            assert!(merge(store.clone()).now_or_never().unwrap());
        }
    }
    objects
}

/// Tries everything.
fn explore(
    roles: &[Role],
    objects: &MemoryStore,
    faults: usize,
    mistake: Mistake,
    grain: Grain,
) -> Result<Explored, Wrong> {
    let spawn = |at: usize, store: ScriptedStore| -> Actor {
        // Snapshots are caches, and there are none here.
        let inner = store.with_free_reads(match grain {
            Grain::Calls => |key| key.contains("/_state/"),
            Grain::Entries => |key| key.contains("/_state/") || key.ends_with(".part"),
        });
        let store: Arc<dyn LogStore> = match mistake {
            Mistake::None | Mistake::CarelessCreate => Arc::new(inner),
            mistake => Arc::new(Mistaken {
                inner,
                mistake,
                withheld: Mutex::default(),
            }),
        };
        match roles[at] {
            Role::Writer(keys) => {
                Box::pin(async move { append(store, &format!("w{at}"), keys).await })
            }
            Role::Merger => Box::pin(merge(store)),
            Role::Archiver => Box::pin(archive(store)),
            Role::Stalled => {
                let older = day(&[&["a"]], &[1]);
                let key = merger(Arc::new(older.clone())).key(&scope());
                let file = older.get(&key).now_or_never().unwrap().unwrap().unwrap();
                Box::pin(async move { store.overwrite(&key, file.bytes).await.is_ok() })
            }
        }
    };
    let check = |objects: &MemoryStore, succeeded: &[bool]| {
        let said = roles.iter().zip(succeeded).filter(|(_, ok)| **ok);
        let acknowledged: Vec<&str> = said
            .flat_map(|(role, _)| match role {
                Role::Writer(keys) => *keys,
                Role::Merger | Role::Archiver | Role::Stalled => &[],
            })
            .copied()
            .collect();
        self::check(objects, &acknowledged)
    };
    let explored = Scenario {
        actors: roles.len(),
        spawn: &spawn,
        check: &check,
        objects: objects.fork(),
        faults,
        careless: mistake == Mistake::CarelessCreate,
        gate_ranges: roles.contains(&Role::Stalled),
    }
    .explore()?;
    eprintln!("{roles:?}, {faults} faults: {explored:?}");
    Ok(explored)
}

/// What an actor does in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// One call.
    Calls,
    /// A call, and the reads of entries and bases that follow it.
    Entries,
}

/// How much is tried: 1 unless `INTERLEAVINGS` says more.
fn depth() -> usize {
    let asked = std::env::var("INTERLEAVINGS").map_or(1, |text| text.parse().unwrap());
    asked.max(1)
}

/// Explores call by call, and sees that in some of the ends all have succeeded.
fn holds(roles: &[Role], objects: &MemoryStore, faults: usize) {
    holds_at(Grain::Calls, roles, objects, faults);
}

fn holds_at(grain: Grain, roles: &[Role], objects: &MemoryStore, faults: usize) {
    let explored = match explore(roles, objects, faults, Mistake::None, grain) {
        Ok(explored) => explored,
        Err(wrong) => panic!("{roles:?}: {}\n{:?}", wrong.what, wrong.path),
    };
    assert!(explored.ends.contains_key(&roles.len()), "{explored:?}");
}

/// Three: call by call, and with one fault more where entries are not read call by call.
fn three_hold(roles: [Role; 3], objects: &MemoryStore) {
    holds(&roles, objects, depth() - 1);
    holds_at(Grain::Entries, &roles, objects, depth());
}

/// The day after an archiving.
fn archived(objects: MemoryStore) -> MemoryStore {
    let store = Arc::new(objects.clone());
    assert!(archive(store).now_or_never().unwrap());
    objects
}

#[test]
fn writers_and_a_merger() {
    let offers = [Role::Writer(&["a", "b"]), Role::Writer(&["b", "c"])];
    holds(&offers, &day(&[], &[]), depth());
    three_hold([offers[0], offers[1], Role::Merger], &day(&[], &[]));
    let behind = day(&[&["b"]], &[1]);
    holds(&[offers[0], Role::Merger], &behind, depth());
}

#[test]
fn a_merger_and_an_archiver() {
    let behind = day(&[&["a"], &["b"]], &[1]);
    holds(&[Role::Merger, Role::Archiver], &behind, depth());
    let complete = day(&[&["a"], &["b"]], &[1, 2]);
    if depth() > 1 {
        holds(&[Role::Archiver, Role::Archiver], &complete, depth());
    }
}

#[test]
fn a_writer_a_merger_and_an_archiver() {
    let complete = day(&[&["a"]], &[1]);
    let roles = [Role::Writer(&["a", "b"]), Role::Merger, Role::Archiver];
    holds(&roles[..1], &complete, depth() + 1);
    holds(&[roles[0], roles[2]], &complete, depth());
    three_hold(roles, &complete);
    if depth() > 1 {
        let four = [roles[0], Role::Writer(&["b", "c"]), roles[1], roles[2]];
        holds_at(Grain::Entries, &four, &complete, 0);
    }
    // On top of a base, whose entries are stubs.
    holds(&roles[..2], &archived(complete), depth());
}

#[test]
fn a_stalled_merger_wakes_up_late() {
    let entries: [&[&str]; 3] = [&["a"], &["b"], &["c"]];
    let current = day(&entries, &[2]);
    holds(&[Role::Merger, Role::Stalled], &current, depth());
    let complete = day(&entries[..2], &[2]);
    holds(&[Role::Archiver, Role::Stalled], &complete, depth());
    let base = archived(complete);
    holds(&[Role::Merger, Role::Stalled], &base, depth());
    let three = [Role::Merger, Role::Merger, Role::Stalled];
    holds(&three, &base, depth() - 1);
}

#[test]
fn planted_mistakes_are_found() {
    let current = day(&[&["a"], &["b"], &["c"]], &[2]);
    let complete = day(&[&["a"], &["b"]], &[2]);
    let empty = day(&[], &[]);
    let writers = [Role::Writer(&["a", "b"]), Role::Writer(&["b", "c"])];
    let stalled = [Role::Merger, Role::Stalled];
    let plants: [(Mistake, &[Role], &MemoryStore, usize); 5] = [
        (Mistake::CarelessCreate, &writers, &empty, 0),
        (Mistake::NoReadBack, &writers, &empty, 1),
        (Mistake::Unpinned, &stalled, &current, 0),
        (Mistake::StubsFirst, &[Role::Archiver], &complete, 0),
        (Mistake::FreesKeys, &[Role::Archiver], &complete, 0),
    ];
    for (mistake, roles, objects, faults) in plants {
        let wrong = explore(roles, objects, faults, mistake, Grain::Calls).expect_err("not found");
        eprintln!(
            "{mistake:?}: {} after {} moves",
            wrong.what,
            wrong.path.len()
        );
        assert!(!wrong.path.is_empty(), "{mistake:?}");
    }
}
