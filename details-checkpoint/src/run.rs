//! One run: calls in flight, rows that wait, the checkpoint that is being saved.
//!
//! Everything happens in the caller's task, so that dropping the run stops all of it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::cut::{Pressure, cut_len};
use crate::meter::Ledger;
use crate::save::{SaveEnd, failed_facet, save_with_retries};
use crate::tally::Tally;
use crate::{
    Checkpoint, CheckpointMetrics, DetailKey, Error, Event, FacetRow, FailedFacet, FailureKind,
    FetchFailure, Fetched, Finish, Ingester, KeyList, Meter, Outcome, Plan, Progress, Report,
    Result, Row, SinkError, Started, StopReason,
};

/// A call that ended.
struct Answer {
    work: usize,
    facet: usize,
    ticket: u64,
    result: std::result::Result<Fetched, FetchFailure>,
}

/// A key of which some facets are still out.
struct Partial {
    key: Arc<DetailKey>,
    replaces: u32,
    missing: u32,
    got: Vec<FacetRow>,
    failed: bool,
    /// A facet was neither got nor given up: the key stays pending.
    abandoned: bool,
}

/// A failure that was set aside, or not.
struct Aside {
    failure: FailedFacet,
    result: std::result::Result<String, SinkError>,
}

enum Fatal {
    Save {
        number: u32,
        attempts: u32,
        source: SinkError,
    },
    Quarantine {
        failure: FailedFacet,
        source: SinkError,
    },
}

pub(crate) struct Run<'a, K> {
    ingester: &'a Ingester,
    keys: K,
    plan: Plan,
    started: Duration,
    ledger: Arc<Ledger>,
    /// The next key to start, and its facets that are started already.
    next: usize,
    next_started: u32,
    calls: FuturesUnordered<BoxFuture<'a, Answer>>,
    partials: BTreeMap<usize, Partial>,
    ready: VecDeque<Row>,
    saving: Option<BoxFuture<'a, SaveEnd>>,
    /// Facets that were asked for and are neither saved nor given up: what a kill would repeat.
    unsaved: usize,
    asides: FuturesUnordered<BoxFuture<'a, Aside>>,
    /// Counts down from the first row that waits.
    interval: Option<BoxFuture<'a, ()>>,
    interval_due: bool,
    stopping: Option<Outcome>,
    grace: Option<BoxFuture<'a, ()>>,
    fatal: Option<Fatal>,
    tally: Tally,
    last_cut: Duration,
}

/// What woke the run.
enum Wake {
    Answered(Answer),
    Saved(SaveEnd),
    SetAside(Aside),
    IntervalDue,
    GraceOver,
    Stop(StopReason),
    Stalled,
}

impl<'a, K: Borrow<KeyList> + Send> Run<'a, K> {
    pub(crate) fn new(ingester: &'a Ingester, keys: K, plan: Plan, started: Duration) -> Self {
        Self {
            tally: Tally::new(ingester.source.facets(), &plan),
            ledger: Ledger::new(ingester.options.memory_bytes),
            ingester,
            keys,
            plan,
            started,
            next: 0,
            next_started: 0,
            calls: FuturesUnordered::new(),
            partials: BTreeMap::new(),
            ready: VecDeque::new(),
            saving: None,
            unsaved: 0,
            asides: FuturesUnordered::new(),
            interval: None,
            interval_due: false,
            stopping: None,
            grace: None,
            fatal: None,
            last_cut: started,
        }
    }

