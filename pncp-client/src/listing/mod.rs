//! Lists with a ledger.

mod ledger;
mod page;
mod proof;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream, Stream};

use self::ledger::{Ledger, Next};
use self::page::{Entry, entries};
pub use self::page::{RawPage, RawRecord};
pub use self::proof::{ListingProof, PartProof, ShortPage, Verdict};
use crate::call::{Answer, Call, Sent, Wanted};
use crate::client::{Inner, PncpClient};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::json::Envelope;
use crate::model::Contratacao;
use crate::query::{By, ContratacoesQuery, Part};

/// Times a page whose records lie outside the window is asked for.
const WRONG_WINDOW_READS: u32 = 3;
/// Answers "nothing" that a first page needs before it is believed: a passing 204 looks the same.
const EMPTY_CONFIRMATIONS: u32 = 2;

impl PncpClient {
    /// Begins a listing; nothing is sent before the first page is asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the API would ignore or reject something of the query.
    pub fn contratacoes(&self, query: ContratacoesQuery) -> Result<Listing> {
        query.validate()?;
        Ok(Listing {
            inner: Arc::clone(&self.inner),
            query,
            plan: None,
            reading: None,
            ledger: Ledger::default(),
            parts: Vec::new(),
            started_at: self.inner.clock.now(),
            sent: Sent::default(),
        })
    }
}

/// The pages of a listing, in order, and the proof of what they amount to.
///
/// A bounded number of pages is fetched ahead. A list that moved while it was read is read again
/// until it stands still, or a bound; its pages then come again, with their known records marked
/// as not fresh, unless they were updated meanwhile. Dropping the listing stops its requests.
pub struct Listing {
    inner: Arc<Inner>,
    query: ContratacoesQuery,
    /// The series still to read; `None` until the modalities are known.
    plan: Option<VecDeque<Part>>,
    reading: Option<Reading>,
    ledger: Ledger,
    parts: Vec<PartProof>,
    started_at: DateTime<Utc>,
    /// All that was answered so far.
    sent: Sent,
}

/// The series being read.
struct Reading {
    part: Part,
    /// Pages announced and asked for so far in this pass.
    announced: u32,
    /// What the last page announced.
    latest: u64,
    pages: Pages,
}

/// Page by page: its number, the requests it took, and what came.
type Pages = BoxStream<'static, (u32, Sent, Result<Fetched>)>;

/// What asking for a page brought.
enum Fetched {
    Page {
        body: Bytes,
        envelope: Envelope,
        entries: Vec<Entry>,
        at: DateTime<Utc>,
    },
    Empty,
    NoSuchModality,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl Listing {
    /// The next page, or `None` after the last.
    ///
    /// A page that cannot be had is written into the proof, and the listing goes on.
    ///
    /// # Errors
    /// The modalities could not be read, or the server said to come back later than the call may
    /// wait ([`Error::Deferred`]). Asking again goes on where it stopped; the page that failed is
    /// in the proof.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing: the next call goes on.
    pub async fn next_page(&mut self) -> Result<Option<RawPage>> {
        loop {
            if self.reading.is_none() && !self.begin_part().await? {
                return Ok(None);
            }
            let Some(reading) = &mut self.reading else {
                continue;
            };
            let next = reading.pages.next().await;
            if let Some((_, sent, _)) = &next {
                self.sent.add(*sent);
                self.ledger.sent(*sent);
            }
            match next {
                Some((numero, _, Ok(fetched))) => {
                    if let Some(page) = self.take(numero, fetched) {
                        return Ok(Some(page));
                    }
                }
                Some((numero, _, Err(error))) => {
                    let deferred = matches!(error, Error::Deferred { .. });
                    self.ledger.short(ShortPage {
                        numero,
                        error: chain(&error),
                        status: error.status(),
                    });
                    if deferred {
                        return Err(error);
                    }
                }
                None => self.end_of_pages(),
            }
        }
    }

    /// The pages as a stream; the proof is then only to be had from [`Listing::next_page`], so
    /// this lends the listing.
    pub fn pages(&mut self) -> impl Stream<Item = Result<RawPage>> + '_ {
        stream::unfold(self, |listing| async move {
            let next = listing.next_page().await.transpose()?;
            Some((next, listing))
        })
    }

