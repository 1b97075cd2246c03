use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::domain::{Cnpj, Modalidade, Window};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};

/// What to list. What the API would ignore or reject is refused before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContratacoesQuery {
    by: By,
    modalidades: Option<Vec<Modalidade>>,
    filters: Vec<(&'static str, String)>,
    tamanho_pagina: Option<u32>,
}

/// The date that a listing goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    Publicacao(Window),
    Atualizacao(Window),
    Proposta(NaiveDate),
}

/// One series of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) endpoint: Endpoint,
    pub(crate) modalidade: Option<Modalidade>,
    pub(crate) window: Option<Window>,
    /// Path and query, all but the page number.
    target: String,
}

impl ContratacoesQuery {
    /// Published on the days of `window`.
    pub fn publicacao(window: Window) -> Self {
        Self::new(By::Publicacao(window))
    }

    /// Last changed (`dataAtualizacaoGlobal`) on the days of `window`. A record that changes
    /// again leaves its old day.
    pub fn atualizacao(window: Window) -> Self {
        Self::new(By::Atualizacao(window))
    }

    /// Open for proposals up to `data_final`, which must not be before today.
    pub fn proposta(data_final: NaiveDate) -> Self {
        Self::new(By::Proposta(data_final))
    }

    fn new(by: By) -> Self {
        Self {
            by,
            modalidades: None,
            filters: Vec::new(),
            tamanho_pagina: None,
        }
    }

    /// Only these modalities. Without this, all that `/modalidades` names are listed one by one
    /// (`proposta`: all in one list).
    pub fn modalidades(mut self, modalidades: impl IntoIterator<Item = Modalidade>) -> Self {
        let mut modalidades: Vec<_> = modalidades.into_iter().collect();
        modalidades.sort_unstable();
        modalidades.dedup();
        self.modalidades = Some(modalidades);
        self
    }

    /// Only this state, two letters. What the record says may differ (API.md section 8, 9).
    pub fn uf(self, uf: &str) -> Self {
        self.filter("uf", uf.to_ascii_uppercase())
    }

    /// Only this buyer. (The API ignores `cnpjOrgao` here; this is `cnpj`.)
    pub fn cnpj(self, cnpj: Cnpj) -> Self {
        self.filter("cnpj", cnpj.to_string())
    }

    /// Only this municipality, by its seven-digit IBGE code.
    pub fn codigo_municipio_ibge(self, codigo: &str) -> Self {
        self.filter("codigoMunicipioIbge", codigo.to_owned())
    }

    /// Only this administrative unit of the buyer.
    pub fn codigo_unidade(self, codigo: &str) -> Self {
        self.filter("codigoUnidadeAdministrativa", codigo.to_owned())
    }

    /// Only what this publishing system sent.
    pub fn id_usuario(self, id: u32) -> Self {
        self.filter("idUsuario", id.to_string())
    }

    /// Only this mode of dispute; not for `proposta`.
    pub fn modo_disputa(self, codigo: u16) -> Self {
        self.filter("codigoModoDisputa", codigo.to_string())
    }

    /// Records per page, 10 to 50; the client's setting without this.
    pub fn tamanho_pagina(mut self, records: u32) -> Self {
        self.tamanho_pagina = Some(records);
        self
    }

    fn filter(mut self, name: &'static str, value: String) -> Self {
        self.filters.retain(|(other, _)| *other != name);
        self.filters.push((name, value));
        self
    }

