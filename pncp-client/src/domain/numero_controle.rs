use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ContratacaoKey;
use super::key::{digits, is_cnpj_shaped};
use crate::error::{Error, Result};

/// The identity of a purchase: `CNPJ-1-SSSSSS/AAAA`.
///
/// # Invariants
/// - matches `[0-9A-Z]{12}[0-9]{2}-1-[0-9]{6,}/[0-9]{4}`; six digits in all that was recorded,
///   more are taken, because 31,999 has been seen and nothing stops a seventh;
/// - the sequential is at least 1, the year at least 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumeroControlePncp(Box<str>);

impl NumeroControlePncp {
    /// Reads a control number.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it does not match.
    pub fn parse(text: &str) -> Result<Self> {
        split(text).map(|_| Self(text.into()))
    }

    /// Whether [`NumeroControlePncp::parse`] would take it.
    #[cfg(feature = "arrow")]
    pub(crate) fn is_well_formed(text: &str) -> bool {
        split(text).is_ok()
    }

    pub(super) fn from_parts(cnpj: &str, sequencial: u32, ano: u16) -> Self {
        Self(format!("{cnpj}-1-{sequencial:06}/{ano:04}").into())
    }

    /// As the API writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The buyer's number, 14 characters.
    pub fn cnpj(&self) -> &str {
        &self.0[..14]
    }

    /// The key under which the detail API knows it.
    pub fn key(&self) -> ContratacaoKey {
        split(&self.0)
            .and_then(|(cnpj, ano, sequencial)| ContratacaoKey::new(cnpj, ano, sequencial))
            .unwrap_or_else(|_| unreachable!("checked in parse"))
    }
}

/// Buyer, year and sequential.
fn split(text: &str) -> Result<(&str, u16, u32)> {
    let malformed = || Error::invalid("numeroControlePNCP", "must be `CNPJ-1-SSSSSS/AAAA`");
    let (cnpj, rest) = text.split_at_checked(14).ok_or_else(malformed)?;
    let rest = rest.strip_prefix("-1-").ok_or_else(malformed)?;
    let (sequencial, ano) = rest.split_once('/').ok_or_else(malformed)?;
    // A seventh digit is written only where it is needed: one number, one spelling.
    let padded = sequencial.len() == 6 || (sequencial.len() > 6 && !sequencial.starts_with('0'));
    if !is_cnpj_shaped(cnpj) || !padded || ano.len() != 4 {
        return Err(malformed());
    }
    let (ano, sequencial) = (digits(ano, "ano")?, digits(sequencial, "sequencial")?);
    if ano == 0 || sequencial == 0 {
        return Err(malformed());
    }
    Ok((cnpj, ano, sequencial))
}

impl fmt::Display for NumeroControlePncp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NumeroControlePncp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for NumeroControlePncp {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<NumeroControlePncp> for String {
    fn from(numero: NumeroControlePncp) -> Self {
        numero.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_are_taken() {
        let numero = NumeroControlePncp::parse("12ABC34501DE35-1-000163/2026").unwrap();
        assert_eq!(numero.key().to_string(), "12ABC34501DE35|2026|163");
        assert_eq!(numero.cnpj(), "12ABC34501DE35");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "27142058000126-2-000163/2026",
            "27142058000126-1-163/2026",
            "27142058000126-1-0000163/2026",
            "27142058000126-1-000000/2026",
            "27142058000126-1-000163/26",
            "27142058000126-1-000163/2026-000001",
            "2714205800012á-1-000163/2026",
        ] {
            assert!(NumeroControlePncp::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(cnpj in "[0-9A-Z]{12}[0-9]{2}", ano in 1_u16..=9999, sequencial in 1_u32..) {
            let numero = NumeroControlePncp::from_parts(&cnpj, sequencial, ano);
            let read = NumeroControlePncp::parse(numero.as_str()).unwrap();
            prop_assert_eq!(read.key().numero_controle(), numero);
        }

        /// One number, one spelling: what is taken is what its own key would write.
        #[test]
        fn taken_means_well_formed(text in "[0-9A-Za-z]{12}[0-9A]{2}-[012]-[0-9]{5,11}/[0-9]{3,5}|\\PC{0,40}") {
            let Ok(numero) = NumeroControlePncp::parse(&text) else {
                return Ok(());
            };
            prop_assert_eq!(numero.as_str(), &text);
            let key = numero.key();
            prop_assert_eq!(key.numero_controle(), numero.clone());
            prop_assert_eq!(numero.cnpj(), key.cnpj());
            let json = serde_json::to_string(&numero).unwrap();
            prop_assert_eq!(serde_json::from_str::<NumeroControlePncp>(&json).unwrap(), numero);
        }

        #[test]
        fn one_wrong_character_is_refused(ano in 1_u16..=9999, sequencial in 1_u32..=999_999, at in 0_usize..28, wrong in "[a-z.é|]") {
            let numero = NumeroControlePncp::from_parts("27142058000126", sequencial, ano);
            let mut text = numero.as_str().to_owned();
            text.replace_range(at..=at, &wrong);
            prop_assert!(NumeroControlePncp::parse(&text).is_err(), "{}", text);
        }
    }
}
