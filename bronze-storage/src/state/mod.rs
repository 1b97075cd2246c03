//! Log entries in Parquet for `ingest-state`, and the merge that turns them into one sorted file.
//!
//! [`ParquetEntries`] reads a log whose entries are the data files themselves; [`ParquetRows`] is
//! what a writer offers to it; [`Merger`] keeps `details.parquet`, a view of such a log;
//! [`Archiver`] moves the rows of a closed day from its entries into one base.

mod archive;
mod chains;
mod columnar;
mod columns;
mod encoder;
mod entry;
mod leaves;
mod merge;
mod merge_error;
mod outline;
mod pages;
mod plan;
mod rows;
mod run;
mod sparse;
mod totals;
mod view;
mod widen;
mod workers;

pub use archive::{ArchiveError, Archived, Archiver};
pub use columns::IdColumns;
pub use entry::ParquetEntries;
pub use ingest_state::ObjectLogStore;
pub use merge::{MergeOptions, MergeStatus, Merged, Merger};
pub use merge_error::MergeError;
pub use rows::ParquetRows;
