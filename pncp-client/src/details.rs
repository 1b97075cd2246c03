use std::collections::HashSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::call::{Answer, Call, Sent, Wanted};
use crate::client::{Inner, PncpClient};
use crate::domain::ContratacaoKey;
use crate::endpoint::Endpoint;
use crate::error::{CallContext, Error, Result};
use crate::json::{element_numbers, list_len, whole_number};

/// Times a list that contradicts its count is read.
const READS_MAX: u32 = 3;
/// Pages of one list, at most: a bound for a server that never ends one.
const PAGES_MAX: u32 = 2_000;

/// The itens or arquivos of one purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Details {
    /// The whole list.
    Found(DetailPages),
    /// The API does not know the purchase (any more): it said so as often as
    /// [`gone_confirmations`](crate::ClientSettings::gone_confirmations) asks for.
    Gone {
        /// Requests that it took, as in [`DetailPages::calls`].
        calls: u32,
        /// As [`DetailPages::retries`].
        retries: u32,
    },
}

/// A list as it was sent, page by page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailPages {
    /// Bare JSON arrays, syntax checked, in order; empty arrays are left out.
    pub pages: Vec<Bytes>,
    /// Elements in all pages.
    pub count: u64,
    /// When the last page came.
    pub fetched_at: DateTime<Utc>,
    /// Requests sent for it: pages, counts, and every repetition. What the server saw.
    pub calls: u32,
    /// Those among `calls` that repeated one that had failed.
    pub retries: u32,
    /// Path and query of the first page.
    pub source: String,
}

/// Asked before each further page of a list; the list waits for the answer.
///
/// For callers who bound the bytes that they hold: a purchase can have ten thousand items.
pub trait PageGate: std::fmt::Debug + Send + Sync {
    /// Waits until the list may hold `total_bytes`: its pages so far, and another as large as the largest of them.
    fn before_page(&self, total_bytes: u64) -> BoxFuture<'_, ()>;
}

/// The two lists that a purchase has.
#[derive(Debug, Clone, Copy)]
struct List {
    pages: Endpoint,
    count: Endpoint,
    name: &'static str,
    /// What tells its elements apart.
    number: &'static str,
}

const ITENS: List = List {
    pages: Endpoint::Itens,
    count: Endpoint::ItensQuantidade,
    name: "itens",
    number: "numeroItem",
};

const ARQUIVOS: List = List {
    pages: Endpoint::Arquivos,
    count: Endpoint::ArquivosQuantidade,
    name: "arquivos",
    number: "sequencialDocumento",
};

impl PncpClient {
    /// Every item of a purchase.
    ///
    /// The list is paged to its end. Where the length alone cannot prove that (the last page was
    /// full, or shorter than asked but a multiple of ten, the server's silent default), it is
    /// compared with `/itens/quantidade` and read again if they differ.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] if list and count still differ; else what the calls fail with. A
    /// 404 that does not say that the purchase is unknown is a fault, unless the count is 0.
    pub async fn itens(&self, key: &ContratacaoKey) -> Result<Details> {
        self.inner.list(key, &ITENS, None).await
    }

    /// As [`PncpClient::itens`], where `gate` is asked before each page after the first.
    ///
    /// # Errors
    /// As [`PncpClient::itens`].
    pub async fn itens_gated(&self, key: &ContratacaoKey, gate: &dyn PageGate) -> Result<Details> {
        self.inner.list(key, &ITENS, Some(gate)).await
    }

    /// Every document of a purchase; as [`PncpClient::itens`].
    ///
    /// # Errors
    /// As [`PncpClient::itens`].
    pub async fn arquivos(&self, key: &ContratacaoKey) -> Result<Details> {
        self.inner.list(key, &ARQUIVOS, None).await
    }

    /// As [`PncpClient::arquivos`], where `gate` is asked before each page after the first.
    ///
    /// # Errors
    /// As [`PncpClient::itens`].
    pub async fn arquivos_gated(
        &self,
        key: &ContratacaoKey,
        gate: &dyn PageGate,
    ) -> Result<Details> {
        self.inner.list(key, &ARQUIVOS, Some(gate)).await
    }

    /// How many items the API says a purchase has; `None` if it is gone.
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn itens_quantidade(&self, key: &ContratacaoKey) -> Result<Option<u64>> {
        let mut sent = Sent::default();
        self.inner.count(key, &ITENS, &mut sent).await
    }

    /// How many documents the API says a purchase has; `None` if it is gone.
    ///
    /// # Errors
    /// What the call fails with.
    pub async fn arquivos_quantidade(&self, key: &ContratacaoKey) -> Result<Option<u64>> {
        let mut sent = Sent::default();
        self.inner.count(key, &ARQUIVOS, &mut sent).await
    }
}

/// One reading of a list.
enum Read {
    List(DetailPages, bool),
    Gone,
}

impl Inner {
    async fn list(
        &self,
        key: &ContratacaoKey,
        list: &List,
        gate: Option<&dyn PageGate>,
    ) -> Result<Details> {
        let mut sent = Sent::default();
        let found = self.counted_list(key, list, gate, &mut sent).await;
        match found {
            Ok(Some(found)) => Ok(Details::Found(DetailPages {
                calls: sent.requests,
                retries: sent.retries,
                ..found
            })),
            Ok(None) => Ok(Details::Gone {
                calls: sent.requests,
                retries: sent.retries,
            }),
            Err(error) => Err(error.of_operation(sent)),
        }
    }

