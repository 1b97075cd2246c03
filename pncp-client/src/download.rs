use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use tokio::time::Instant;

use crate::client::{Inner, PncpClient};
use crate::domain::ContratacaoKey;
use crate::endpoint::Endpoint;
use crate::error::{BoxError, CallContext, Error, Result};
use crate::limits::Permit;
use crate::retry::{Action, Answered, BodyKind, Delays, Method, action};
use crate::transport::{Fault, RawStream};

/// A document, coming piece by piece. Dropping it ends the transfer; it counts as one request in
/// flight as long as it lives.
pub struct Download {
    content_type: Option<String>,
    content_length: Option<u64>,
    body: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("content_type", &self.content_type)
            .field("content_length", &self.content_length)
            .finish_non_exhaustive()
    }
}

impl Download {
    /// As declared; mostly `application/octet-stream`, whatever it is.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Bytes declared; absent where the body is compressed or chunked.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }
}

impl Stream for Download {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.body.poll_next_unpin(cx)
    }
}

impl PncpClient {
    /// Opens one document of a purchase. Faults before the body are retried; one inside it is an
    /// error of the stream, because what came has been handed on already.
    ///
    /// # Errors
    /// What the call fails with. A document that does not exist is [`Error::Status`] 404, once it
    /// has been said as often as a call may ask: a passing 404 looks the same.
    ///
    /// # Cancellation
    /// Dropping the future, or the stream, ends the transfer.
    pub async fn baixar_arquivo(
        &self,
        key: &ContratacaoKey,
        sequencial_documento: u32,
    ) -> Result<Download> {
        let inner = &self.inner;
        let endpoint = Endpoint::Arquivo;
        let target = format!("{}/arquivos/{sequencial_documento}", key.path());
        let url = inner.url(endpoint, &target);
        let mut opening = Opening {
            target,
            begun: Instant::now(),
            attempts: 0,
            delays: Delays::new(&inner.settings.retry, inner.next_seed()),
        };
        inner.budget.call_begun();
        loop {
            let permit = opening.leave(inner).await?;
            opening.attempts += 1;
            let opened = inner.transport.open(&url).await;
            let (answered, kind) = classify(&opened);
            let next = action(Method::Get, answered, kind, true);
            let told = opened
                .as_ref()
                .ok()
                .and_then(|answer| inner.told_to_wait(&answer.head));
            let next = inner.react(endpoint.family(), next, answered, told, &permit);
            let failed = match (next, opened) {
                (Action::Accept, Ok(answer)) => {
                    return Ok(download(answer, permit, opening.context()));
                }
                (_, Ok(answer)) => Error::Status {
                    context: opening.context(),
                    status: answer.head.status,
                    retry_after: told,
                },
                (_, Err(fault)) => Error::Transport {
                    context: opening.context(),
                    source: describe(fault),
                },
            };
            drop(permit);
            opening.before_retry(inner, next, failed).await?;
        }
    }
}

/// The state of a download before its body.
struct Opening {
    target: String,
    begun: Instant,
    attempts: u32,
    delays: Delays,
}

impl Opening {
    fn context(&self) -> Box<CallContext> {
        Box::new(CallContext {
            endpoint: Endpoint::Arquivo,
            target: self.target.clone(),
            attempts: self.attempts,
            requests: self.attempts,
            retries: self.attempts.saturating_sub(1),
            elapsed: self.begun.elapsed(),
            body_start: String::new(),
        })
    }

    fn deadline(&self, inner: &Inner) -> Instant {
        self.begun + inner.settings.retry.elapsed_max()
    }

    async fn leave(&self, inner: &Inner) -> Result<Permit> {
        let family = Endpoint::Arquivo.family();
        let leave = inner.limits.acquire(family, self.deadline(inner)).await;
        leave.map_err(|left| inner.deferred(self.context(), left))
    }

    /// Waits before the next request, or fails with `failed`.
    async fn before_retry(&mut self, inner: &Inner, next: Action, failed: Error) -> Result<()> {
        if next == Action::Refuse || self.attempts >= inner.settings.retry.attempts_max {
            return Err(failed);
        }
        if !inner.may_retry(Endpoint::Arquivo.family(), next) {
            return Err(failed);
        }
        let delay = self.delays.next();
        if Instant::now() + delay > self.deadline(inner) {
            return Err(failed);
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// The file is its bytes, whatever the type says, unless the limiter's page comes in its place.
fn classify(opened: &Result<RawStream, Fault>) -> (Answered, BodyKind) {
    match opened {
        Ok(answer) => {
            let label = answer.head.content_type.as_deref().unwrap_or_default();
            let kind = if label.starts_with("text/html") {
                BodyKind::Html
            } else {
                BodyKind::Wanted
            };
            (Answered::Status(answer.head.status), kind)
        }
        Err(Fault::Timeout(..)) => (Answered::Timeout, BodyKind::Empty),
        Err(_) => (Answered::NoAnswer, BodyKind::Empty),
    }
}

fn download(answer: RawStream, permit: Permit, context: Box<CallContext>) -> Download {
    let body = answer.body.map(move |piece| {
        // The room is held until the body is done.
        let _held = &permit;
        piece.map_err(|fault| Error::Transport {
            context: context.clone(),
            source: describe(fault),
        })
    });
    Download {
        content_type: answer.head.content_type,
        content_length: answer.head.content_length,
        body: body.boxed(),
    }
}

fn describe(fault: Fault) -> BoxError {
    match fault {
        Fault::NoAnswer(source) => source,
        Fault::Timeout(what, wait) => {
            format!("timeout. waited_for=`{what}`, ms={}", wait.as_millis()).into()
        }
        Fault::TooLarge => "too large".into(),
    }
}
