use super::scan::Kind;
use super::text::RawStr;

/// A value of a record, or the key of one that has no column. Children of an object or list
/// follow their parent; `next` is the place after the last of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Where its text lies; of a string, what stands between the quotes.
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) next: u32,
    /// The index of its field in its object's shape, or [`NO_FIELD`].
    pub(super) field: u8,
    pub(super) kind: Kind,
    pub(super) flags: u8,
}

/// Not a field that the shape knows.
pub(super) const NO_FIELD: u8 = u8::MAX;

/// A key: the next node is its value, which has no column. Its `field` is set where the field is
/// known, but occurred before.
pub(super) const KEY: u8 = 1;
/// A string with a backslash.
pub(super) const ESCAPED: u8 = 2;
/// A string that is not spelled canonically.
pub(super) const RESPELL: u8 = 4;
/// An object or list whose children are on the tape.
pub(super) const OPENED: u8 = 8;
/// An object that has keys without a column.
pub(super) const STRANGE: u8 = 16;
/// An object in which a field that the shape knows occurs again.
pub(super) const REPEATED: u8 = 32;

impl Node {
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The index of its field in its object's shape; `None` for what has no column.
    #[inline]
    pub(crate) fn field(&self) -> Option<usize> {
        (self.flags & KEY == 0 && self.field != NO_FIELD).then_some(usize::from(self.field))
    }

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether its children can be asked for.
    pub(crate) fn is_opened(&self) -> bool {
        self.is(OPENED)
    }

    /// A string that holds an escape.
    pub(crate) fn is_escaped(&self) -> bool {
        self.is(ESCAPED)
    }

    /// An object in which a known field occurs again.
    pub(crate) fn has_repeated(&self) -> bool {
        self.is(REPEATED)
    }

    /// A known field, of which this is not the first occurrence.
    pub(crate) fn is_repeated_key(&self) -> bool {
        self.is(KEY) && self.field != NO_FIELD
    }
}

/// A text that was walked, and what was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doc<'a> {
    pub(super) text: &'a str,
    pub(super) nodes: &'a [Node],
}

impl<'a> Doc<'a> {
    #[inline]
    pub(crate) fn node(self, index: usize) -> &'a Node {
        &self.nodes[index]
    }

    /// The children of the node at `index`, each with its own index, in order.
    #[inline]
    pub(crate) fn children(self, index: usize) -> Children<'a> {
        Children {
            nodes: self.nodes,
            at: index + 1,
            end: self.nodes[index].next as usize,
        }
    }

    /// What stands between the quotes of a string; any other value as it is spelled.
    #[inline]
    pub(crate) fn inner(self, node: &Node) -> &'a str {
        &self.text[node.start as usize..node.end as usize]
    }

    /// A value as it is spelled.
    #[inline]
    pub(crate) fn raw(self, node: &Node) -> &'a str {
        let quote = usize::from(node.kind == Kind::String);
        &self.text[node.start as usize - quote..node.end as usize + quote]
    }

    pub(crate) fn string(self, node: &Node) -> RawStr<'a> {
        RawStr {
            inner: self.inner(node),
            escaped: node.is(ESCAPED),
        }
    }
}

/// See [`Doc::children`].
#[derive(Debug, Clone)]
pub(crate) struct Children<'a> {
    nodes: &'a [Node],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = (usize, &'a Node);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let index = self.at;
        let node = &self.nodes[index];
        self.at = node.next as usize;
        Some((index, node))
    }
}
