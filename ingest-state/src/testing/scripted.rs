//! Every order of the calls of a few actors, and every fault and death at each of them.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;

use crate::error::StoreError;
use crate::memory::MemoryStore;
use crate::store::{Created, Listed, LogStore, Object, ObjectHead};

/// A write, as it waits for its turn or as a killed actor left it behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Write {
    /// Create if absent.
    Create(String, Bytes),
    /// Create or replace.
    Overwrite(String, Bytes),
    /// Remove.
    Delete(String),
}

impl Write {
    async fn apply(self, store: &MemoryStore) -> Result<Created, StoreError> {
        match self {
            Self::Create(key, body) => store.create(&key, body).await,
            Self::Overwrite(key, body) => store.overwrite(&key, body).await.map(done),
            Self::Delete(key) => store.delete(&key).await.map(done),
        }
    }
}

fn done((): ()) -> Created {
    Created::Created
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It takes effect and is answered.
    Works,
    /// It takes effect, the answer is lost.
    AnswerLost,
    /// It has no effect, and the error leaves that open.
    Fails,
}

/// One move of the exploration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// Lets the waiting call of this actor go on.
    Let(usize, Step),
    /// Kills the actor; a write of its that waits may take effect later, or never.
    Kill(usize),
    /// A write of a killed actor takes effect now, in the order of their deaths.
    Zombie(usize),
}

/// The calls of an actor that wait, in their order, and what was decided about the first.
#[derive(Debug, Default)]
struct Gate {
    waiting: VecDeque<(u64, Option<Write>)>,
    decided: Option<(u64, Step)>,
    calls: u64,
    /// Of the calls that wait: an actor may make several at once.
    wakers: Vec<Waker>,
    /// What the actor has been told, which with its code determines what it does.
    told: u64,
}

/// A call that waits; gone from the gate when it is answered or given up.
struct Waiting<'a> {
    gate: &'a Mutex<Gate>,
    call: u64,
}

impl<'a> Waiting<'a> {
    fn at(gate: &'a Mutex<Gate>, write: Option<Write>) -> Self {
        let mut held = locked(gate);
        held.calls += 1;
        let call = held.calls;
        held.waiting.push_back((call, write));
        Self { gate, call }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Step> {
        let mut gate = locked(self.gate);
        match gate.decided {
            Some((call, step)) if call == self.call => {
                gate.decided = None;
                Poll::Ready(step)
            }
            _ => {
                gate.wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let call = self.call;
        locked(self.gate)
            .waiting
            .retain(|(other, _)| *other != call);
    }
}

/// The store of one actor: the shared objects, each call waiting for the exploration's decision.
#[derive(Clone)]
pub struct ScriptedStore {
    objects: MemoryStore,
    gate: Arc<Mutex<Gate>>,
    careless: bool,
    gate_ranges: bool,
    free: fn(&str) -> bool,
}

impl fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedStore").finish_non_exhaustive()
    }
}

impl ScriptedStore {
    /// The same, but reads of keys (and listings of prefixes) that are `free` do not wait for
    /// their turn: they come together with the call before. For what the check is not about.
    #[must_use]
    pub fn with_free_reads(mut self, free: fn(&str) -> bool) -> Self {
        self.free = free;
        self
    }

    /// Reads `key`, when it is its turn.
    async fn read<T: fmt::Debug>(
        &self,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if (self.free)(key) {
            return call.await;
        }
        self.pass(None, call).await
    }

    /// Waits for the decision about a call, then makes it as decided.
    async fn pass<T: fmt::Debug>(
        &self,
        write: Option<Write>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let waiting = Waiting::at(&self.gate, write);
        let step = std::future::poll_fn(|context| waiting.poll(context)).await;
        drop(waiting);
        let answer = match step {
            Step::Works => call.await,
            Step::AnswerLost => call.await.and_then(|_| Err(lost())),
            Step::Fails => Err(lost()),
        };
        let mut gate = locked(&self.gate);
        let mut hasher = DefaultHasher::new();
        (gate.told, format!("{answer:?}")).hash(&mut hasher);
        gate.told = hasher.finish();
        answer
    }

