//! An explicit-state check of the real load, append and snapshot code.
//!
//! Two or three writers run over a store whose every call waits for the test. The test tries every
//! order of the calls, and at each call that it works, that it takes effect but the answer is
//! lost, that it fails, or that the writer is killed and its call takes effect now, later or
//! never. States that were seen before (same objects, same answers to each writer) are not tried
//! again. Planted mistakes show that the check would find them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use futures::FutureExt;
use ingest_state::testing::Fixed;
use ingest_state::{
    Created, EntryHead, EntryRows, Execution, FormatError, Id, IdList, IdRows, JsonEntries, Layout,
    Listed, Log, LogStore, MemoryStore, Object, ObjectHead, Scope, StoreError,
};

/// A call that waits, or what was decided about it.
#[derive(Debug, Default)]
struct Gate {
    waiting: Option<Call>,
    decided: Option<Step>,
    /// What the writer has been told, which with its code determines what it does.
    told: u64,
}

/// A call as far as the test must know it.
#[derive(Debug, Clone)]
enum Call {
    Read,
    Write {
        key: String,
        body: Bytes,
        create: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Works,
    /// It takes effect, the answer is lost.
    AnswerLost,
    /// It has no effect, and the error leaves that open.
    Fails,
}

/// One move of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Move {
    Let(usize, Step),
    /// The writer is killed; a write that waits may take effect later.
    Kill(usize),
    /// A write of a killed writer takes effect now.
    Zombie(usize),
}

/// The store of one writer: the shared objects behind a gate.
#[derive(Debug, Clone)]
struct Gated {
    objects: MemoryStore,
    gate: Arc<Mutex<Gate>>,
    /// A planted mistake: a create that replaces.
    careless: bool,
}

impl Gated {
    async fn pass<T: std::fmt::Debug>(
        &self,
        call: Call,
        act: impl AsyncFnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.gate.lock().unwrap().waiting = Some(call);
        let gate = self.gate.clone();
        let step = std::future::poll_fn(move |_| match gate.lock().unwrap().decided.take() {
            Some(step) => Poll::Ready(step),
            None => Poll::Pending,
        })
        .await;
        let lost = || StoreError::Failed {
            operation: "any",
            key: String::new(),
            transient: true,
            not_applied: false,
            source: "decided".into(),
        };
        let answer = match step {
            Step::Works => act().await,
            Step::AnswerLost => {
                act().await?;
                Err(lost())
            }
            Step::Fails => Err(lost()),
        };
        let mut gate = self.gate.lock().unwrap();
        let mut hasher = DefaultHasher::new();
        (gate.told, format!("{answer:?}")).hash(&mut hasher);
        gate.told = hasher.finish();
        answer
    }

    async fn put(&self, key: &str, body: Bytes, create: bool) -> Result<Created, StoreError> {
        let call = Call::Write {
            key: key.to_owned(),
            body: body.clone(),
            create,
        };
        self.pass(call, async || {
            apply(&self.objects, key, body, create && !self.careless)
        })
        .await
    }
}

fn apply(store: &MemoryStore, key: &str, body: Bytes, create: bool) -> Result<Created, StoreError> {
    if create {
        return store.create(key, body).now_or_never().unwrap();
    }
    store
        .overwrite(key, body)
        .now_or_never()
        .unwrap()
        .map(|()| Created::Created)
}

#[async_trait]
impl LogStore for Gated {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        self.put(key, body, true).await
    }
    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.put(key, body, false).await.map(drop)
    }
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.pass(Call::Read, async || {
            self.objects.get(key).now_or_never().unwrap()
        })
        .await
    }
    // A head followed by a read of the same object needs one gate only: entries never change, and
    // a write in between is another order of the moves.
    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError> {
        self.pass(Call::Read, async || {
            self.objects.head(key).now_or_never().unwrap()
        })
        .await
    }
    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.objects.get_range(object, range).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.pass(Call::Read, async || {
            self.objects.list(prefix).now_or_never().unwrap()
        })
        .await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.objects.delete(key).await
    }
}

/// A mistake that is planted to see whether the check finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The store ignores the condition of a create.
    CarelessCreate,
    /// All writers use the same nonce.
    SharedNonce,
    /// After a lost race, the rows that another took are offered again.
    KeepsTaken,
}

