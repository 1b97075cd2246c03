//! Strings of JSON: their text, and how they are spelled.

use std::borrow::Cow;

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawStr<'a> {
    pub(crate) inner: &'a str,
    pub(crate) escaped: bool,
}

/// A part of a string, see [`RawStr::pieces`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// Half a surrogate pair.
    Half(u32),
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

    /// A text that needs no escape.
    #[cfg(feature = "arrow")]
    pub(crate) fn plain(inner: &'a str) -> Self {
        Self {
            inner,
            escaped: false,
        }
    }

    /// Appends its text; false if it is none, see [`RawStr::decode`].
    #[cfg(feature = "arrow")]
    pub(crate) fn decode_into(self, out: &mut String) -> bool {
        unescape(self.inner, out, false)
    }

    /// Hands over its text in pieces, half surrogate pairs apart.
    pub(crate) fn pieces(self, mut each: impl FnMut(Piece<'_>)) {
        let mut rest = self.inner;
        while let Some(at) = rest.find('\\') {
            each(Piece::Text(&rest[..at]));
            let first = hex4(&rest[at + 2..]);
            let used = match rest.as_bytes().get(at + 1) {
                Some(b'u') if (0xD800..0xDC00).contains(&first) => {
                    let low = rest[at + 6..].strip_prefix("\\u").map_or(0, hex4);
                    if (0xDC00..0xE000).contains(&low) {
                        12
                    } else {
                        6
                    }
                }
                Some(b'u') => 6,
                _ => 2,
            };
            let piece = RawStr {
                inner: &rest[at..at + used],
                escaped: true,
            };
            match piece.decode() {
                Some(text) => each(Piece::Text(&text)),
                None => each(Piece::Half(first)),
            }
            rest = &rest[at + used..];
        }
        each(Piece::Text(rest));
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

/// Whether every escape in it is one that [`push_escaped`] would write.
fn is_least_escaped(inner: &str) -> bool {
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && matches!(bytes.next(), Some(b'u' | b'/')) {
            return false;
        }
    }
    true
}

/// Appends a string that was scanned, respelled canonically; half surrogates keep their escape.
pub(crate) fn push_respelled(out: &mut String, raw: RawStr<'_>) {
    // Without an escape it holds neither quote nor backslash.
    let control = raw.inner.bytes().any(|byte| byte < 0x20);
    if !control && (!raw.escaped || is_least_escaped(raw.inner)) {
        out.push_str(raw.inner);
        return;
    }
    if let Some(text) = raw.decode() {
        push_escaped(out, &text);
        return;
    }
    // Rare: a half surrogate stays an escape, and no backslash doubles.
    raw.pieces(|piece| match piece {
        Piece::Text(text) => push_escaped(out, text),
        Piece::Half(half) => out.push_str(&format!("\\u{half:04x}")),
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Scanner;

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
        fn strings_round_trip(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let spelled = serde_json::to_string(&text).unwrap();
            let raw = Scanner::over(&spelled).string().unwrap();
            prop_assert_eq!(raw.decode().unwrap(), text.as_str());
            let mut ours = String::new();
            push_json_string(&mut ours, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&ours).unwrap(), text);
        }
    }
}
