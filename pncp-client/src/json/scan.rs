use std::borrow::Cow;

use crate::error::{Error, Result};

/// Nesting beyond this is refused (the API nests three deep).
const DEPTH_MAX: usize = 96;

/// What a value starts like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawStr<'a> {
    pub(crate) inner: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> RawStr<'a> {
    /// Its text; `None` if an escape names half a surrogate pair, which no text holds.
    pub(crate) fn decode(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.inner));
        }
        let mut out = String::with_capacity(self.inner.len());
        unescape(self.inner, &mut out, false).then_some(Cow::Owned(out))
    }

    /// Its text, half surrogate pairs kept as their escapes. Only for comparing and sorting.
    pub(crate) fn decode_lossy(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.inner);
        }
        let mut out = String::with_capacity(self.inner.len());
        unescape(self.inner, &mut out, true);
        Cow::Owned(out)
    }
}

/// Walks one JSON text. Every method leaves the position after what it read.
///
/// Control characters inside strings are taken as they are (the standard refuses them): texts
/// typed by people must not make a page unreadable.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner over a body; it must be UTF-8.
    pub(crate) fn new(body: &'a [u8]) -> Result<Self> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self::over(text)),
            Err(error) => Err(Error::Json {
                offset: error.valid_up_to(),
                reason: "not utf-8",
            }),
        }
    }

    pub(crate) fn over(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            pos: 0,
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn error<T>(&self, reason: &'static str) -> Result<T> {
        Err(Error::Json {
            offset: self.pos,
            reason,
        })
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    /// The kind of the value that starts here.
    pub(crate) fn peek(&mut self) -> Result<Kind> {
        self.skip_space();
        match self.bytes.get(self.pos) {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(_) => self.error("expected a value"),
            None => self.error("unexpected end"),
        }
    }

    /// Fails unless only white space is left.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.skip_space();
        if self.pos == self.bytes.len() {
            Ok(())
        } else {
            self.error("trailing text")
        }
    }

    fn take(&mut self, byte: u8, reason: &'static str) -> Result<()> {
        self.skip_space();
        if self.bytes.get(self.pos) == Some(&byte) {
            self.pos += 1;
            return Ok(());
        }
        self.error(reason)
    }

    pub(crate) fn begin_object(&mut self) -> Result<()> {
        self.take(b'{', "expected an object")
    }

    pub(crate) fn begin_array(&mut self) -> Result<()> {
        self.take(b'[', "expected an array")
    }

    /// The next key of the object that was begun, or `None` at its end. `first` is kept by the
    /// caller: true before the first call.
    pub(crate) fn next_key(&mut self, first: &mut bool) -> Result<Option<RawStr<'a>>> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        let key = self.string()?;
        self.take(b':', "expected a colon")?;
        Ok(Some(key))
    }

    /// Whether the array that was begun has another element.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool> {
        self.more(b']', first)
    }

    fn more(&mut self, close: u8, first: &mut bool) -> Result<bool> {
        self.skip_space();
        match self.bytes.get(self.pos) {
            Some(&byte) if byte == close => {
                self.pos += 1;
                Ok(false)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            Some(b',') => {
                self.pos += 1;
                Ok(true)
            }
            Some(_) => self.error("expected a comma or the end"),
            None => self.error("unexpected end"),
        }
    }

    pub(crate) fn string(&mut self) -> Result<RawStr<'a>> {
        self.take(b'"', "expected a string")?;
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += plain_run(&self.bytes[self.pos..]);
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    let inner = &self.text[start..self.pos];
                    self.pos += 1;
                    return Ok(RawStr { inner, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => self.pos += 1,
                None => return self.error("unexpected end in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.pos + 2..self.pos + 6);
                if !digits.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    return self.error("malformed unicode escape");
                }
                self.pos += 6;
            }
            _ => return self.error("malformed escape"),
        }
        Ok(())
    }

    /// The number's text.
    pub(crate) fn number(&mut self) -> Result<&'a str> {
        self.skip_space();
        let start = self.pos;
        if self.bytes.get(self.pos) == Some(&b'-') {
            self.pos += 1;
        }
        match self.digits() {
            0 => return self.error("expected a digit"),
            1 => {}
            count if self.bytes[self.pos - count] == b'0' => return self.error("leading zero"),
            _ => {}
        }
        if self.bytes.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            if self.digits() == 0 {
                return self.error("expected a digit");
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.pos) {
                self.pos += 1;
            }
            if self.digits() == 0 {
                return self.error("expected a digit");
            }
        }
        Ok(&self.text[start..self.pos])
    }

    fn digits(&mut self) -> usize {
        let start = self.pos;
        while self.bytes.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
        self.pos - start
    }

    pub(crate) fn boolean(&mut self) -> Result<bool> {
        self.skip_space();
        if self.bytes[self.pos..].starts_with(b"true") {
            self.pos += 4;
            return Ok(true);
        }
        self.literal(b"false").map(|()| false)
    }

    pub(crate) fn null(&mut self) -> Result<()> {
        self.skip_space();
        self.literal(b"null")
    }

    fn literal(&mut self, literal: &[u8]) -> Result<()> {
        if self.bytes[self.pos..].starts_with(literal) {
            self.pos += literal.len();
            return Ok(());
        }
        self.error("expected true, false or null")
    }

    /// Reads one value of any kind and gives its text as it stands.
    pub(crate) fn skip_value(&mut self) -> Result<&'a str> {
        self.skip_space();
        let start = self.pos;
        self.skip(0)?;
        Ok(&self.text[start..self.pos])
    }

    fn skip(&mut self, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return self.error("nested too deep");
        }
        match self.peek()? {
            Kind::Null => self.null(),
            Kind::Bool => self.boolean().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::String => self.string().map(drop),
            Kind::Array => {
                self.pos += 1;
                let mut first = true;
                while self.next_element(&mut first)? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Kind::Object => {
                self.pos += 1;
                let mut first = true;
                while self.next_key(&mut first)?.is_some() {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
        }
    }
}

/// Bytes before the next quote, backslash or control character; never past one.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut done = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        let hit =
            (quote.wrapping_sub(ONES) & !quote & HIGH) | (slash.wrapping_sub(ONES) & !slash & HIGH);
        if hit != 0 {
            return done + (hit.trailing_zeros() / 8) as usize;
        }
        done += 8;
    }
    done + bytes[done..]
        .iter()
        .take_while(|byte| !matches!(byte, b'"' | b'\\'))
        .count()
}

