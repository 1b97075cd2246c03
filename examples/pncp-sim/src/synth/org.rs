//! The buyers: 4,096 of them, some with letters in their CNPJ, as newly registered ones have.

use std::collections::HashMap;

use crate::rng::Dice;

/// How many buyers; a power of two.
pub(crate) const ORGS: u64 = 4_096;

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) municipio: &'static str,
    pub(crate) ibge: &'static str,
    pub(crate) uf: &'static str,
    pub(crate) uf_nome: &'static str,
}

const fn place(
    municipio: &'static str,
    ibge: &'static str,
    uf: &'static str,
    uf_nome: &'static str,
) -> Place {
    Place {
        municipio,
        ibge,
        uf,
        uf_nome,
    }
}

const PLACES: &[Place] = &[
    place("São Paulo", "3550308", "SP", "São Paulo"),
    place("Campinas", "3509502", "SP", "São Paulo"),
    place("Belo Horizonte", "3106200", "MG", "Minas Gerais"),
    place("Uberlândia", "3170206", "MG", "Minas Gerais"),
    place("Rio de Janeiro", "3304557", "RJ", "Rio de Janeiro"),
    place("Vitória", "3205309", "ES", "Espírito Santo"),
    place("Curitiba", "4106902", "PR", "Paraná"),
    place("Ampére", "4101002", "PR", "Paraná"),
    place("Lindoeste", "4113452", "PR", "Paraná"),
    place("Porto Alegre", "4314902", "RS", "Rio Grande do Sul"),
    place("Florianópolis", "4205407", "SC", "Santa Catarina"),
    place("Brasília", "5300108", "DF", "Distrito Federal"),
    place("Goiânia", "5208707", "GO", "Goiás"),
    place("Cuiabá", "5103403", "MT", "Mato Grosso"),
    place("Campo Grande", "5002704", "MS", "Mato Grosso do Sul"),
    place("Salvador", "2927408", "BA", "Bahia"),
    place("Recife", "2611606", "PE", "Pernambuco"),
    place("Fortaleza", "2304400", "CE", "Ceará"),
    place("São Luís", "2111300", "MA", "Maranhão"),
    place("Teresina", "2211001", "PI", "Piauí"),
    place("Natal", "2408102", "RN", "Rio Grande do Norte"),
    place("João Pessoa", "2507507", "PB", "Paraíba"),
    place("Maceió", "2704302", "AL", "Alagoas"),
    place("Aracaju", "2800308", "SE", "Sergipe"),
    place("Belém", "1501402", "PA", "Pará"),
    place("Manaus", "1302603", "AM", "Amazonas"),
    place("Porto Velho", "1100205", "RO", "Rondônia"),
    place("Rio Branco", "1200401", "AC", "Acre"),
    place("Macapá", "1600303", "AP", "Amapá"),
    place("Boa Vista", "1400100", "RR", "Roraima"),
    place("Palmas", "1721000", "TO", "Tocantins"),
];

const SYSTEMS: &[&str] = &[
    "Compras.gov.br",
    "Pública Tecnologia Ltda.",
    "BLL Compras",
    "Portal de Compras Públicas",
    "Licitanet",
    "Betha Sistemas",
    "IPM Sistemas",
];

#[derive(Debug)]
pub(crate) struct Org {
    pub(crate) cnpj: String,
    pub(crate) razao_social: String,
    pub(crate) poder: &'static str,
    pub(crate) esfera: &'static str,
    pub(crate) unidade: String,
    pub(crate) nome_unidade: String,
    pub(crate) usuario: &'static str,
    /// What its numbering starts after: small, five or six digits.
    pub(crate) first_sequencial: u64,
    place: usize,
}

impl Org {
    pub(crate) fn place(&self) -> &'static Place {
        &PLACES[self.place % PLACES.len()]
    }
}

/// All buyers of a seed.
#[derive(Debug)]
pub(crate) struct Orgs {
    all: Vec<Org>,
    by_cnpj: HashMap<String, usize>,
}

impl Orgs {
    pub(crate) fn new(seed: u64) -> Self {
        let mut orgs = Self {
            all: Vec::new(),
            by_cnpj: HashMap::new(),
        };
        let mut attempt = 0;
        while (orgs.all.len() as u64) < ORGS {
            let org = make(seed, attempt);
            attempt += 1;
            if !orgs.by_cnpj.contains_key(&org.cnpj) {
                orgs.by_cnpj.insert(org.cnpj.clone(), orgs.all.len());
                orgs.all.push(org);
            }
        }
        orgs
    }