/// Rows that are encoded whole, whatever is to be kept.
struct Stubborn(IdRows<'static>);

impl EntryRows for Stubborn {
    fn ids(&self) -> &IdList {
        self.0.ids()
    }
    fn encode(&self, head: &EntryHead, _: &[bool]) -> Result<Bytes, FormatError> {
        let all = vec![true; self.0.ids().len()];
        let head = EntryHead {
            ids: all.len() as u64,
            ..head.clone()
        };
        self.0.encode(&head, &all)
    }
}

fn scope() -> Scope {
    Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
}

fn layout() -> Layout {
    Layout::json("pncp")
}

/// A writer: loads, appends its ids, ends its execution. Whether the append said `Ok`.
async fn writer(store: Gated, name: String, ids: &'static [&'static str], plant: Mistake) -> bool {
    let nonce = if plant == Mistake::SharedNonce {
        "same".to_owned()
    } else {
        name.clone()
    };
    let ambient = Arc::new(Fixed::new(nonce, DateTime::UNIX_EPOCH));
    let log = Log::new(Arc::new(store), Arc::new(JsonEntries), layout()).unwrap();
    let log = log.with_ambient(ambient);
    let Ok(mut day) = log.load(&scope()).await else {
        return false;
    };
    let list: IdList = ids
        .iter()
        .map(|id| Id {
            facet: 0,
            id,
            version: None,
        })
        .collect();
    let rows = IdRows::new(list, &JsonEntries, vec![""]);
    let execution = Execution::new(name);
    let appended = if plant == Mistake::KeepsTaken {
        day.append(&Stubborn(rows), &execution).await
    } else {
        day.append(&rows, &execution).await
    };
    let done = appended.is_ok();
    if done {
        // The snapshot may fail; the log is as it was.
        let _ = day.finish(&execution).await;
    }
    done
}

struct World {
    objects: MemoryStore,
    gates: Vec<Arc<Mutex<Gate>>>,
    writers: Vec<Option<Pin<Box<dyn Future<Output = bool>>>>>,
    said_ok: Vec<bool>,
    limbo: Vec<(String, Bytes, bool)>,
    careless: bool,
}

