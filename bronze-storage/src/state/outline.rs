//! What a merge knows of a source before it reads it, and how many sources it takes at once.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use ingest_state::{FormatError, ObjectHead};
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescPtr;

use super::sparse::Opened;

/// A source's place among the keys and its weight; some hundred bytes, where its footer has many
/// thousand.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    pub(crate) object: ObjectHead,
    pub(crate) shape: Arc<Shape>,
    pub(crate) rows: i64,
    /// No key is below.
    pub(crate) lower: Vec<u8>,
    /// No key is above; `None` if the statistics do not say.
    upper: Option<Vec<u8>>,
    /// What its largest row group takes, compressed and with its part of the footer.
    bytes: usize,
}

impl Outline {
    /// The outline of a source whose rows are sorted by the column `key`. Its shape is one of
    /// those that are `known`, or added to them: one for all that have the same is by far the
    /// largest part of an outline.
    pub(crate) fn of(
        opened: &Opened,
        key: &str,
        known: &mut Vec<Arc<Shape>>,
    ) -> Result<Self, FormatError> {
        let metadata = &opened.metadata;
        let schema = metadata.file_metadata().schema_descr();
        let leaf =
            (0..schema.num_columns()).find(|leaf| schema.column(*leaf).path().string() == key);
        let groups = metadata.row_groups();
        let bound = |group: usize, of: fn(&Statistics) -> Option<&[u8]>| {
            let statistics = groups.get(group)?.column(leaf?).statistics()?;
            of(statistics).map(<[u8]>::to_vec)
        };
        let largest = groups
            .iter()
            .map(|group| group.compressed_size().max(0))
            .max();
        let footer = metadata.memory_size() / groups.len().max(1);
        let shape = match known.iter().rev().find(|known| known.is_of(opened)) {
            Some(known) => known.clone(),
            None => {
                known.push(Arc::new(Shape::of(opened)?));
                known[known.len() - 1].clone()
            }
        };
        Ok(Self {
            object: opened.object.clone(),
            shape,
            rows: metadata.file_metadata().num_rows(),
            lower: bound(0, Statistics::min_bytes_opt).unwrap_or_default(),
            upper: bound(groups.len().wrapping_sub(1), Statistics::max_bytes_opt),
            bytes: usize::try_from(largest.unwrap_or(0))
                .unwrap_or(usize::MAX)
                .saturating_add(footer),
        })
    }
}

/// The columns of a source.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Without its metadata, which says what an entry is and differs in each.
    pub(crate) schema: SchemaRef,
    descriptor: SchemaDescPtr,
    /// What the footer says of the Arrow schema.
    stated: Option<String>,
}

impl Shape {
    fn of(opened: &Opened) -> Result<Self, FormatError> {
        let schema = Schema::new(opened.arrow()?.schema().fields().clone());
        Ok(Self {
            schema: Arc::new(schema),
            descriptor: opened.metadata.file_metadata().schema_descr_ptr(),
            stated: opened
                .footer_value(ARROW_SCHEMA_META_KEY)
                .map(str::to_owned),
        })
    }

    /// Whether a source has the same columns, by what they are made from.
    fn is_of(&self, opened: &Opened) -> bool {
        let descriptor = opened.metadata.file_metadata().schema_descr();
        self.stated.as_deref() == opened.footer_value(ARROW_SCHEMA_META_KEY)
            && self.descriptor.root_schema() == descriptor.root_schema()
    }
}

/// How many of the first `outlines` can be merged in one round with at most `max_sources` of them,
/// and row groups of at most `max_bytes`, open at any key; at least one. Pure.
pub(crate) fn round_len(outlines: &[Outline], max_sources: usize, max_bytes: usize) -> usize {
    let fits = |len: usize| {
        let (sources, bytes) = peak(&outlines[..len]);
        sources <= max_sources && bytes <= max_bytes
    };
    if outlines.is_empty() || fits(outlines.len()) {
        return outlines.len();
    }
    // The peak of a longer prefix is never lower: look for the last that fits.
    let (mut good, mut bad) = (1, outlines.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle
        } else {
            bad = middle
        }
    }
    good
}

/// The most sources, and the most bytes of row groups, that overlap at any key.
fn peak(outlines: &[Outline]) -> (usize, usize) {
    let mut events: Vec<(&[u8], bool, usize)> = Vec::with_capacity(outlines.len() * 2);
    for outline in outlines.iter().filter(|outline| outline.rows > 0) {
        events.push((&outline.lower, false, outline.bytes));
        if let Some(upper) = &outline.upper {
            events.push((upper, true, outline.bytes));
        }
    }
    // At one key, what begins comes before what ends: both are open there.
    events.sort_unstable();
    let (mut sources, mut bytes, mut most) = (0_usize, 0_usize, (0, 0));
    for (_, ends, size) in events {
        if ends {
            sources -= 1;
            bytes -= size;
        } else {
            sources += 1;
            bytes = bytes.saturating_add(size);
        }
        most = (most.0.max(sources), most.1.max(bytes));
    }
    most
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use ingest_state::Version;
    use parquet::schema::types::{SchemaDescriptor, Type};

    use super::*;

    fn outline(lower: &str, upper: &str, bytes: usize) -> Outline {
        let version = Version("1".to_owned());
        Outline {
            object: ObjectHead {
                key: "k".to_owned(),
                size: 1,
                version,
            },
            shape: Arc::new(Shape {
                schema: Arc::new(Schema::empty()),
                descriptor: Arc::new(SchemaDescriptor::new(Arc::new(
                    Type::group_type_builder("schema").build().unwrap(),
                ))),
                stated: None,
            }),
            rows: 1,
            lower: lower.as_bytes().to_vec(),
            upper: Some(upper.as_bytes().to_vec()),
            bytes,
        }
    }

    #[test]
    fn ranges_that_do_not_overlap_are_one_round() {
        let sources: Vec<_> = (b'a'..=b'z')
            .map(|letter| {
                outline(
                    &format!("{}0", letter as char),
                    &format!("{}9", letter as char),
                    7,
                )
            })
            .collect();
        assert_eq!(round_len(&sources, 2, 10), 26);
        assert_eq!(peak(&sources), (1, 7));
        assert_eq!(round_len(&[], 2, 10), 0);
    }

    #[test]
    fn overlapping_ranges_are_cut_by_number_and_by_bytes() {
        let sources: Vec<_> = (0..9).map(|_| outline("a", "z", 10)).collect();
        assert_eq!(round_len(&sources, 4, 1_000), 4);
        assert_eq!(round_len(&sources, 100, 25), 2);
        assert_eq!(round_len(&sources, 100, 1), 1);
    }

    #[test]
    fn a_source_without_statistics_is_open_to_the_end() {
        let open = Outline {
            upper: None,
            ..outline("a", "", 1)
        };
        let sources = [open.clone(), outline("x", "y", 1), open];
        assert_eq!(peak(&sources), (3, 3));
    }
}
