//! What the sweep says: a table or JSON, and the recommendation.

use std::fmt;

use details_checkpoint::sizing::{Measured, Recommendation, recommend};
use serde::Serialize;

use super::options::{Kind, Options};
use super::sweep::Run;

/// Everything that was measured, predicted and recommended.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Contratações of the day that was simulated.
    pub keys: u32,
    /// Kills an hour.
    pub kills_per_hour: f64,
    /// `local`, `memory` or `s3`.
    pub store: String,
    /// What the model was given, for each concurrency.
    pub calibrations: Vec<Measured>,
    /// Each run of the sweep.
    pub runs: Vec<Run>,
    /// What to set.
    pub recommended: Option<Recommended>,
}

/// What to set, for the latency, day and memory that were asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Recommended {
    /// Calls in flight.
    pub concurrency: u32,
    /// Keys a checkpoint.
    pub checkpoint_every: u32,
    /// What the model recommends.
    pub recommendation: Recommendation,
    /// Why, in one paragraph.
    pub text: String,
}

impl Report {
    pub(crate) fn of(options: &Options, calibrations: Vec<Measured>, runs: Vec<Run>) -> Self {
        let store = match options.store {
            Kind::Local => "local",
            Kind::Memory => "memory",
            Kind::S3 => "s3",
        };
        Self {
            keys: options.keys,
            kills_per_hour: options.kills_per_hour,
            store: store.to_owned(),
            recommended: recommended(options, &calibrations),
            calibrations,
            runs,
        }
    }
}

/// The best of what was swept: what fits into memory before what does not, then the shortest time. Of concurrencies
/// whose times are within two percent of each other, the lowest: it is the gentlest to the server.
fn recommended(options: &Options, calibrations: &[Measured]) -> Option<Recommended> {
    let all = calibrations.iter().map(|calibration| {
        let measured = Measured {
            keys: f64::from(options.for_keys),
            call_seconds: options
                .for_latency_ms
                .map_or(calibration.call_seconds, |ms| ms / 1e3),
            failures_per_hour: options.for_kills_per_hour,
            ..*calibration
        };
        let concurrency = measured.concurrency as u32;
        (
            concurrency,
            recommend(&measured, options.for_memory_mb * 1e6),
        )
    });
    let mut all: Vec<(u32, Recommendation)> = all.collect();
    all.sort_by_key(|(concurrency, _)| *concurrency);
    let mut chosen: Option<(u32, Recommendation)> = None;
    for (concurrency, next) in all {
        let better = chosen.as_ref().is_none_or(|(_, best)| {
            (best.over_limit && !next.over_limit)
                || (best.over_limit == next.over_limit
                    && next.best.total_seconds < best.best.total_seconds * 0.98)
        });
        if better {
            chosen = Some((concurrency, next));
        }
    }
    chosen.map(|(concurrency, recommendation)| Recommended {
        concurrency,
        checkpoint_every: recommendation.best.checkpoint_every,
        text: recommendation.to_string(),
        recommendation,
    })
}

/// A table for people; where two numbers stand together, the first was measured and the second predicted.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} contratações, store {}, {} kills an hour. Measured / predicted:\n",
            self.keys, self.store, self.kills_per_hour
        )?;
        writeln!(
            f,
            "| in flight | every | kills | time s | saving adds | repeated calls | held MB | grew MB | stored MB |"
        )?;
        writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for run in &self.runs {
            let expected = &run.predicted;
            let overhead = run
                .save_overhead
                .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 1e2));
            writeln!(
                f,
                "| {} | {} | {} | {:.2} / {:.2} | {overhead} / {:.1} % | {} / {:.0} | {:.2} / {:.2} | {:.1} | {:.2} / {:.2} |",
                run.concurrency,
                run.every,
                run.kills,
                run.seconds,
                expected.total_seconds,
                expected.save_overhead * 1e2,
                run.repeated_calls,
                expected.repeated_calls,
                run.held_bytes as f64 / 1e6,
                expected.peak_bytes / 1e6,
                run.resident_growth as f64 / 1e6,
                run.stored_bytes as f64 / 1e6,
                expected.stored_bytes / 1e6,
            )?;
        }
        if let Some(recommended) = &self.recommended {
            write!(
                f,
                "\nSet --concurrency {} --checkpoint-every {}. {}",
                recommended.concurrency, recommended.checkpoint_every, recommended.text
            )?;
        }
        Ok(())
    }
}
