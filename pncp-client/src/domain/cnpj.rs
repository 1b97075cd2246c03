use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The number of a legal person: 14 characters, `[0-9A-Z]{12}[0-9]{2}`.
///
/// # Invariants
/// - 14 ASCII characters without punctuation, upper case;
/// - both check digits are right (modulo 11 over the character codes minus 48, which for digits
///   is the rule of always, and for letters the one of July 2026).
///
/// # Source
/// Receita Federal, Instrução Normativa 2.229/2024 (CNPJ alfanumérico); read 2026-11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cnpj([u8; 14]);

impl Cnpj {
    /// Reads a CNPJ with or without punctuation (`12.ABC.345/01DE-35`).
    ///
    /// # Errors
    /// [`Error::Invalid`] if the length, an character or a check digit is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let mut digits = [0_u8; 14];
        let mut filled = 0;
        for byte in text.bytes() {
            if matches!(byte, b'.' | b'/' | b'-') {
                continue;
            }
            let valid = byte.is_ascii_digit() || (filled < 12 && byte.is_ascii_uppercase());
            if !valid || filled == 14 {
                return Err(invalid(
                    text,
                    "must be 14 digits, or letters in the first twelve",
                ));
            }
            digits[filled] = byte;
            filled += 1;
        }
        if filled != 14 {
            return Err(invalid(text, "must have 14 characters"));
        }
        let first = check_digit(&digits[..12]);
        let second = check_digit(&digits[..13]);
        if digits[12] != first || (digits[13] != second) {
            return Err(invalid(text, "check digits are wrong"));
        }
        Ok(Self(digits))
    }

    /// The 14 characters without punctuation.
    pub fn as_str(&self) -> &str {
        // ASCII by construction, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// With punctuation: `12.ABC.345/01DE-35`.
    pub fn punctuated(&self) -> String {
        let s = self.as_str();
        format!(
            "{}.{}.{}/{}-{}",
            &s[..2],
            &s[2..5],
            &s[5..8],
            &s[8..12],
            &s[12..]
        )
    }
}

/// The check digit of the characters before it: weights 2 to 9 from the right, modulo 11.
fn check_digit(characters: &[u8]) -> u8 {
    let sum: u32 = characters
        .iter()
        .rev()
        .zip((2..=9).cycle())
        .map(|(&byte, weight)| u32::from(byte - b'0') * weight)
        .sum();
    match sum % 11 {
        0 | 1 => b'0',
        rest => b'0' + u8::try_from(11 - rest).unwrap_or(0),
    }
}

fn invalid(text: &str, reason: &str) -> Error {
    let shown: String = text.chars().take(24).collect();
    Error::invalid("cnpj", format!("{reason}: {shown:?}"))
}

impl fmt::Display for Cnpj {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cnpj {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Cnpj {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Cnpj> for String {
    fn from(cnpj: Cnpj) -> Self {
        cnpj.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_numbers() {
        // The example of the Receita Federal, and two of the recorded samples.
        let alphanumeric = Cnpj::parse("12.ABC.345/01DE-35").unwrap();
        assert_eq!(alphanumeric.as_str(), "12ABC34501DE35");
        assert_eq!(
            Cnpj::parse("18715383000140").unwrap().punctuated(),
            "18.715.383/0001-40"
        );
        assert!(Cnpj::parse("46395000000139").is_ok());
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "1871538300014",
            "18715383000141",
            "187153830001400",
            "12abc34501de35",
            "18715383000é40",
        ] {
            assert!(Cnpj::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(base in "[0-9A-Z]{12}") {
            let mut text = base.into_bytes();
            text.push(check_digit(&text));
            text.push(check_digit(&text));
            let text = String::from_utf8(text).unwrap();
            let cnpj = Cnpj::parse(&text).unwrap();
            prop_assert_eq!(cnpj.as_str(), &text);
            prop_assert_eq!(Cnpj::parse(&cnpj.punctuated()).unwrap(), cnpj);
        }

        #[test]
        fn wrong_check_digits_are_refused(base in "[0-9A-Z]{12}", at in 12_usize..14, by in 1_u8..10) {
            let mut text = base.into_bytes();
            text.push(check_digit(&text));
            text.push(check_digit(&text));
            text[at] = b'0' + (text[at] - b'0' + by) % 10;
            prop_assert!(Cnpj::parse(std::str::from_utf8(&text).unwrap()).is_err());
        }

        #[test]
        fn serde_and_order(bases in proptest::collection::vec("[0-9A-Z]{12}", 2)) {
            let cnpjs: Vec<Cnpj> = bases.into_iter().map(|base| {
                let mut text = base.into_bytes();
                text.push(check_digit(&text));
                text.push(check_digit(&text));
                String::from_utf8(text).unwrap().parse().unwrap()
            }).collect();
            let json = serde_json::to_string(&cnpjs).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Vec<Cnpj>>(&json).unwrap(), &cnpjs);
            prop_assert_eq!(cnpjs[0].cmp(&cnpjs[1]), cnpjs[0].to_string().cmp(&cnpjs[1].to_string()));
        }

        #[test]
        fn never_panics(text in "\\PC{0,20}|[0-9A-Za-z./-]{12,20}") {
            if let Ok(cnpj) = Cnpj::parse(&text) {
                prop_assert_eq!(Cnpj::parse(cnpj.as_str()).unwrap(), cnpj);
            }
        }
    }
}
