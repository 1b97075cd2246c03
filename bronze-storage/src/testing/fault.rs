use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};

use crate::error::Operation;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An error; the store was never asked.
    Before,
    /// The store did it, then an error came instead of the answer.
    After,
    /// The store did it, and no answer ever comes: the future stays pending.
    NoAnswer,
    /// A read's body ends halfway without an error; a listing ends halfway with one. Other calls
    /// fail as [`FaultKind::Before`], since no store writes half an object.
    CutHalfway,
}

/// Which of the matching calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// Every one.
    Always,
    /// This one alone, from 1.
    Nth(u64),
    /// This one, from 1, and all after it: a store that fills up, a network that goes away.
    From(u64),
    /// About this many in a thousand, always the same ones for a seed.
    Rate {
        /// The seed; print it.
        seed: u64,
        /// How many in a thousand.
        per_mille: u16,
    },
}

/// A rule: which calls fail and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The calls; `None` for any.
    pub operation: Option<Operation>,
    /// Only keys that contain this.
    pub key_contains: String,
    /// Which of them.
    pub when: When,
    /// How.
    pub kind: FaultKind,
}

impl Fault {
    /// A rule over one kind of call and all keys.
    pub fn new(operation: Operation, when: When, kind: FaultKind) -> Self {
        Self {
            operation: Some(operation),
            key_contains: String::new(),
            when,
            kind,
        }
    }

    /// Only for keys that contain this.
    pub fn on_key(mut self, part: impl Into<String>) -> Self {
        self.key_contains = part.into();
        self
    }
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    calls: AtomicU64,
}

/// A store that fails on purpose, by rules; the first rule that strikes decides. Clones share the
/// rules and their counts.
#[derive(Debug, Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    rules: Arc<Mutex<Vec<Arc<Rule>>>>,
    struck: Arc<AtomicU64>,
}

impl FaultStore {
    /// Wraps a store; without rules it only forwards.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            rules: Arc::default(),
            struck: Arc::default(),
        }
    }

    /// Adds a rule, now.
    pub fn add(&self, fault: Fault) {
        let rule = Rule {
            fault,
            calls: AtomicU64::new(0),
        };
        self.lock().push(Arc::new(rule));
    }

    /// Adds a rule.
    pub fn with(self, fault: Fault) -> Self {
        self.add(fault);
        self
    }

    /// Drops all rules: the store is well again.
    pub fn heal(&self) {
        self.lock().clear();
    }

    /// How many calls failed on purpose.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Rule>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, operation: Operation, key: &str) -> Option<FaultKind> {
        let mut decided = None;
        for rule in self.lock().iter() {
            let fault = &rule.fault;
            if fault.operation.is_some_and(|only| only != operation)
                || !key.contains(&fault.key_contains)
            {
                continue;
            }
            let call = rule.calls.fetch_add(1, Ordering::Relaxed) + 1;
            let strikes = match fault.when {
                When::Always => true,
                When::Nth(n) => call == n,
                When::From(n) => call >= n,
                When::Rate { seed, per_mille } => mix(seed, call) % 1000 < u64::from(per_mille),
            };
            if strikes && decided.is_none() {
                decided = Some(fault.kind);
            }
        }
        if decided.is_some() {
            self.struck.fetch_add(1, Ordering::Relaxed);
        }
        decided
    }

    /// Runs a call under the rules.
    async fn strike<T>(
        &self,
        operation: Operation,
        key: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.decide(operation, key) {
            None => call.await,
            Some(FaultKind::Before | FaultKind::CutHalfway) => Err(injected(operation, key)),
            Some(FaultKind::After) => {
                call.await?;
                Err(injected(operation, key))
            }
            Some(FaultKind::NoAnswer) => {
                call.await?;
                std::future::pending().await
            }
        }
    }
}

/// splitmix64 over seed and call.
fn mix(seed: u64, call: u64) -> u64 {
    let mut z = seed.wrapping_add(call.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn injected(operation: Operation, key: &str) -> Error {
    let source = format!("injected fault: {operation} {key}").into();
    Error::Generic {
        store: "FaultStore",
        source,
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let create = matches!(opts.mode, PutMode::Create);
        let operation = if create {
            Operation::Create
        } else {
            Operation::Put
        };
        let call = self.inner.put_opts(location, payload, opts);
        self.strike(operation, location.as_ref(), call).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let call = self.inner.put_multipart_opts(location, opts);
        let inner = self
            .strike(Operation::Multipart, location.as_ref(), call)
            .await?;
        Ok(Box::new(FaultUpload {
            inner,
            faults: self.clone(),
            key: location.to_string(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let call = self.inner.get_opts(location, options);
        match self.decide(Operation::Get, location.as_ref()) {
            None => call.await,
            Some(FaultKind::CutHalfway) => {
                let answer = call.await?;
                let (meta, range) = (answer.meta.clone(), answer.range.clone());
                let (attributes, extensions) =
                    (answer.attributes.clone(), answer.extensions.clone());
                let bytes = answer.bytes().await?;
                let half = bytes.slice(..bytes.len() / 2);
                let payload = GetResultPayload::Stream(stream::iter([Ok(half)]).boxed());
                Ok(GetResult {
                    payload,
                    meta,
                    range,
                    attributes,
                    extensions,
                })
            }
            Some(FaultKind::NoAnswer) => std::future::pending().await,
            Some(FaultKind::Before | FaultKind::After) => {
                Err(injected(Operation::Get, location.as_ref()))
            }
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .and_then(move |location| {
                let this = this.clone();
                async move {
                    let call = this.inner.delete(&location);
                    this.strike(Operation::Delete, location.as_ref(), call)
                        .await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.map(ToString::to_string).unwrap_or_default();
        match self.decide(Operation::List, &key) {
            None => self.inner.list(prefix),
            Some(FaultKind::CutHalfway) => halfway(self.inner.list(prefix), key),
            Some(_) => stream::iter([Err(injected(Operation::List, &key))]).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.map(ToString::to_string).unwrap_or_default();
        match self.decide(Operation::List, &key) {
            None => self.inner.list_with_offset(prefix, offset),
            Some(FaultKind::CutHalfway) => {
                halfway(self.inner.list_with_offset(prefix, offset), key)
            }
            Some(_) => stream::iter([Err(injected(Operation::List, &key))]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let key = prefix.map(ToString::to_string).unwrap_or_default();
        self.strike(
            Operation::List,
            &key,
            self.inner.list_with_delimiter(prefix),
        )
        .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.strike(
            Operation::Put,
            to.as_ref(),
            self.inner.copy_opts(from, to, options),
        )
        .await
    }
}

/// The first half of a listing, then an error.
fn halfway(
    list: BoxStream<'static, Result<ObjectMeta>>,
    key: String,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let half = async move {
        let all: Vec<_> = list.collect().await;
        let half = all.len() / 2;
        let first = all.into_iter().take(half);
        stream::iter(
            first
                .chain([Err(injected(Operation::List, &key))])
                .collect::<Vec<_>>(),
        )
    };
    half.flatten_stream().boxed()
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    faults: FaultStore,
    key: String,
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (faults, key, part) = (
            self.faults.clone(),
            self.key.clone(),
            self.inner.put_part(data),
        );
        async move { faults.strike(Operation::Multipart, &key, part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Self { inner, faults, key } = self;
        faults
            .strike(Operation::Multipart, key, inner.complete())
            .await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