    pub(crate) fn get(&self, index: usize) -> &Org {
        &self.all[index]
    }

    pub(crate) fn find(&self, cnpj: &str) -> Option<usize> {
        self.by_cnpj.get(cnpj).copied()
    }
}

fn make(seed: u64, number: u64) -> Org {
    let mut dice = Dice::of(&[seed, 0x06f7, number]);
    let cnpj = cnpj(&mut dice);
    let at = usize::try_from(dice.below(PLACES.len() as u64)).unwrap_or(0);
    let place = &PLACES[at];
    // N for both is real and the commonest by far.
    let (razao, poder, esfera) = match dice.below(20) {
        0..15 => (
            format!("MUNICIPIO DE {}", place.municipio.to_uppercase()),
            "N",
            "M",
        ),
        15 => (
            format!("CÂMARA MUNICIPAL DE {}", place.municipio.to_uppercase()),
            "L",
            "M",
        ),
        16 => (
            format!("ESTADO DE {}", place.uf_nome.to_uppercase()),
            "E",
            "E",
        ),
        17 => ("UNIVERSIDADE FEDERAL SIMULADA".to_owned(), "E", "F"),
        18 => ("TRIBUNAL REGIONAL SIMULADO".to_owned(), "J", "F"),
        _ => ("CONSÓRCIO INTERMUNICIPAL SIMULADO ".to_owned(), "N", "N"),
    };
    let unidade = match dice.below(4) {
        0 => "1".to_owned(),
        1 => dice.between(100_000, 999_999).to_string(),
        2 => cnpj.clone(),
        _ => format!("{:03}", dice.between(1, 60)),
    };
    Org {
        razao_social: razao,
        poder,
        esfera,
        unidade,
        nome_unidade: format!("Secretaria {} de {}", dice.between(1, 30), place.municipio),
        usuario: dice.pick(SYSTEMS),
        first_sequencial: dice.pick(&[0, 0, 0, 9_000, 31_000, 120_000]),
        place: at,
        cnpj,
    }
}

/// A CNPJ with valid check digits; one in forty has letters, some start with zeros.
pub(crate) fn cnpj(dice: &mut Dice) -> String {
    let mut body = format!("{:08}0001", dice.below(99_999_999));
    if dice.below(40) == 0 {
        let letters: String = (0..4)
            .map(|_| char::from(b'A' + u8::try_from(dice.below(26)).unwrap_or(0)))
            .collect();
        body.replace_range(2..6, &letters);
    } else if dice.below(30) == 0 {
        body.replace_range(0..2, "00");
    }
    let first = check_digit(&body);
    body.push(first);
    let second = check_digit(&body);
    body.push(second);
    body
}

/// Modulo 11 over the characters' distance from `0`, weights 2 to 9 from the right.
fn check_digit(body: &str) -> char {
    let sum: u32 = body
        .bytes()
        .rev()
        .zip((2..=9_u32).cycle())
        .map(|(b, weight)| (u32::from(b) - 48) * weight)
        .sum();
    match sum % 11 {
        0 | 1 => '0',
        rest => char::from_digit(11 - rest, 10).unwrap_or('0'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_those_of_real_numbers() {
        // The Bank of Brazil, and the alphanumeric example of the Receita Federal.
        assert_eq!(check_digit("000000000001"), '9');
        assert_eq!(check_digit("0000000000019"), '1');
        assert_eq!(check_digit("12ABC34501DE"), '3');
        assert_eq!(check_digit("12ABC34501DE3"), '5');
    }

    #[test]
    fn some_buyers_have_letters_and_some_leading_zeros() {
        let orgs = Orgs::new(1);
        let letters = orgs
            .all
            .iter()
            .filter(|o| o.cnpj.bytes().any(|b| b.is_ascii_uppercase()));
        assert!((50..200).contains(&letters.count()));
        assert!(orgs.all.iter().any(|o| o.cnpj.starts_with("00")));
        assert!(orgs.all.iter().all(|o| o.cnpj.len() == 14));
    }
}
