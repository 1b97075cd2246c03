//! A JSON value in one walk over its text: strings without escapes and numbers stay where they are.

use std::borrow::Cow;

use super::node::Node;

/// How deep records may be nested.
const MAX_DEPTH: usize = 64;

/// Parses one value, and nothing but white space around it.
pub(super) fn parse(text: &str) -> Result<Node<'_>, String> {
    let mut parser = Parser { text, at: 0 };
    parser.space();
    let node = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.expected("nothing more"));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> String {
        match self.peek() {
            Some(byte) if byte.is_ascii_graphic() => {
                let byte = char::from(byte);
                format!("expected {what}, not {byte:?}, at byte {}", self.at)
            }
            Some(_) => format!("expected {what} at byte {}", self.at),
            None => format!("expected {what}, but the text ends at byte {}", self.at),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        match self.peek() {
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word("null", Node::Null),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, String> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(node)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at.min(self.text.len())..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..=0x1f) => return Err(self.expected("no control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.expected("the string's end")),
            }
        }
        self.at += 1;
        if !escaped {
            return Ok(Cow::Borrowed(&self.text[start + 1..self.at - 1]));
        }
        let decoded: Result<String, _> = serde_json::from_str(&self.text[start..self.at]);
        decoded
            .map(Cow::Owned)
            .map_err(|error| format!("{error}, in the string at byte {start}"))
    }

    fn number(&mut self) -> Result<Node<'a>, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Node::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.expected("a digit"));
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Node<'a>, String> {
        let start = self.at;
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                items.push(self.value(depth + 1)?);
                if self.last(b']')? {
                    break;
                }
            }
        }
        let raw = &self.text[start..self.at];
        Ok(Node::List { raw, items })
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, String> {
        let start = self.at;
        let mut fields: Vec<(Cow<'a, str>, Node<'a>)> = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a key"));
                }
                let key = self.string()?;
                // One of the values would be lost.
                if fields.iter().any(|(other, _)| *other == key) {
                    return Err(format!("the key {key:?} comes twice"));
                }
                self.space();
                if self.peek() != Some(b':') {
                    return Err(self.expected("a colon"));
                }
                self.at += 1;
                self.space();
                fields.push((key, self.value(depth + 1)?));
                if self.last(b'}')? {
                    break;
                }
            }
        }
        let raw = &self.text[start..self.at];
        Ok(Node::Object { raw, fields })
    }

    /// After an element: whether it was the last.
    fn last(&mut self, end: u8) -> Result<bool, String> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(false)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.expected("a comma or the end")),
        }
    }
}

/// How many bytes, eight at a time, hold neither a quote, a backslash nor a control character.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // The lowest high bit of a result is at the first zero byte; those above it may be wrong.
    let zeros = |v: u64| v.wrapping_sub(ONES) & !v;
    let mut plain = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        let v = u64::from_le_bytes(eight);
        let control = v.wrapping_sub(ONES * 0x20) & !v;
        let quote = zeros(v ^ (ONES * u64::from(b'"')));
        let backslash = zeros(v ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & (ONES * 0x80);
        if found != 0 {
            return plain + found.trailing_zeros() as usize / 8;
        }
        plain += 8;
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// The value as JSON again, without white space.
    fn print(node: &Node<'_>) -> String {
        match node {
            Node::Null => "null".to_owned(),
            Node::Bool(value) => value.to_string(),
            Node::Number(text) => (*text).to_owned(),
            Node::Text(text) => serde_json::to_string(text).unwrap(),
            Node::List { items, .. } => {
                format!(
                    "[{}]",
                    items.iter().map(print).collect::<Vec<_>>().join(",")
                )
            }
            Node::Object { fields, .. } => {
                let fields = fields.iter().map(|(key, value)| {
                    format!("{}:{}", serde_json::to_string(key).unwrap(), print(value))
                });
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for text in [
            "",
            " ",
            "nul",
            "truefalse",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "\"a",
            "\"\\x\"",
            "\"\u{1}\"",
            "\"\\",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[",
            "{",
            "1 2",
            "\"\\ud800\"",
            "NaN",
            "[\u{a0}1]",
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains("byte"), "{text:?}: {refused}");
        }
        assert!(parse(&("[".repeat(64) + &"]".repeat(64))).is_ok());
        assert!(parse(&("[".repeat(70) + &"]".repeat(70))).is_err());
    }

    fn any_text() -> impl Strategy<Value = String> {
        // What looks like JSON, and nearly does.
        prop::collection::vec(
            prop::sample::select(vec![
                "{",
                "}",
                "[",
                "]",
                ",",
                ":",
                "\"",
                "\"a\"",
                "\"é\\n\\u00e9\"",
                "1",
                "0",
                "-0.50",
                "1e9",
                "1E+2",
                ".",
                "null",
                "true",
                "false",
                " ",
                "\n",
                "\\",
                "{\"k\":1}",
                "[[],{}]",
            ]),
            0..8,
        )
        .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn plain_bytes_end_at_the_first_that_is_not(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), 0x1e..0x24_u8, 0x5a..0x5e_u8], 0..40
        )) {
            let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let expected = bytes.iter().take_while(|byte| plain(byte)).count();
            let found = plain_bytes(&bytes);
            // What does not fill eight bytes is left to the caller.
            prop_assert!(found == expected || (found < expected && bytes.len() - found < 8));
        }

        #[test]
        fn it_takes_what_the_grammar_takes(text in any_text()) {
            let theirs = serde_json::from_str::<&RawValue>(&text);
            match parse(&text) {
                Ok(node) => {
                    prop_assert!(theirs.is_ok(), "{text}");
                    // A tree of floats refuses what is out of its range; the text is kept here.
                    if let Ok(tree) = serde_json::from_str::<serde_json::Value>(&text) {
                        let again: serde_json::Value = serde_json::from_str(&print(&node)).unwrap();
                        prop_assert_eq!(again, tree);
                    }
                }
                Err(reason) => prop_assert!(
                    theirs.is_err() || reason.contains("comes twice"),
                    "{} {}", text, reason
                ),
            }
        }
    }
}
