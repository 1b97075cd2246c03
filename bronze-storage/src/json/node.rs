use std::borrow::Cow;

/// A JSON value with its numbers as they were written.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    List {
        raw: &'a str,
        items: Vec<Node<'a>>,
    },
    Object {
        raw: &'a str,
        fields: Vec<(Cow<'a, str>, Node<'a>)>,
    },
}

impl<'a> Node<'a> {
    /// Parses one value. A key that comes twice is refused: one of the values would be lost.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        super::parse::parse(text)
    }

    /// The value of a key, which is likely to be the `likely`-th: records resemble each other.
    pub(crate) fn get(&self, key: &str, likely: usize) -> Option<&Self> {
        let Self::Object { fields, .. } = self else {
            return None;
        };
        match fields.get(likely) {
            Some((name, value)) if name == key => Some(value),
            _ => fields
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
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
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let (mut unscaled, mut significant) = (0_i128, 0_usize);
        let zeros = usize::try_from(-scale).unwrap_or(0);
        if zeros > MAX_DIGITS {
            return None;
        }
        let digits = whole.bytes().chain(fraction.bytes());
        for digit in digits.chain(std::iter::repeat_n(b'0', zeros)) {
            if significant > 0 || digit != b'0' {
                significant += 1;
                if significant > MAX_DIGITS {
                    return None;
                }
                unscaled = unscaled * 10 + i128::from(digit - b'0');
            }
        }
        scale = scale.max(0);
        let scale = usize::try_from(scale)
            .ok()
            .filter(|scale| *scale <= MAX_DIGITS)?;
        let integer_digits = significant.saturating_sub(scale);
        if integer_digits + scale > MAX_DIGITS {
            return None;
        }
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
