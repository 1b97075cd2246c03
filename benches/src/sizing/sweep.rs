//! The sweep: a simulator, and one child process after the other.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chrono::NaiveDate;
use details_checkpoint::sizing::{Expected, Measured, expect};
use pncp_sim::{Sim, SimHandle};
use serde::Serialize;

use super::child::{Done, Spec, Store};
use super::fit::calibrate;
use super::options::{Kind, Options};
use super::report::Report;

/// One run of the sweep, from nothing to done, kills and all.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Calls in flight.
    pub concurrency: u32,
    /// Keys a checkpoint.
    pub every: u32,
    /// Kills that fell.
    pub kills: u32,
    /// Wall time in seconds, the starts of the processes left out.
    pub seconds: f64,
    /// What it took beyond fetching alone, as a share of that; only where nothing was killed.
    pub save_overhead: Option<f64>,
    /// The most bytes that bodies and encoding took, as the ingester accounts for them.
    pub held_bytes: u64,
    /// What the resident set of the last process grew by, at most.
    pub resident_growth: u64,
    /// Bytes in the store at the end.
    pub stored_bytes: u64,
    /// Calls beyond those of an undisturbed run.
    pub repeated_calls: u64,
    /// What the model expects of all of this.
    pub predicted: Expected,
}

/// Runs the whole sweep; progress goes to stderr.
///
/// # Errors
/// If a child fails, or the store or the simulator do.
pub async fn sweep(options: &Options, program: &Path) -> Result<Report> {
    options.validate()?;
    let sim = Sim::builder().synthetic(options.keys).seed(options.seed);
    let sim = sim.latency(options.latency()).start().await?;
    let folder = tempfile::tempdir()?;
    let keys = folder.path().join("keys");
    std::fs::write(&keys, day_keys(&sim))?;
    let mut place = Place {
        options,
        program: program.to_owned(),
        sim,
        folder,
        keys,
        runs: 0,
        dice: options.seed,
    };
    let mut every = options.every.clone();
    every.sort_unstable();
    every.dedup();
    let (Some(small), Some(large)) = (every.first().copied(), every.last().copied()) else {
        bail!("--every needs a size");
    };
    let (mut runs, mut calibrations) = (Vec::new(), Vec::new());
    for concurrency in &options.concurrency {
        eprintln!("calibrating with {concurrency} in flight");
        let fetching = place.undisturbed(*concurrency, u32::MAX, true).await?;
        let smallest = place.undisturbed(*concurrency, small, false).await?;
        let largest = place.undisturbed(*concurrency, large, false).await?;
        let measured = calibrate(
            options.keys,
            *concurrency,
            &fetching,
            (small, &smallest),
            (large, &largest),
            options.kills_per_hour,
        );
        for every in &every {
            eprintln!("{concurrency} in flight, {every} keys a checkpoint");
            runs.push(place.measure(&measured, &fetching, *every).await?);
        }
        calibrations.push(measured);
    }
    Ok(Report::of(options, calibrations, runs))
}

fn day_keys(sim: &SimHandle) -> String {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap_or_default();
    let mut text = String::new();
    for record in sim.truth(day) {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}|{}|{}", record.cnpj, record.ano, record.sequencial);
    }
    text
}

struct Place<'a> {
    options: &'a Options,
    program: PathBuf,
    sim: SimHandle,
    folder: tempfile::TempDir,
    keys: PathBuf,
    runs: u32,
    dice: u64,
}

/// How one process ended.
enum Ended {
    Done { done: Box<Done>, seconds: f64 },
    Killed { seconds: f64 },
}

