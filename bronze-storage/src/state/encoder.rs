//! The columns of a row group, encoded piece by piece.

use std::ops::Range;

use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use super::chains::{Chains, Projection, mismatch, unwritable};
use super::columnar::Columns;
use super::leaves::LeafGroup;
use super::merge_error::MergeError;
use super::pages::Inflate;
use super::totals::Totals;

/// What it takes to encode any part of a row group.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) schema: SchemaRef,
    totals: Totals,
    groups: Vec<LeafGroup>,
    pieces: Vec<Piece>,
}

/// Leaf groups that are encoded from the same decoded columns.
#[derive(Debug)]
struct Piece {
    groups: Range<usize>,
    projection: Projection,
    /// Whether it is `metadata`, which is computed from several columns.
    computed: bool,
}

impl Encoder {
    pub(crate) fn new(
        columns: Columns<'_>,
        descriptor: &SchemaDescriptor,
        groups: Vec<LeafGroup>,
    ) -> Result<Self, ParquetError> {
        let Columns {
            schema,
            others,
            marks,
        } = columns;
        let totals = Totals::new(marks);
        let mut pieces: Vec<Piece> = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let computed = !marks.is_empty() && schema.field(group.column).name() == "metadata";
            if let Some(last) = pieces.last_mut().filter(|last| computed && last.computed) {
                last.groups.end += 1;
                continue;
            }
            let leaves = match computed {
                true => totals.leaves(descriptor),
                false => group.leaves.clone().collect(),
            };
            pieces.push(Piece {
                groups: index..index + 1,
                projection: Projection::new(descriptor, schema, leaves)?
                    .with_others(schema, others),
                computed,
            });
        }
        Ok(Self {
            schema: schema.clone(),
            totals,
            groups,
            pieces,
        })
    }

    /// About what each piece takes.
    pub(crate) fn weights(&self, chains: &Chains) -> Vec<usize> {
        let weight = |piece: &Piece| chains.weight(&piece.projection);
        self.pieces.iter().map(weight).collect()
    }

    /// The column chunks of piece `index` for the rows of `chains`.
    pub(crate) fn encode(
        &self,
        chains: &Chains,
        index: usize,
        inflate: &Inflate,
    ) -> Result<Vec<ArrowColumnChunk>, MergeError> {
        let piece = &self.pieces[index];
        let facet = |column: &str| self.totals.facet_of(column);
        let batch = chains.decode(&piece.projection, facet, inflate)?;
        let refused = |error: ParquetError| unwritable("merge", error);
        if !piece.computed {
            let [group] = &self.groups[piece.groups.clone()] else {
                unreachable!("only what is computed has several groups")
            };
            return group.encode(batch.column(0)).map_err(refused);
        }
        let metadata = self.totals.metadata(&batch).map_err(mismatch)?;
        drop(batch);
        let metadata = metadata
            .ok_or_else(|| mismatch(ArrowError::SchemaError("no column metadata".to_owned())))?;
        let mut chunks = Vec::new();
        for group in &self.groups[piece.groups.clone()] {
            let field = &self.schema.fields()[group.column];
            let part = group.part(field, &metadata).map_err(mismatch)?;
            chunks.extend(group.encode(&part).map_err(refused)?);
        }
        Ok(chunks)
    }
}
