use sha2::{Digest, Sha256};

use super::canonical::{by_name, canonical};
use super::fault::Fault;
use super::number::push_canonical;
use super::scan::{Kind, Scanner};
use super::tape::{Doc, Node, REPEATED, RESPELL, STRANGE};
use super::text::{RawStr, push_respelled};
use crate::shape::{Field, Type};

/// Spells records that were walked in their canonical form, without looking at their syntax
/// again. What it writes equals [`canonical_json`](super::canonical_json).
#[derive(Debug)]
pub(crate) struct Speller {
    order: Order,
    out: String,
    hex: [u8; 64],
}

/// The fields of an object, sorted by name.
#[derive(Debug)]
struct Order {
    fields: &'static [Field],
    sorted: Vec<usize>,
    /// By field: the order within it, where it is an object or list.
    inner: Vec<Option<Order>>,
}

impl Order {
    fn new(fields: &'static [Field]) -> Self {
        let mut sorted: Vec<usize> = (0..fields.len()).collect();
        sorted.sort_by_key(|&index| fields[index].name);
        let inner = fields.iter().map(|field| match field.ty {
            Type::Object(inner) | Type::List(inner) => Some(Self::new(inner)),
            _ => None,
        });
        Self {
            fields,
            sorted,
            inner: inner.collect(),
        }
    }
}

impl Speller {
    /// For records of these fields, at most 64.
    pub(crate) fn new(fields: &'static [Field]) -> Self {
        Self {
            order: Order::new(fields),
            out: String::new(),
            hex: [0; 64],
        }
    }

    /// The canonical form of the record at node `index`.
    pub(crate) fn spell(&mut self, doc: Doc<'_>, index: usize) -> Result<&str, Fault> {
        self.out.clear();
        value(&self.order, doc, index, &mut self.out)?;
        Ok(&self.out)
    }

    /// The hash of the form that was spelled last, in hexadecimal digits.
    pub(crate) fn hash(&mut self) -> &str {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digest = Sha256::digest(self.out.as_bytes());
        for (pair, byte) in self.hex.chunks_exact_mut(2).zip(digest) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        // ASCII by construction, so this never falls back.
        std::str::from_utf8(&self.hex).unwrap_or_default()
    }
}

/// An object of this order, or what stands in its place.
fn value(order: &Order, doc: Doc<'_>, index: usize, out: &mut String) -> Result<(), Fault> {
    let node = doc.node(index);
    match node.kind {
        Kind::Object if node.is_opened() && node.is(STRANGE | REPEATED) => {
            strange_object(order, doc, index, out)
        }
        Kind::Object if node.is_opened() => object(order, doc, index, out),
        Kind::Array if node.is_opened() => {
            out.push('[');
            for (position, (child, _)) in doc.children(index).enumerate() {
                if position > 0 {
                    out.push(',');
                }
                value(order, doc, child, out)?;
            }
            out.push(']');
            Ok(())
        }
        _ => leaf(order.fields, doc, node, out),
    }
}

/// An object of known fields only, each at most once.
fn object(order: &Order, doc: Doc<'_>, index: usize, out: &mut String) -> Result<(), Fault> {
    // The root is no field of anything, so 0 is free to say that there is none.
    let mut places = [0_u32; 64];
    for (child, node) in doc.children(index) {
        if node.kind != Kind::Null {
            places[usize::from(node.field) & 63] = child as u32;
        }
    }
    out.push('{');
    let mut started = false;
    for &field in &order.sorted {
        let child = places[field & 63] as usize;
        if child == 0 {
            continue;
        }
        if started {
            out.push(',');
        }
        started = true;
        out.push_str(order.fields[field].quoted);
        match &order.inner[field] {
            Some(inner) => value(inner, doc, child, out)?,
            None => leaf(&[], doc, doc.node(child), out)?,
        }
    }
    out.push('}');
    Ok(())
}

/// Any object: its keys are sorted.
fn strange_object(
    order: &Order,
    doc: Doc<'_>,
    index: usize,
    out: &mut String,
) -> Result<(), Fault> {
    let mut entries: Vec<(RawStr<'_>, usize, Option<usize>)> = Vec::new();
    let mut children = doc.children(index);
    while let Some((child, node)) = children.next() {
        let (key, child, field) = match node.field() {
            Some(field) => (RawStr::plain(order.fields[field].name), child, Some(field)),
            None => {
                let Some((child, _)) = children.next() else {
                    break;
                };
                let known = node.is_repeated_key().then_some(usize::from(node.field));
                (doc.string(node), child, known)
            }
        };
        if field.is_none() || doc.node(child).kind != Kind::Null {
            entries.push((key, child, field));
        }
    }
    // Stable, so that a key that occurs twice keeps its order.
    entries.sort_by(|a, b| by_name(a.0, b.0));
    out.push('{');
    for (position, (key, child, field)) in entries.into_iter().enumerate() {
        out.push_str(if position > 0 { ",\"" } else { "\"" });
        push_respelled(out, key);
        out.push_str("\":");
        match field.and_then(|field| order.inner[field].as_ref()) {
            Some(inner) => value(inner, doc, child, out)?,
            None => leaf(&[], doc, doc.node(child), out)?,
        }
    }
    out.push('}');
    Ok(())
}

/// A value whose children are not on the tape; `fields` are those of the objects within.
#[inline]
fn leaf(
    fields: &'static [Field],
    doc: Doc<'_>,
    node: &Node,
    out: &mut String,
) -> Result<(), Fault> {
    match node.kind {
        Kind::Null | Kind::Bool => out.push_str(doc.raw(node)),
        Kind::Number => push_canonical(out, doc.raw(node)),
        Kind::String if !node.is(RESPELL) => out.push_str(doc.raw(node)),
        Kind::String => {
            out.push('"');
            push_respelled(out, doc.string(node));
            out.push('"');
        }
        Kind::Array | Kind::Object => {
            let mut scanner = Scanner::over(doc.raw(node));
            canonical(&mut scanner, fields, out, &mut Vec::new(), 1)?;
        }
    }
    Ok(())
}
