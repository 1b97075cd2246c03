//! The columns of a plan's rows, decoded from its slices.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use ingest_state::FormatError;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use super::leaves::prune;
use super::merge_error::MergeError;
use super::pages::{self, Inflate};
use super::plan::{Plan, Slice};
use super::run::broken;
use super::sparse::{GroupBytes, invalid};
use super::widen::Own;
use crate::unify;

/// What encoders hold whatever they encode: a page, a dictionary, a compressor.
pub(super) const ENCODER_BYTES: usize = 256 * 1024;

/// Columns to decode, for files of one schema.
#[derive(Debug)]
pub(crate) struct Projection {
    leaves: Vec<usize>,
    levels: FieldLevels,
    /// What is decoded in their place of sources that have other columns: these, and which.
    others: Vec<(SchemaRef, Own)>,
    /// What it is brought to.
    brought_to: SchemaRef,
}

impl Projection {
    /// The `leaves` of files of `descriptor`, whose columns are `schema`.
    pub(crate) fn new(
        descriptor: &SchemaDescriptor,
        schema: &Schema,
        leaves: impl IntoIterator<Item = usize>,
    ) -> Result<Self, ParquetError> {
        let leaves: Vec<usize> = leaves.into_iter().collect();
        let mask = ProjectionMask::leaves(descriptor, leaves.iter().copied());
        let levels = parquet_to_arrow_field_levels(descriptor, mask, Some(schema.fields()))?;
        Ok(Self {
            leaves,
            levels,
            others: Vec::new(),
            brought_to: Arc::new(Schema::empty()),
        })
    }

    /// The same for files of the columns `schema`, with sources that have `others`.
    pub(crate) fn with_others(mut self, schema: &SchemaRef, others: &[SchemaRef]) -> Self {
        let own = |other: &SchemaRef| (other.clone(), Own::of(schema, other, &self.leaves));
        self.others = others.iter().map(own).collect();
        if !others.is_empty() {
            let mut at = 0;
            let wanted = |leaf| self.leaves.contains(&leaf);
            let fields = schema.fields().iter();
            let fields = fields.filter_map(|field| prune(field, &mut at, &wanted));
            self.brought_to = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
        self
    }
}

/// A plan's slices as runs of slices that one reader decodes, one after another.
#[derive(Debug)]
pub(crate) struct Chains {
    plan: Plan,
    schema: SchemaRef,
    chains: Vec<Chain>,
    /// By facet, and last for the common columns, where the rows are; `None` if all are there in
    /// their order.
    places: Vec<Option<Places>>,
}

#[derive(Debug)]
struct Chain {
    slices: Vec<usize>,
    groups: Vec<Arc<GroupBytes>>,
    selection: RowSelection,
    rows: usize,
    /// Whether the files are of the schema that the merged file has, down to the Parquet types.
    alike: bool,
    /// Which other columns than the merged file they have, if they have.
    other: Option<usize>,
    /// Whether another slice can follow: the last one must have been read to its end.
    open: bool,
}

#[derive(Debug)]
enum Places {
    /// Rows of the only chain.
    Rows(UInt32Array),
    /// Chain and row.
    Many(Vec<(usize, usize)>),
}

impl Chains {
    /// The chains of `plan`, whose rows are written to a file of `descriptor` and `schema`.
    pub(crate) fn new(plan: Plan, descriptor: &SchemaDescriptor, schema: &SchemaRef) -> Self {
        let mut chains: Vec<Chain> = Vec::new();
        let mut at = Vec::with_capacity(plan.slices.len());
        for (index, slice) in plan.slices.iter().enumerate() {
            let alike = slice.bytes.schema().root_schema() == descriptor.root_schema();
            let place = chains.iter().rposition(|chain| chain.takes(slice, alike));
            let place = place.unwrap_or_else(|| {
                chains.push(Chain::new(slice, alike));
                chains.len() - 1
            });
            at.push((place, chains[place].rows));
            chains[place].add(index, slice);
        }
        let facets = (0..plan.facets.len()).map(Some).chain([None]);
        let places = facets.map(|facet| places(plan.places(facet), &at, &chains));
        Self {
            places: places.collect(),
            schema: schema.clone(),
            plan,
            chains,
        }
    }

    /// Rows that are to be written.
    pub(crate) fn rows(&self) -> usize {
        self.plan.rows()
    }

    /// About how many bytes they are when they are decoded.
    pub(crate) fn bytes(&self) -> usize {
        self.plan.bytes().1
    }

    /// About how many bytes it takes to decode `projection` and to encode it again.
    pub(crate) fn weight(&self, projection: &Projection) -> usize {
        let slices = self.plan.slices.iter();
        let bytes = slices.map(|slice| match slice.other {
            None => slice.bytes.decoded_bytes(&projection.leaves, slice.rows, 0),
            Some(other) => {
                let Own { leaves, missing } = &projection.others[other].1;
                slice.bytes.decoded_bytes(leaves, slice.rows, *missing)
            }
        });
        bytes.fold(ENCODER_BYTES, usize::saturating_add)
    }

