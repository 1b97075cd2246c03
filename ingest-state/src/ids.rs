//! Lists of ids in few allocations.

/// One id, as an entry holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id<'a> {
    /// Index of the facet in [`Layout::facet_names`](crate::Layout::facet_names).
    pub facet: u8,
    /// The id itself: any text.
    pub id: &'a str,
    /// The version of the record, if the source has versions; see
    /// [`VersionKey`](crate::VersionKey).
    pub version: Option<&'a str>,
}

/// Ids in order, their texts in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdList {
    text: String,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    id_end: usize,
    end: usize,
    facet: u8,
    versioned: bool,
}

impl IdList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an id at the end.
    pub fn push(&mut self, id: Id<'_>) {
        self.text.push_str(id.id);
        let id_end = self.text.len();
        self.text.push_str(id.version.unwrap_or_default());
        let span = Span {
            id_end,
            end: self.text.len(),
            facet: id.facet,
            versioned: id.version.is_some(),
        };
        self.spans.push(span);
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The id at `index`.
    pub fn get(&self, index: usize) -> Option<Id<'_>> {
        let span = self.spans.get(index)?;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.spans[before].end);
        Some(Id {
            facet: span.facet,
            id: &self.text[start..span.id_end],
            version: span.versioned.then(|| &self.text[span.id_end..span.end]),
        })
    }

    /// The ids, in order.
    pub fn iter(&self) -> impl Iterator<Item = Id<'_>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The ids whose place in `keep` is true, in order.
    #[must_use]
    pub fn kept(&self, keep: &[bool]) -> Self {
        self.iter()
            .zip(keep)
            .filter(|(_, keep)| **keep)
            .map(|(id, _)| id)
            .collect()
    }
}

impl<'a> FromIterator<Id<'a>> for IdList {
    fn from_iter<I: IntoIterator<Item = Id<'a>>>(ids: I) -> Self {
        let mut list = Self::new();
        ids.into_iter().for_each(|id| list.push(id));
        list
    }
}
