//! JSON as text. Nothing here goes through a number type, so `0.00` stays `0.00`.

use crate::rng::Dice;

/// How many key orders the server is seen to use.
const ORDERS: u64 = 11;

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for ch in text.chars() {
        match ch {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if (c as u32) < 0x20 => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// The members of an object, written once and then emitted in any order.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    buf: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    pub(crate) fn new() -> Self {
        Self {
            buf: Vec::with_capacity(1_536),
            ends: Vec::with_capacity(40),
        }
    }

    fn key(&mut self, key: &str) {
        self.buf.push(b'"');
        self.buf.extend_from_slice(key.as_bytes());
        self.buf.extend_from_slice(b"\":");
    }

    fn end(&mut self) {
        self.ends.push(self.buf.len());
    }

    pub(crate) fn str(&mut self, key: &str, value: &str) {
        self.key(key);
        push_string(&mut self.buf, value);
        self.end();
    }

    pub(crate) fn opt(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(text) => self.str(key, text),
            None => self.raw(key, "null"),
        }
    }

    /// A member whose value is JSON already: numbers as they are to be spelled, objects, arrays.
    pub(crate) fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.buf.extend_from_slice(value.as_bytes());
        self.end();
    }

    pub(crate) fn int(&mut self, key: &str, value: impl std::fmt::Display) {
        self.raw(key, &value.to_string());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    pub(crate) fn object(&mut self, key: &str, value: &Fields, order: u64) {
        self.key(key);
        value.write(order, &mut self.buf);
        self.end();
    }

    /// Appends the object; `order` 0 is the order of writing, any other one of ten permutations.
    pub(crate) fn write(&self, order: u64, out: &mut Vec<u8>) {
        let mut at: Vec<usize> = (0..self.ends.len()).collect();
        let order = order % ORDERS;
        if order > 0 {
            let mut dice = Dice::of(&[order]);
            for i in (1..at.len()).rev() {
                let j = usize::try_from(dice.below(i as u64 + 1)).unwrap_or(0);
                at.swap(i, j);
            }
        }
        out.push(b'{');
        for (n, i) in at.into_iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            out.extend_from_slice(&self.buf[start..self.ends[i]]);
        }
        out.push(b'}');
    }
}

/// Where the value of the first member called `key` lies in compact JSON: its byte range.
pub(crate) fn value_range(json: &[u8], key: &str) -> Option<std::ops::Range<usize>> {
    let needle = format!("\"{key}\":");
    let needle = needle.as_bytes();
    let start = json.windows(needle.len()).position(|w| w == needle)? + needle.len();
    let mut depth = 0_i32;
    let mut in_string = false;
    let mut escaped = false;
    for (i, &b) in json.iter().enumerate().skip(start) {
        if in_string {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(start..i),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return Some(start..i),
            _ => {}
        }
    }
    None
}

/// Puts `value` (JSON) in place of the first member called `key`; false if there is none.
pub(crate) fn replace_value(json: &mut Vec<u8>, key: &str, value: &str) -> bool {
    match value_range(json, key) {
        Some(range) => {
            json.splice(range, value.bytes());
            true
        }
        None => false,
    }
}

/// Appends a member at the end of an object.
pub(crate) fn append_member(json: &mut Vec<u8>, key: &str, value: &str) {
    if json.last() == Some(&b'}') {
        json.pop();
        json.extend_from_slice(format!(",\"{key}\":{value}}}").as_bytes());
    }
}

/// The same JSON with every number token as a string, spelled as it was.
pub(crate) fn numbers_as_text(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let (mut in_string, mut escaped, mut in_number) = (false, false, false);
    for ch in json.chars() {
        if in_string {
            match ch {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            out.push(ch);
            continue;
        }
        let numeric =
            ch.is_ascii_digit() || ch == '-' || (in_number && matches!(ch, '.' | 'e' | 'E' | '+'));
        if numeric != in_number {
            out.push('"');
            in_number = numeric;
        }
        in_string = ch == '"';
        out.push(ch);
    }
    if in_number {
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_spelling_as_text() {
        let json = r#"{"a":0.00,"b":[1,-2.50,3e5],"c":"x \" 7","d":12.3400}"#;
        let text = r#"{"a":"0.00","b":["1","-2.50","3e5"],"c":"x \" 7","d":"12.3400"}"#;
        assert_eq!(numbers_as_text(json), text);
        assert_eq!(numbers_as_text("17"), "\"17\"");
    }

    #[test]
    fn orders_differ_but_hold_the_same_members() {
        let mut fields = Fields::new();
        for key in ["a", "b", "c", "d", "e"] {
            fields.str(key, "v\u{1}\"");
        }
        let texts: Vec<String> = (0..ORDERS)
            .map(|order| {
                let mut out = Vec::new();
                fields.write(order, &mut out);
                String::from_utf8(out).unwrap()
            })
            .collect();
        assert_eq!(
            texts[0],
            r#"{"a":"v\u0001\"","b":"v\u0001\"","c":"v\u0001\"","d":"v\u0001\"","e":"v\u0001\""}"#
        );
        assert!(texts.iter().any(|t| *t != texts[0]));
        let parsed: Vec<serde_json::Value> = texts
            .iter()
            .map(|t| serde_json::from_str(t).unwrap())
            .collect();
        assert!(parsed.iter().all(|v| *v == parsed[0]));
    }

    #[test]
    fn a_member_is_replaced_whole() {
        let mut json = br#"{"t":"\"x\":1","x":{"y":[1,2]},"z":3}"#.to_vec();
        assert!(replace_value(&mut json, "x", "null"));
        append_member(&mut json, "w", "0.50");
        assert_eq!(json, br#"{"t":"\"x\":1","x":null,"z":3,"w":0.50}"#);
        assert!(!replace_value(&mut json, "nope", "1"));
    }
}
