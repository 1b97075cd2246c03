//! Conformance functions and fault-injecting wrappers, for the tests of implementors (feature `test-util`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::{
    Checkpoint, CheckpointSink, DetailKey, DetailSource, Done, FacetRow, FailedFacet, FailureKind,
    Fetched, Finish, Finished, Meter, Outcome, Row, Saved, SinkError, Standing,
};

/// What a conformance function found wrong.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The contract is broken, in these words.
    #[error("contract broken: {0}")]
    Broken(String),
    /// The sink failed where it should not.
    #[error("sink failed")]
    Sink(#[from] SinkError),
}

fn ensure(holds: bool, what: impl Into<String>) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::Broken(what.into()))
    }
}

/// Checks the contract of [`CheckpointSink`] on an empty sink.
///
/// `key(n)` makes a valid key for each `n`, `facet(name)` the content of a facet that the sink can save. `facets` are the
/// source's names, at least one. Runs under paused time too.
///
/// # Errors
/// [`Violation`]: the first clause that does not hold.
pub async fn check_checkpoint_sink(
    sink: &dyn CheckpointSink,
    facets: &[&'static str],
    key: impl Fn(u32) -> DetailKey,
    fetched: impl Fn(&'static str) -> Fetched,
    at: chrono::DateTime<chrono::Utc>,
) -> Result<(), Violation> {
    let facet_row = |facet: &'static str, replaces| FacetRow {
        facet,
        fetched: fetched(facet),
        fetched_at: at,
        replaces,
    };
    let row = |n: u32, names: &[&'static str]| Row {
        key: key(n),
        facets: names.iter().map(|name| facet_row(name, false)).collect(),
    };
    let checkpoint = |rows: Vec<Row>| {
        Arc::new(Checkpoint {
            number: 1,
            rows,
            ..Checkpoint::default()
        })
    };
    let pending = |done: &dyn Done, n: u32, facet: &str| {
        matches!(
            done.standing(&key(n).key, facet, None),
            Standing::Pending | Standing::SetAside { .. }
        )
    };

    let done = sink.load().await?;
    ensure(
        facets.iter().all(|facet| pending(&*done, 0, facet)),
        "in an empty sink something is done",
    )?;
    drop(done);

    let first = checkpoint(vec![row(0, facets), row(1, &facets[..1])]);
    let saved = sink.save(Arc::clone(&first)).await?;
    ensure(
        !saved.key.is_empty() && saved.dropped == 0,
        "a first save says where it lies and drops nothing",
    )?;
    let done = sink.load().await?;
    ensure(
        facets.iter().all(|facet| !pending(&*done, 0, facet)),
        "a saved facet is not done",
    )?;
    ensure(!pending(&*done, 1, facets[0]), "a saved facet is not done")?;
    ensure(
        facets[1..].iter().all(|facet| pending(&*done, 1, facet)),
        "a facet is done that no row holds",
    )?;
    ensure(
        pending(&*done, 2, facets[0]),
        "a key is done that was never saved",
    )?;
    drop(done);

    let again = sink.save(first).await?;
    let offered = facets.len() as u64 + 1;
    ensure(
        again.dropped == offered,
        format!(
            "a save repeated drops {} of {offered} facets",
            again.dropped
        ),
    )?;

    let rest = sink
        .save(checkpoint(vec![row(1, facets), row(2, facets)]))
        .await?;
    ensure(
        rest.dropped == 1,
        format!(
            "a save drops {} facets instead of the one that is done",
            rest.dropped
        ),
    )?;
    let done = sink.load().await?;
    let all_done = (0..3).all(|n| facets.iter().all(|facet| !pending(&*done, n, facet)));
    ensure(all_done, "what goes beside a facet that is done is lost")?;
    drop(done);

    let failure = FailedFacet {
        key: key(3).key.to_string(),
        version: None,
        facet: facets[0].to_owned(),
        reason: "conformance".to_owned(),
        kind: FailureKind::Permanent,
        attempts: 1,
        runs: 1,
        payload: Some("{\"cut".to_owned()),
        at,
    };
    let (one, two) = (
        sink.quarantine(&failure).await?,
        sink.quarantine(&failure).await?,
    );
    ensure(
        !one.is_empty() && !two.is_empty(),
        "the quarantine does not say where a failure lies",
    )?;
    let done = sink.load().await?;
    ensure(pending(&*done, 3, facets[0]), "a failed facet is done")?;
    drop(done);

    let finish = Finish {
        outcome: Outcome::Partial,
        complete: false,
        saved_rows: 3,
        last_checkpoint: None,
        at,
    };
    sink.finish(&finish).await?;
    sink.finish(&finish).await?;
    let done = sink.load().await?;
    ensure(
        (0..3).all(|n| !pending(&*done, n, facets[0])),
        "the end of a run loses something",
    )?;
    ensure(
        sink.peak_bytes(1_000) >= 1_000,
        "the peak of a save counts its bodies",
    )
}

/// Checks the contract of [`DetailSource`] as far as one key shows it: constant facets, each got whole and the same again.
///
/// # Errors
/// [`Violation`]: the first clause that does not hold, or the failure of a fetch in words.
pub async fn check_detail_source(
    source: &dyn DetailSource,
    key: &DetailKey,
) -> Result<(), Violation> {
    let facets = source.facets().to_vec();
    ensure(
        (1..=32).contains(&facets.len()),
        "a source has 1 to 32 facets",
    )?;
    for facet in &facets {
        let fetch = || async {
            let fetched = source.fetch(key, facet, &Meter::unlimited()).await;
            fetched.map_err(|failure| {
                Violation::Broken(format!("{facet} of {key} failed: {}", failure.reason))
            })
        };
        let (one, two) = (fetch().await?, fetch().await?);
        let same = match (&one, &two) {
            (Fetched::Present(one), Fetched::Present(two)) => {
                one.pages == two.pages && one.count == two.count
            }
            (one, two) => matches!((one, two), (Fetched::Gone(_), Fetched::Gone(_))),
        };
        ensure(
            same,
            format!("{facet} of {key} differs from one fetch to the next"),
        )?;
    }
    ensure(source.facets() == facets, "facets change")
}

/// When a [`FaultSink`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the call had any effect.
    Before,
    /// After it took effect: the answer is lost.
    After,
}