    /// The columns in `projection`, in the order that the rows are to be written in, each by what
    /// `facet` says of its name.
    pub(crate) fn decode(
        &self,
        projection: &Projection,
        facet: impl Fn(&str) -> Option<usize>,
        inflate: &Inflate,
    ) -> Result<RecordBatch, MergeError> {
        let batches = self.chains.iter().map(|chain| {
            let read = self.read(chain, projection, inflate);
            read.map_err(|error| self.named(chain, projection, inflate, error))
        });
        let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>()?;
        let schema = batches.first().map(RecordBatch::schema);
        let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
        let gather = |index: usize| -> Result<ArrayRef, ArrowError> {
            let arrays: Vec<&dyn Array> = batches
                .iter()
                .map(|batch| batch.column(index).as_ref())
                .collect();
            let facet = facet(schema.field(index).name());
            let facet = facet.filter(|facet| *facet < self.plan.facets.len());
            match &self.places[facet.unwrap_or(self.plan.facets.len())] {
                None => Ok(batches[0].column(index).clone()),
                Some(Places::Rows(rows)) => take(arrays[0], rows, None),
                Some(Places::Many(places)) => interleave(&arrays, places),
            }
        };
        let columns: Result<Vec<ArrayRef>, _> = (0..schema.fields().len()).map(gather).collect();
        let batch = columns.and_then(|columns| RecordBatch::try_new(schema.clone(), columns));
        batch.map_err(mismatch)
    }

    /// The error of a chain as that of the slice that does not decode on its own either.
    fn named(
        &self,
        chain: &Chain,
        projection: &Projection,
        inflate: &Inflate,
        source: FormatError,
    ) -> MergeError {
        let broken = chain.slices.iter().find(|index| {
            let slice = &self.plan.slices[**index];
            let mut alone = Chain::new(slice, chain.alike);
            alone.add(**index, slice);
            self.read(&alone, projection, inflate).is_err()
        });
        let slice = &self.plan.slices[*broken.unwrap_or(&chain.slices[0])];
        MergeError::Source {
            key: slice.bytes.key.clone(),
            source,
        }
    }

    fn read(
        &self,
        chain: &Chain,
        projection: &Projection,
        inflate: &Inflate,
    ) -> Result<RecordBatch, FormatError> {
        if chain.alike && chain.other.is_none() {
            return decode(chain, &projection.levels, inflate);
        }
        let descriptor = chain.groups[0].schema();
        let Some(other) = chain.other else {
            let leaves = projection.leaves.iter().copied();
            let own = Projection::new(descriptor, &self.schema, leaves).map_err(invalid)?;
            return decode(chain, &own.levels, inflate);
        };
        let (schema, own) = &projection.others[other];
        let batch = if own.leaves.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(chain.rows));
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
                .map_err(broken)?
        } else {
            let leaves = own.leaves.iter().copied();
            let own = Projection::new(descriptor, schema, leaves).map_err(invalid)?;
            decode(chain, &own.levels, inflate)?
        };
        unify::adapt(batch, &projection.brought_to).map_err(|error| FormatError::Invalid {
            reason: "a value does not fit the column of the merged file".to_owned(),
            source: Some(error.into()),
        })
    }
}

/// The rows of a chain, of the columns in `levels`.
fn decode(
    chain: &Chain,
    levels: &FieldLevels,
    inflate: &Inflate,
) -> Result<RecordBatch, FormatError> {
    let selection = Some(chain.selection.clone());
    let reader = pages::read(&chain.groups, levels, selection, chain.rows, inflate);
    let reader = reader.map_err(invalid)?;
    let schema = arrow_array::RecordBatchReader::schema(&reader);
    let mut batches = reader.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let batch = match batches.len() {
        1 => batches.remove(0),
        _ => concat_batches(&schema, &batches).map_err(broken)?,
    };
    if batch.num_rows() != chain.rows {
        let reason = format!("{} rows of {}", batch.num_rows(), chain.rows);
        return Err(FormatError::invalid(reason));
    }
    Ok(batch)
}

impl Chain {
    /// A chain without slices yet, of the kind of `slice`.
    fn new(slice: &Slice, alike: bool) -> Self {
        Self {
            slices: Vec::new(),
            groups: Vec::new(),
            selection: RowSelection::default(),
            rows: 0,
            alike,
            other: slice.other,
            open: true,
        }
    }

    /// Whether one reader can go on from this chain to `slice`.
    fn takes(&self, slice: &Slice, alike: bool) -> bool {
        let same = || self.groups[0].schema().root_schema() == slice.bytes.schema().root_schema();
        self.open && self.alike == alike && self.other == slice.other && (alike || same())
    }

    fn add(&mut self, index: usize, slice: &Slice) {
        self.slices.push(index);
        self.open = slice.from + slice.rows == slice.bytes.rows();
        self.groups.push(slice.bytes.clone());
        let mut selectors: Vec<RowSelector> = std::mem::take(&mut self.selection).into();
        selectors.extend((slice.from > 0).then(|| RowSelector::skip(slice.from)));
        selectors.push(RowSelector::select(slice.rows));
        self.selection = selectors.into();
        self.rows += slice.rows;
    }
}

/// Slice and row as chain and row.
fn places(places: &[(usize, usize)], at: &[(usize, usize)], chains: &[Chain]) -> Option<Places> {
    let moved = places.iter().map(|(slice, row)| {
        let (chain, offset) = at[*slice];
        (chain, offset + row)
    });
    if let [chain] = chains {
        let in_order = (0..chain.rows).map(|row| (0, row));
        if moved.clone().eq(in_order) {
            return None;
        }
        let rows = moved.map(|(_, row)| u32::try_from(row).unwrap_or(u32::MAX));
        return Some(Places::Rows(UInt32Array::from_iter_values(rows)));
    }
    Some(Places::Many(moved.collect()))
}

/// Rows that do not fit together.
pub(crate) fn mismatch(error: ArrowError) -> MergeError {
    unwritable("merge", error)
}

/// A file that cannot be encoded.
pub(crate) fn unwritable(
    key: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> MergeError {
    MergeError::Source {
        key: key.to_owned(),
        source: FormatError::Encode {
            reason: "rows cannot be combined".to_owned(),
            source: Some(error.into()),
        },
    }
}
