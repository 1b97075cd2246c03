use super::fault::Fault;
use super::text::RawStr;

type Result<T> = std::result::Result<T, Fault>;

/// Nesting beyond this is refused (the API nests three deep).
const DEPTH_MAX: usize = 96;

/// A body as text; it must be UTF-8.
pub(crate) fn text_of(body: &[u8]) -> Result<&str> {
    std::str::from_utf8(body).map_err(|error| Fault {
        offset: error.valid_up_to(),
        reason: "not utf-8",
    })
}

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

/// Where a string lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It holds a backslash.
    pub(crate) escaped: bool,
    /// It is not spelled canonically: it holds a control character, or an escape that is longer
    /// than it must be or not needed at all.
    pub(crate) respell: bool,
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
        text_of(body).map(Self::over)
    }

    pub(crate) fn over(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            pos: 0,
        }
    }

    /// A scanner over a text that starts reading at `pos`; its faults count from the text's start.
    #[cfg(feature = "arrow")]
    pub(crate) fn starting_at(text: &'a str, pos: usize) -> Self {
        Self {
            pos,
            ..Self::over(text)
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn error<T>(&self, reason: &'static str) -> Result<T> {
        Err(Fault {
            offset: self.pos,
            reason,
        })
    }

    #[inline]
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

    /// Whether the next key is the one that is spelled, with quotes and colon, as `quoted`; if so
    /// it is read.
    #[cfg(feature = "arrow")]
    #[inline]
    pub(super) fn take_key(&mut self, quoted: &str) -> bool {
        self.skip_space();
        let found = self.bytes[self.pos..].starts_with(quoted.as_bytes());
        if found {
            self.pos += quoted.len();
        }
        found
    }

    /// The next key, after [`Scanner::more`].
    #[cfg(feature = "arrow")]
    pub(super) fn key(&mut self) -> Result<Span> {
        let key = self.string_span()?;
        self.take(b':', "expected a colon")?;
        Ok(key)
    }

    /// Whether the array that was begun has another element.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool> {
        self.more(b']', first)
    }

    #[inline]
    pub(super) fn more(&mut self, close: u8, first: &mut bool) -> Result<bool> {
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
        let span = self.string_span()?;
        Ok(self.raw_str(span))
    }

    pub(super) fn raw_str(&self, span: Span) -> RawStr<'a> {
        RawStr {
            inner: &self.text[span.start..span.end],
            escaped: span.escaped,
        }
    }

    /// A string's place, without its quotes, and what a spelling of it has to heed.
    #[inline]
    pub(crate) fn string_span(&mut self) -> Result<Span> {
        self.take(b'"', "expected a string")?;
        let mut span = Span {
            start: self.pos,
            end: self.pos,
            escaped: false,
            respell: false,
        };
        loop {
            self.pos += plain_run(&self.bytes[self.pos..]);
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    span.end = self.pos;
                    self.pos += 1;
                    return Ok(span);
                }
                Some(b'\\') => {
                    span.escaped = true;
                    span.respell |= matches!(self.bytes.get(self.pos + 1), Some(b'u' | b'/'));
                    self.escape()?;
                }
                Some(_) => {
                    span.respell = true;
                    self.pos += 1;
                }
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

    /// Reads one value that lies `depth` levels deep in its record.
    pub(super) fn skip(&mut self, depth: usize) -> Result<()> {
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
#[inline]
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
        // A borrow can mark a byte wrongly, but only above one that is marked rightly.
        let quote = quote.wrapping_sub(ONES) & !quote;
        let slash = slash.wrapping_sub(ONES) & !slash;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let hit = (quote | slash | control) & HIGH;
        if hit != 0 {
            return done + (hit.trailing_zeros() / 8) as usize;
        }
        done += 8;
    }
    done + bytes[done..]
        .iter()
        .take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20))
        .count()
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

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\0-9a-fnrtuel.E+ -]{0,24}"#) {
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            // serde_json also bounds the exponent and refuses half surrogates nowhere in skipping.
            prop_assert_eq!(accepts(&text), serde, "{}", text);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(mut scanner) = Scanner::new(&bytes) {
                let _ = scanner.skip_value();
            }
        }
    }
}
