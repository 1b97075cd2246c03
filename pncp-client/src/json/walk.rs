use super::fault::Fault;
use super::page::EnvelopeReader;
use super::scan::{Kind, Scanner, Span};
use super::tape::{Doc, ESCAPED, KEY, NO_FIELD, Node, OPENED, REPEATED, RESPELL, STRANGE};
use crate::shape::{Field, Type};

type Result<T> = std::result::Result<T, Fault>;

/// Nodes, of 16 bytes, whose memory is kept for the next text: those of some 6,000 itens.
const NODES_KEPT: usize = 256 * 1024;

/// Finds the values of records in one walk over their text, which also checks its syntax.
///
/// Records of a page mostly have their keys in one order, though not in an order that could be
/// known before: after each field it remembers which one followed, and tries that one first.
#[derive(Debug)]
pub(crate) struct Walker {
    layouts: Vec<Layout>,
    nodes: Vec<Node>,
}

/// The fields of one object, and in which order they come.
#[derive(Debug)]
struct Layout {
    fields: &'static [Field],
    /// The layout of what each field holds, where that is an object or list.
    inner: Vec<usize>,
    /// The field that followed each field last; at the end, the first field.
    successor: Vec<u8>,
}

/// The layouts of `fields` and of all below them; its own comes last in the answer.
fn layouts(fields: &'static [Field], all: &mut Vec<Layout>) -> usize {
    let inner = fields
        .iter()
        .map(|field| match field.ty {
            Type::Object(inner) | Type::List(inner) => layouts(inner, all),
            _ => usize::MAX,
        })
        .collect();
    let count = u8::try_from(fields.len()).unwrap_or(NO_FIELD);
    all.push(Layout {
        fields,
        inner,
        successor: (1..=count).chain([0]).collect(),
    });
    all.len() - 1
}

impl Walker {
    /// For records of at most 64 fields.
    pub(crate) fn new(fields: &'static [Field]) -> Self {
        let mut all = Vec::new();
        layouts(fields, &mut all);
        Self {
            layouts: all,
            nodes: Vec::new(),
        }
    }

    /// Forgets what was found, not how keys are ordered; gives back the memory of a very large
    /// text.
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
        self.nodes.shrink_to(NODES_KEPT);
    }

    /// What was found in `text`, the text that was walked.
    pub(crate) fn doc<'a>(&'a self, text: &'a str) -> Doc<'a> {
        Doc {
            text,
            nodes: &self.nodes,
        }
    }

    /// Walks a list page; the answer is the node of its `data`.
    pub(crate) fn page(&mut self, text: &str) -> Result<usize> {
        self.clear();
        let mut walk = self.walk(text, 0)?;
        let mut reader = EnvelopeReader::default();
        let mut data = 0;
        while reader.next_data(&mut walk.scan)? {
            data = walk.nodes.len();
            walk.list()?;
        }
        reader.finish(&mut walk.scan)?;
        Ok(data)
    }

    /// Walks a bare list; the answer is its node. What was found before is kept.
    pub(crate) fn list(&mut self, text: &str) -> Result<usize> {
        let mut walk = self.walk(text, 0)?;
        let node = walk.nodes.len();
        walk.list()?;
        walk.scan.end()?;
        Ok(node)
    }

    /// Walks the value at `pos`; the answer is its node and the position after it.
    pub(crate) fn record(&mut self, text: &str, pos: usize) -> Result<(usize, usize)> {
        let mut walk = self.walk(text, pos)?;
        let node = walk.nodes.len();
        walk.element(walk.layouts.len() - 1, 0)?;
        Ok((node, walk.scan.position()))
    }

    fn walk<'a>(&mut self, text: &'a str, pos: usize) -> Result<Walk<'a, '_>> {
        if u32::try_from(text.len()).is_err() {
            return Err(Fault {
                offset: 0,
                reason: "larger than 4 GiB",
            });
        }
        Ok(Walk {
            scan: Scanner::starting_at(text, pos),
            layouts: &mut self.layouts,
            nodes: &mut self.nodes,
        })
    }
}

/// One walk under way. Positions fit 32 bits, because the text's length does.
struct Walk<'a, 'w> {
    scan: Scanner<'a>,
    layouts: &'w mut [Layout],
    nodes: &'w mut Vec<Node>,
}

impl Walk<'_, '_> {
    /// A list of records.
    fn list(&mut self) -> Result<()> {
        let opened = self.open(Kind::Array, NO_FIELD);
        self.elements(self.layouts.len() - 1, 0)?;
        self.close(opened, 0);
        Ok(())
    }

