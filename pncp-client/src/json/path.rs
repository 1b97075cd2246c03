//! Paths into a record, as `_unmapped` spells them.
//!
//! `field`, `outer.inner`, `list[0].inner`; a field that occurs again in its object is
//! `field#2`. In names, `~` is spelled `~0`, `.` `~1`, `[` `~2` and `#` `~3`. The record itself,
//! where it is no object, is the empty path.

use std::fmt::Write as _;

use super::canonical::push_minified;
use super::text::push_escaped;

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
    pub(crate) fn keep(&mut self, field: &str, occurrence: usize, raw: &str) {
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
                Step::Field(name) => push_name(&mut self.path, name),
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

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    // An empty name would vanish at the start of a path.
    if name.is_empty() {
        path.push_str("~4");
    }
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '.' => path.push_str("~1"),
            '[' => path.push_str("~2"),
            '#' => path.push_str("~3"),
            other => path.push(other),
        }
    }
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Field { name: String, occurrence: usize },
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
        let name = name
            .replace("~4", "")
            .replace("~3", "#")
            .replace("~2", "[")
            .replace("~1", ".")
            .replace("~0", "~");
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
            let mut unmapped = Unmapped::default();
            unmapped.enter(outer);
            unmapped.enter_index(index);
            unmapped.keep(&inner, occurrence, "1");
            unmapped.leave();
            unmapped.leave();
            prop_assert!(unmapped.steps.is_empty());
            let json = unmapped.take(|text| text.unwrap().to_owned());
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
            let (path, _) = read.iter().next().unwrap();
            prop_assert_eq!(parse_path(path).unwrap(), vec![
                Segment::Field { name: outer.to_owned(), occurrence: 1 },
                Segment::Index(index),
                Segment::Field { name: inner, occurrence },
            ]);
        }
    }
}