    /// Checks what the types cannot.
    pub(crate) fn validate(&self) -> Result<()> {
        if self
            .tamanho_pagina
            .is_some_and(|size| !(10..=50).contains(&size))
        {
            return Err(Error::invalid("tamanhoPagina", "must be 10 to 50"));
        }
        if self.modalidades.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid(
                "codigoModalidadeContratacao",
                "none is given",
            ));
        }
        for (name, value) in &self.filters {
            let right = match *name {
                "uf" => value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase()),
                "codigoMunicipioIbge" => {
                    value.len() == 7 && value.bytes().all(|b| b.is_ascii_digit())
                }
                "codigoUnidadeAdministrativa" => (1..=30).contains(&value.chars().count()),
                "codigoModoDisputa" => !matches!(self.by, By::Proposta(_)),
                _ => true,
            };
            if !right {
                return Err(Error::invalid(name, "is not what this list takes"));
            }
        }
        Ok(())
    }

    /// Whether the modalities have to be asked for first.
    pub(crate) fn needs_modalidades(&self) -> bool {
        self.modalidades.is_none() && !matches!(self.by, By::Proposta(_))
    }

    pub(crate) fn by(&self) -> By {
        self.by
    }

    /// The series of pages, in order: by modality, then by piece of the window.
    pub(crate) fn parts(&self, all: &[Modalidade], page_size: u32) -> Vec<Part> {
        let modalidades: Vec<Option<Modalidade>> = match (&self.modalidades, self.by) {
            (Some(chosen), _) => chosen.iter().copied().map(Some).collect(),
            (None, By::Proposta(_)) => vec![None],
            (None, _) => all.iter().copied().map(Some).collect(),
        };
        let (endpoint, path, windows): (_, _, Vec<Option<Window>>) = match self.by {
            By::Publicacao(window) => (
                Endpoint::ContratacoesPublicacao,
                "publicacao",
                window.split().into_iter().map(Some).collect(),
            ),
            By::Atualizacao(window) => (
                Endpoint::ContratacoesAtualizacao,
                "atualizacao",
                window.split().into_iter().map(Some).collect(),
            ),
            By::Proposta(_) => (Endpoint::ContratacoesProposta, "proposta", vec![None]),
        };
        let mut parts = Vec::new();
        for modalidade in modalidades {
            for &window in &windows {
                let mut target = format!("/v1/contratacoes/{path}?");
                match (window, self.by) {
                    (Some(window), _) => target.push_str(&format!(
                        "dataInicial={}&dataFinal={}",
                        window.first().format("%Y%m%d"),
                        window.last().format("%Y%m%d")
                    )),
                    (None, By::Proposta(last)) => {
                        target.push_str(&format!("dataFinal={}", last.format("%Y%m%d")));
                    }
                    (None, _) => {}
                }
                if let Some(modalidade) = modalidade {
                    target.push_str(&format!("&codigoModalidadeContratacao={modalidade}"));
                }
                for (name, value) in &self.filters {
                    target.push_str(&format!("&{name}={}", percent_encoded(value)));
                }
                let size = self.tamanho_pagina.unwrap_or(page_size);
                target.push_str(&format!("&tamanhoPagina={size}"));
                parts.push(Part {
                    endpoint,
                    modalidade,
                    window,
                    target,
                });
            }
        }
        parts
    }
}

impl Part {
    pub(crate) fn target(&self, pagina: u32) -> String {
        format!("{}&pagina={pagina}", self.target)
    }
}

fn percent_encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: u64) -> Window {
        let first = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
        Window::new(first, first + chrono::Days::new(days)).unwrap()
    }

    #[test]
    fn one_series_per_modality_and_year() {
        let query = ContratacoesQuery::publicacao(window(400))
            .uf("sp")
            .codigo_unidade("a b");
        let parts = query.parts(&[Modalidade::new(6), Modalidade::new(8)], 50);
        let targets: Vec<_> = parts.iter().map(|part| part.target(3)).collect();
        assert_eq!(targets.len(), 4);
        assert_eq!(
            targets[0],
            "/v1/contratacoes/publicacao?dataInicial=20240101&dataFinal=20241230&codigoModalidadeContratacao=6&uf=SP&codigoUnidadeAdministrativa=a%20b&tamanhoPagina=50&pagina=3"
        );
        assert!(query.validate().is_ok());
    }

    #[test]
    fn refused_before_anything_is_sent() {
        let query = || ContratacoesQuery::publicacao(window(1));
        for bad in [
            query().tamanho_pagina(500),
            query().tamanho_pagina(9),
            query().uf("S"),
            query().codigo_municipio_ibge("12"),
            query().codigo_unidade(""),
            query().modalidades([]),
            ContratacoesQuery::proposta(window(1).last()).modo_disputa(1),
        ] {
            assert!(
                matches!(bad.validate(), Err(Error::Invalid { .. })),
                "{bad:?}"
            );
        }
    }
}
