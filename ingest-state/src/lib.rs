#![doc = include_str!("../README.md")]

mod ambient;
mod append;
mod day;
mod done;
mod entry;
mod error;
mod filter;
mod ids;
mod json;
mod layout;
mod log;
mod manager;
mod memory;
#[cfg(feature = "object-store")]
mod object;
mod quarantine;
mod rebuild;
mod scope;
mod snapshot;
mod store;
#[cfg(feature = "test-util")]
pub mod testing;
mod verify;
mod version;
mod view;

pub use ambient::{Ambient, System};
pub use append::Appended;
pub use day::{DayLog, EntrySummary, Warning};
pub use done::DoneSet;
pub use entry::{Counts, Entry, EntryFormat, EntryHead, EntryRows, FORMAT_VERSION};
pub use error::{BoxError, Error, FormatError, Result, StoreError};
pub use filter::{Filter, FilterStats, Filtered, Outcome};
pub use ids::{Id, IdList};
pub use json::{IdRows, JsonEntries};
pub use layout::Layout;
pub use log::{Execution, Log};
pub use manager::{StateManager, StateSummary};
pub use memory::MemoryStore;
#[cfg(feature = "object-store")]
pub use object::ObjectLogStore;
pub use quarantine::Quarantined;
pub use rebuild::Rebuilt;
pub use scope::Scope;
pub use snapshot::{ExecutionRecord, filter_rate};
pub use store::{Created, Listed, LogStore, Object, ObjectHead, Version};
pub use verify::{Finding, Verification, ViewSummary};
pub use version::{Standing, VersionKey};
pub use view::{View, ViewContent};
