use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::{Answer, Call, Sent, Wanted};
use crate::client::{Inner, PncpClient};
use crate::domain::{ContratacaoKey, Modalidade};
use crate::endpoint::Endpoint;
use crate::error::{CallContext, Error, Result};

/// A row of the table of modalities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModalidadeInfo {
    /// Its code.
    pub id: Modalidade,
    /// Its name.
    #[serde(default)]
    pub nome: String,
    /// Whether it is in use.
    #[serde(default = "active")]
    pub status_ativo: bool,
}

fn active() -> bool {
    true
}

/// The small tables of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TabelaDominio {
    /// `/v1/modalidades`
    Modalidades,
    /// `/v1/modos-disputas`
    ModosDisputas,
    /// `/v1/criterios-julgamentos`
    CriteriosJulgamentos,
    /// `/v1/tipos-documentos`
    TiposDocumentos,
    /// `/v1/tipos-instrumentos-convocatorios`
    TiposInstrumentosConvocatorios,
    /// `/v1/fontes-orcamentarias`
    FontesOrcamentarias,
    /// `/v1/amparos-legais`
    AmparosLegais,
    /// `/v1/catalogos`
    Catalogos,
    /// `/v1/portes-empresa`
    PortesEmpresa,
}

impl TabelaDominio {
    fn path(self) -> &'static str {
        match self {
            Self::Modalidades => "/v1/modalidades",
            Self::ModosDisputas => "/v1/modos-disputas",
            Self::CriteriosJulgamentos => "/v1/criterios-julgamentos",
            Self::TiposDocumentos => "/v1/tipos-documentos",
            Self::TiposInstrumentosConvocatorios => "/v1/tipos-instrumentos-convocatorios",
            Self::FontesOrcamentarias => "/v1/fontes-orcamentarias",
            Self::AmparosLegais => "/v1/amparos-legais",
            Self::Catalogos => "/v1/catalogos",
            Self::PortesEmpresa => "/v1/portes-empresa",
        }
    }
}

impl PncpClient {
    /// One purchase as JSON; `None` if the API does not know it (any more).
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn contratacao(&self, key: &ContratacaoKey) -> Result<Option<Bytes>> {
        self.inner
            .one(Endpoint::Contratacao, key.path(), Wanted::Object)
            .await
    }

    /// One item as JSON; `None` if the API does not know the purchase.
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn item(&self, key: &ContratacaoKey, numero: u32) -> Result<Option<Bytes>> {
        let target = format!("{}/itens/{numero}", key.path());
        self.inner.one(Endpoint::Item, target, Wanted::Object).await
    }

    /// The results of one item as a bare JSON array (`[]` if there are none); `None` if the API
    /// does not know the purchase. A supplier may be a natural person, known by CPF.
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn resultados(&self, key: &ContratacaoKey, numero: u32) -> Result<Option<Bytes>> {
        let call = Call {
            endpoint: Endpoint::Resultados,
            target: format!("{}/itens/{numero}/resultados", key.path()),
            wanted: Wanted::Array,
            must_exist: false,
        };
        Ok(match self.inner.call(&call, &mut Sent::default()).await? {
            Answer::Body(body, _) | Answer::Page(body, _, _) => Some(body),
            Answer::Empty | Answer::NoSuchModality => Some(Bytes::from_static(b"[]")),
            Answer::Gone => None,
        })
    }

    /// The modalities in use.
    ///
    /// # Errors
    /// What the call fails with; [`Error::Decode`] if it is not a table of modalities.
    pub async fn modalidades(&self) -> Result<Vec<ModalidadeInfo>> {
        self.inner.modalidades(&mut Sent::default()).await
    }

    /// One of the small tables as JSON, as it is sent.
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn tabela(&self, tabela: TabelaDominio) -> Result<Bytes> {
        self.inner
            .table(tabela.path().to_owned(), &mut Sent::default())
            .await
    }
}

impl Inner {
    async fn one(
        &self,
        endpoint: Endpoint,
        target: String,
        wanted: Wanted,
    ) -> Result<Option<Bytes>> {
        let call = Call {
            endpoint,
            target,
            wanted,
            must_exist: true,
        };
        Ok(match self.call(&call, &mut Sent::default()).await? {
            Answer::Body(body, _) | Answer::Page(body, _, _) => Some(body),
            Answer::Empty | Answer::Gone | Answer::NoSuchModality => None,
        })
    }

    async fn table(&self, target: String, sent: &mut Sent) -> Result<Bytes> {
        let call = Call {
            endpoint: Endpoint::Tabela,
            target,
            wanted: Wanted::Array,
            must_exist: true,
        };
        match self.call(&call, sent).await? {
            Answer::Body(body, _) | Answer::Page(body, _, _) => Ok(body),
            Answer::Empty | Answer::Gone | Answer::NoSuchModality => Ok(Bytes::from_static(b"[]")),
        }
    }

    pub(crate) async fn modalidades(&self, sent: &mut Sent) -> Result<Vec<ModalidadeInfo>> {
        let target = format!("{}?statusAtivo=true", TabelaDominio::Modalidades.path());
        let body = self.table(target.clone(), sent).await?;
        let known: Vec<ModalidadeInfo> =
            serde_json::from_slice(&body).map_err(|error| Error::Decode {
                context: Box::new(CallContext {
                    endpoint: Endpoint::Tabela,
                    target: target.clone(),
                    attempts: 1,
                    requests: sent.requests,
                    retries: sent.retries,
                    elapsed: std::time::Duration::ZERO,
                    body_start: String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
                }),
                json_path: crate::json::path_of(&body, &error),
                source: error.into(),
            })?;
        Ok(known
            .into_iter()
            .filter(|modalidade| modalidade.status_ativo)
            .collect())
    }
}
