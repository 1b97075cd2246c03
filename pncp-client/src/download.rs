use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use tokio::time::Instant;

use crate::client::PncpClient;
use crate::domain::ContratacaoKey;
use crate::endpoint::Endpoint;
use crate::error::{CallContext, Error, Result};
use crate::observer::Event;
use crate::retry::{Action, Answered, BodyKind, Delays, Method, action};
use crate::transport::Fault;

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
    /// What the call fails with. A document that does not exist is [`Error::Status`] 404.
    pub async fn baixar_arquivo(
        &self,
        key: &ContratacaoKey,
        sequencial_documento: u32,
    ) -> Result<Download> {
        let inner = Arc::clone(&self.inner);
        let endpoint = Endpoint::Arquivo;
        let family = endpoint.family();
        let target = format!("{}/arquivos/{sequencial_documento}", key.path());
        let url = inner.url(endpoint, &target);
        let begun = Instant::now();
        let deadline = begun + inner.settings.retry.elapsed_max();
        let mut delays = Delays::new(&inner.settings.retry, inner.next_seed());
        let mut attempts = 0;
        inner.budget.call_begun();
        let context = |attempts| {
            Box::new(CallContext {
                endpoint,
                target: target.clone(),
                attempts,
                elapsed: begun.elapsed(),
                body_start: String::new(),
            })
        };
        loop {
            let permit = match inner.limits.acquire(family, deadline).await {
                Ok(permit) => permit,
                Err(left) => {
                    let left = chrono::TimeDelta::from_std(left).unwrap_or_default();
                    return Err(Error::Deferred {
                        context: context(attempts),
                        until: inner.clock.now() + left,
                    });
                }
            };
            attempts += 1;
            let opened = inner.transport.open(&url).await;
            let (answered, kind) = match &opened {
                Ok(answer) => {
                    // The file is its bytes, whatever the type says, unless the limiter's page
                    // comes in its place.
                    let html = answer
                        .head
                        .content_type
                        .as_deref()
                        .is_some_and(|t| t.starts_with("text/html"));
                    let kind = if html {
                        BodyKind::Html
                    } else {
                        BodyKind::Wanted
                    };
                    (Answered::Status(answer.head.status), kind)
                }
                Err(Fault::Timeout(..)) => (Answered::Timeout, BodyKind::Empty),
                Err(_) => (Answered::NoAnswer, BodyKind::Empty),
            };
            let next = action(Method::Get, answered, kind, true);
            let told = opened
                .as_ref()
                .ok()
                .and_then(|answer| inner.told_to_wait(&answer.head));
            if let (Action::Accept, Ok(answer)) = (next, opened) {
                permit.succeeded();
                inner.budget.succeeded();
                let failed = context(attempts);
                let body = answer.body.map(move |piece| {
                    // The room is held until the body is done.
                    let _held = &permit;
                    piece.map_err(|fault| Error::Transport {
                        context: failed.clone(),
                        source: describe(fault),
                    })
                });
                return Ok(Download {
                    content_type: answer.head.content_type,
                    content_length: answer.head.content_length,
                    body: body.boxed(),
                });
            }
            let default = Duration::from_millis(inner.settings.family(family).default_pause_ms);
            let pause = match next {
                Action::Pause => Some(told.unwrap_or(default)),
                Action::Retry | Action::RetrySlower => told,
                _ => None,
            };
            if let Some(wait) = pause {
                inner.limits.pause(family, wait);
                inner.observer.on_event(&Event::Paused { family, wait });
            }
            if matches!(next, Action::Pause | Action::RetrySlower) {
                permit.objected();
            }
            drop(permit);
            let delay = delays.next();
            let over = attempts >= inner.settings.retry.attempts_max
                || next == Action::Refuse
                || Instant::now() + delay > deadline
                || !inner.budget.take();
            if over {
                return Err(match answered {
                    Answered::Status(status) => Error::Status {
                        context: context(attempts),
                        status,
                        retry_after: None,
                    },
                    Answered::NoAnswer | Answered::Timeout => Error::Transport {
                        context: context(attempts),
                        source: "no answer".into(),
                    },
                });
            }
            tokio::time::sleep(delay).await;
        }
    }
}

fn describe(fault: Fault) -> crate::error::BoxError {
    match fault {
        Fault::NoAnswer(source) => source,
        Fault::Timeout(what, wait) => {
            format!("timeout. waited_for=`{what}`, ms={}", wait.as_millis()).into()
        }
        Fault::TooLarge => "too large".into(),
    }
}
