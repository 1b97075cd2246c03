//! The arguments.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use pncp_sim::Latency;

/// Sweeps checkpoint sizes and concurrency against a simulated PNCP, prints what was measured beside what the model
/// predicts, and recommends settings.
#[derive(Clone, Debug, Parser)]
#[command(name = "checkpoint-sizing", version, about, max_term_width = 100)]
pub struct Options {
    /// Contratações of the simulated day.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub keys: u32,
    /// Sizes of a checkpoint to try.
    #[arg(long, value_delimiter = ',', default_value = "5,20,50,200", value_name = "N,…",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub every: Vec<u32>,
    /// Calls in flight to try.
    #[arg(long, value_delimiter = ',', default_value = "4,16", value_name = "N,…",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: Vec<u32>,
    /// How long each answer takes, in milliseconds.
    #[arg(
        long,
        default_value_t = 50,
        value_name = "MS",
        conflicts_with = "latency_recorded"
    )]
    pub latency_ms: u64,
    /// Draws the latency from the recorded answers of the real API, times this.
    #[arg(long, value_name = "SCALE")]
    pub latency_recorded: Option<f64>,
    /// SIGKILLs of the ingesting process an hour, at exponentially distributed times.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub kills_per_hour: f64,
    /// Where checkpoints go.
    #[arg(long, value_enum, default_value_t = Kind::Local)]
    pub store: Kind,
    /// Decides the simulated day and the kills.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Recommends for calls of this many milliseconds instead of the measured ones.
    #[arg(long, value_name = "MS")]
    pub for_latency_ms: Option<f64>,
    /// Recommends for a day of so many contratações.
    #[arg(long, default_value_t = 6_500, value_name = "N")]
    pub for_keys: u32,
    /// Recommends within so many megabytes of memory for bodies, rows and their encoding.
    #[arg(long, default_value_t = 24.0, value_name = "MB")]
    pub for_memory_mb: f64,
    /// Recommends for so many failures an hour.
    #[arg(long, default_value_t = 0.1, value_name = "RATE")]
    pub for_kills_per_hour: f64,
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// What the ingesting process is told; for the harness itself.
    #[arg(long, hide = true)]
    pub child: Option<String>,
}

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A fresh temporary folder for each run, synced to disk.
    Local,
    /// Memory; dies with its process, so there can be no kills.
    Memory,
    /// The S3 endpoint of the environment: STORAGE_TYPE, MINIO_* or AWS_*, BUCKET_BRONZE. Each run takes a prefix of
    /// its own and deletes it.
    S3,
}

impl Options {
    /// The latency of the simulator.
    pub fn latency(&self) -> Latency {
        match self.latency_recorded {
            Some(scale) => Latency::Recorded { scale },
            None => Latency::Fixed(Duration::from_millis(self.latency_ms)),
        }
    }

    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// With what to change.
    pub fn validate(&self) -> anyhow::Result<()> {
        let rate = |value: f64| (0.0..=360_000.0).contains(&value);
        anyhow::ensure!(
            rate(self.kills_per_hour) && rate(self.for_kills_per_hour),
            "a rate of kills is 0 to 360000 an hour"
        );
        anyhow::ensure!(
            self.kills_per_hour <= 0.0 || self.store != Kind::Memory,
            "a store in memory does not outlive a kill: --store local or s3"
        );
        anyhow::ensure!(
            self.for_memory_mb > 0.0 && self.for_latency_ms.unwrap_or(1.0) > 0.0,
            "--for-memory-mb and --for-latency-ms must be above 0"
        );
        Ok(())
    }
}