/// Appends the text of `inner`; false if half a surrogate pair was met, which is then kept as
/// its escape if `keep`, else left out.
fn unescape(inner: &str, out: &mut String, keep: bool) -> bool {
    let mut whole = true;
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        let mut used = 2;
        match code {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let first = hex4(&rest[at + 2..]);
                used = 6;
                let pair = rest[at + 6..].strip_prefix("\\u").map(hex4);
                match (char::from_u32(first), pair) {
                    (Some(single), _) => out.push(single),
                    (None, Some(second))
                        if first < 0xDC00 && (0xDC00..0xE000).contains(&second) =>
                    {
                        let joined = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                        out.push(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
                        used = 12;
                    }
                    _ => {
                        whole = false;
                        if keep {
                            out.push_str(&format!("\\u{first:04x}"));
                        }
                    }
                }
            }
            other => out.push(char::from(other)),
        }
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    whole
}

/// The value of the first four hexadecimal digits; 0 where there are none (the scanner has
/// checked that there are).
fn hex4(text: &str) -> u32 {
    text.get(..4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

/// Appends `text` as a JSON string, with the least escaping that the standard allows.
#[cfg(any(test, feature = "arrow"))]
pub(crate) fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` with quotes, backslashes and control characters escaped.
pub(crate) fn push_escaped(out: &mut String, text: &str) {
    let mut start = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[start..index]);
        start = index + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x8 => out.push_str("\\b"),
            0xc => out.push_str("\\f"),
            control => out.push_str(&format!("\\u{control:04x}")),
        }
    }
    out.push_str(&text[start..]);
}

/// Appends a string that was scanned, respelled canonically; half surrogates keep their escape.
pub(crate) fn push_respelled(out: &mut String, raw: RawStr<'_>) {
    // Without an escape it holds neither quote nor backslash.
    if !raw.escaped && !raw.inner.bytes().any(|byte| byte < 0x20) {
        out.push_str(raw.inner);
        return;
    }
    if let Some(text) = raw.decode() {
        push_escaped(out, &text);
        return;
    }
    // Rare: piece by piece, so that a half surrogate stays an escape and no backslash doubles.
    let mut rest = raw.inner;
    while let Some(at) = rest.find("\\") {
        push_escaped(out, &rest[..at]);
        let used = if rest[at + 1..].starts_with('u') {
            6
        } else {
            2
        };
        let paired = used == 6
            && (0xD800..0xDC00).contains(&hex4(&rest[at + 2..]))
            && rest[at + 6..].starts_with("\\u")
            && (0xDC00..0xE000).contains(&hex4(&rest[at + 8..]));
        let used = if paired { 12 } else { used };
        let piece = RawStr {
            inner: &rest[at..at + used],
            escaped: true,
        };
        match piece.decode() {
            Some(text) => push_escaped(out, &text),
            None => out.push_str(&piece.decode_lossy()),
        }
        rest = &rest[at + used..];
    }
    push_escaped(out, rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::over(text);
        scanner.skip_value().is_ok() && scanner.end().is_ok()
    }

    #[test]
    fn grammar() {
        for good in [
            "0",
            "-0.5e+10",
            "[]",
            "{}",
            " [1 , {\"a\" : [ ] } ] ",
            "\"\\u00e9\\n\"",
            "null",
            "\"a\tb\"",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            "-",
            "[1,]",
            "{\"a\"}",
            "\"\\x\"",
            "\"\\u12g4\"",
            "nul",
            "[1 2]",
            "{\"a\":1,}",
            "\"open",
            "1 2",
            "[,1]",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
        assert!(!accepts(&"[".repeat(100_000)));
    }

    #[test]
    fn surrogates() {
        let read = |text: &str| {
            Scanner::over(text)
                .string()
                .unwrap()
                .decode()
                .map(Cow::into_owned)
        };
        assert_eq!(read(r#""😀""#).as_deref(), Some("😀"));
        assert_eq!(read(r#""\ud83d""#), None);
        assert_eq!(read(r#""\ude00x""#), None);
        let mut out = String::new();
        push_respelled(
            &mut out,
            Scanner::over(r#""a\/\uD83Dé\\u""#).string().unwrap(),
        );
        assert_eq!(out, r"a/\ud83dé\\u");
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\0-9a-fnrtuel.E+ -]{0,24}"#) {
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            // serde_json also bounds the exponent and refuses half surrogates nowhere in skipping.
            prop_assert_eq!(accepts(&text), serde, "{}", text);
        }

        #[test]
        fn strings_round_trip(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let spelled = serde_json::to_string(&text).unwrap();
            let raw = Scanner::over(&spelled).string().unwrap();
            prop_assert_eq!(raw.decode().unwrap(), text.as_str());
            let mut ours = String::new();
            push_json_string(&mut ours, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&ours).unwrap(), text);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(mut scanner) = Scanner::new(&bytes) {
                let _ = scanner.skip_value();
            }
        }
    }
}
