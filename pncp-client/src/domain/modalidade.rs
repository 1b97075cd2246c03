use std::fmt;

use serde::{Deserialize, Serialize};

/// A modality of purchase, by its code.
///
/// The table grows: `GET /modalidades` is the truth, [`Modalidade::KNOWN`] what was known in
/// July 2026 (API.md section 3). Any code is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Modalidade(u16);

const NAMES: [&str; 19] = [
    "Leilão - Eletrônico",
    "Diálogo Competitivo",
    "Concurso",
    "Concorrência - Eletrônica",
    "Concorrência - Presencial",
    "Pregão - Eletrônico",
    "Pregão - Presencial",
    "Dispensa",
    "Inexigibilidade",
    "Manifestação de Interesse",
    "Pré-qualificação",
    "Credenciamento",
    "Leilão - Presencial",
    "Inaplicabilidade da Licitação",
    "Chamada pública",
    "Concorrência - Eletrônica Internacional",
    "Concorrência - Presencial Internacional",
    "Pregão - Eletrônico Internacional",
    "Pregão - Presencial Internacional",
];

impl Modalidade {
    /// The codes known in July 2026, 1 to 19.
    pub const KNOWN: [Self; 19] = {
        let mut known = [Self(0); 19];
        let mut index = 0;
        while index < 19 {
            known[index] = Self(index as u16 + 1);
            index += 1;
        }
        known
    };

    /// The modality of this code.
    pub const fn new(codigo: u16) -> Self {
        Self(codigo)
    }

    /// Its code.
    pub const fn codigo(self) -> u16 {
        self.0
    }

    /// Its name, if it is one of [`Modalidade::KNOWN`].
    pub fn nome(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Modalidade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u16> for Modalidade {
    fn from(codigo: u16) -> Self {
        Self(codigo)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_code_is_taken_and_travels(codigo: u16) {
            let modalidade = Modalidade::from(codigo);
            prop_assert_eq!(modalidade.codigo(), codigo);
            prop_assert_eq!(modalidade.to_string(), codigo.to_string());
            prop_assert_eq!(modalidade.nome().is_some(), Modalidade::KNOWN.contains(&modalidade));
            let json = serde_json::to_string(&modalidade).unwrap();
            prop_assert_eq!(&json, &codigo.to_string());
            prop_assert_eq!(serde_json::from_str::<Modalidade>(&json).unwrap(), modalidade);
        }

        #[test]
        fn what_is_no_code(value in prop_oneof![-70_000_i64..0, 65_536_i64..200_000]) {
            prop_assert!(serde_json::from_str::<Modalidade>(&value.to_string()).is_err());
            prop_assert!(serde_json::from_str::<Modalidade>("\"6\"").is_err());
        }
    }

    #[test]
    fn names() {
        assert_eq!(Modalidade::new(6).nome(), Some("Pregão - Eletrônico"));
        assert_eq!(Modalidade::new(0).nome(), None);
        assert_eq!(Modalidade::new(20).nome(), None);
        assert_eq!(Modalidade::KNOWN[18].codigo(), 19);
    }
}
