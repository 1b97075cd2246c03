//! A bronze layer of Parquet in an object store: partitions, temporary objects passed by
//! reference, log entries, merge.

mod bronze;
mod config;
mod dataset;
mod error;
mod format;
pub mod key;
mod nonce;
mod open;
mod options;
mod reader;
mod store;
mod unify;
mod upload;
mod writer;

pub use bronze::BronzeObject;
pub use config::{BronzeConfig, Secret, StorageType};
pub use dataset::Dataset;
pub use error::{BoxError, Error, Operation, Result};
pub use format::Format;
pub use key::Source;
pub use options::{MIN_PART_BYTES, ReadOptions, WriteOptions};
pub use reader::{BatchStream, ParquetFile};
pub use store::{BronzeStore, BronzeStoreBuilder, Clock, Created, Object, Version};
pub use writer::{ParquetWriter, Written, encode_parquet};