    async fn write(&self, write: Write) -> Result<Created, StoreError> {
        let write = match write {
            Write::Create(key, body) if self.careless => Write::Overwrite(key, body),
            write => write,
        };
        self.pass(Some(write.clone()), write.apply(&self.objects))
            .await
    }
}

fn locked(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost() -> StoreError {
    StoreError::Failed {
        operation: "any",
        key: String::new(),
        transient: true,
        not_applied: false,
        source: "decided".into(),
    }
}

#[async_trait]
impl LogStore for ScriptedStore {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        self.write(Write::Create(key.to_owned(), body)).await
    }

    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.write(Write::Overwrite(key.to_owned(), body))
            .await
            .map(drop)
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.read(key, self.objects.get(key)).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError> {
        self.read(key, self.objects.head(key)).await
    }

    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError> {
        if !self.gate_ranges {
            return self.objects.get_range(object, range).await;
        }
        self.read(&object.key, self.objects.get_range(object, range))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.read(prefix, self.objects.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.write(Write::Delete(key.to_owned())).await.map(drop)
    }
}

/// What an actor does with its store; whether it says that it succeeded.
///
/// It waits for nothing but its store, and does the same whenever it is told the same: fixed time
/// and nonces ([`Fixed`](super::Fixed)), no threads, no timers.
pub type Actor = Pin<Box<dyn Future<Output = bool>>>;

/// What must hold of the objects, given which actors said that they succeeded.
pub type Invariant<'a> = dyn Fn(&MemoryStore, &[bool]) -> Result<(), String> + 'a;

/// A few actors over one store, what may befall them, and what must hold at any instant.
pub struct Scenario<'a> {
    /// How many actors there are.
    pub actors: usize,
    /// Makes actor `n` anew; called for each path that is tried.
    pub spawn: &'a dyn Fn(usize, ScriptedStore) -> Actor,
    /// What must hold at any instant.
    pub check: &'a Invariant<'a>,
    /// The objects at the start.
    pub objects: MemoryStore,
    /// How many faults and deaths there are at most, all in all.
    pub faults: usize,
    /// A planted mistake: a create replaces.
    pub careless: bool,
    /// Whether ranged reads wait for their turn too. Not needed where what is read that way never
    /// changes.
    pub gate_ranges: bool,
}

impl fmt::Debug for Scenario<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("actors", &self.actors)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// How far an exploration went, all of it fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Ends, by how many actors succeeded. A check is worth something only if in some all did.
    pub ends: BTreeMap<usize, usize>,
}

/// The moves to a state that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The moves, in order.
    pub path: Vec<Move>,
    /// What is wrong, as the check said it.
    pub what: String,
}

impl Scenario<'_> {
    /// Tries every order of the calls, and at each that it works, that it takes effect but the
    /// answer is lost, that it fails, or that the actor is killed and its write takes effect now,
    /// later or never. A state that was seen before (same objects, same answers to each actor) is
    /// not tried again.
    ///
    /// An actor that is killed while it reads is one that makes no further move, and every state
    /// is checked as one in which nobody moves on: such deaths are among the orders, and cost no
    /// fault.
    ///
    /// # Errors
    /// The first state that the check refuses, and how it came about.
    pub fn explore(&self) -> Result<Explored, Wrong> {
        let mut seen = HashSet::new();
        let mut checked = HashSet::new();
        let mut pending = vec![Vec::new()];
        let mut ends = BTreeMap::new();
        while let Some(mut path) = pending.pop() {
            let mut world = World::new(self);
            path.iter().for_each(|step| world.make(*step));
            // One of the moves is made at once; the others start anew, since nothing can be undone.
            loop {
                let left = self.faults.saturating_sub(spent(&path));
                if !seen.insert(world.fingerprint(left)) {
                    break;
                }
                if checked.insert(world.visible()) {
                    let result = (self.check)(&world.objects, &world.succeeded);
                    result.map_err(|what| Wrong {
                        path: path.clone(),
                        what,
                    })?;
                }
                let mut moves = world.moves(left);
                let Some(first) = moves.pop() else {
                    let succeeded = world.succeeded.iter().filter(|ok| **ok).count();
                    *ends.entry(succeeded).or_default() += 1;
                    break;
                };
                pending.extend(moves.into_iter().map(|step| {
                    let mut other = path.clone();
                    other.push(step);
                    other
                }));
                world.make(first);
                path.push(first);
            }
        }
        let states = seen.len();
        Ok(Explored { states, ends })
    }
}