impl World {
    fn new(offers: &[&'static [&'static str]], plant: Mistake) -> Self {
        let objects = MemoryStore::new();
        let careless = plant == Mistake::CarelessCreate;
        let gates: Vec<_> = offers
            .iter()
            .map(|_| Arc::new(Mutex::new(Gate::default())))
            .collect();
        let writers = offers
            .iter()
            .zip(&gates)
            .enumerate()
            .map(|(at, (ids, gate))| {
                let store = Gated {
                    objects: objects.clone(),
                    gate: gate.clone(),
                    careless,
                };
                let run = writer(store, format!("w{at}"), ids, plant);
                Some(Box::pin(run) as Pin<Box<dyn Future<Output = bool>>>)
            });
        let writers = writers.collect();
        let said_ok = vec![false; offers.len()];
        let mut world = Self {
            objects,
            gates,
            writers,
            said_ok,
            limbo: Vec::new(),
            careless,
        };
        (0..offers.len()).for_each(|at| world.poll(at));
        world
    }

    /// Runs a writer up to its next call.
    fn poll(&mut self, at: usize) {
        let Some(run) = &mut self.writers[at] else {
            return;
        };
        if let Poll::Ready(ok) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            self.said_ok[at] = ok;
            self.writers[at] = None;
            self.gates[at].lock().unwrap().waiting = None;
        }
    }

    fn make(&mut self, step: Move) {
        match step {
            Move::Let(at, step) => {
                let mut gate = self.gates[at].lock().unwrap();
                gate.waiting = None;
                gate.decided = Some(step);
                drop(gate);
                self.poll(at);
            }
            Move::Kill(at) => {
                self.writers[at] = None;
                let call = self.gates[at].lock().unwrap().waiting.take();
                if let Some(Call::Write { key, body, create }) = call {
                    self.limbo.push((key, body, create));
                }
            }
            Move::Zombie(at) => {
                let (key, body, create) = self.limbo.remove(at);
                let _ = apply(&self.objects, &key, body, create && !self.careless);
            }
        }
    }

    /// The moves that are possible; faults and kills only while there are some left.
    fn moves(&self, faults: usize) -> Vec<Move> {
        let mut moves = Vec::new();
        for (at, gate) in self.gates.iter().enumerate() {
            let gate = gate.lock().unwrap();
            let Some(call) = &gate.waiting else { continue };
            moves.push(Move::Let(at, Step::Works));
            if faults > 0 {
                moves.push(Move::Let(at, Step::Fails));
                moves.push(Move::Kill(at));
                if matches!(call, Call::Write { .. }) {
                    moves.push(Move::Let(at, Step::AnswerLost));
                }
            }
        }
        moves.extend((0..self.limbo.len()).map(Move::Zombie));
        moves
    }

    /// What tells this state from others, as far as the future goes.
    fn fingerprint(&self, faults: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.objects.dump(), &self.limbo, &self.said_ok, faults).hash(&mut hasher);
        for (gate, run) in self.gates.iter().zip(&self.writers) {
            (gate.lock().unwrap().told, run.is_some()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What must hold at any instant.
    fn check(&self, offers: &[&[&str]]) -> Result<(), String> {
        let log = Log::new(
            Arc::new(self.objects.clone()),
            Arc::new(JsonEntries),
            layout(),
        );
        let report = log.unwrap().verify(&scope()).now_or_never().unwrap();
        let report = report.map_err(|error| format!("{error:?}"))?;
        if !report.is_sound() {
            return Err(format!("{:?}", report.findings));
        }
        let mut found = BTreeSet::new();
        for (key, bytes) in self.objects.dump() {
            if key.contains("_log/") {
                let entry: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let ids = entry["entries"].as_array().unwrap().iter();
                found.extend(ids.map(|line| line["id"].as_str().unwrap().to_owned()));
            }
        }
        for (offer, _) in offers.iter().zip(&self.said_ok).filter(|(_, ok)| **ok) {
            if let Some(lost) = offer.iter().find(|id| !found.contains(**id)) {
                return Err(format!("lost {lost}"));
            }
        }
        Ok(())
    }
}

/// Tries everything. How many states there were, or the moves to the first that is wrong.
fn explore(
    offers: &[&'static [&'static str]],
    faults: usize,
    plant: Mistake,
) -> Result<usize, (Vec<Move>, String)> {
    let mut seen = HashSet::new();
    let mut pending = vec![Vec::new()];
    let mut ends = BTreeMap::<usize, usize>::new();
    while let Some(path) = pending.pop() {
        let mut world = World::new(offers, plant);
        path.iter().for_each(|step| world.make(*step));
        let spent = path
            .iter()
            .filter(|step| !matches!(step, Move::Let(_, Step::Works) | Move::Zombie(_)));
        let left = faults - spent.count();
        if !seen.insert(world.fingerprint(left)) {
            continue;
        }
        world.check(offers).map_err(|wrong| (path.clone(), wrong))?;
        let moves = world.moves(left);
        if moves.is_empty() {
            *ends
                .entry(world.said_ok.iter().filter(|ok| **ok).count())
                .or_default() += 1;
        }
        for step in moves {
            let mut next = path.clone();
            next.push(step);
            pending.push(next);
        }
    }
    // The check is worth something only if writers got through in some of the ends.
    assert!(
        ends.get(&offers.len()).is_some_and(|count| *count > 0),
        "{ends:?}"
    );
    Ok(seen.len())
}

#[test]
fn two_writers_with_two_faults() {
    let states = explore(&[&["a", "b"], &["b", "c"]], 2, Mistake::None).unwrap();
    assert!(states > 2_000, "{states} states");
}

#[test]
fn three_writers_without_faults() {
    let states = explore(&[&["a", "b"], &["b", "c"], &["c", "a"]], 0, Mistake::None).unwrap();
    assert!(states > 2_000, "{states} states");
}

#[test]
fn planted_mistakes_are_found() {
    for plant in [
        Mistake::CarelessCreate,
        Mistake::SharedNonce,
        Mistake::KeepsTaken,
    ] {
        let (path, wrong) = explore(&[&["a", "b"], &["b", "c"]], 1, plant).unwrap_err();
        assert!(!path.is_empty() && !wrong.is_empty(), "{plant:?}");
    }
}