/// Fails the n-th of its calls, counted over all methods.
#[derive(Debug)]
pub struct FaultSink<S> {
    inner: S,
    fail_at: u64,
    when: When,
    transient: bool,
    calls: AtomicU64,
}

impl<S> FaultSink<S> {
    /// Fails call number `fail_at` (from 1).
    pub fn new(inner: S, fail_at: u64, when: When, transient: bool) -> Self {
        Self {
            inner,
            fail_at,
            when,
            transient,
            calls: AtomicU64::new(0),
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn fault(&self, operation: &'static str) -> Option<SinkError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let reason = format!("injected at call {call}");
        (call == self.fail_at).then(|| match self.transient {
            true => SinkError::transient(operation, reason),
            false => SinkError::permanent(operation, reason),
        })
    }
}

/// Fails before or after `call`, if it is due.
async fn with_fault<T>(
    fault: Option<SinkError>,
    when: When,
    call: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, SinkError> {
    match (fault, when) {
        (None, _) => call.await,
        (Some(error), When::Before) => Err(error),
        (Some(error), When::After) => call.await.and(Err(error)),
    }
}

#[async_trait]
impl<S: CheckpointSink> CheckpointSink for FaultSink<S> {
    async fn load(&self) -> Result<Box<dyn Done>, SinkError> {
        with_fault(self.fault("load"), self.when, self.inner.load()).await
    }

    async fn save(&self, checkpoint: Arc<Checkpoint>) -> Result<Saved, SinkError> {
        with_fault(self.fault("save"), self.when, self.inner.save(checkpoint)).await
    }

    fn peak_bytes(&self, body_bytes: u64) -> u64 {
        self.inner.peak_bytes(body_bytes)
    }

    async fn quarantine(&self, failure: &FailedFacet) -> Result<String, SinkError> {
        with_fault(
            self.fault("quarantine"),
            self.when,
            self.inner.quarantine(failure),
        )
        .await
    }

    async fn finish(&self, finish: &Finish) -> Result<Finished, SinkError> {
        with_fault(self.fault("finish"), self.when, self.inner.finish(finish)).await
    }
}
