//! Numbers by their text. None of it goes through a float.

/// A number's text taken apart: `±digits × 10^exponent`, without zeros at either end.
struct Parts<'a> {
    negative: bool,
    /// The digits around the point, each slice possibly empty, joined they have no outer zeros.
    digits: (&'a [u8], &'a [u8]),
    exponent: i64,
}

fn parts(text: &str) -> Parts<'_> {
    let bytes = text.as_bytes();
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let (mantissa, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&bytes[..at], exponent_of(&bytes[at + 1..])),
        None => (bytes, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let fraction = trim_end(fraction);
    let mut exponent = exponent.saturating_sub(fraction.len() as i64);
    let mut digits = (trim_start(whole), fraction);
    if digits.0.is_empty() {
        digits.1 = trim_start(digits.1);
    }
    if digits.1.is_empty() {
        let trimmed = trim_end(digits.0);
        exponent = exponent.saturating_add((digits.0.len() - trimmed.len()) as i64);
        digits.0 = trimmed;
    }
    Parts {
        negative,
        digits,
        exponent,
    }
}

/// The exponent, clamped: beyond a billion nothing depends on its exact value but equality of
/// spelling, and nobody spells it twice.
fn exponent_of(bytes: &[u8]) -> i64 {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let value = digits.iter().fold(0_i64, |sum, &byte| {
        (sum * 10 + i64::from(byte - b'0')).min(1_000_000_000_000)
    });
    if negative { -value } else { value }
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    &digits[zeros..]
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|&&b| b == b'0').count();
    &digits[..digits.len() - zeros]
}

/// The number times ten to the `scale`, if that is a whole number of at most 38 digits.
pub(crate) fn scaled(text: &str, scale: u32) -> Option<i128> {
    if let Some(value) = scaled_short(text, scale) {
        return Some(value);
    }
    let parts = parts(text);
    let count = parts.digits.0.len() + parts.digits.1.len();
    if count == 0 {
        return Some(0);
    }
    let zeros = usize::try_from(parts.exponent.saturating_add(i64::from(scale))).ok()?;
    if count.saturating_add(zeros) > 38 {
        return None;
    }
    let mut value = 0_i128;
    for &byte in parts.digits.0.iter().chain(parts.digits.1) {
        value = value * 10 + i128::from(byte - b'0');
    }
    value *= 10_i128.pow(u32::try_from(zeros).ok()?);
    Some(if parts.negative { -value } else { value })
}

/// The common case: so few digits that 64 bits hold them, and no exponent.
fn scaled_short(text: &str, scale: u32) -> Option<i128> {
    let bytes = text.as_bytes();
    if bytes.len() > 18 || scale > 18 {
        return None;
    }
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let mut value = 0_i64;
    let mut places = None;
    for &byte in bytes {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + i64::from(byte - b'0');
                places = places.map(|count: u32| count + 1);
            }
            b'.' => places = Some(0),
            _ => return None,
        }
    }
    let missing = scale.checked_sub(places.unwrap_or(0))?;
    let value = i128::from(value) * 10_i128.pow(missing);
    Some(if negative { -value } else { value })
}

/// The number, if it is whole and fits.
pub(crate) fn integer(text: &str) -> Option<i64> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => i64::try_from(scaled(text, 0)?).ok(),
    }
}

/// A number that is spelled canonically but for zeros at the end of its places; `None` if more
/// has to change.
fn nearly_canonical(text: &str) -> Option<&str> {
    if text.len() > 40 || text.starts_with('-') || text.contains(['e', 'E']) {
        return None;
    }
    match text.contains('.') {
        false => Some(text),
        true => Some(text.trim_end_matches('0').trim_end_matches('.')),
    }
}

/// Appends the one spelling of this value: no exponent, no needless zero, no minus before zero;
/// only where that would take more than 60 characters, `digits e exponent`.
pub(crate) fn push_canonical(out: &mut String, text: &str) {
    if let Some(short) = nearly_canonical(text) {
        out.push_str(short);
        return;
    }
    let parts = parts(text);
    let digits: Vec<u8> = parts
        .digits
        .0
        .iter()
        .chain(parts.digits.1)
        .copied()
        .collect();
    let digits = String::from_utf8_lossy(&digits);
    if digits.is_empty() {
        out.push('0');
        return;
    }
    if parts.negative {
        out.push('-');
    }
    let count = digits.len() as i64;
    match parts.exponent {
        0.. if count.saturating_add(parts.exponent) <= 60 => {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', parts.exponent as usize));
        }
        exponent if exponent < 0 && exponent > -60 && count <= 60 => {
            let places = -exponent;
            if places < count {
                let (whole, fraction) = digits.split_at((count - places) as usize);
                out.push_str(whole);
                out.push('.');
                out.push_str(fraction);
            } else {
                out.push_str("0.");
                out.extend(std::iter::repeat_n('0', (places - count) as usize));
                out.push_str(&digits);
            }
        }
        exponent => {
            out.push_str(&digits);
            out.push('e');
            out.push_str(&exponent.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = String::new();
        push_canonical(&mut out, text);
        out
    }

    #[test]
    fn extremes() {
        assert_eq!(
            scaled("1472040000000.0001", 4),
            Some(14_720_400_000_000_001)
        );
        assert_eq!(
            scaled("9999999999999.9900", 4),
            Some(99_999_999_999_999_900)
        );
        assert_eq!(scaled("0.09510", 4), Some(951));
        assert_eq!(scaled("0.09511", 4), None);
        assert_eq!(scaled("1e2", 4), Some(1_000_000));
        assert_eq!(scaled("-0.0", 4), Some(0));
        assert_eq!(scaled(&"9".repeat(34), 4), Some(10_i128.pow(38) - 10_000));
        assert_eq!(scaled(&"9".repeat(35), 4), None);
        assert_eq!(scaled("1e999999999999999999999", 4), None);
        assert_eq!(scaled("0e999", 4), Some(0));
        assert_eq!(
            scaled("9223372037000000000", 0),
            Some(9_223_372_037_000_000_000)
        );
        assert_eq!(
            scaled("9999999999999999999", 4),
            Some(99_999_999_999_999_999_990_000)
        );
        assert_eq!(integer("1.0"), Some(1));
        assert_eq!(integer("1.5"), None);
    }

    #[test]
    fn one_spelling() {
        for (text, expected) in [
            ("100720.00", "100720"),
            ("0.00", "0"),
            ("-0", "0"),
            ("1E+2", "100"),
            ("0.0951", "0.0951"),
            ("120e-1", "12"),
            ("1e-70", "1e-70"),
            ("10e70", "1e71"),
            ("0.5e1", "5"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("-12.50", "-12.5"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_keeps_the_value(text in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,8})?([eE][+-]?[0-9]{1,2})?") {
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once.clone());
            for scale in [0, 4, 10] {
                prop_assert_eq!(scaled(&text, scale), scaled(&once, scale));
            }
        }

        #[test]
        fn the_quick_spelling_agrees(text in "(0|[1-9][0-9]{0,20})(\\.[0-9]{1,6})?") {
            prop_assert_eq!(canonical(&text), canonical(&format!("{text}e0")));
        }

        #[test]
        fn short_and_long_agree(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?") {
            let slow = scaled(&format!("{text}e0"), 4);
            prop_assert_eq!(scaled(&text, 4), slow);
        }
    }
}
