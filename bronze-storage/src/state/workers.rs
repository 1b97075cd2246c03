//! Threads that encode the columns of a row group, and the memory that they share.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use parquet::arrow::arrow_writer::ArrowColumnChunk;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
        work: Arc<Work>,
        inflate: Inflate,
    },
    Threads {
        work: Arc<Work>,
        encoded: UnboundedReceiver<(usize, Encoded)>,
        /// What came before its turn.
        early: BTreeMap<usize, Encoded>,
        threads: Vec<JoinHandle<()>>,
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
    /// Starts to encode the rows of `chains`. Where there is no runtime, no thread to be had, or
    /// little to do, that is done by whoever asks for the pieces.
    ///
    /// The threads are none of the runtime's: they wait until a piece is written, and a local
    /// store needs one of those to write it.
    pub(crate) fn start(self, encoder: &Arc<Encoder>, chains: Chains) -> Pieces {
        let weights = encoder.weights(&chains);
        let count = weights.len();
        let is_worth_it = Handle::try_current().is_ok() && chains.bytes() >= SMALL_BYTES;
        let work = Arc::new(Work {
            encoder: encoder.clone(),
            chains,
            weights,
            bytes: self.bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (sender, encoded) = unbounded_channel();
        let wanted = self.threads.min(self.bytes / ENCODER_BYTES).min(count);
        // They end with the row group, so that the allocator gives the next ones what it had given
        // them.
        let start = |_| {
            let (work, sender) = (work.clone(), sender.clone());
            thread::Builder::new()
                .name("merge".to_owned())
                .spawn(move || work.work(&sender))
                .ok()
        };
        let threads: Vec<JoinHandle<()>> = if is_worth_it {
            (0..wanted.max(1)).filter_map(start).collect()
        } else {
            Vec::new()
        };
        let kind = if threads.is_empty() {
            let inflate = Inflate::default();
            Kind::Here { work, inflate }
        } else {
            let early = BTreeMap::new();
            Kind::Threads {
                work,
                encoded,
                early,
                threads,
            }
        };
        Pieces {
            next: 0,
            count,
            kind,
        }
    }
}

impl Work {
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
            Kind::Here { work, inflate } => {
                let chunks = work.encoder.encode(&work.chains, piece, inflate);
                chunks.map(Some)
            }
            Kind::Threads {
                encoded,
                early,
                threads,
                ..
            } => loop {
                if let Some(chunks) = early.remove(&piece) {
                    return chunks.map(Some);
                }
                match encoded.recv().await {
                    Some((piece, chunks)) => drop(early.insert(piece, chunks)),
                    None => return Err(lost(std::mem::take(threads))),
                }
            },
        }
    }
}

/// Why the threads, which have all ended, did so before all was encoded.
fn lost(threads: Vec<JoinHandle<()>>) -> MergeError {
    let panicked = threads.into_iter().find_map(|thread| thread.join().err());
    let text = match &panicked {
        Some(panic) => panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a thread panicked"),
        None => "a column was not encoded",
    };
    unwritable("merge", text)
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Kind::Threads { work, .. } = &self.kind {
            work.stop();
        }
    }
}
