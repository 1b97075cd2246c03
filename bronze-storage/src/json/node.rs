use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep records may be nested.
const MAX_DEPTH: usize = 64;

/// A JSON value with its numbers as they were written.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(String),
    List {
        raw: &'a str,
        items: Vec<Node<'a>>,
    },
    Object {
        raw: &'a str,
        fields: Vec<(String, Node<'a>)>,
    },
}

impl<'a> Node<'a> {
    /// Parses one value. A key that comes twice is refused: one of the values would be lost.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        Self::parse_at(text, 0)
    }

    fn parse_at(text: &'a str, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        let wrong = |error: serde_json::Error| error.to_string();
        let raw: &RawValue = serde_json::from_str(text).map_err(wrong)?;
        let raw = raw.get();
        Ok(match raw.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::Text(serde_json::from_str(raw).map_err(wrong)?),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(wrong)?;
                let items = items
                    .into_iter()
                    .map(|item| Self::parse_at(item.get(), depth + 1));
                Self::List {
                    raw,
                    items: items.collect::<Result<_, _>>()?,
                }
            }
            Some(b'{') => {
                let mut reader = serde_json::Deserializer::from_str(raw);
                let entries = reader.deserialize_map(Entries).map_err(wrong)?;
                let mut fields: Vec<(String, Self)> = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    if fields.iter().any(|(other, _)| *other == key) {
                        return Err(format!("the key {key:?} comes twice"));
                    }
                    fields.push((key, Self::parse_at(value.get(), depth + 1)?));
                }
                Self::Object { raw, fields }
            }
            _ => Self::Number(raw),
        })
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object { fields, .. } => fields
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// As text: a string's content, the JSON of anything else, nothing for null.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::List { raw, .. } | Self::Object { raw, .. } => Some(raw),
        }
    }
}

/// An object's entries in order, the values unread.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// A JSON number as an integer of so many digits times a power of ten: exact, or `None` above 38
/// digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// Sign and digits, without the point.
    pub(crate) unscaled: i128,
    /// Digits after the point.
    pub(crate) scale: u8,
    /// Digits before the point, without leading zeros.
    pub(crate) integer_digits: u8,
    /// Whether it was written as an integer.
    pub(crate) integer: bool,
}

/// The digits that a `Decimal128` has.
pub(crate) const MAX_DIGITS: usize = 38;

impl Number {
    /// Reads a number that the JSON grammar has accepted.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{whole}{fraction}");
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if scale < 0 {
            let zeros = usize::try_from(-scale)
                .ok()
                .filter(|zeros| *zeros <= MAX_DIGITS)?;
            digits.push_str(&"0".repeat(zeros));
            scale = 0;
        }
        let scale = usize::try_from(scale)
            .ok()
            .filter(|scale| *scale <= MAX_DIGITS)?;
        let significant = digits.trim_start_matches('0');
        let integer_digits = significant.len().saturating_sub(scale);
        if integer_digits + scale > MAX_DIGITS || significant.len() > MAX_DIGITS {
            return None;
        }
        let unscaled: i128 = if significant.is_empty() {
            0
        } else {
            significant.parse().ok()?
        };
        Some(Self {
            unscaled: if negative { -unscaled } else { unscaled },
            scale: u8::try_from(scale).ok()?,
            integer_digits: u8::try_from(integer_digits).ok()?,
            integer: !text.contains(['.', 'e', 'E']),
        })
    }

    /// The same at a larger scale.
    pub(crate) fn at_scale(self, scale: u8) -> Option<i128> {
        let more = u32::from(scale.checked_sub(self.scale)?);
        let unscaled = self.unscaled.checked_mul(10_i128.checked_pow(more)?)?;
        (unscaled.unsigned_abs() < 10_u128.pow(38)).then_some(unscaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact() {
        for (text, unscaled, scale) in [
            ("0.00", 0, 2),
            ("100720.00", 10_072_000, 2),
            ("1472040000000.0001", 14_720_400_000_000_001, 4),
            ("-1.5e3", -1500, 0),
            ("15e-3", 15, 3),
            ("0.0951", 951, 4),
        ] {
            let number = Number::parse(text).unwrap();
            assert_eq!((number.unscaled, number.scale), (unscaled, scale), "{text}");
        }
        for text in ["1e400", "1e-400", &"9".repeat(39), "1e99999999999"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_that_comes_twice_is_refused() {
        assert!(Node::parse(r#"{"a":1,"a":2}"#).is_err());
        assert!(Node::parse(r#"{"a":1,"\u0061":2}"#).is_err());
        assert!(Node::parse(&("[".repeat(70) + &"]".repeat(70))).is_err());
    }
}
