use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::serve::ListenerExt;
use chrono::{NaiveDate, NaiveDateTime};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::armed::Armed;
use crate::error::Error;
use crate::fault::{Fault, FaultKind};
use crate::limit::{Latency, Limiter, RateLimit, Traces};
use crate::replay::Replay;
use crate::server::{Shared, handle};
use crate::source::Source;
use crate::stats::Stats;
use crate::synth::Synth;
use crate::trace::{Replayer, Trace};
use crate::truth::Truth;
use crate::world::World;

/// More purchases a day than that would not fit six-digit numbers.
const MAX_PER_DAY: u32 = 1_000_000;

/// How long a shutdown waits for answers under way.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// A PNCP on the loopback interface. Start at [`Sim::builder`].
#[derive(Debug, Clone, Copy)]
pub struct Sim;

impl Sim {
    /// Settings: replay, seed 1, a free port, no latency, no limit, no faults.
    pub fn builder() -> SimBuilder {
        SimBuilder {
            per_day: None,
            seed: 1,
            port: 0,
            latency: Latency::None,
            max_itens: 2_000,
            limit: None,
            trace: None,
            faults: Vec::new(),
            today: None,
        }
    }
}

/// How the simulator is to behave.
#[derive(Debug, Clone)]
#[must_use]
pub struct SimBuilder {
    per_day: Option<u32>,
    seed: u64,
    port: u16,
    latency: Latency,
    max_itens: u32,
    limit: Option<RateLimit>,
    trace: Option<(Trace, f64)>,
    faults: Vec<Fault>,
    today: Option<NaiveDate>,
}

impl SimBuilder {
    /// Serves the bundled records (the default).
    pub fn replay(mut self) -> Self {
        self.per_day = None;
        self
    }

    /// Makes up `per_day` purchases for every day there is, up to a million.
    pub fn synthetic(mut self, per_day: u32) -> Self {
        self.per_day = Some(per_day);
        self
    }

    /// Decides the synthetic purchases and the turns of the faults.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where to listen on 127.0.0.1; 0 is any free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How long every answer takes.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// The longest list of items of synthetic purchases (2,000).
    pub fn max_itens(mut self, max_itens: u32) -> Self {
        self.max_itens = max_itens;
        self
    }

    /// A limit that the server keeps to itself.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Behaves as recorded: requests take as long and end as those of `trace` did, durations
    /// times `scale`; the bodies are those of the purchases served here. When the recording is
    /// over, the server is well.
    pub fn trace(mut self, trace: Trace, scale: f64) -> Self {
        self.trace = Some((trace, scale));
        self
    }

    /// One more way of failing; the first one that strikes a request wins.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// What `/proposta` takes for today (2026-06-17 unless set).
    pub fn today(mut self, today: NaiveDate) -> Self {
        self.today = Some(today);
        self
    }

    fn validate(&self) -> Result<(), Error> {
        let refuse = |setting, value: String, reason: &str| {
            Err(Error::Setting {
                setting,
                value,
                reason: reason.to_owned(),
            })
        };
        if let Some(per_day) = self.per_day.filter(|n| *n > MAX_PER_DAY) {
            return refuse("per-day", per_day.to_string(), "at most 1000000");
        }
        if let Some(limit) = self
            .limit
            .filter(|l| l.per_second.is_nan() || l.per_second <= 0.0)
        {
            return refuse(
                "rate-limit",
                limit.per_second.to_string(),
                "must be above 0",
            );
        }
        if let Some((_, scale)) = self
            .trace
            .filter(|(_, scale)| !(0.0..=1_000.0).contains(scale))
        {
            return refuse("trace", scale.to_string(), "its scale is 0 to 1000");
        }
        self.faults.iter().try_for_each(Fault::validate)
    }

    fn share_of(&self, kind: FaultKind) -> f64 {
        self.faults
            .iter()
            .find(|f| f.kind == kind)
            .map_or(0.0, |f| f.rate)
    }

    /// Starts listening, on the runtime of the caller.
    ///
    /// # Errors
    /// [`Error::Setting`] before anything happens; [`Error::Listen`] if the port is taken.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn start(self) -> Result<SimHandle, Error> {
        self.validate()?;
        let source: Box<dyn Source> = match self.per_day {
            Some(per_day) => Box::new(Synth::new(self.seed, per_day, self.max_itens)),
            None => Box::new(Replay::load()?),
        };
        let unknown = self.share_of(FaultKind::UnknownFields);
        let ill_typed = self.share_of(FaultKind::IllTyped);
        let faults = self.faults.into_iter().zip(0..);
        let shared = Arc::new(Shared {
            world: Arc::new(World::new(source, self.seed, unknown, ill_typed)),
            faults: faults
                .map(|(fault, n)| Armed::new(fault, self.seed, n))
                .collect(),
            limiter: self.limit.map(Limiter::new),
            latency: self.latency,
            traces: Traces::load(),
            replayer: self.trace.map(|(trace, scale)| Replayer::new(trace, scale)),
            recorder: crate::stats::Recorder::default(),
            today: self.today,
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let refused = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let listener = listener.tap_io(|stream| {
            // A lost hint costs speed only.
            drop(stream.set_nodelay(true));
        });
        let state = Arc::clone(&shared);
        let app: Router =
            Router::new().fallback(move |request: Request| handle(Arc::clone(&state), request));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, app).with_graceful_shutdown(async {
                // Told to stop, or the handle is gone: the same.
                drop(stopped.await);
            });
            // The accept loop has no error to give.
            drop(serving.await);
        });
        Ok(SimHandle {
            shared,
            stop: Some(stop),
            task: Some(task),
            urls: Urls::new(address),
        })
    }
}

#[derive(Debug)]
struct Urls {
    base: String,
    consulta: String,
    api: String,
}

impl Urls {
    fn new(address: SocketAddr) -> Self {
        let base = format!("http://{address}");
        Self {
            consulta: format!("{base}/api/consulta"),
            api: format!("{base}/api/pncp"),
            base,
        }
    }
}

/// A running simulator. Dropped, it stops listening and closes its connections as they fall idle.
#[derive(Debug)]
pub struct SimHandle {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    urls: Urls,
}

impl SimHandle {
    /// `http://127.0.0.1:port`
    pub fn url(&self) -> &str {
        &self.urls.base
    }

    /// What stands for `https://pncp.gov.br/api/consulta`.
    pub fn consulta_url(&self) -> &str {
        &self.urls.consulta
    }

    /// What stands for `https://pncp.gov.br/api/pncp`.
    pub fn api_url(&self) -> &str {
        &self.urls.api
    }

    /// The statistics so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Forgets statistics, turns of faults, and what vanished or moved; keeps [`Self::set_now`].
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Everything published on `date`, made one purchase at a time. Vanished ones are marked;
    /// what is later than [`Self::set_now`] is left out.
    pub fn truth(&self, date: NaiveDate) -> Truth {
        Truth::new(Arc::clone(&self.shared.world), date)
    }

    /// Stops time there: what is published later is not served yet. `None` lifts it.
    pub fn set_now(&self, now: Option<NaiveDateTime>) {
        self.shared.world.set_now(now);
    }

    /// Stops listening, closes idle connections, and gives running answers a second to end.
    pub async fn shutdown(mut self) {
        // Dropping the sender is the signal.
        drop(self.stop.take());
        if let Some(mut task) = self.task.take()
            && timeout(SHUTDOWN, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}
