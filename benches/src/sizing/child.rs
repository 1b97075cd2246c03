//! The process that ingests, and that the harness may kill.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bronze_storage::{BronzeConfig, BronzeStore};
use chrono::NaiveDate;
use details_checkpoint::bronze::MergePolicy;
use details_checkpoint::{
    BronzeDetails, CheckpointSink, Ingester, KeyList, MemorySink, Options, PncpDetails,
};
use ingest_state::Scope;
use pncp_client::{ClientSettings, PncpClient};
use serde::{Deserialize, Serialize};

/// What a child is told, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Base of the details.
    pub api_url: String,
    /// A file with a key a line.
    pub keys: PathBuf,
    /// Where checkpoints go.
    pub store: Store,
    /// Keys a checkpoint.
    pub every: u32,
    /// Calls in flight.
    pub concurrency: u32,
}

/// Where checkpoints go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Store {
    /// Nowhere: what is fetched is held, which takes the time of the calls alone.
    Nowhere,
    /// This process' memory.
    Memory,
    /// A folder.
    Local(PathBuf),
    /// The S3 endpoint of the environment, below a prefix.
    S3(String),
}

/// What a child did, as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// From the plan to the last snapshot; a merge is not part of it.
    pub seconds: f64,
    /// Requests sent.
    pub calls: u64,
    /// Bytes of the bodies.
    pub body_bytes: u64,
    /// The most bytes that bodies and the encoding of those being saved took, as the ingester accounts for them.
    pub held_bytes: u64,
    /// What the process' resident set grew by, at most.
    pub resident_growth: u64,
    /// Bytes that lie in the store.
    pub stored_bytes: u64,
    /// Each checkpoint.
    pub saves: Vec<Save>,
}

/// A checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Save {
    /// Bytes of its bodies.
    pub body_bytes: u64,
    /// From the cut to the answer.
    pub seconds: f64,
    /// The part of it that turned bodies into what is written.
    pub encode_seconds: f64,
}

impl Store {
    /// The store, opened; none for [`Store::Nowhere`].
    ///
    /// # Errors
    /// If the settings do not make a store.
    pub fn open(&self) -> Result<Option<BronzeStore>> {
        let store = match self {
            Self::Nowhere => return Ok(None),
            Self::Memory => BronzeStore::memory(),
            Self::Local(folder) => BronzeStore::open(&BronzeConfig::local(folder))?,
            Self::S3(prefix) => BronzeStore::builder()
                .with_config(BronzeConfig::from_env()?)
                .with_prefix(prefix)
                .build()?,
        };
        Ok(Some(store))
    }
}

/// Runs a child: says `ready`, ingests, says what it did in one line.
///
/// # Errors
/// Whatever keeps it from being done.
pub fn run_child(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec).context("the child's spec")?;
    // As the command line runs: on one thread, for each further one has an arena of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(ingest(&spec))?;
    tell(&serde_json::to_string(&done)?)
}

fn tell(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

async fn ingest(spec: &Spec) -> Result<Done> {
    let store = spec.store.open()?;
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap_or_default();
    let sink: Arc<dyn CheckpointSink> = match &store {
        None => Arc::new(MemorySink::new()),
        Some(store) => Arc::new(
            BronzeDetails::builder(store.clone(), Scope::new("pncp_details", day)?)
                .with_execution("checkpoint-sizing")
                .with_merge(MergePolicy::Never)
                .build()?,
        ),
    };
    let options = Options {
        checkpoint_every: spec.every,
        concurrency: spec.concurrency,
        // The size alone is to decide.
        checkpoint_bytes: 1 << 40,
        checkpoint_interval: None,
        memory_bytes: 1 << 40,
        ..Options::default()
    };
    let source = PncpDetails::new(client(spec)?);
    let ingester = Ingester::builder(Arc::new(source), sink)
        .with_options(options)
        .build()?;
    let text = std::fs::read_to_string(&spec.keys)?;
    let keys = KeyList::from_keys(text.lines())?;

    let before = resident("VmRSS:");
    tell("ready")?;
    let report = ingester.run(&keys).await?;
    anyhow::ensure!(report.complete, "{} keys left", report.left);
    let resident_growth = resident("VmHWM:").saturating_sub(before);
    let mut stored_bytes = 0;
    if let Some(store) = &store {
        let objects = store.list("").await?;
        stored_bytes = objects.iter().map(|object| object.size).sum();
    }
    let saves = report.checkpoints.iter().map(|checkpoint| Save {
        body_bytes: checkpoint.body_bytes,
        seconds: checkpoint.save.as_secs_f64(),
        encode_seconds: checkpoint.encode.as_secs_f64(),
    });
    Ok(Done {
        seconds: report.elapsed.as_secs_f64(),
        calls: report.calls,
        body_bytes: report.body_bytes,
        held_bytes: report.peak_held_bytes,
        resident_growth,
        stored_bytes,
        saves: saves.collect(),
    })
}

/// A client that leaves the pace to `concurrency` alone.
fn client(spec: &Spec) -> Result<PncpClient> {
    let mut settings = ClientSettings {
        api_url: spec.api_url.clone(),
        ..ClientSettings::default()
    };
    settings.detail.requests_per_second_max = 100_000.0;
    settings.detail.requests_per_second_start = 100_000.0;
    settings.detail.concurrency_max = spec.concurrency as usize;
    settings.timeouts.total_ms = settings
        .timeouts
        .total_ms
        .max(Duration::from_secs(120).as_millis() as u64);
    Ok(PncpClient::builder().with_settings(settings).build()?)
}

/// A size of this process in bytes, where the kernel tells it.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
