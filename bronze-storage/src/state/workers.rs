//! Threads that encode the columns of a row group, and the memory that they share.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use parquet::arrow::arrow_writer::ArrowColumnChunk;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::chains::{Chains, ENCODER_BYTES, unwritable};
use super::encoder::Encoder;
use super::merge_error::MergeError;
use super::pages::Inflate;

/// A row group that takes less is encoded where it is: a few milliseconds.
const SMALL_BYTES: usize = 64 * 1024;

/// How many columns are encoded at once, and within how many bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workers {
    /// Threads at most; fewer where there is no room for what each holds.
    pub(crate) threads: usize,
    /// What they hold together at most, but for a column that does not do with it: it is encoded
    /// alone.
    pub(crate) bytes: usize,
}

/// The column chunks of a piece.
type Encoded = Result<Vec<ArrowColumnChunk>, MergeError>;

/// A row group whose columns are being encoded. Whoever drops it stops its threads.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// The next piece to be handed out.
    next: usize,
    count: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Here {
        encoder: Arc<Encoder>,
        chains: Chains,
        inflate: Inflate,
    },
    Threads {
        work: Arc<Work>,
        encoded: UnboundedReceiver<(usize, Encoded)>,
        /// What came before its turn.
        early: BTreeMap<usize, Encoded>,
        coordinator: JoinHandle<()>,
    },
}

/// What the threads share.
#[derive(Debug)]
struct Work {
    encoder: Arc<Encoder>,
    chains: Chains,
    weights: Vec<usize>,
    bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The next piece to be encoded.
    next: usize,
    /// What those weigh that are being encoded, or wait to be written.
    held: usize,
    stopped: bool,
}

impl Workers {
    /// Starts to encode the rows of `chains`. Where there is no runtime, or little to do, that
    /// is done by whoever asks for the pieces.
    pub(crate) fn start(self, encoder: &Arc<Encoder>, chains: Chains) -> Pieces {
        let encoder = encoder.clone();
        let weights = encoder.weights(&chains);
        let count = weights.len();
        let runtime = Handle::try_current().ok();
        let Some(runtime) = runtime.filter(|_| chains.bytes() >= SMALL_BYTES) else {
            let inflate = Inflate::default();
            let kind = Kind::Here {
                encoder,
                chains,
                inflate,
            };
            return Pieces {
                next: 0,
                count,
                kind,
            };
        };
        let work = Arc::new(Work {
            encoder,
            chains,
            weights,
            bytes: self.bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (sender, encoded) = unbounded_channel();
        let shared = work.clone();
        let threads = self.threads.min(self.bytes / ENCODER_BYTES).min(count);
        let coordinator = runtime.spawn_blocking(move || shared.run(threads, &sender));
        let early = BTreeMap::new();
        let kind = Kind::Threads {
            work,
            encoded,
            early,
            coordinator,
        };
        Pieces {
            next: 0,
            count,
            kind,
        }
    }
}

impl Work {
    /// Encodes all pieces on `threads` threads. They end with the row group, so that the
    /// allocator gives the next ones what it had given them.
    fn run(&self, threads: usize, encoded: &UnboundedSender<(usize, Encoded)>) {
        thread::scope(|scope| {
            let mut started = 0;
            for _ in 0..threads.max(1) {
                let work = || self.work(encoded);
                started += usize::from(thread::Builder::new().spawn_scoped(scope, work).is_ok());
            }
            if started == 0 {
                self.work(encoded);
            }
        });
    }

    /// Encodes pieces until there are none left.
    fn work(&self, encoded: &UnboundedSender<(usize, Encoded)>) {
        let _stop = Stop(self);
        let inflate = Inflate::default();
        while let Some(piece) = self.take() {
            let chunks = self.encoder.encode(&self.chains, piece, &inflate);
            let failed = chunks.is_err();
            if encoded.send((piece, chunks)).is_err() || failed {
                return;
            }
        }
    }

    /// The next piece to be encoded, when there is room for it.
    fn take(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            let piece = state.next;
            let weight = *self.weights.get(piece).filter(|_| !state.stopped)?;
            if state.held == 0 || state.held.saturating_add(weight) <= self.bytes {
                state.next += 1;
                state.held = state.held.saturating_add(weight);
                return Some(piece);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes room for others: a piece was written.
    fn release(&self, piece: usize) {
        self.lock().held -= self.weights[piece];
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a thread ends there is nothing left to do, or, if it panicked or failed, no use in more.
struct Stop<'a>(&'a Work);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Pieces {
    /// The next column chunks of the row group, in their order; the ones before count as written.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<ArrowColumnChunk>>, MergeError> {
        let piece = self.next;
        if let (Kind::Threads { work, .. }, Some(before)) = (&self.kind, piece.checked_sub(1)) {
            work.release(before);
        }
        if piece == self.count {
            return Ok(None);
        }
        self.next += 1;
        match &mut self.kind {
            Kind::Here {
                encoder,
                chains,
                inflate,
            } => encoder.encode(chains, piece, inflate).map(Some),
            Kind::Threads {
                encoded,
                early,
                coordinator,
                ..
            } => loop {
                if let Some(chunks) = early.remove(&piece) {
                    return chunks.map(Some);
                }
                match encoded.recv().await {
                    Some((piece, chunks)) => drop(early.insert(piece, chunks)),
                    None => return Err(lost(coordinator).await),
                }
            },
        }
    }
}

/// Why the threads ended before all was encoded.
async fn lost(coordinator: &mut JoinHandle<()>) -> MergeError {
    match coordinator.await {
        Err(error) => unwritable("merge", error),
        Ok(()) => unwritable("merge", "a column was not encoded"),
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Kind::Threads { work, .. } = &self.kind {
            work.stop();
        }
    }
}