    pub(crate) async fn drive(mut self, stop: impl Future<Output = ()> + Send) -> Result<Report> {
        self.announce();
        let clock = &self.ingester.clock;
        let deadline: BoxFuture<'a, ()> = match self.ingester.options.deadline {
            Some(deadline) => clock.sleep(deadline),
            None => Box::pin(std::future::pending()),
        };
        tokio::pin!(stop, deadline);
        loop {
            self.admit();
            self.cut_if_due();
            if self.is_idle() {
                break;
            }
            let stopping = self.stopping.is_some();
            let wake = tokio::select! {
                biased;
                Some(end) = maybe(&mut self.saving) => Wake::Saved(end),
                Some(aside) = self.asides.next(), if !self.asides.is_empty() => Wake::SetAside(aside),
                () = &mut stop, if !stopping => Wake::Stop(StopReason::Cancelled),
                () = &mut deadline, if !stopping => Wake::Stop(StopReason::Deadline),
                Some(()) = maybe(&mut self.grace) => Wake::GraceOver,
                Some(()) = maybe(&mut self.interval) => Wake::IntervalDue,
                Some(answer) = self.calls.next(), if !self.calls.is_empty() => Wake::Answered(answer),
                () = self.ledger.stalled.notified() => Wake::Stalled,
            };
            match wake {
                Wake::Answered(answer) => self.on_answer(answer),
                Wake::Saved(end) => self.on_saved(end),
                Wake::SetAside(aside) => self.on_aside(aside),
                Wake::IntervalDue => {
                    self.interval = None;
                    self.interval_due = true;
                }
                Wake::GraceOver => self.abandon_calls(),
                Wake::Stop(reason) => self.stop(Outcome::Stopped { reason }),
                // The next turn of the loop finds the calls that wait and cuts.
                Wake::Stalled => {}
            }
        }
        self.finish().await
    }

    fn announce(&self) {
        let options = &self.ingester.options;
        let started = Started {
            label: self.ingester.label.clone(),
            listed: self.plan.listed,
            planned: self.plan.work.len() as u64,
            already_done: self.plan.already_done,
            checkpoint_every: options.checkpoint_every,
            batch_size: options.batch_size,
            auto_resume: options.auto_resume,
            facets: self.ingester.source.facets().to_vec(),
        };
        self.emit(&Event::Started(&started));
    }

    fn emit(&self, event: &Event<'_>) {
        self.ingester.observer.on_event(event);
    }

    /// Starts calls while concurrency and bytes allow, key by key, facet by facet.
    fn admit(&mut self) {
        let concurrency = self.ingester.options.concurrency as usize;
        let sink = &self.ingester.sink;
        while self.stopping.is_none() && self.next < self.plan.work.len() {
            if self.calls.len() + self.asides.len() >= concurrency || self.is_far_enough_ahead() {
                return;
            }
            let Some(ticket) = self.ledger.try_admit(&|bytes| sink.peak_bytes(bytes)) else {
                return;
            };
            self.start_call(ticket);
        }
    }

    /// Whether no call may start before the checkpoint that is being saved is safe.
    ///
    /// Fetching goes on during a save, but what a kill would repeat stays within one checkpoint and two calls for each
    /// place of `concurrency`: the one under way and the one after it. So a save that takes no longer than a call
    /// leaves no place empty, and one that takes longer makes fetching wait for it.
    fn is_far_enough_ahead(&self) -> bool {
        let options = &self.ingester.options;
        let every = options.checkpoint_every as usize;
        let rows_are_enough =
            self.next_started == 0 && self.ready.len() + self.partials.len() >= every;
        let checkpoint = every.saturating_mul(self.facets_wanted());
        let unsaved_is_enough = self.unsaved >= checkpoint + 2 * options.concurrency as usize;
        self.saving.is_some() && (rows_are_enough || unsaved_is_enough)
    }

    fn facets_wanted(&self) -> usize {
        match self.ingester.options.only.len() {
            0 => self.ingester.source.facets().len(),
            only => only,
        }
    }

    fn start_call(&mut self, ticket: u64) {
        let at = self.next;
        let work = self.plan.work[at];
        let facet = (work.facets & !self.next_started).trailing_zeros() as usize;
        self.next_started |= 1 << facet;
        if self.next_started == work.facets {
            self.next += 1;
            self.next_started = 0;
        }
        let keys = self.keys.borrow();
        let partial = self.partials.entry(at).or_insert_with(|| Partial {
            key: Arc::new(
                keys.get(work.index as usize)
                    .map_or_else(|| DetailKey::new(""), crate::Candidate::to_owned_key),
            ),
            replaces: work.replaces,
            missing: work.facets,
            got: Vec::with_capacity(work.facets.count_ones() as usize),
            failed: false,
            abandoned: false,
        });
        let key = Arc::clone(&partial.key);
        let source = &self.ingester.source;
        let name = source.facets()[facet];
        let meter = Meter::of(Arc::clone(&self.ledger), ticket);
        self.unsaved += 1;
        self.calls.push(Box::pin(async move {
            let result = source.fetch(&key, name, &meter).await;
            Answer {
                work: at,
                facet,
                ticket,
                result,
            }
        }));
    }

    fn on_answer(&mut self, answer: Answer) {
        let now = self.ingester.clock.now();
        let name = self.ingester.source.facets()[answer.facet];
        let Some(partial) = self.partials.get_mut(&answer.work) else {
            return;
        };
        partial.missing &= !(1 << answer.facet);
        match answer.result {
            Ok(fetched) => {
                self.tally.call(fetched.stats());
                let fetched_at = match &fetched {
                    Fetched::Present(payload) => payload.fetched_at.unwrap_or(now),
                    Fetched::Gone(_) => now,
                };
                let replaces = partial.replaces & 1 << answer.facet != 0;
                let row = FacetRow {
                    facet: name,
                    fetched,
                    fetched_at,
                    replaces,
                };
                self.ledger.arrived(answer.ticket, row.size_bytes());
                partial.got.push(row);
            }
            Err(failure) => {
                self.unsaved -= 1;
                self.tally.call(failure.stats);
                self.ledger.arrived(answer.ticket, 0);
                if let FailureKind::Deferred { until } = failure.kind {
                    partial.abandoned = true;
                    self.stop(Outcome::Deferred { until });
                } else {
                    partial.failed = true;
                    let failure = failed_facet(&partial.key, name, failure, now);
                    self.set_aside(failure, answer.facet);
                }
            }
        }
        if self
            .partials
            .get(&answer.work)
            .is_some_and(|partial| partial.missing == 0)
        {
            self.assemble(answer.work);
        }
    }

    fn set_aside(&mut self, failure: FailedFacet, facet: usize) {
        self.tally.facet_failed(facet);
        let sink = &self.ingester.sink;
        self.asides.push(Box::pin(async move {
            let result = sink.quarantine(&failure).await;
            Aside { failure, result }
        }));
    }

    /// All facets of a key that will come have come: what was got becomes a row.
    fn assemble(&mut self, work: usize) {
        let Some(mut partial) = self.partials.remove(&work) else {
            return;
        };
        let facets = self.ingester.source.facets();
        partial
            .got
            .sort_by_key(|row| facets.iter().position(|facet| *facet == row.facet));
        let held = partial.got.iter().map(FacetRow::size_bytes).sum();
        if !partial.abandoned {
            self.tally.key_through(partial.failed);
            let elapsed = self.elapsed();
            self.emit(&Event::Progress(Progress {
                done: self.tally.through,
                planned: self.tally.planned,
                failed: self.tally.failed,
                elapsed,
            }));
        }
        if !partial.got.is_empty() {
            let key = Arc::try_unwrap(partial.key).unwrap_or_else(|shared| (*shared).clone());
            let row = Row {
                key,
                facets: partial.got,
            };
            self.ledger.assembled(held, row.size_bytes());
            self.ready.push_back(row);
            self.arm_interval();
        }
        if self.tally.exceeds(&self.ingester.options) {
            self.stop(Outcome::Failed);
        }
    }

    fn arm_interval(&mut self) {
        if self.interval.is_none() && !self.interval_due {
            self.interval = self.ingester.options.checkpoint_interval.map(|every| {
                let clock: &'a dyn crate::Clock = &*self.ingester.clock;
                clock.sleep(every)
            });
        }
    }

    /// Starts a save if one is due and none is under way.
    fn cut_if_due(&mut self) {
        if self.saving.is_some() || self.ready.is_empty() || self.fatal.is_some() {
            return;
        }
        let options = &self.ingester.options;
        let nothing_in_flight = self.calls.is_empty();
        let due = self.interval_due || self.ledger.is_stalled() || nothing_in_flight;
        let pressure = if due { Pressure::Due } else { Pressure::None };
        let sizes = self.ready.iter().map(Row::size_bytes);
        let rows = cut_len(
            sizes,
            options.checkpoint_every,
            options.checkpoint_bytes,
            pressure,
        );
        if rows > 0 {
            self.save(rows);
        }
    }

    fn save(&mut self, rows: usize) {
        let ingester = self.ingester;
        let by_count = rows == ingester.options.checkpoint_every as usize;
        let rows: Vec<Row> = self.ready.drain(..rows).collect();
        let body_bytes = rows.iter().map(Row::size_bytes).sum();
        self.ledger
            .cut(body_bytes, ingester.sink.peak_bytes(body_bytes));
        self.interval_due = false;
        self.interval = None;
        if !self.ready.is_empty() {
            self.arm_interval();
        }
        let nothing_more =
            self.calls.is_empty() && (self.next >= self.plan.work.len() || self.stopping.is_some());
        let is_final = !by_count && nothing_more && self.ready.is_empty();
        let now = ingester.clock.elapsed();
        let fetch = now.saturating_sub(std::mem::replace(&mut self.last_cut, now));
        let metrics = self
            .tally
            .checkpoint(&rows, body_bytes, fetch, self.ledger.held());
        let checkpoint = Arc::new(Checkpoint {
            number: metrics.number,
            rows,
            metrics,
            previous: self.tally.last_checkpoint().cloned(),
        });
        self.saving = Some(Box::pin(save_with_retries(ingester, checkpoint, is_final)));
    }

    fn on_saved(&mut self, end: SaveEnd) {
        self.saving = None;
        self.ledger.saved();
        let number = end.checkpoint.number;
        match end.result {
            Ok(saved) => {
                let rows = &end.checkpoint.rows;
                self.unsaved -= rows.iter().map(|row| row.facets.len()).sum::<usize>();
                let metrics = CheckpointMetrics {
                    saved_bytes: saved.bytes,
                    encode: saved.encode,
                    commit: saved.commit,
                    save: end.took,
                    save_attempts: end.attempts,
                    key: saved.key,
                    ..end.checkpoint.metrics.clone()
                };
                let elapsed = self.elapsed();
                let event = self.tally.saved(rows, metrics, end.is_final, elapsed);
                self.emit(&Event::CheckpointSaved(&event));
            }
            Err(source) => self.die(Fatal::Save {
                number,
                attempts: end.attempts,
                source,
            }),
        }
    }

    fn on_aside(&mut self, aside: Aside) {
        match aside.result {
            Ok(at) => self.emit(&Event::Failed {
                failure: &aside.failure,
                quarantined_at: &at,
            }),
            Err(source) => self.die(Fatal::Quarantine {
                failure: aside.failure,
                source,
            }),
        }
    }

    /// No more calls; those in flight have the grace time.
    fn stop(&mut self, outcome: Outcome) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(outcome);
        let in_flight = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.emit(&Event::Stopping { outcome, in_flight });
        let clock: &'a dyn crate::Clock = &*self.ingester.clock;
        self.grace = Some(clock.sleep(self.ingester.options.grace));
        self.release_unstarted();
    }

    /// A key of which only some facets were started waits no longer for the others.
    fn release_unstarted(&mut self) {
        if self.next_started == 0 {
            return;
        }
        let at = self.next;
        let unstarted = self.plan.work[at].facets & !self.next_started;
        let Some(partial) = self.partials.get_mut(&at) else {
            return;
        };
        partial.missing &= !unstarted;
        partial.abandoned = true;
        if partial.missing == 0 {
            self.assemble(at);
        }
    }

    /// Drops the calls in flight and keeps the facets that arrived.
    fn abandon_calls(&mut self) {
        self.grace = None;
        self.unsaved -= self.calls.len();
        self.calls.clear();
        self.ledger.abandoned();
        for work in self.partials.keys().copied().collect::<Vec<_>>() {
            if let Some(partial) = self.partials.get_mut(&work) {
                partial.abandoned = true;
            }
            self.assemble(work);
        }
    }

    /// The sink does not take any more: nothing is fetched in vain.
    fn die(&mut self, fatal: Fatal) {
        if self.fatal.is_none() {
            self.fatal = Some(fatal);
        }
        self.stopping.get_or_insert(Outcome::Failed);
        self.abandon_calls();
    }

    fn is_idle(&self) -> bool {
        let started_all = self.stopping.is_some() || self.next >= self.plan.work.len();
        let saved_all = self.saving.is_none() && (self.ready.is_empty() || self.fatal.is_some());
        started_all && saved_all && self.calls.is_empty() && self.asides.is_empty()
    }

    fn elapsed(&self) -> Duration {
        self.ingester.clock.elapsed().saturating_sub(self.started)
    }

    async fn finish(mut self) -> Result<Report> {
        let elapsed = self.elapsed();
        let outcome = self.tally.outcome(self.stopping, &self.ingester.options);
        let complete = self.plan.outside == 0
            && self.plan.set_aside == 0
            && self.tally.left() == 0
            && self.tally.failed == 0;
        let mut report = self
            .tally
            .report(outcome, complete, elapsed, self.ledger.peak());
        match self.fatal.take() {
            Some(Fatal::Save {
                number,
                attempts,
                source,
            }) => {
                return Err(Error::Save {
                    number,
                    attempts,
                    report: Box::new(report),
                    source,
                });
            }
            Some(Fatal::Quarantine { failure, source }) => {
                let FailedFacet { key, facet, .. } = failure;
                return Err(Error::Quarantine {
                    key,
                    facet,
                    report: Box::new(report),
                    source,
                });
            }
            None => {}
        }
        let finish = Finish {
            outcome,
            complete,
            saved_rows: report.processed,
            last_checkpoint: report.checkpoints.last().cloned(),
            at: self.ingester.clock.now(),
        };
        // What the run held is not needed any more, and the sink may have a merge before it.
        let (ingester, started) = (self.ingester, self.started);
        drop(self);
        match ingester.sink.finish(&finish).await {
            Ok(finished) => report.finished = finished,
            Err(source) => {
                return Err(Error::Finish {
                    report: Box::new(report),
                    source,
                });
            }
        }
        report.elapsed = ingester.clock.elapsed().saturating_sub(started);
        ingester.observer.on_event(&Event::Finished(&report));
        Ok(report)
    }
}

/// What the future gives, if there is one; the slot is emptied by whoever handles it.
async fn maybe<T>(slot: &mut Option<BoxFuture<'_, T>>) -> Option<T> {
    match slot {
        Some(future) => Some(future.await),
        None => std::future::pending().await,
    }
}
