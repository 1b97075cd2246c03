use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::json::scaled;

/// An exact decimal: `mantissa × 10^-scale`, read from the text of a JSON number.
///
/// # Invariants
/// - at most 38 digits, scale 0 to 38, and no trailing zero after the point: equal values are
///   equal, whatever their spelling (`0.10`, `1e-1`);
/// - never made from a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    mantissa: i128,
    scale: u8,
}

impl Amount {
    /// Reads a JSON number.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not one, or needs more than 38 digits.
    pub fn parse(text: &str) -> Result<Self> {
        let mut scanner = crate::json::Scanner::over(text);
        let number = scanner
            .number()
            .and_then(|number| scanner.end().map(|()| number))
            .map_err(|fault| fault.of(text.as_bytes()))?;
        (0..=38_u8)
            .find_map(|scale| {
                scaled(number, u32::from(scale)).map(|mantissa| Self { mantissa, scale })
            })
            .ok_or_else(|| Error::invalid("amount", format!("needs more than 38 digits: {text}")))
    }

    /// The digits without the point.
    pub fn mantissa(self) -> i128 {
        self.mantissa
    }

    /// How many of them stand after the point.
    pub fn scale(self) -> u8 {
        self.scale
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        let digits = format!(
            "{:0>width$}",
            self.mantissa.unsigned_abs(),
            width = scale + 1
        );
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        if fraction.is_empty() {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl FromStr for Amount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Amount {
    /// A JSON number, by its text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    /// From `serde_json` only, which hands over the text of the number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spelled_back() {
        for (text, shown) in [
            ("1472040000000.0001", "1472040000000.0001"),
            ("9999999999999.9900", "9999999999999.99"),
            ("-0.10", "-0.1"),
            ("100720.00", "100720"),
            ("1e3", "1000"),
            ("0.0", "0"),
        ] {
            assert_eq!(Amount::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "abc", "\"1\"", "1e40", "1 2"] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(text in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,10})?") {
            let amount = Amount::parse(&text).unwrap();
            prop_assert_eq!(Amount::parse(&amount.to_string()).unwrap(), amount);
            let json = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), amount);
        }

        /// One value, one amount: moving the point into the exponent changes nothing.
        #[test]
        fn spelling_does_not_matter(whole in "[1-9][0-9]{0,14}", places in "[0-9]{0,12}", zeros in 0_usize..5) {
            let plain = Amount::parse(&format!("{whole}.{places}0")).unwrap();
            let zeroed = format!("{whole}.{places}0{}", "0".repeat(zeros));
            prop_assert_eq!(Amount::parse(&zeroed).unwrap(), plain);
            let moved = format!("{whole}{places}e-{}", places.len());
            prop_assert_eq!(Amount::parse(&moved).unwrap(), plain);
            let over = format!("0.{}{whole}{places}E+{}", "0".repeat(zeros), whole.len() + zeros);
            prop_assert_eq!(Amount::parse(&over).unwrap(), plain);
            let negative = Amount::parse(&format!("-{whole}.{places}0")).unwrap();
            prop_assert_eq!((negative.mantissa(), negative.scale()), (-plain.mantissa(), plain.scale()));
            prop_assert_ne!(negative, plain);
        }

        /// As many digits as 128 bits of decimal hold, and not one more.
        #[test]
        fn digits_are_bounded(digits in "[1-9][0-9]{0,44}[1-9]", scale in 0_usize..60) {
            let (text, needed) = if scale < digits.len() {
                let (whole, places) = digits.split_at(digits.len() - scale);
                (format!("{whole}.{places}").trim_end_matches('.').to_owned(), digits.len())
            } else {
                (format!("0.{digits:0>scale$}"), digits.len())
            };
            let taken = Amount::parse(&text);
            prop_assert_eq!(taken.is_ok(), needed <= 38 && scale <= 38, "{}", text);
            if let Ok(amount) = taken {
                prop_assert_eq!(amount.to_string(), text);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,20}|[-+0-9.eE]{0,30}") {
            if let Ok(amount) = Amount::parse(&text) {
                prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
                prop_assert!(amount.scale() == 0 || amount.mantissa() % 10 != 0);
            }
        }
    }
}