    /// The list, read until it agrees with its count; `None` if the purchase is gone.
    async fn counted_list(
        &self,
        key: &ContratacaoKey,
        list: &List,
        gate: Option<&dyn PageGate>,
        sent: &mut Sent,
    ) -> Result<Option<DetailPages>> {
        let begun = Instant::now();
        for read in 1.. {
            let (found, proven) = match self.read_list(key, list, gate, sent).await {
                Ok(Read::List(found, proven)) => (found, proven),
                Ok(Read::Gone) => return Ok(None),
                Err(error) if error.status() == Some(404) => {
                    return self.absent(key, list, error, sent).await;
                }
                Err(error) => return Err(error),
            };
            if proven {
                return Ok(Some(found));
            }
            let Some(declared) = self.count(key, list, sent).await? else {
                return Ok(None);
            };
            let got = distinct(&found, list);
            if declared == got && got == found.count {
                return Ok(Some(found));
            }
            if read >= READS_MAX {
                let context = CallContext {
                    endpoint: list.pages,
                    target: found.source,
                    attempts: sent.requests,
                    requests: sent.requests,
                    retries: sent.retries,
                    elapsed: begun.elapsed(),
                    body_start: String::new(),
                };
                return Err(Error::Inconsistent {
                    context: Box::new(context),
                    declared,
                    got,
                });
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// A 404 that stays, and that does not say that the purchase is unknown: some have seen it
    /// for "none" (API.md section 8). The count decides.
    async fn absent(
        &self,
        key: &ContratacaoKey,
        list: &List,
        error: Error,
        sent: &mut Sent,
    ) -> Result<Option<DetailPages>> {
        match self.count(key, list, sent).await {
            Ok(None) => Ok(None),
            Ok(Some(0)) => Ok(Some(DetailPages {
                fetched_at: self.clock.now(),
                ..self.no_pages(key, list)
            })),
            Ok(Some(_)) | Err(_) => Err(error),
        }
    }

    fn no_pages(&self, key: &ContratacaoKey, list: &List) -> DetailPages {
        DetailPages {
            pages: Vec::new(),
            count: 0,
            fetched_at: DateTime::<Utc>::MIN_UTC,
            calls: 0,
            retries: 0,
            source: self.list_target(key, list, 1),
        }
    }

    fn list_target(&self, key: &ContratacaoKey, list: &List, page: u32) -> String {
        let size = self.settings.detail_page_size;
        format!(
            "{}/{}?pagina={page}&tamanhoPagina={size}",
            key.path(),
            list.name
        )
    }

    async fn read_list(
        &self,
        key: &ContratacaoKey,
        list: &List,
        gate: Option<&dyn PageGate>,
        sent: &mut Sent,
    ) -> Result<Read> {
        let asked = u64::from(self.settings.detail_page_size);
        let mut found = self.no_pages(key, list);
        // What the server really gives per page, once its first page tells.
        let mut size = asked;
        for page in 1..=PAGES_MAX {
            if let (Some(gate), true) = (gate, page > 1) {
                gate.before_page(bytes_with_another(&found.pages)).await;
            }
            let call = Call {
                endpoint: list.pages,
                target: self.list_target(key, list, page),
                wanted: Wanted::Array,
                must_exist: false,
            };
            let (body, at) = match self.call(&call, sent).await? {
                Answer::Body(body, at) | Answer::Page(body, _, at) => (body, at),
                Answer::Empty => (Bytes::from_static(b"[]"), self.clock.now()),
                Answer::Gone => return Ok(Read::Gone),
                Answer::NoSuchModality => (Bytes::from_static(b"[]"), self.clock.now()),
            };
            found.fetched_at = at;
            let length = list_len(&body)? as u64;
            if length > 0 {
                found.pages.push(body);
                found.count += length;
            }
            if page == 1 && length < asked && length > 0 && length.is_multiple_of(10) {
                size = length;
            }
            if length < size {
                break;
            }
            // Shorter than asked: the count tells whether that is all.
            if page == 1 && size < asked && self.count(key, list, sent).await? == Some(length) {
                return Ok(Read::List(found, true));
            }
        }
        let ended_short = !found.count.is_multiple_of(size);
        let proven = found.count == 0 || (found.pages.len() == 1 && ended_short);
        Ok(Read::List(found, proven))
    }

    async fn count(
        &self,
        key: &ContratacaoKey,
        list: &List,
        sent: &mut Sent,
    ) -> Result<Option<u64>> {
        let call = Call {
            endpoint: list.count,
            target: format!("{}/{}/quantidade", key.path(), list.name),
            wanted: Wanted::Number,
            must_exist: true,
        };
        match self.call(&call, sent).await? {
            Answer::Body(body, _) | Answer::Page(body, _, _) => whole_number(&body).map(Some),
            Answer::Empty | Answer::NoSuchModality => Ok(Some(0)),
            Answer::Gone => Ok(None),
        }
    }
}

/// The bytes of the pages and of one more, as large as the largest.
fn bytes_with_another(pages: &[Bytes]) -> u64 {
    let sizes = pages.iter().map(|page| page.len() as u64);
    sizes.clone().sum::<u64>() + sizes.max().unwrap_or(0)
}

/// Distinct numbers of the elements; those without one all count.
fn distinct(found: &DetailPages, list: &List) -> u64 {
    let mut seen = HashSet::new();
    let mut unnumbered = 0;
    for page in &found.pages {
        for number in element_numbers(page, list.number) {
            match number {
                Some(number) => {
                    seen.insert(number);
                }
                None => unnumbered += 1,
            }
        }
    }
    seen.len() as u64 + unnumbered
}
