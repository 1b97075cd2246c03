#![doc = include_str!("../README.md")]

mod bronze;
mod check;
mod config;
mod dataset;
mod error;
mod execution;
mod format;
#[cfg(feature = "polars")]
mod frame;
mod json;
mod json_lines;
pub mod key;
mod memory;
mod nonce;
mod open;
mod options;
mod reader;
mod records;
mod split;
#[cfg(feature = "state")]
pub mod state;
mod store;
mod sweep;
mod temp;
mod temp_ref;
mod temp_usage;
#[cfg(feature = "test-util")]
pub mod testing;
mod traits;
mod unify;
mod upload;
mod writer;

pub use bronze::BronzeObject;
pub use check::{CheckError, Checked, Problem};
pub use config::{BronzeConfig, Secret, StorageType};
pub use dataset::Dataset;
pub use error::{BoxError, Error, Operation, Result};
pub use format::Format;
pub use key::Source;
pub use memory::{MemoryBronze, MemoryTemp};
pub use options::{MIN_PART_BYTES, ReadOptions, WriteOptions};
pub use reader::{BatchStream, ParquetFile};
pub use store::{BronzeStore, BronzeStoreBuilder, Clock, Created, Object, Version};
pub use temp::{Collected, GC_FLOOR};
pub use temp_ref::{Stage, TempRef};
pub use temp_usage::{ExecutionUsage, TempUsage};
pub use traits::{BronzeSink, TempStore};
pub use writer::{ParquetWriter, Written, encode_parquet};