/// Faults and deaths on a path.
fn spent(path: &[Move]) -> usize {
    let free = |step: &&Move| matches!(step, Move::Let(_, Step::Works) | Move::Zombie(_));
    path.iter().filter(|step| !free(step)).count()
}

/// The actors, as far as a path has brought them.
struct World {
    objects: MemoryStore,
    gates: Vec<Arc<Mutex<Gate>>>,
    actors: Vec<Option<Actor>>,
    succeeded: Vec<bool>,
    limbo: Vec<Write>,
}

impl World {
    fn new(scenario: &Scenario<'_>) -> Self {
        let mut world = Self {
            objects: scenario.objects.fork(),
            gates: Vec::new(),
            actors: Vec::new(),
            succeeded: vec![false; scenario.actors],
            limbo: Vec::new(),
        };
        for at in 0..scenario.actors {
            let gate = Arc::new(Mutex::new(Gate::default()));
            let store = ScriptedStore {
                objects: world.objects.clone(),
                gate: gate.clone(),
                careless: scenario.careless,
                gate_ranges: scenario.gate_ranges,
                free: |_| false,
            };
            world.gates.push(gate);
            world.actors.push(Some((scenario.spawn)(at, store)));
            world.poll(at);
        }
        world
    }

    /// Runs an actor up to its next call.
    fn poll(&mut self, at: usize) {
        let Some(actor) = &mut self.actors[at] else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(ok) = actor.as_mut().poll(&mut context) {
            self.succeeded[at] = ok;
            self.actors[at] = None;
            locked(&self.gates[at]).waiting.clear();
        }
    }

    fn make(&mut self, step: Move) {
        match step {
            Move::Let(at, step) => {
                let mut gate = locked(&self.gates[at]);
                let first = gate.waiting.pop_front();
                gate.decided = first.map(|(call, _)| (call, step));
                let wakers = std::mem::take(&mut gate.wakers);
                drop(gate);
                wakers.iter().for_each(Waker::wake_by_ref);
                self.poll(at);
            }
            Move::Kill(at) => {
                let waiting = std::mem::take(&mut locked(&self.gates[at]).waiting);
                self.limbo
                    .extend(waiting.into_iter().filter_map(|(_, write)| write));
                self.actors[at] = None;
            }
            Move::Zombie(at) => {
                // Nobody is left to hear the answer.
                let _ = self.limbo.remove(at).apply(&self.objects).now_or_never();
            }
        }
    }

    /// The moves that are possible; faults and kills only while there are some left.
    fn moves(&self, faults: usize) -> Vec<Move> {
        let mut moves = Vec::new();
        for (at, gate) in self.gates.iter().enumerate() {
            let gate = locked(gate);
            let Some((_, call)) = gate.waiting.front() else {
                continue;
            };
            moves.push(Move::Let(at, Step::Works));
            if faults > 0 {
                moves.push(Move::Let(at, Step::Fails));
                if call.is_some() {
                    moves.push(Move::Let(at, Step::AnswerLost));
                    moves.push(Move::Kill(at));
                }
            }
        }
        moves.extend((0..self.limbo.len()).map(Move::Zombie));
        moves
    }

    /// What the check looks at.
    fn visible(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.objects.dump(), &self.succeeded).hash(&mut hasher);
        hasher.finish()
    }

    /// What tells this state from others, as far as the future goes.
    fn fingerprint(&self, faults: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.objects.dump(), &self.limbo, &self.succeeded, faults).hash(&mut hasher);
        for (gate, actor) in self.gates.iter().zip(&self.actors) {
            (locked(gate).told, actor.is_some()).hash(&mut hasher);
        }
        hasher.finish()
    }
}
