//! The columns of a merged file whose sources are of several releases.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef};

use super::leaves::leaf_count;
use super::merge_error::MergeError;
use super::outline::Outline;
use crate::unify::{self, Conflict};

/// How much of a type an error tells: a struct's could fill pages.
const MAX_TYPE_CHARS: usize = 200;

/// The columns of a merged file, and what those of its sources are if they differ.
#[derive(Debug)]
pub(crate) struct Target {
    /// The columns of the newest source, then those that only older ones have; so inside of
    /// structs and lists.
    pub(crate) schema: SchemaRef,
    /// Each schema once that some source has in place of it.
    pub(crate) others: Vec<SchemaRef>,
    /// By source, which of them it has.
    pub(crate) of: Vec<Option<usize>>,
}

impl Target {
    /// What holds the columns of all `sources`, which are in order of their age; `None` without
    /// sources.
    pub(crate) fn of(sources: &[Outline]) -> Result<Option<Self>, MergeError> {
        let Some(newest) = sources.last() else {
            return Ok(None);
        };
        let mut schema = newest.shape.schema.clone();
        let mut last = &newest.shape;
        for source in sources.iter().rev() {
            if Arc::ptr_eq(&source.shape, last) {
                continue;
            }
            last = &source.shape;
            let wider = unify::union(&schema, &last.schema);
            schema = wider.map_err(|conflict| refused(&source.object.key, &conflict))?;
        }
        let mut others: Vec<SchemaRef> = Vec::new();
        let of = sources.iter().map(|source| {
            let own = &source.shape.schema;
            if Arc::ptr_eq(own, &schema) || own.fields() == schema.fields() {
                return None;
            }
            let same = |other: &SchemaRef| Arc::ptr_eq(other, own) || other == own;
            Some(others.iter().position(same).unwrap_or_else(|| {
                others.push(own.clone());
                others.len() - 1
            }))
        });
        let of = of.collect();
        Ok(Some(Self { schema, others, of }))
    }
}

fn refused(key: &str, conflict: &Conflict) -> MergeError {
    let shown = |data_type: &DataType| {
        let text = data_type.to_string();
        match text.char_indices().nth(MAX_TYPE_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    MergeError::Schema {
        key: key.to_owned(),
        column: conflict.at.clone(),
        found: shown(&conflict.theirs),
        newer: shown(&conflict.ours),
    }
}

/// What is decoded of a source that has other columns, for some leaves of the merged file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// Leaves of the source, in order. Where it has a list or a struct but none of the wanted
    /// leaves in it, another leaf is among them: it tells how long the lists are and what is null.
    pub(crate) leaves: Vec<usize>,
    /// How many of the wanted leaves it does not have.
    pub(crate) missing: usize,
}

impl Own {
    /// The leaves of a source with the columns `own` that stand for the leaves `wanted` of a file
    /// with the columns `schema`.
    pub(crate) fn of(schema: &SchemaRef, own: &SchemaRef, wanted: &[usize]) -> Self {
        let mut found = Self::default();
        let mut first = 0;
        for field in schema.fields() {
            let count = leaf_count(field);
            let among = |leaf: &usize| (first..first + count).contains(leaf);
            if wanted.iter().any(among) {
                let mut before = 0;
                let place = own.fields().iter().find_map(|other| {
                    let at = before;
                    before += leaf_count(other);
                    (other.name() == field.name()).then_some((other, at))
                });
                found.add(field, first, place, wanted);
            }
            first += count;
        }
        found.leaves.sort_unstable();
        found.leaves.dedup();
        found
    }

    /// Adds what is `wanted` of `field`, whose leaves begin at `first`, from the source's field
    /// and its first leaf.
    fn add(
        &mut self,
        field: &Field,
        first: usize,
        own: Option<(&Arc<Field>, usize)>,
        wanted: &[usize],
    ) {
        let leaves = first..first + leaf_count(field);
        let of_these = wanted.iter().filter(|leaf| leaves.contains(leaf)).count();
        if of_these == 0 {
            return;
        }
        let Some((own, at)) = own else {
            self.missing += of_these;
            return;
        };
        let before = self.leaves.len();
        match (field.data_type(), own.data_type()) {
            (DataType::Struct(fields), DataType::Struct(others)) => {
                let mut first = first;
                for field in fields {
                    let mut after = at;
                    let place = others.iter().find_map(|other| {
                        let at = after;
                        after += leaf_count(other);
                        (other.name() == field.name()).then_some((other, at))
                    });
                    self.add(field, first, place, wanted);
                    first += leaf_count(field);
                }
            }
            (DataType::List(item), DataType::List(other)) => {
                self.add(item, first, Some((other, at)), wanted);
            }
            // Of one type but for decimals, which are one leaf.
            _ => self.leaves.extend(at..at + leaf_count(own)),
        }
        if self.leaves.len() == before {
            self.leaves.extend(lightest(own, at));
        }
    }
}

/// The leaf of a field that takes least to decode: in as few lists as may be, and no text.
fn lightest(field: &Field, first: usize) -> Option<usize> {
    let mut leaves = Vec::new();
    weigh(field, first, 0, &mut leaves);
    leaves.into_iter().min().map(|(_, _, leaf)| leaf)
}

/// Lists around, whether it is more than a number, and place of each leaf.
fn weigh(field: &Field, first: usize, lists: usize, leaves: &mut Vec<(usize, bool, usize)>) {
    match field.data_type() {
        DataType::Struct(fields) => {
            let mut first = first;
            for field in fields {
                weigh(field, first, lists, leaves);
                first += leaf_count(field);
            }
        }
        DataType::List(item) => weigh(item, first, lists + 1, leaves),
        kind => {
            let is_number = kind.is_primitive() || *kind == DataType::Boolean;
            let all: Range<usize> = first..first + leaf_count(field);
            leaves.extend(all.map(|leaf| (lists, !is_number, leaf)));
        }
    }
}
