//! Itens and arquivos of contratações, from the PNCP's API.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use pncp_client::{ContratacaoKey, Details, PageGate, PncpClient};

use crate::{
    CallStats, DetailKey, DetailSource, FailureKind, FetchFailure, Fetched, Meter, Payload,
};

/// The facet of the itens.
pub const ITENS: &str = "itens";
/// The facet of the arquivos.
pub const ARQUIVOS: &str = "arquivos";
/// Both, in the order of the log's facets.
pub const FACETS: [&str; 2] = [ITENS, ARQUIVOS];

/// The itens and the arquivos of contratações, keyed `cnpj|ano|sequencial`.
///
/// Retries, pace and limits are the client's; a failure that arrives here is final for the run. A contratação that
/// the API has deleted is [`Fetched::Gone`].
#[derive(Debug, Clone)]
pub struct PncpDetails {
    client: Arc<PncpClient>,
}

impl PncpDetails {
    /// Details through `client`.
    pub fn new(client: PncpClient) -> Self {
        Self {
            client: Arc::new(client),
        }
    }
}

#[async_trait]
impl DetailSource for PncpDetails {
    fn facets(&self) -> &[&'static str] {
        &FACETS
    }

    async fn fetch(
        &self,
        key: &DetailKey,
        facet: &'static str,
        meter: &Meter,
    ) -> Result<Fetched, FetchFailure> {
        let parsed = ContratacaoKey::parse(&key.key).map_err(|error| {
            FetchFailure::permanent(chain(&error)).with_stats(CallStats::default())
        })?;
        let answer = if facet == ITENS {
            self.client.itens_gated(&parsed, meter).await
        } else {
            self.client.arquivos_gated(&parsed, meter).await
        };
        match answer {
            Ok(Details::Gone { calls, retries }) => {
                Ok(Fetched::Gone(CallStats::new(calls, retries)))
            }
            Ok(Details::Found(found)) => Ok(Fetched::Present(Payload {
                count: u32::try_from(found.count).unwrap_or(u32::MAX),
                pages: found.pages,
                source: Some(found.source.into()),
                fetched_at: Some(found.fetched_at),
                stats: CallStats::new(found.calls, found.retries),
            })),
            Err(error) => Err(failure(&error)),
        }
    }
}

impl PageGate for Meter {
    fn before_page(&self, total_bytes: u64) -> BoxFuture<'_, ()> {
        self.grow(total_bytes).boxed()
    }
}

fn failure(error: &pncp_client::Error) -> FetchFailure {
    let kind = match error.retry_at() {
        Some(until) => FailureKind::Deferred { until },
        None if error.is_transient() => FailureKind::Transient,
        None => FailureKind::Permanent,
    };
    let stats = CallStats::new(error.requests(), error.retries());
    let body = error
        .context()
        .map(|context| context.body_start.clone())
        .filter(|body| !body.is_empty());
    FetchFailure {
        kind,
        reason: chain(error),
        stats,
        payload: body.map(Into::into),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
