use std::fmt;

use async_trait::async_trait;
use chrono::NaiveDate;

use crate::bronze::BronzeObject;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::format::Format;
use crate::key::Source;
use crate::options::ReadOptions;
use crate::reader::BatchStream;
use crate::store::BronzeStore;
use crate::temp_ref::{Stage, TempRef};
use crate::writer::Written;

/// What a pipeline needs to hand data from one task to the next. The scheduler carries the
/// reference.
///
/// # Contract
/// - What a reference names is whole, and is what was written, or reading it is an error.
/// - The same execution, stage, shard and try replaces; any other combination never collides.
/// - `cleanup` is idempotent and touches one execution only.
#[async_trait]
pub trait TempStore: fmt::Debug + Send + Sync + 'static {
    /// Writes; see [`BronzeStore::upload_temp`].
    async fn upload(
        &self,
        data: Dataset,
        execution_id: &str,
        stage: Stage,
        format: Format,
    ) -> Result<TempRef>;

    /// Reads and verifies; see [`BronzeStore::read_temp`].
    async fn read(&self, reference: &TempRef) -> Result<Dataset>;

    /// Deletes one execution's objects; see [`BronzeStore::cleanup_temp`].
    async fn cleanup(&self, execution_id: &str) -> Result<u64>;
}

/// What a pipeline needs to write bronze, and to look at what it wrote.
///
/// # Contract
/// - `upload` makes all rows visible at once, as one new object, or none.
/// - Nothing is written over.
/// - `list` and `read` see what `upload` has returned.
#[async_trait]
pub trait BronzeSink: fmt::Debug + Send + Sync + 'static {
    /// Writes; see [`BronzeStore::upload_to_bronze`].
    async fn upload(
        &self,
        data: Dataset,
        source: &Source,
        date: NaiveDate,
        format: Format,
    ) -> Result<Written>;

    /// Lists, both ends included; see [`BronzeStore::list_bronze`].
    async fn list(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<BronzeObject>>;

    /// Reads, both ends included; see [`BronzeStore::read_bronze`].
    async fn read(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
        options: &ReadOptions,
    ) -> Result<BatchStream>;
}

#[async_trait]
impl TempStore for BronzeStore {
    async fn upload(
        &self,
        data: Dataset,
        execution_id: &str,
        stage: Stage,
        format: Format,
    ) -> Result<TempRef> {
        self.upload_temp(data, execution_id, stage, format).await
    }

    async fn read(&self, reference: &TempRef) -> Result<Dataset> {
        self.read_temp(reference).await
    }

    async fn cleanup(&self, execution_id: &str) -> Result<u64> {
        self.cleanup_temp(execution_id).await
    }
}

#[async_trait]
impl BronzeSink for BronzeStore {
    async fn upload(
        &self,
        data: Dataset,
        source: &Source,
        date: NaiveDate,
        format: Format,
    ) -> Result<Written> {
        self.upload_to_bronze(data, source, date, format).await
    }

    async fn list(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<BronzeObject>> {
        self.list_bronze(source, from, to).await
    }

    async fn read(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
        options: &ReadOptions,
    ) -> Result<BatchStream> {
        self.read_bronze(source, from, to, options).await
    }
}