    /// The fresh records as a stream, typed: each once, and once more whenever it was updated while
    /// the list was read. A record that is no object is an error of its own;
    /// the stream goes on after it.
    pub fn records(&mut self) -> impl Stream<Item = Result<Contratacao>> + '_ {
        self.pages().flat_map(|page| match page {
            Ok(page) => {
                let fresh = page
                    .records()
                    .filter(|record| record.fresh && !record.outside);
                stream::iter(fresh.map(|record| typed(&record)).collect::<Vec<_>>())
            }
            Err(error) => stream::iter(vec![Err(error)]),
        })
    }

    /// What was delivered so far against what was declared. Before the end it is
    /// [`Verdict::Short`], because parts are left.
    pub fn proof(&self) -> ListingProof {
        let window = match self.query.by() {
            By::Publicacao(window) | By::Atualizacao(window) => {
                Some((window.first(), window.last()))
            }
            By::Proposta(_) => None,
        };
        let planned = self.plan.as_ref().map_or(1, VecDeque::len);
        let left = planned + usize::from(self.reading.is_some());
        ListingProof {
            endpoint: match self.query.by() {
                By::Publicacao(_) => Endpoint::ContratacoesPublicacao,
                By::Atualizacao(_) => Endpoint::ContratacoesAtualizacao,
                By::Proposta(_) => Endpoint::ContratacoesProposta,
            },
            window,
            parts: self.parts.clone(),
            requests: self.sent.requests,
            retries: self.sent.retries,
            parts_left: u32::try_from(left).unwrap_or(u32::MAX),
            started_at: self.started_at,
            finished_at: self.inner.clock.now(),
        }
    }

    /// As [`Listing::proof`].
    pub fn into_proof(self) -> ListingProof {
        self.proof()
    }

    /// False if there is no part left.
    async fn begin_part(&mut self) -> Result<bool> {
        if self.plan.is_none() {
            let known = if self.query.needs_modalidades() {
                let mut sent = Sent::default();
                let known = self.inner.modalidades(&mut sent).await;
                self.sent.add(sent);
                known?.into_iter().map(|known| known.id).collect()
            } else {
                Vec::new()
            };
            let parts = self.query.parts(&known, self.inner.settings.page_size);
            self.plan = Some(parts.into());
        }
        let Some(part) = self.plan.as_mut().and_then(VecDeque::pop_front) else {
            return Ok(false);
        };
        self.ledger.begin_part();
        self.begin_pass(part);
        Ok(true)
    }

    fn begin_pass(&mut self, part: Part) {
        self.ledger.asked(1);
        let pages = self.fetch(&part, 1, 1);
        self.reading = Some(Reading {
            part,
            announced: 1,
            latest: 0,
            pages,
        });
    }

    /// Pages `first..=last`, a bounded number ahead, in order.
    fn fetch(&self, part: &Part, first: u32, last: u32) -> Pages {
        let inner = Arc::clone(&self.inner);
        let by = self.query.by();
        let part = part.clone();
        let ahead = self.inner.settings.prefetch_pages;
        stream::iter(first..=last)
            .map(move |numero| {
                let (inner, part) = (Arc::clone(&inner), part.clone());
                async move {
                    let mut sent = Sent::default();
                    let fetched = fetch_page(&inner, &part, by, numero, &mut sent).await;
                    (numero, sent, fetched)
                }
            })
            .buffered(ahead)
            .boxed()
    }

    fn take(&mut self, numero: u32, fetched: Fetched) -> Option<RawPage> {
        let reading = self.reading.as_mut()?;
        match fetched {
            Fetched::Empty => None,
            Fetched::NoSuchModality => {
                self.ledger.no_such_modality();
                None
            }
            Fetched::Page {
                body,
                envelope,
                mut entries,
                at,
            } => {
                reading.latest = envelope.total_paginas;
                self.ledger
                    .page(&body, envelope.total_registros, &mut entries);
                Some(RawPage {
                    modalidade: reading.part.modalidade,
                    numero,
                    pass: self.ledger.pass(),
                    body,
                    source: reading.part.target(numero),
                    fetched_at: at,
                    entries,
                })
            }
        }
    }

    /// Asks for pages announced since, or ends the pass.
    fn end_of_pages(&mut self) {
        let Some(mut reading) = self.reading.take() else {
            return;
        };
        let latest = u32::try_from(reading.latest).unwrap_or(u32::MAX);
        if latest > reading.announced {
            let first = reading.announced + 1;
            self.ledger.asked(latest - reading.announced);
            reading.announced = latest;
            reading.pages = self.fetch(&reading.part, first, latest);
            self.reading = Some(reading);
            return;
        }
        match self.ledger.end_pass(self.inner.settings.passes_max) {
            Next::Again => {
                tracing::debug!(target_path = %reading.part.target(1), "list moved, reading again");
                self.ledger.begin_pass();
                self.begin_pass(reading.part);
            }
            Next::Done(mut proof) => {
                proof.modalidade = reading.part.modalidade;
                proof.window = reading
                    .part
                    .window
                    .map(|window| (window.first(), window.last()));
                self.parts.push(*proof);
            }
        }
    }
}

/// Asks for one page until its records lie inside the window and "nothing" was said often enough.
async fn fetch_page(
    inner: &Inner,
    part: &Part,
    by: By,
    numero: u32,
    sent: &mut Sent,
) -> Result<Fetched> {
    let call = Call {
        endpoint: part.endpoint,
        target: part.target(numero),
        wanted: Wanted::Page(numero),
        must_exist: numero > 1,
    };
    let mut empty = 0;
    let mut outside = 0;
    loop {
        match inner.call(&call, sent).await? {
            Answer::Page(body, envelope, at) => {
                let entries = entries(&body, &envelope, part, by);
                outside += 1;
                if outside >= WRONG_WINDOW_READS || entries.iter().all(|entry| !entry.outside) {
                    return Ok(Fetched::Page {
                        body,
                        envelope,
                        entries,
                        at,
                    });
                }
                tracing::warn!(target_path = %call.target, "records outside the window, asking again");
            }
            Answer::NoSuchModality => return Ok(Fetched::NoSuchModality),
            Answer::Empty | Answer::Gone | Answer::Body(..) => {
                empty += 1;
                if empty >= EMPTY_CONFIRMATIONS {
                    return Ok(Fetched::Empty);
                }
            }
        }
    }
}

fn typed(record: &RawRecord<'_>) -> Result<Contratacao> {
    serde_json::from_slice(record.bytes).map_err(|_| {
        let fault = crate::json::Fault {
            offset: 0,
            reason: "the record is not an object",
        };
        fault.of(record.bytes)
    })
}

/// An error with its causes, for the proof.
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
