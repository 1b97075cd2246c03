//! Checkpoints into a bronze layer: parts that are log entries, snapshots, the merged view, the quarantine.

mod ages;
mod keys;
mod quarantine;
mod rows;
mod sink;

pub use keys::read_keys;
pub use quarantine::{
    Quarantined, discard_quarantine, list_quarantine, read_quarantine, replay_keys, retry_at,
};
pub use sink::{BronzeDetails, BronzeDetailsBuilder, MergePolicy};
