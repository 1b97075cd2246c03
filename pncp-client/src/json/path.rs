//! Paths into a record, as `_unmapped` spells them.
//!
//! `field`, `outer.inner`, `list[0].inner`; a field that occurs again in its object is
//! `field#2`. In names, `~` is spelled `~0`, `.` `~1`, `[` `~2` and `#` `~3`; the empty name is
//! `~4`, and half a surrogate pair, which no text holds, `~5` and its four hexadecimal digits.
//! The record itself, where it is no object, is the empty path.

use std::fmt::Write as _;

use super::canonical::push_minified;
use super::text::{Piece, RawStr, push_escaped};

/// Collects what has no column, as the text of one JSON object.
#[derive(Debug, Default)]
pub(crate) struct Unmapped {
    /// Where the walk is; spelled only when something is kept.
    steps: Vec<Step>,
    path: String,
    out: String,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Field(&'static str),
    Index(usize),
}

impl Unmapped {
    /// Goes into a field; [`Unmapped::leave`] comes back.
    pub(crate) fn enter(&mut self, field: &'static str) {
        self.steps.push(Step::Field(field));
    }

    /// Goes into an element of a list.
    pub(crate) fn enter_index(&mut self, index: usize) {
        self.steps.push(Step::Index(index));
    }

    pub(crate) fn leave(&mut self) {
        self.steps.pop();
    }

    /// Keeps the value at the present path.
    pub(crate) fn keep_here(&mut self, raw: &str) {
        self.spell_steps();
        self.push(raw);
    }

    /// Keeps the value of a field of the object at the present path; `occurrence` from 1.
    pub(crate) fn keep(&mut self, field: RawStr<'_>, occurrence: usize, raw: &str) {
        self.spell_steps();
        push_name(&mut self.path, field);
        if occurrence > 1 {
            let _ = write!(self.path, "#{occurrence}");
        }
        self.push(raw);
    }

    fn spell_steps(&mut self) {
        self.path.clear();
        for step in &self.steps {
            match step {
                Step::Field(name) => push_name(&mut self.path, RawStr::plain(name)),
                Step::Index(index) => {
                    let _ = write!(self.path, "[{index}]");
                }
            }
        }
    }

    fn push(&mut self, raw: &str) {
        self.out
            .push_str(if self.out.is_empty() { "{\"" } else { ",\"" });
        push_escaped(&mut self.out, &self.path);
        self.out.push_str("\":");
        push_minified(&mut self.out, raw);
    }

    /// The JSON object, if anything was kept; empties the collection but not its memory.
    pub(crate) fn take<R>(&mut self, with: impl FnOnce(Option<&str>) -> R) -> R {
        if self.out.is_empty() {
            return with(None);
        }
        self.out.push('}');
        let answer = with(Some(&self.out));
        self.out.clear();
        answer
    }
}

fn push_name(path: &mut String, name: RawStr<'_>) {
    if !path.is_empty() {
        path.push('.');
    }
    // An empty name would vanish at the start of a path.
    if name.inner.is_empty() {
        path.push_str("~4");
    }
    name.pieces(|piece| match piece {
        Piece::Half(half) => {
            let _ = write!(path, "~5{half:04x}");
        }
        Piece::Text(text) => text.chars().for_each(|character| match character {
            '~' => path.push_str("~0"),
            '.' => path.push_str("~1"),
            '[' => path.push_str("~2"),
            '#' => path.push_str("~3"),
            other => path.push(other),
        }),
    });
}

/// A name out of a path, spelled as inside a JSON string.
fn spelled_name(name: &str) -> Option<String> {
    let mut spelled = String::with_capacity(name.len());
    let mut pieces = name.split('~');
    push_escaped(&mut spelled, pieces.next()?);
    for piece in pieces {
        let mut rest = piece.get(1..)?;
        match piece.as_bytes()[0] {
            b'0' => spelled.push('~'),
            b'1' => spelled.push('.'),
            b'2' => spelled.push('['),
            b'3' => spelled.push('#'),
            b'4' => {}
            b'5' => {
                let half = u32::from_str_radix(rest.get(..4)?, 16).ok()?;
                let _ = write!(spelled, "\\u{half:04x}");
                rest = &rest[4..];
            }
            _ => return None,
        }
        push_escaped(&mut spelled, rest);
    }
    Some(spelled)
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The name is spelled as inside a JSON string.
    Field {
        name: String,
        occurrence: usize,
    },
    Index(usize),
}

/// Reads a path back; `None` if it is not one of ours.
pub(crate) fn parse_path(path: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    if path.is_empty() {
        return Some(segments);
    }
    for part in path.split('.') {
        let mut pieces = part.split('[');
        let field = pieces.next()?;
        let (name, occurrence) = match field.split_once('#') {
            Some((name, count)) => (name, count.parse().ok()?),
            None => (field, 1),
        };
        let name = spelled_name(name)?;
        segments.push(Segment::Field { name, occurrence });
        for index in pieces {
            segments.push(Segment::Index(index.strip_suffix(']')?.parse().ok()?));
        }
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(outer in 0_usize..4, index in 0_usize..9, inner in "[a~.#\\[\\]4é]{0,6}|\\PC{0,5}", occurrence in 1_usize..4) {
            let outer = ["", "plain", "a~.#[]4é", "~4"][outer];
            let spelled = serde_json::to_string(&inner).unwrap();
            let halved = format!("{}\\udc00\\ud800", &spelled[1..spelled.len() - 1]);
            for inner in [&spelled[1..spelled.len() - 1], &halved] {
                let mut unmapped = Unmapped::default();
                unmapped.enter(outer);
                unmapped.enter_index(index);
                unmapped.keep(RawStr { inner, escaped: true }, occurrence, "1");
                unmapped.leave();
                unmapped.leave();
                prop_assert!(unmapped.steps.is_empty());
                let json = unmapped.take(|text| text.unwrap().to_owned());
                let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
                let (path, _) = read.iter().next().unwrap();
                prop_assert_eq!(parse_path(path).unwrap(), vec![
                    Segment::Field { name: outer.to_owned(), occurrence: 1 },
                    Segment::Index(index),
                    Segment::Field { name: inner.to_owned(), occurrence },
                ]);
            }
        }
    }

    #[test]
    fn what_is_no_path() {
        for path in ["a~", "a~9", "a~5d8", "a[", "a[x]", "a#x", "~5zzzz"] {
            assert_eq!(parse_path(path), None, "{path}");
        }
    }
}
