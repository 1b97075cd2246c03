#![doc = include_str!("../README.md")]

#[cfg(all(feature = "pncp", feature = "bronze"))]
pub mod bronze;
mod clock;
mod cut;
mod error;
mod event;
mod ingester;
mod key;
mod list;
mod memory;
mod meter;
pub mod observe;
mod options;
mod pack;
mod plan;
#[cfg(feature = "pncp")]
pub mod pncp;
mod report;
mod run;
mod save;
mod shard;
mod sink;
pub mod sizing;
mod source;
mod tally;
#[cfg(feature = "test-util")]
pub mod testing;

#[cfg(all(feature = "pncp", feature = "bronze"))]
pub use bronze::BronzeDetails;
pub use clock::{Clock, SystemClock, TokioClock};
pub use error::{Error, Result};
pub use event::{CheckpointSaved, Event, Observer, Progress, Silent, Started, Tee};
pub use ingester::{Ingester, IngesterBuilder};
pub use key::{Candidate, DetailKey};
pub use list::{KeyList, KeyListFull};
pub use memory::{MemorySink, MemorySource};
pub use meter::Meter;
#[cfg(feature = "progress-bar")]
pub use observe::ProgressBarObserver;
pub use observe::{BannerObserver, LineObserver};
pub use options::{Options, Refresh};
pub use plan::{Plan, Work, pending};
#[cfg(feature = "pncp")]
pub use pncp::PncpDetails;
pub use report::{CheckpointMetrics, FacetCount, FacetTotals, Outcome, Report, StopReason};
pub use shard::{InvalidShard, Shard};
pub use sink::{
    Checkpoint, CheckpointSink, Done, FacetRow, FailedFacet, Finish, Finished, Row, Saved,
    SinkError, Standing,
};
pub use source::{CallStats, DetailSource, FailureKind, FetchFailure, Fetched, Payload};
