//! For tests: what every store and format must pass, a store that fails on purpose, and one whose
//! calls are made in every order.

mod scripted;
mod suite;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::ambient::Ambient;
use crate::entry::{Counts, Entry, EntryFormat, EntryHead, FORMAT_VERSION};
use crate::error::StoreError;
use crate::ids::{Id, IdList};
use crate::store::{Created, Listed, LogStore, Object, ObjectHead};

pub use scripted::{Actor, Explored, Invariant, Move, Scenario, ScriptedStore, Step, Write, Wrong};
pub use suite::{LogOf, Storm, check_log};

/// What a check found wrong, in words.
pub type Check = Result<(), String>;

/// Fails with what was expected unless `holds`.
fn expect(holds: bool, what: &str) -> Check {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn said<T>(result: Result<T, StoreError>, what: &str) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

/// Checks that `store` keeps the contract of [`LogStore`], on keys below `folder`, and removes
/// them.
///
/// # Errors
/// What was not as the contract says.
pub async fn check_log_store(store: &dyn LogStore, folder: &str) -> Check {
    let key = |name: &str| format!("{folder}/{name}");
    let (a, b) = (key("a/00000001.bin"), key("b.bin"));
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());

    expect(
        said(store.get(&a).await, "get absent")?.is_none(),
        "absent object is None",
    )?;
    expect(
        said(store.head(&a).await, "head absent")?.is_none(),
        "absent head is None",
    )?;
    said(store.delete(&a).await, "delete absent")?;

    let first = said(store.create(&a, body("first")).await, "create")?;
    expect(first == Created::Created, "create answers Created")?;
    let second = said(store.create(&a, body("second")).await, "create again")?;
    expect(second == Created::Exists, "a second create answers Exists")?;
    let object = said(store.get(&a).await, "get")?.ok_or("created object is absent")?;
    expect(object.bytes == "first", "a refused create changes nothing")?;
    let head = said(store.head(&a).await, "head")?.ok_or("created head is absent")?;
    expect(
        head == object.head && head.size == 5 && head.key == a,
        "head and get agree",
    )?;

    let part = said(store.get_range(&head, 1..3).await, "get_range")?;
    expect(part == "ir", "a range is the bytes of the range")?;
    said(
        store.overwrite(&a, body("other, longer")).await,
        "overwrite",
    )?;
    let stale = store.get_range(&head, 1..3).await;
    expect(
        matches!(stale, Err(StoreError::Changed { .. })),
        "a pinned read sees the change",
    )?;

    said(store.overwrite(&b, body("b")).await, "overwrite absent")?;
    let mut listed = said(store.list(&format!("{folder}/")).await, "list")?;
    listed.sort_by(|x, y| x.key.cmp(&y.key));
    let keys: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
    expect(
        keys == [a.as_str(), b.as_str()],
        "a listing has all below the folder",
    )?;
    expect(listed[1].size == 1, "a listing has sizes")?;
    let inner = said(store.list(&key("a/")).await, "list inner")?;
    expect(inner.len() == 1, "a listing has nothing of other folders")?;

    for key in [&a, &b] {
        said(store.delete(key).await, "delete")?;
        expect(
            said(store.get(key).await, "get deleted")?.is_none(),
            "deleted is absent",
        )?;
    }
    let gone = store.get_range(&head, 1..3).await;
    expect(
        matches!(gone, Err(StoreError::Changed { .. })),
        "a pinned read sees the deletion",
    )
}

/// Checks that of `writers` racing creates of one key exactly one wins, and that its bytes stay.
///
/// # Errors
/// What was not as the contract says.
pub async fn check_create_race(store: Arc<dyn LogStore>, key: &str, writers: usize) -> Check {
    let race = (0..writers).map(|writer| {
        let store = store.clone();
        async move {
            (
                writer,
                store.create(key, Bytes::from(writer.to_string())).await,
            )
        }
    });
    let answers = futures::future::join_all(race).await;
    let won = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Ok(Created::Created)));
    let winners: Vec<usize> = won.map(|(writer, _)| *writer).collect();
    expect(winners.len() == 1, &format!("one winner, not {winners:?}"))?;
    let object = said(store.get(key).await, "get")?.ok_or("the winner's object is absent")?;
    expect(
        object.bytes == winners[0].to_string(),
        "the winner's bytes stay",
    )?;
    said(store.delete(key).await, "delete")
}

/// Checks that `format` reads what it writes, and refuses what is no entry.
///
/// # Errors
/// What was not as the contract says.
pub async fn check_entry_format(format: &dyn EntryFormat, store: &dyn LogStore) -> Check {
    let facets = ["one", "two"];
    let ids: IdList = [
        Id {
            facet: 0,
            id: "07954480000179-1-022746/2025",
            version: None,
        },
        Id {
            facet: 1,
            id: "quotes \" and ção \u{1F600}\n",
            version: Some("2025-10-22T08:00:00#a"),
        },
        Id {
            facet: 0,
            id: "",
            version: Some(""),
        },
    ]
    .into_iter()
    .collect();
    let head = example_head(ids.len() as u64);
    let bytes = format
        .encode_ids(&head, &ids, &facets)
        .map_err(|e| format!("encode: {e:?}"))?;
    let key = "check/entry";
    said(store.overwrite(key, bytes.clone()).await, "overwrite")?;
    let object = said(store.head(key).await, "head")?.ok_or("absent")?;
    let read = format
        .read(store, &object, &facets)
        .await
        .map_err(|e| format!("read: {e:?}"))?;
    expect(
        read == Entry { head, ids },
        "an entry reads as it was written",
    )?;
    for broken in [
        Bytes::new(),
        bytes.slice(..bytes.len() / 2),
        Bytes::from_static(b"{}"),
    ] {
        said(store.overwrite(key, broken).await, "overwrite")?;
        let object = said(store.head(key).await, "head")?.ok_or("absent")?;
        let read = format.read(store, &object, &facets).await;
        expect(read.is_err(), "bytes that are no entry are refused")?;
    }
    said(store.delete(key).await, "delete")
}

