use std::fmt;

use serde::{Deserialize, Serialize};

/// What limits, slows down and fails together: one of the two hosts of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `/api/consulta`: lists by date, one purchase's header.
    List,
    /// `/api/pncp`: itens, arquivos, resultados, domain tables.
    Detail,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Detail => "detail",
        })
    }
}

/// The endpoints that this client calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `/v1/contratacoes/publicacao`
    ContratacoesPublicacao,
    /// `/v1/contratacoes/atualizacao`
    ContratacoesAtualizacao,
    /// `/v1/contratacoes/proposta`
    ContratacoesProposta,
    /// `/v1/orgaos/{cnpj}/compras/{ano}/{sequencial}`
    Contratacao,
    /// `…/itens`
    Itens,
    /// `…/itens/quantidade`
    ItensQuantidade,
    /// `…/itens/{n}`
    Item,
    /// `…/itens/{n}/resultados`
    Resultados,
    /// `…/arquivos`
    Arquivos,
    /// `…/arquivos/quantidade`
    ArquivosQuantidade,
    /// `…/arquivos/{sequencialDocumento}`
    Arquivo,
    /// `/v1/modalidades` and the other domain tables
    Tabela,
}

impl Endpoint {
    /// The family whose limits it shares.
    pub fn family(self) -> Family {
        match self {
            Self::ContratacoesPublicacao
            | Self::ContratacoesAtualizacao
            | Self::ContratacoesProposta
            | Self::Contratacao => Family::List,
            Self::Itens
            | Self::ItensQuantidade
            | Self::Item
            | Self::Resultados
            | Self::Arquivos
            | Self::ArquivosQuantidade
            | Self::Arquivo
            | Self::Tabela => Family::Detail,
        }
    }

    /// Its name in logs and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContratacoesPublicacao => "contratacoes/publicacao",
            Self::ContratacoesAtualizacao => "contratacoes/atualizacao",
            Self::ContratacoesProposta => "contratacoes/proposta",
            Self::Contratacao => "compra",
            Self::Itens => "compra/itens",
            Self::ItensQuantidade => "compra/itens/quantidade",
            Self::Item => "compra/itens/item",
            Self::Resultados => "compra/itens/item/resultados",
            Self::Arquivos => "compra/arquivos",
            Self::ArquivosQuantidade => "compra/arquivos/quantidade",
            Self::Arquivo => "compra/arquivos/arquivo",
            Self::Tabela => "tabela",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
