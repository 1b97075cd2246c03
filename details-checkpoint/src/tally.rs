//! The counts of a run.

use std::time::Duration;

use crate::{
    CallStats, CheckpointMetrics, CheckpointSaved, FacetCount, FacetTotals, Fetched, Finished,
    Options, Outcome, Plan, Report, Row,
};

#[derive(Debug)]
pub(crate) struct Tally {
    listed: u64,
    already_done: u64,
    set_aside: u64,
    pub(crate) planned: u64,
    /// Keys all of whose facets were got or given up.
    pub(crate) through: u64,
    pub(crate) failed: u64,
    processed: u64,
    facets: Vec<FacetTotals>,
    calls: u64,
    retries: u64,
    body_bytes: u64,
    cut: u32,
    checkpoints: Vec<CheckpointMetrics>,
}

impl Tally {
    pub(crate) fn new(facets: &[&'static str], plan: &Plan) -> Self {
        let named = |name: &&str| FacetTotals {
            facet: (*name).to_owned(),
            ..FacetTotals::default()
        };
        Self {
            listed: plan.listed,
            already_done: plan.already_done,
            set_aside: plan.set_aside,
            planned: plan.work.len() as u64,
            through: 0,
            failed: 0,
            processed: 0,
            facets: facets.iter().map(named).collect(),
            calls: 0,
            retries: 0,
            body_bytes: 0,
            cut: 0,
            checkpoints: Vec::new(),
        }
    }

    pub(crate) fn call(&mut self, stats: CallStats) {
        self.calls += u64::from(stats.calls);
        self.retries += u64::from(stats.retries);
    }

    pub(crate) fn facet_failed(&mut self, facet: usize) {
        self.facets[facet].failed += 1;
    }

    pub(crate) fn key_through(&mut self, failed: bool) {
        self.through += 1;
        self.failed += u64::from(failed);
    }

    pub(crate) fn last_checkpoint(&self) -> Option<&CheckpointMetrics> {
        self.checkpoints.last()
    }

    pub(crate) fn left(&self) -> u64 {
        self.planned.saturating_sub(self.through)
    }

    /// Whether more keys failed than the options allow.
    pub(crate) fn exceeds(&self, options: &Options) -> bool {
        let share = self.failed as f64 > options.failure_threshold * self.planned as f64;
        let enough = self.failed >= options.failure_minimum || self.failed >= self.listed;
        self.failed > 0 && share && enough
    }

    pub(crate) fn outcome(&self, stopping: Option<Outcome>, options: &Options) -> Outcome {
        match stopping {
            _ if self.planned == 0 && self.set_aside == 0 => Outcome::NothingNew,
            _ if self.exceeds(options) => Outcome::Failed,
            Some(stopped) if self.left() > 0 => stopped,
            _ if self.failed > 0 || self.set_aside > 0 => Outcome::Partial,
            _ => Outcome::Complete,
        }
    }

    /// The metrics of a checkpoint that is cut now, as far as they are known.
    pub(crate) fn checkpoint(
        &mut self,
        rows: &[Row],
        body_bytes: u64,
        fetch: Duration,
        held_bytes: u64,
    ) -> CheckpointMetrics {
        self.cut += 1;
        let facet_rows = || rows.iter().flat_map(|row| &row.facets);
        let elements = self.facets.iter().map(|totals| FacetCount {
            facet: totals.facet.clone(),
            count: facet_rows()
                .filter(|row| row.facet == totals.facet)
                .map(|row| u64::from(row.count()))
                .sum(),
        });
        CheckpointMetrics {
            number: self.cut,
            rows: rows.len() as u64,
            elements: elements.collect(),
            body_bytes,
            calls: facet_rows()
                .map(|row| u64::from(row.fetched.stats().calls))
                .sum(),
            retries: facet_rows()
                .map(|row| u64::from(row.fetched.stats().retries))
                .sum(),
            fetch,
            held_bytes,
            ..CheckpointMetrics::default()
        }
    }

    pub(crate) fn saved(
        &mut self,
        rows: &[Row],
        metrics: CheckpointMetrics,
        is_final: bool,
        elapsed: Duration,
    ) -> CheckpointSaved {
        self.processed += rows.len() as u64;
        self.body_bytes += metrics.body_bytes;
        for facet in rows.iter().flat_map(|row| &row.facets) {
            if let Some(totals) = self
                .facets
                .iter_mut()
                .find(|totals| totals.facet == facet.facet)
            {
                totals.saved += 1;
                totals.gone += u64::from(matches!(facet.fetched, Fetched::Gone(_)));
                totals.elements += u64::from(facet.count());
            }
        }
        self.checkpoints.push(metrics.clone());
        let total = |totals: &FacetTotals| FacetCount {
            facet: totals.facet.clone(),
            count: totals.elements,
        };
        CheckpointSaved {
            metrics,
            saved_total: self.processed,
            planned: self.planned,
            elements_total: self.facets.iter().map(total).collect(),
            is_final,
            elapsed,
        }
    }

    pub(crate) fn report(
        &mut self,
        outcome: Outcome,
        complete: bool,
        elapsed: Duration,
        peak_held_bytes: u64,
    ) -> Report {
        Report {
            outcome,
            listed: self.listed,
            planned: self.planned,
            already_done: self.already_done,
            set_aside: self.set_aside,
            processed: self.processed,
            failed: self.failed,
            left: self.left(),
            complete,
            facets: std::mem::take(&mut self.facets),
            calls: self.calls,
            retries: self.retries,
            body_bytes: self.body_bytes,
            saved_bytes: self
                .checkpoints
                .iter()
                .map(|checkpoint| checkpoint.saved_bytes)
                .sum(),
            peak_held_bytes,
            elapsed,
            checkpoints: std::mem::take(&mut self.checkpoints),
            finished: Finished::default(),
        }
    }
}
