//! For tests, here and elsewhere: stores that count and stores that fail, a real S3 server on
//! loopback, and what every implementation of a trait has to pass.

mod conformance;
mod counting;
mod fault;
#[cfg(feature = "aws")]
mod s3_server;

pub use conformance::{check_bronze_sink, check_temp_store};
pub use counting::{CountingStore, Counts};
pub use fault::{Fault, FaultKind, FaultStore, When};
#[cfg(feature = "aws")]
pub use s3_server::S3Server;
