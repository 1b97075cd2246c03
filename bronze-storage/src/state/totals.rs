//! What a row says about its own lists, when they come from several sources.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::schema::types::SchemaDescriptor;

use super::run::list_lengths;

/// What must be computed anew where the facets of a row come from several sources.
#[derive(Debug)]
pub(crate) struct Totals {
    /// By facet: its mark's and its data's column.
    facets: Vec<(String, String)>,
}

impl Totals {
    pub(crate) fn new(marks: &[String]) -> Self {
        let data = |mark: &String| mark.strip_prefix('_').unwrap_or(mark).to_owned();
        let facets = marks.iter().map(|mark| (mark.clone(), data(mark)));
        Self {
            facets: facets.collect(),
        }
    }

    /// The facet that a column belongs to.
    pub(crate) fn facet_of(&self, column: &str) -> Option<usize> {
        let is_of = |(mark, data): &(String, String)| column == mark || column == data;
        self.facets.iter().position(is_of)
    }

    /// The leaves that `metadata` is computed from: of the lists, one leaf will do.
    pub(crate) fn leaves(&self, schema: &SchemaDescriptor) -> Vec<usize> {
        let mut paths = vec!["metadata".to_owned()];
        for (mark, data) in &self.facets {
            paths.push(format!("{mark}.fetched_at"));
            let below = format!("{data}.");
            let leaves = schema.columns().iter().map(|leaf| leaf.path().string());
            paths.extend(leaves.into_iter().find(|leaf| leaf.starts_with(&below)));
        }
        let mask = ProjectionMask::columns(schema, paths.iter().map(String::as_str));
        let leaves = 0..schema.num_columns();
        leaves.filter(|leaf| mask.leaf_included(*leaf)).collect()
    }

    /// The `metadata` of `batch` computed anew: the totals from the lists, the time from the marks.
    pub(crate) fn metadata(&self, batch: &RecordBatch) -> Result<Option<ArrayRef>, ArrowError> {
        let Some(column) = batch.column_by_name("metadata") else {
            return Ok(None);
        };
        let Some(metadata) = column.as_struct_opt() else {
            return Ok(Some(column.clone()));
        };
        let children = metadata.fields().iter().zip(metadata.columns());
        let children = children.map(|(field, child)| -> Result<ArrayRef, ArrowError> {
            let computed = match field.name().as_str() {
                "fetch_timestamp" => self.latest_fetch(batch, child),
                name => self.total(batch, name),
            };
            match computed {
                Some(computed) => arrow_cast::cast(&computed, field.data_type()),
                None => Ok(child.clone()),
            }
        });
        let children = children.collect::<Result<Vec<_>, _>>()?;
        let fields = metadata.fields().clone();
        let metadata = StructArray::try_new(fields, children, metadata.nulls().cloned())?;
        Ok(Some(Arc::new(metadata)))
    }

    /// The lengths of a facet's lists, for the field `total_{facet}`.
    fn total(&self, batch: &RecordBatch, field: &str) -> Option<ArrayRef> {
        let data = field.strip_prefix("total_")?;
        let (_, data) = self.facets.iter().find(|(_, name)| name == data)?;
        Some(Arc::new(list_lengths(batch.column_by_name(data)?)?))
    }

    /// The latest `fetched_at` of the marks; what `metadata` says where no mark has one.
    fn latest_fetch(&self, batch: &RecordBatch, stated: &ArrayRef) -> Option<ArrayRef> {
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = stated.data_type() else {
            return None;
        };
        let mut latest: Vec<Option<i64>> = vec![None; batch.num_rows()];
        for (mark, _) in &self.facets {
            let mark = batch.column_by_name(mark)?.as_struct_opt()?;
            let Some(times) = mark.column_by_name("fetched_at") else {
                continue;
            };
            let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
            for (row, latest) in latest.iter_mut().enumerate() {
                if mark.is_valid(row) && times.is_valid(row) {
                    *latest = (*latest).max(Some(times.value(row)));
                }
            }
        }
        let stated = stated.as_primitive_opt::<TimestampMicrosecondType>()?;
        let known = latest.into_iter().enumerate();
        let known =
            known.map(|(row, at)| at.or_else(|| stated.is_valid(row).then(|| stated.value(row))));
        let array: TimestampMicrosecondArray = known.collect();
        Some(Arc::new(array.with_timezone_opt(zone.clone())))
    }
}