impl Place<'_> {
    /// A spec with a fresh store.
    fn spec(&mut self, concurrency: u32, every: u32, nowhere: bool) -> Spec {
        self.runs += 1;
        let store = match self.options.store {
            _ if nowhere => Store::Nowhere,
            Kind::Memory => Store::Memory,
            Kind::Local => Store::Local(self.folder.path().join(self.runs.to_string())),
            Kind::S3 => Store::S3(format!(
                "_sizing/{}-{}-{}",
                std::process::id(),
                self.options.seed,
                self.runs
            )),
        };
        Spec {
            api_url: self.sim.api_url().to_owned(),
            keys: self.keys.clone(),
            store,
            every,
            concurrency,
        }
    }

    async fn undisturbed(&mut self, concurrency: u32, every: u32, nowhere: bool) -> Result<Done> {
        let spec = self.spec(concurrency, every, nowhere);
        let ended = self.child(&spec, None).await?;
        self.remove(&spec.store).await?;
        match ended {
            Ended::Done { done, .. } => Ok(*done),
            Ended::Killed { .. } => bail!("a child was killed by somebody else"),
        }
    }

    async fn measure(&mut self, measured: &Measured, fetching: &Done, every: u32) -> Result<Run> {
        let concurrency = measured.concurrency as u32;
        let spec = self.spec(concurrency, every, false);
        self.sim.reset();
        let (mut kills, mut seconds) = (0, 0.0);
        let mut next_kill = self.time_to_kill();
        let done = loop {
            match self.child(&spec, next_kill).await? {
                Ended::Done {
                    done,
                    seconds: took,
                } => {
                    seconds += took;
                    break done;
                }
                Ended::Killed { seconds: took } => {
                    seconds += took;
                    kills += 1;
                    next_kill = self.time_to_kill();
                }
            }
        };
        self.remove(&spec.store).await?;
        let overhead = (seconds - fetching.seconds) / fetching.seconds.max(f64::EPSILON);
        Ok(Run {
            concurrency,
            every,
            kills,
            seconds,
            save_overhead: (kills == 0).then_some(overhead),
            held_bytes: done.held_bytes,
            resident_growth: done.resident_growth,
            stored_bytes: done.stored_bytes,
            repeated_calls: self
                .sim
                .stats()
                .detail_calls()
                .saturating_sub(fetching.calls),
            predicted: expect(measured, every),
        })
    }

    /// Exponentially distributed; none without kills.
    fn time_to_kill(&mut self) -> Option<Duration> {
        let per_second = self.options.kills_per_hour / 3_600.0;
        if per_second <= 0.0 {
            return None;
        }
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 53 bits are what an f64 holds exactly; never 0.
        let uniform = (((z ^ (z >> 31)) >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        Some(Duration::from_secs_f64(-uniform.ln() / per_second))
    }

    async fn child(&self, spec: &Spec, kill_after: Option<Duration>) -> Result<Ended> {
        let mut command = Command::new(&self.program);
        command.args(["--child", &serde_json::to_string(spec)?]);
        tokio::task::spawn_blocking(move || run(command, kill_after)).await?
    }

    async fn remove(&self, store: &Store) -> Result<()> {
        match store {
            Store::Nowhere | Store::Memory => {}
            // The folder goes with all others at the end; this keeps the disk small.
            Store::Local(folder) => std::fs::remove_dir_all(folder)?,
            Store::S3(_) => {
                if let Some(store) = store.open()? {
                    for object in store.list("").await? {
                        store.delete(&object.key).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Runs a child from its `ready` on, and kills it after a while if it is still at it.
fn run(mut command: Command, kill_after: Option<Duration>) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("starting the child")?;
    let mut out = BufReader::new(child.stdout.take().context("the child has no stdout")?);
    let mut ready = String::new();
    out.read_line(&mut ready)?;
    let started = Instant::now();
    let (sender, receiver) = channel();
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        let read = out.read_to_string(&mut rest);
        // Nobody waits any more if the child was killed.
        let _ = sender.send(read.map(|_| rest));
    });
    let rest = match kill_after {
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(after) => receiver.recv_timeout(after),
    };
    let seconds = started.elapsed().as_secs_f64();
    if matches!(rest, Err(RecvTimeoutError::Timeout)) {
        child.kill()?;
    }
    let status = child.wait()?;
    if reader.join().is_err() {
        bail!("the child's output could not be read");
    }
    match rest {
        Ok(rest) if status.success() => Ok(Ended::Done {
            done: Box::new(serde_json::from_str(rest?.trim())?),
            seconds,
        }),
        // It may have ended just before the kill: then it is simply run again, and finds nothing to do.
        Err(RecvTimeoutError::Timeout) => Ok(Ended::Killed { seconds }),
        _ => bail!("the child ended with {status}"),
    }
}
