//! What a caller builds and runs.

use std::borrow::Borrow;
use std::future::Future;
use std::sync::Arc;

use crate::run::Run;
use crate::{
    CheckpointSink, Clock, DetailSource, Error, KeyList, Observer, Options, Report, Result, Silent,
    SystemClock, Work,
};

/// Fetches what is pending of a list and saves it, checkpoint by checkpoint.
///
/// Can run any number of times, also at once with others on the same sink; each run loads anew what is done.
#[derive(Debug, Clone)]
pub struct Ingester {
    pub(crate) source: Arc<dyn DetailSource>,
    pub(crate) sink: Arc<dyn CheckpointSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) options: Options,
    pub(crate) label: String,
}

/// Joins the components of an [`Ingester`].
#[derive(Debug, Clone)]
pub struct IngesterBuilder {
    ingester: Ingester,
}

impl Ingester {
    /// An ingester from `source` into `sink`, with default options, the machine's clock, and nobody watching.
    pub fn builder(
        source: Arc<dyn DetailSource>,
        sink: Arc<dyn CheckpointSink>,
    ) -> IngesterBuilder {
        IngesterBuilder {
            ingester: Self {
                source,
                sink,
                clock: Arc::new(SystemClock::default()),
                observer: Arc::new(Silent),
                options: Options::default(),
                label: String::new(),
            },
        }
    }

    /// Fetches and saves what is pending of `keys`.
    ///
    /// # Returns
    /// What was done, and how the run ended: [`crate::Outcome`] tells partial, deferred and failed runs apart. All of
    /// these left what they saved intact.
    ///
    /// # Errors
    /// [`Error::Load`] before anything was asked; [`Error::Save`], [`Error::Quarantine`], [`Error::Finish`] with the
    /// report of what was saved before.
    ///
    /// # Cancellation
    /// Dropping the future at any await loses at most what was fetched since the last checkpoint; the next run fetches
    /// it again, and nothing is doubled. [`Ingester::run_until`] stops without losing anything.
    ///
    /// # Memory
    /// A list that is handed over (`run(keys)` instead of `run(&keys)`) is let go of before the sink's `finish`.
    pub async fn run(&self, keys: impl Borrow<KeyList> + Send) -> Result<Report> {
        self.run_until(keys, std::future::pending()).await
    }

    /// As [`Ingester::run`], until `stop` is ready: then no call is started any more, those in flight have
    /// [`Options::grace`] to end, and every facet that arrived is saved.
    ///
    /// # Errors
    /// As [`Ingester::run`].
    pub async fn run_until(
        &self,
        keys: impl Borrow<KeyList> + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Report> {
        let started = self.clock.elapsed();
        let done = self
            .sink
            .load()
            .await
            .map_err(|source| Error::Load { source })?;
        let list = keys.borrow();
        let now = self.clock.now();
        let mut plan = crate::pending(list, &*done, self.source.facets(), &self.options, now);
        drop(done);
        // Checkpoints then hold ranges of keys that hardly overlap: a merge of them has few open at once.
        if !list.is_strictly_sorted() {
            let by_key = |a: &Work, b: &Work| list.compare_keys(a.index as usize, b.index as usize);
            plan.work.sort_by(by_key);
        }
        Run::new(self, keys, plan, started).drive(stop).await
    }
}

impl IngesterBuilder {
    /// How to go about it.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.ingester.options = options;
        self
    }

    /// Whose time counts.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.ingester.clock = clock;
        self
    }

    /// Who watches.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.ingester.observer = observer;
        self
    }

    /// What the run is about, for people; the date, for a day's details.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.ingester.label = label.into();
        self
    }

    /// The ingester.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an option is out of range, names a facet that the source does not have, or the source has
    /// no facet or more than 32.
    pub fn build(self) -> Result<Ingester> {
        let Self { ingester } = self;
        ingester.options.validate()?;
        let facets = ingester.source.facets();
        if facets.is_empty() || facets.len() > 32 {
            return Err(Error::invalid(
                "facets",
                format!("a source has 1 to 32 facets, not {}", facets.len()),
            ));
        }
        if let Some(unknown) = ingester
            .options
            .only
            .iter()
            .find(|only| !facets.contains(&only.as_str()))
        {
            return Err(Error::invalid(
                "only",
                format!("no facet `{unknown}`, there are {}", facets.join(", ")),
            ));
        }
        Ok(ingester)
    }
}