/// A head with fixed values.
pub fn example_head(ids: u64) -> EntryHead {
    EntryHead {
        version: FORMAT_VERSION,
        scope: None,
        nonce: "nonce-1".to_owned(),
        execution: "manual__2025-10-23T12:00:00+00:00".to_owned(),
        created_at: DateTime::<Utc>::UNIX_EPOCH,
        ids,
        rows: 0,
        counts: Counts {
            input: 5,
            duplicates_filtered: 2,
        },
        metadata: serde_json::Map::new(),
        stub: false,
    }
}

/// A clock that stands still and nonces that count: `{name}-1`, `{name}-2`, …
#[derive(Debug)]
pub struct Fixed {
    name: String,
    now: DateTime<Utc>,
    nonces: AtomicU64,
}

impl Fixed {
    /// Nonces that start with `name`, and this time.
    pub fn new(name: impl Into<String>, now: DateTime<Utc>) -> Self {
        Self {
            name: name.into(),
            now,
            nonces: AtomicU64::new(0),
        }
    }
}

impl Ambient for Fixed {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn nonce(&self) -> String {
        format!(
            "{}-{}",
            self.name,
            self.nonces.fetch_add(1, Ordering::Relaxed) + 1
        )
    }
}

/// How a call is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not made; the error says so.
    Before,
    /// It is not made; the error leaves that open.
    Unclear,
    /// It takes effect; the error leaves that open.
    After,
    /// A create answers that there is an object, whether there is or not.
    Conflict,
}

/// Decides from a call's number, counted from 0, and its name whether it fails.
pub type Plan = dyn Fn(u64, &str) -> Option<Fault> + Send + Sync;

/// A [`LogStore`] that fails as planned, and counts calls and bytes written.
pub struct FaultStore {
    inner: Arc<dyn LogStore>,
    plan: Box<Plan>,
    calls: AtomicU64,
    bytes_written: AtomicU64,
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl FaultStore {
    /// `inner`, failing as `plan` says.
    pub fn new(
        inner: Arc<dyn LogStore>,
        plan: impl Fn(u64, &str) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let plan = Box::new(plan);
        Self {
            inner,
            plan,
            calls: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }

    /// `inner`, whose calls all work up to number `calls` and fail, without effect, from there.
    pub fn dying(inner: Arc<dyn LogStore>, calls: u64) -> Self {
        Self::new(inner, move |call, _| {
            (call >= calls).then_some(Fault::Before)
        })
    }

    /// `inner`, about one call in `one_in` failing, by `seed`.
    pub fn seeded(inner: Arc<dyn LogStore>, seed: u64, one_in: u64) -> Self {
        Self::new(inner, move |call, _| {
            let drawn = mix(seed.wrapping_add(mix(call)));
            let faults = [Fault::Before, Fault::Unclear, Fault::After, Fault::Conflict];
            drawn
                .is_multiple_of(one_in)
                .then(|| faults[(drawn >> 32) as usize % faults.len()])
        })
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many bytes were offered by creates and overwrites.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::SeqCst)
    }

    fn next(&self, name: &str) -> Option<Fault> {
        (self.plan)(self.calls.fetch_add(1, Ordering::SeqCst), name)
    }

    /// The error of a read that is to fail.
    fn read(&self, operation: &'static str, key: &str) -> Result<(), StoreError> {
        match self.next(operation) {
            Some(fault) => Err(injected(operation, key, fault)),
            None => Ok(()),
        }
    }
}

/// A step of splitmix64.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn injected(operation: &'static str, key: &str, fault: Fault) -> StoreError {
    StoreError::Failed {
        operation,
        key: key.to_owned(),
        transient: true,
        not_applied: fault == Fault::Before,
        source: format!("injected: {fault:?}").into(),
    }
}

#[async_trait]
impl LogStore for FaultStore {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        self.bytes_written
            .fetch_add(body.len() as u64, Ordering::SeqCst);
        match self.next("create") {
            None => self.inner.create(key, body).await,
            Some(Fault::Conflict) => Ok(Created::Exists),
            Some(fault) => {
                if fault == Fault::After {
                    self.inner.create(key, body).await?;
                }
                Err(injected("create", key, fault))
            }
        }
    }

    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.bytes_written
            .fetch_add(body.len() as u64, Ordering::SeqCst);
        match self.next("overwrite") {
            None => self.inner.overwrite(key, body).await,
            Some(fault) => {
                if fault == Fault::After {
                    self.inner.overwrite(key, body).await?;
                }
                Err(injected("overwrite", key, fault))
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.read("get", key)?;
        self.inner.get(key).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError> {
        self.read("head", key)?;
        self.inner.head(key).await
    }

    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.read("get_range", &object.key)?;
        self.inner.get_range(object, range).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.read("list", prefix)?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.read("delete", key)?;
        self.inner.delete(key).await
    }
}
