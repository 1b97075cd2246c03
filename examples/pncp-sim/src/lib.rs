//! A loopback PNCP: the routes, limits, envelopes, statuses and error bodies of the real read API,
//! its quirks, and faults on demand.
//!
//! Two bodies of data: *replay* serves recorded purchases (`data/README.md` says which), *synthetic*
//! makes up any number a day, each a function of the seed. The ground truth of a day is there to
//! compare a copy with, and statistics tell how a client behaved.
//!
//! It is not a mock with queued answers, keeps no data on disk, listens on 127.0.0.1 only, and
//! shares no code with the crates that are tested against it.
//!
//! ```
//! # async fn example() -> Result<(), pncp_sim::Error> {
//! use pncp_sim::{Fault, FaultKind, Route, Sim};
//!
//! let sim = Sim::builder()
//!     .synthetic(100)
//!     .seed(7)
//!     .fault(Fault::new(FaultKind::NoContent).rate(0.1).per_url(1))
//!     .start()
//!     .await?;
//! // … point a client at sim.consulta_url() and sim.api_url() …
//! let day = chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap_or_default();
//! assert_eq!(sim.truth(day).count(), 100);
//! assert_eq!(sim.stats().requests(Route::Itens), 0);
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().map(|rt| rt.block_on(example()))??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admin;
mod answer;
mod armed;
mod error;
mod fault;
mod json;
mod limit;
mod money;
mod replay;
mod request;
mod rng;
mod server;
mod sim;
mod source;
mod stats;
mod synth;
mod tables;
mod trace;
mod truth;
mod world;

pub use error::Error;
pub use fault::{Fault, FaultKind, RetryAfter, Route, Scope};
pub use limit::{Latency, RateLimit};
pub use sim::{Sim, SimBuilder, SimHandle};
pub use stats::Stats;
pub use trace::Trace;
pub use truth::{Truth, TruthRecord};
