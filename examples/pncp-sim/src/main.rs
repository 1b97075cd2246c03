//! `pncp-sim`: a PNCP on the loopback interface. The first line on stdout is its URL.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use chrono::{NaiveDate, NaiveDateTime};
use clap::{Parser, ValueEnum};
use pncp_sim::{Fault, Latency, RateLimit, RetryAfter, Sim, SimBuilder, Trace};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Recorded purchases (52 of them on 2025-10-22).
    Replay,
    /// Made up from the seed.
    Synthetic,
}

/// Serves the PNCP's read API on 127.0.0.1, with its quirks and with faults on demand.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// 0 is any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long, value_enum, default_value_t = Mode::Replay)]
    mode: Mode,
    /// Decides the made-up purchases and the turns of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Purchases a day (synthetic).
    #[arg(long, default_value_t = 6_500)]
    per_day: u32,
    /// Longest list of items (synthetic).
    #[arg(long, default_value_t = 2_000)]
    max_itens: u32,
    /// Delay of every answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Delays drawn from recorded ones, times this factor.
    #[arg(long, value_name = "FACTOR", conflicts_with = "latency_ms")]
    latency_recorded: Option<f64>,
    /// Behave as recorded: sequential-crawl, five-workers or week-all-modalities.
    #[arg(long, conflicts_with_all = ["latency_ms", "latency_recorded"])]
    trace: Option<Trace>,
    /// Its durations times this factor.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace")]
    trace_scale: f64,
    /// `kind[:key=value,…]`, repeatable. Kinds: 429 5xx cut cut-clean drip stall html-200 empty-200
    /// 204 400 404 422 vanish move wrong-window unknown-fields ill-typed. Keys: rate (0 to 1),
    /// count, per_url, route (all, lists, details, publicacao, itens, arquivos, …), after, burst,
    /// retry_after (5, date:5, none), ms, status.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Hidden limit, in requests a second.
    #[arg(long, value_name = "PER_SECOND")]
    rate_limit: Option<f64>,
    /// Requests at once that the limit lets through.
    #[arg(long, default_value_t = 10)]
    rate_burst: u32,
    /// The limit halves after that many requests.
    #[arg(long, value_name = "REQUESTS")]
    rate_halve_after: Option<u64>,
    /// Retry-After of the limit's 429: 5, date:5 or none.
    #[arg(long, default_value = "1")]
    rate_retry_after: RetryAfter,
    /// What /proposta takes for today (YYYY-MM-DD).
    #[arg(long)]
    today: Option<NaiveDate>,
    /// Nothing published later is served (YYYY-MM-DDTHH:MM:SS); POST /_sim/now?at= moves it.
    #[arg(long)]
    now: Option<NaiveDateTime>,
}

impl Args {
    fn builder(&self) -> SimBuilder {
        let mut builder = Sim::builder()
            .port(self.port)
            .seed(self.seed)
            .max_itens(self.max_itens);
        if let Mode::Synthetic = self.mode {
            builder = builder.synthetic(self.per_day);
        }
        builder = builder.latency(match self.latency_recorded {
            Some(scale) => Latency::Recorded { scale },
            None if self.latency_ms > 0 => Latency::Fixed(Duration::from_millis(self.latency_ms)),
            None => Latency::None,
        });
        if let Some(per_second) = self.rate_limit {
            builder = builder.rate_limit(RateLimit {
                per_second,
                burst: self.rate_burst,
                halve_after: self.rate_halve_after,
                retry_after: self.rate_retry_after,
                pause_untold: Duration::ZERO,
            });
        }
        if let Some(trace) = self.trace {
            builder = builder.trace(trace, self.trace_scale);
        }
        if let Some(today) = self.today {
            builder = builder.today(today);
        }
        self.faults.iter().cloned().fold(builder, SimBuilder::fault)
    }
}

// One thread: the simulator is to take one core at most from what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let sim = args.builder().start().await?;
    sim.set_now(args.now);
    let mut out = std::io::stdout();
    writeln!(out, "{}", sim.url()).context("cannot print the URL")?;
    out.flush().context("cannot print the URL")?;
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for the interrupt")?;
    eprintln!("{}", serde_json::to_string(&sim.stats())?);
    sim.shutdown().await;
    Ok(())
}