    fn elements(&mut self, layout: usize, depth: usize) -> Result<()> {
        self.scan.begin_array()?;
        let mut first = true;
        while self.scan.next_element(&mut first)? {
            self.element(layout, depth)?;
        }
        Ok(())
    }

    /// A record, or what stands in its place.
    fn element(&mut self, layout: usize, depth: usize) -> Result<()> {
        match self.scan.peek()? {
            Kind::Object => self.object(layout, NO_FIELD, depth),
            kind => self.leaf(kind, NO_FIELD, depth),
        }
    }

    fn object(&mut self, layout: usize, field: u8, depth: usize) -> Result<()> {
        let opened = self.open(Kind::Object, field);
        self.scan.begin_object()?;
        let fields = self.layouts[layout].fields;
        let (mut seen, mut flags, mut first) = (0_u64, 0, true);
        let mut previous = fields.len();
        while self.scan.more(b'}', &mut first)? {
            let guess = usize::from(self.layouts[layout].successor[previous]);
            let guessed = fields
                .get(guess)
                .is_some_and(|field| seen & (1 << guess) == 0 && self.scan.take_key(field.quoted));
            let found = if guessed {
                guess
            } else {
                let key = self.scan.key()?;
                let found = find(fields, &self.scan, key);
                match found {
                    Some(found) if seen & (1 << found) == 0 => {
                        self.layouts[layout].successor[previous] = found as u8;
                        found
                    }
                    known => {
                        flags |= if known.is_some() { REPEATED } else { STRANGE };
                        self.key(key, known.map_or(NO_FIELD, |known| known as u8));
                        let kind = self.scan.peek()?;
                        self.leaf(kind, NO_FIELD, depth + 1)?;
                        continue;
                    }
                }
            };
            seen |= 1 << found;
            previous = found;
            let inner = self.layouts[layout].inner[found];
            self.value(&fields[found].ty, inner, found as u8, depth + 1)?;
        }
        self.close(opened, flags);
        Ok(())
    }

    #[inline]
    fn value(&mut self, ty: &Type, inner: usize, field: u8, depth: usize) -> Result<()> {
        match (self.scan.peek()?, ty) {
            (Kind::Object, Type::Object(_)) => self.object(inner, field, depth),
            (Kind::Array, Type::List(_)) => {
                let opened = self.open(Kind::Array, field);
                self.elements(inner, depth + 1)?;
                self.close(opened, 0);
                Ok(())
            }
            (kind, _) => self.leaf(kind, field, depth),
        }
    }

    /// A value that is not looked into.
    #[inline]
    fn leaf(&mut self, kind: Kind, field: u8, depth: usize) -> Result<()> {
        if kind == Kind::String {
            let span = self.scan.string_span()?;
            self.string(span, field, 0);
            return Ok(());
        }
        let start = self.scan.position();
        match kind {
            Kind::Null => self.scan.null()?,
            Kind::Number => drop(self.scan.number()?),
            _ => self.scan.skip(depth)?,
        }
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node {
            start: start as u32,
            end: self.scan.position() as u32,
            next,
            field,
            kind,
            flags: 0,
        });
        Ok(())
    }

    fn key(&mut self, span: Span, field: u8) {
        self.string(span, field, KEY);
    }

    fn string(&mut self, span: Span, field: u8, flags: u8) {
        let escaped = if span.escaped { ESCAPED } else { 0 };
        let respell = if span.respell { RESPELL } else { 0 };
        self.nodes.push(Node {
            start: span.start as u32,
            end: span.end as u32,
            next: self.nodes.len() as u32 + 1,
            field,
            kind: Kind::String,
            flags: flags | escaped | respell,
        });
    }

    /// Begins an object or list, at its bracket.
    fn open(&mut self, kind: Kind, field: u8) -> usize {
        self.nodes.push(Node {
            start: self.scan.position() as u32,
            end: 0,
            next: 0,
            field,
            kind,
            flags: OPENED,
        });
        self.nodes.len() - 1
    }

    fn close(&mut self, opened: usize, flags: u8) {
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[opened];
        node.end = self.scan.position() as u32;
        node.next = next;
        node.flags |= flags;
    }
}

/// The field that a key names.
fn find(fields: &'static [Field], scan: &Scanner<'_>, key: Span) -> Option<usize> {
    let key = scan.raw_str(key);
    if key.escaped {
        let name = key.decode_lossy();
        return fields.iter().position(|field| field.name == name);
    }
    fields.iter().position(|field| field.name == key.inner)
}
