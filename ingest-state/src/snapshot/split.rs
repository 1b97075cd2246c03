//! Splits a JSON object into its members, fed piece by piece.

use memchr::memchr2;

/// A member of the object, or an element of one of its lists, as raw JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The value of a member that is not handed out by its elements.
    Value(&'a str),
    /// A list that is handed out by its elements begins.
    List,
    /// Its next element.
    Element(&'a str),
    /// Its next elements, valid texts in which nothing is escaped, without their quotes.
    Texts(&'a [&'a str]),
}

/// How many texts are handed out together.
const TEXTS_AT_ONCE: usize = 32;

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    FirstKey,
    Key,
    Colon,
    Value,
    AfterValue,
    FirstElement,
    Element,
    AfterElement,
    End,
}

/// Finds members and elements; whether each is valid JSON is for who takes them to say.
///
/// Holds the one part that the pieces cut, and nothing else. Everything outside the parts is
/// checked here, so that an object of valid parts is valid JSON.
#[derive(Debug)]
pub(super) struct Splitter<'a> {
    /// The members that are handed out by their elements, if they are lists.
    lists: [&'a str; 2],
    at: At,
    key: String,
    held: String,
    token: Token,
}

impl<'a> Splitter<'a> {
    pub(super) fn new(lists: [&'a str; 2]) -> Self {
        Self {
            lists,
            at: At::Start,
            key: String::new(),
            held: String::new(),
            token: Token::default(),
        }
    }

    /// Takes the next piece, and hands out the parts that end in it, each with its member's name.
    pub(super) fn feed(
        &mut self,
        piece: &str,
        mut on: impl FnMut(&str, Part<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rest = piece;
        loop {
            if self.token.begun {
                let Some(end) = self.token.end(rest.as_bytes()) else {
                    self.held.push_str(rest);
                    return Ok(());
                };
                let (last, after) = rest.split_at(end);
                self.finish(last, &mut on)?;
                rest = after;
                continue;
            }
            if self.at == At::AfterElement {
                rest = self.plain_texts(rest, &mut on)?;
            }
            let Some(first) = rest.bytes().position(|byte| !is_space(byte)) else {
                return Ok(());
            };
            rest = &rest[first..];
            if self.step(rest.as_bytes()[0], &mut on)? {
                rest = &rest[1..];
            }
        }
    }

    /// Hands out the texts that follow in a list, many at a time, for as long as they are whole
    /// and nothing in them is escaped; what it leaves is for the steps.
    fn plain_texts<'p>(
        &self,
        piece: &'p str,
        on: &mut impl FnMut(&str, Part<'_>) -> Result<(), String>,
    ) -> Result<&'p str, String> {
        let bytes = piece.as_bytes();
        let mut texts = [""; TEXTS_AT_ONCE];
        let (mut at, mut length, mut count) = (0, 0, TEXTS_AT_ONCE);
        while count == TEXTS_AT_ONCE {
            count = 0;
            for text in &mut texts {
                let Some(before) = next_text(&bytes[at..]) else {
                    break;
                };
                let start = at + before;
                let Some(found) = plain_length(&bytes[start..], length) else {
                    break;
                };
                length = found;
                *text = &piece[start..start + length];
                at = start + length + 1;
                count += 1;
            }
            on(&self.key, Part::Texts(&texts[..count]))?;
        }
        Ok(&piece[at..])
    }

    /// Says that there is no further piece.
    pub(super) fn end(&self) -> Result<(), String> {
        if self.at == At::End {
            Ok(())
        } else {
            Err("it ends in the middle".to_owned())
        }
    }

    /// Takes a byte between the parts; whether it is used up, or begins one.
    fn step(
        &mut self,
        byte: u8,
        on: &mut impl FnMut(&str, Part<'_>) -> Result<(), String>,
    ) -> Result<bool, String> {
        self.at = match (self.at, byte) {
            (At::Start, b'{') => At::FirstKey,
            (At::FirstKey, b'}') | (At::AfterValue, b'}') => At::End,
            (At::FirstKey | At::Key, b'"') => {
                self.token = Token::begun();
                self.at = At::Key;
                return Ok(false);
            }
            (At::Colon, b':') => At::Value,
            (At::Value, b'[') if self.lists.contains(&self.key.as_str()) => {
                on(&self.key, Part::List)?;
                At::FirstElement
            }
            (At::FirstElement, b']') => At::AfterValue,
            (At::Value | At::Element | At::FirstElement, _) => {
                self.token = Token::begun();
                if self.at == At::FirstElement {
                    self.at = At::Element;
                }
                return Ok(false);
            }
            (At::AfterValue, b',') => At::Key,
            (At::AfterElement, b',') => At::Element,
            (At::AfterElement, b']') => At::AfterValue,
            (at, byte) => {
                let what = char::from(byte).escape_default();
                return Err(format!("unexpected '{what}' at {at:?}"));
            }
        };
        Ok(true)
    }

    /// A part is whole: what was held of it, and `last`.
    fn finish(
        &mut self,
        last: &str,
        on: &mut impl FnMut(&str, Part<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.token = Token::default();
        let raw = if self.held.is_empty() {
            last
        } else {
            self.held.push_str(last);
            &self.held
        };
        match self.at {
            At::Key => {
                let key = serde_json::from_str(raw);
                self.key = key.map_err(|error| format!("a member's name: {error}"))?;
                self.at = At::Colon;
            }
            At::Element => {
                on(&self.key, Part::Element(raw))?;
                self.at = At::AfterElement;
            }
            _ => {
                on(&self.key, Part::Value(raw))?;
                self.at = At::AfterValue;
            }
        }
        self.held.clear();
        Ok(())
    }
}

/// How far a value is read.
#[derive(Debug, Default)]
struct Token {
    begun: bool,
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl Token {
    fn begun() -> Self {
        Self {
            begun: true,
            ..Self::default()
        }
    }

    /// Where in `bytes` the value ends; `None` if it goes on beyond them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            if self.in_text {
                at += memchr2(b'"', b'\\', &bytes[at..])? + 1;
                if bytes[at - 1] == b'\\' {
                    self.escaped = true;
                    continue;
                }
                self.in_text = false;
                if self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                // The end of a number or a word, which is what follows it.
                b'}' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                byte if self.depth == 0 && (byte == b',' || is_space(byte)) => return Some(at),
                _ => {}
            }
            at += 1;
        }
        None
    }
}

/// Where the text begins that follows a comma and spaces, after its quote.
fn next_text(bytes: &[u8]) -> Option<usize> {
    // What is written, and so what is there but for files that others wrote.
    const WRITTEN: &[u8] = b",\n    \"";
    if bytes.starts_with(WRITTEN) {
        return Some(WRITTEN.len());
    }
    let spaces = bytes.strip_prefix(b",")?;
    let quote = spaces.iter().position(|byte| !is_space(*byte))?;
    (spaces[quote] == b'"').then_some(quote + 2)
}

/// How long the text is that ends with the first quote; `None` if something is escaped before it,
/// or a control character is there, or it is not there. The text before was `likely` long.
fn plain_length(bytes: &[u8], likely: usize) -> Option<usize> {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if bytes.get(likely) == Some(&b'"')
        && let Some(last) = bytes[..likely].last_chunk::<16>()
    {
        // All are looked at, sixteen in a few instructions.
        let (sixteens, _) = bytes[..likely].as_chunks::<16>();
        let mut is_special = false;
        for sixteen in sixteens {
            is_special |= sixteen.iter().fold(false, |any, byte| any | special(byte));
        }
        is_special |= last.iter().fold(false, |any, byte| any | special(byte));
        if !is_special {
            return Some(likely);
        }
    }
    let found = bytes.iter().position(special)?;
    (bytes[found] == b'"').then_some(found)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// The object that the parts of `text` make, the text cut every `step` bytes.
    fn rejoined(text: &str, step: usize) -> Result<Map<String, Value>, String> {
        let mut splitter = Splitter::new(["a", "b"]);
        let mut object = Map::new();
        let value = |raw: &str| -> Result<Value, String> {
            serde_json::from_str(raw).map_err(|error| error.to_string())
        };
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(step));
            rest = after;
            splitter.feed(piece, |key, part| {
                match part {
                    Part::Value(raw) => drop(object.insert(key.to_owned(), value(raw)?)),
                    Part::List => drop(object.insert(key.to_owned(), Value::Array(Vec::new()))),
                    Part::Element(_) | Part::Texts(_) => {
                        let elements: Result<Vec<Value>, String> = match part {
                            Part::Texts(texts) => texts
                                .iter()
                                .map(|text| value(&format!("\"{text}\"")))
                                .collect(),
                            Part::Element(raw) => value(raw).map(|element| vec![element]),
                            other => return Err(format!("{other:?}")),
                        };
                        match object.get_mut(key) {
                            Some(Value::Array(list)) => list.extend(elements?),
                            other => return Err(format!("an element of {other:?}")),
                        }
                    }
                }
                Ok(())
            })?;
        }
        splitter.end().map(|()| object)
    }

    #[test]
    fn a_plain_text_ends_at_its_quote() {
        let texts = (0..40).flat_map(|n| {
            let plain: String = ('0'..='z').filter(|c| *c != '\\').cycle().take(n).collect();
            [plain, "ç\u{7f}日".repeat(n)]
        });
        for text in texts {
            for likely in 0..text.len() + 8 {
                let length =
                    |end: &str| plain_length(format!("{text}{end}x\"\\").as_bytes(), likely);
                assert_eq!(length("\""), Some(text.len()));
                for wrong in ["\\\"", "\u{1f}\"", "\n\"", "\0\""] {
                    assert_eq!(length(wrong), None, "{text}");
                }
                assert_eq!(plain_length(text.as_bytes(), likely), None, "no quote");
            }
        }
    }

    fn agrees(text: &str) {
        let expected = serde_json::from_str::<Map<String, Value>>(text);
        for step in [1, 2, 3, 7, text.len().max(1)] {
            match (&expected, rejoined(text, step)) {
                (Ok(expected), Ok(found)) => assert_eq!(*expected, found),
                (Err(_), Err(_)) => {}
                (expected, found) => {
                    panic!("{text}: {expected:?} but {found:?}");
                }
            }
        }
    }

    #[test]
    fn takes_what_is_json_and_nothing_else() {
        for text in [
            "{}",
            " { } ",
            r#"{"a":[]}"#,
            r#"{"a":["x","y\"]z",null,1,[2,"3"],{"k":"]"}],"c":1.5e3,"b":[ ],"d":"a"}"#,
            r#"{"\u0061": ["\\"], "b": "no list", "c": [{"x": [1]}]}"#,
            "{\"a\":[\"x\"]}\n\t ",
            r#"{"a":["x",]}"#,
            r#"{"a":[,"x"]}"#,
            r#"{"a":["x" "y"]}"#,
            r#"{"a":["x"}"#,
            r#"{"a":["x"]]}"#,
            r#"{"a":["x"],}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{a:1}"#,
            r#"{"c":1 2}"#,
            r#"{"c":[1}]}"#,
            r#"{"c":tru}"#,
            r#"{"c":"x}"#,
            r#"{"c":1}{"#,
            "[]",
            "",
            "{",
        ] {
            agrees(text);
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_is_put_together_again(value in prop::collection::hash_map("[a-d]", json(), 0..5)) {
            let value = Value::Object(value.into_iter().collect());
            agrees(&value.to_string());
            agrees(&format!("{value:#}"));
        }

        #[test]
        fn a_damaged_byte_is_no_matter(
            value in prop::collection::hash_map("[a-d]", json(), 0..5),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(&b"\"\\[]{},: 1x"[..]),
        ) {
            let value = Value::Object(value.into_iter().collect());
            let mut text = value.to_string();
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let end = text[at..].chars().next().map_or(at, |char| at + char.len_utf8());
            text.replace_range(at..end, &char::from(byte).to_string());
            // Names that come twice are taken by both in the same way: the last one counts.
            agrees(&text);
        }
    }
}
