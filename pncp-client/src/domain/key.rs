use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NumeroControlePncp;
use crate::error::{Error, Result};

/// Names a purchase in the detail API: `cnpj|ano|sequencial`.
///
/// # Invariants
/// - `cnpj` is 14 characters `[0-9A-Z]{12}[0-9]{2}`. Check digits are not looked at: what the API
///   published must be fetchable, whatever its number.
/// - `ano` is 1 to 9999, `sequencial` at least 1 and unpadded in text and URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContratacaoKey {
    cnpj: Box<str>,
    ano: u16,
    sequencial: u32,
}

impl ContratacaoKey {
    /// Joins the three parts.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one breaks the invariants.
    pub fn new(cnpj: &str, ano: u16, sequencial: u32) -> Result<Self> {
        if !is_cnpj_shaped(cnpj) {
            return Err(Error::invalid(
                "cnpj",
                "must be 12 digits or letters and 2 digits",
            ));
        }
        if ano == 0 || ano > 9999 {
            return Err(Error::invalid("ano", "must be 1 to 9999"));
        }
        if sequencial == 0 {
            return Err(Error::invalid("sequencial", "must be at least 1"));
        }
        Ok(Self {
            cnpj: cnpj.into(),
            ano,
            sequencial,
        })
    }

    /// Reads `cnpj|ano|sequencial`; leading zeros of the numbers are dropped.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not three such parts.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split('|');
        let (Some(cnpj), Some(ano), Some(sequencial), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::invalid("key", "must be `cnpj|ano|sequencial`"));
        };
        Self::new(cnpj, digits(ano, "ano")?, digits(sequencial, "sequencial")?)
    }

    /// The buyer's number, 14 characters.
    pub fn cnpj(&self) -> &str {
        &self.cnpj
    }

    /// The year of the purchase (not always that of its publication).
    pub fn ano(&self) -> u16 {
        self.ano
    }

    /// Its number within buyer and year.
    pub fn sequencial(&self) -> u32 {
        self.sequencial
    }

    /// `CNPJ-1-SSSSSS/AAAA`.
    pub fn numero_controle(&self) -> NumeroControlePncp {
        NumeroControlePncp::from_parts(&self.cnpj, self.sequencial, self.ano)
    }

    /// The path of the purchase below either base: `/v1/orgaos/…/compras/…/…`.
    pub fn path(&self) -> String {
        format!(
            "/v1/orgaos/{}/compras/{}/{}",
            self.cnpj, self.ano, self.sequencial
        )
    }
}

/// `[0-9A-Z]{12}[0-9]{2}`.
pub(super) fn is_cnpj_shaped(text: &str) -> bool {
    text.len() == 14
        && text
            .bytes()
            .enumerate()
            .all(|(index, byte)| byte.is_ascii_digit() || (index < 12 && byte.is_ascii_uppercase()))
}

/// A number written in ASCII digits only (no sign, which `parse` would take).
pub(super) fn digits<T: FromStr>(text: &str, field: &'static str) -> Result<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::invalid(field, "must be digits"));
    }
    text.parse()
        .map_err(|_| Error::invalid(field, "is too large"))
}

impl fmt::Display for ContratacaoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.cnpj, self.ano, self.sequencial)
    }
}

impl FromStr for ContratacaoKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ContratacaoKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ContratacaoKey> for String {
    fn from(key: ContratacaoKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unpadded_in_urls() {
        let key = ContratacaoKey::parse("27142058000126|2026|002101").unwrap();
        assert_eq!(key.path(), "/v1/orgaos/27142058000126/compras/2026/2101");
        assert_eq!(key.to_string(), "27142058000126|2026|2101");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "a|b|c",
            "27142058000126|2026",
            "27142058000126|2026|0",
            "27142058000126|2026|1|2",
            "27142058000126|+2026|1",
        ] {
            assert!(ContratacaoKey::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(cnpj in "[0-9A-Z]{12}[0-9]{2}", ano in 1_u16..=9999, sequencial in 1_u32..) {
            let key = ContratacaoKey::new(&cnpj, ano, sequencial).unwrap();
            prop_assert_eq!(ContratacaoKey::parse(&key.to_string()).unwrap(), key.clone());
            prop_assert_eq!(key.numero_controle().key(), key);
        }

        #[test]
        fn padding_is_dropped(ano in 1_u16..=9999, sequencial in 1_u32.., zeros in 0_usize..4) {
            let padded = format!("27142058000126|{ano:04}|{}{sequencial}", "0".repeat(zeros));
            let key: ContratacaoKey = padded.parse().unwrap();
            prop_assert_eq!((key.ano(), key.sequencial()), (ano, sequencial));
            prop_assert_eq!(key.path(), format!("/v1/orgaos/27142058000126/compras/{ano}/{sequencial}"));
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<ContratacaoKey>(&json).unwrap(), key);
        }

        #[test]
        fn taken_means_well_formed(text in "[0-9A-Za-z]{13,15}\\|[0-9+]{0,5}\\|[0-9-]{0,11}|\\PC{0,30}") {
            let Ok(key) = ContratacaoKey::parse(&text) else {
                return Ok(());
            };
            prop_assert!(is_cnpj_shaped(key.cnpj()));
            prop_assert!((1..=9999).contains(&key.ano()) && key.sequencial() >= 1);
            prop_assert_eq!(key.to_string().parse::<ContratacaoKey>().unwrap(), key);
        }
    }
}
