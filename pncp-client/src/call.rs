use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, debug_span, warn};

use crate::aimd::Objection;
use crate::client::Inner;
use crate::endpoint::{Endpoint, Family};
use crate::error::{CallContext, Error, Result};
use crate::json::{Body, Envelope, message_of, syntax_error};
use crate::limits::Permit;
use crate::observer::Event;
use crate::retry::{Action, Answered, BodyKind, Delays, Method, action, retry_after};
use crate::transport::{Fault, Head, RawAnswer};

/// One thing wanted from the API; it may take several requests.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    /// Path and query below the base of the endpoint's family.
    pub(crate) target: String,
    pub(crate) wanted: Wanted,
    /// The API announced it, so that its absence is a fault.
    pub(crate) must_exist: bool,
}

/// The shape that the body should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A list page of this number.
    Page(u32),
    Array,
    Object,
    Number,
}

/// What a call yields when nothing failed.
#[derive(Debug)]
pub(crate) enum Answer {
    Page(Bytes, Envelope, DateTime<Utc>),
    Body(Bytes, DateTime<Utc>),
    Empty,
    Gone,
    NoSuchModality,
}

/// Requests that something took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) requests: u32,
    /// Those that repeated one that had failed.
    pub(crate) retries: u32,
}

impl Sent {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.retries += other.retries;
    }
}

/// What one request brought.
struct Tried {
    answered: Answered,
    kind: BodyKind,
    body: Bytes,
    envelope: Option<Envelope>,
    retry_after: Option<Duration>,
    fault: Option<Fault>,
    context: String,
}

/// The state of a call between its requests.
struct Progress<'a> {
    call: &'a Call,
    begun: Instant,
    deadline: Instant,
    attempts: u32,
    gone: u32,
    delays: Delays,
}

impl Inner {
    /// Makes a call: waits for leave, sends, decides by the table, and again. What it sends is
    /// added to `sent`, also where it fails.
    ///
    /// Cancel-safe: dropping the future drops the request in flight.
    pub(crate) async fn call(&self, call: &Call, sent: &mut Sent) -> Result<Answer> {
        let span = debug_span!("pncp", endpoint = call.endpoint.name(), target = %call.target);
        self.call_in_span(call, sent).instrument(span).await
    }

    async fn call_in_span(&self, call: &Call, sent: &mut Sent) -> Result<Answer> {
        let begun = Instant::now();
        let mut progress = Progress {
            call,
            begun,
            deadline: begun + self.settings.retry.elapsed_max(),
            attempts: 0,
            gone: 0,
            delays: Delays::new(&self.settings.retry, self.next_seed()),
        };
        self.budget.call_begun();
        loop {
            let permit = self.leave(&progress).await?;
            progress.attempts += 1;
            sent.requests += 1;
            sent.retries += u32::from(progress.attempts > 1);
            let tried = self.send(call, &permit, progress.attempts).await;
            let next = action(Method::Get, tried.answered, tried.kind, call.must_exist);
            let next = self.react(
                call.endpoint.family(),
                next,
                tried.answered,
                tried.retry_after,
                &permit,
            );
            drop(permit);
            match next {
                Action::Accept => return self.accept(call, tried),
                Action::Empty => return Ok(Answer::Empty),
                Action::NoSuchModality => return Ok(Answer::NoSuchModality),
                Action::ConfirmGone => {
                    progress.gone += 1;
                    if progress.gone >= self.settings.gone_confirmations {
                        return Ok(Answer::Gone);
                    }
                }
                Action::Refuse => return Err(progress.failure(tried, self.settings.max_body_bytes)),
                Action::Retry | Action::RetrySlower | Action::Pause => {}
            }
            self.before_retry(&mut progress, next, tried).await?;
        }
    }

    async fn leave(&self, progress: &Progress<'_>) -> Result<Permit> {
        let family = progress.call.endpoint.family();
        let leave = self.limits.acquire(family, progress.deadline).await;
        leave.map_err(|left| self.deferred(Box::new(progress.context(String::new())), left))
    }

    /// The server said to come back, and that is `left` away.
    pub(crate) fn deferred(&self, context: Box<CallContext>, left: Duration) -> Error {
        let left = TimeDelta::from_std(left).unwrap_or(TimeDelta::MAX);
        let until = self.clock.now().checked_add_signed(left);
        Error::Deferred {
            context,
            until: until.unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }

    async fn send(&self, call: &Call, permit: &Permit, attempt: u32) -> Tried {
        let url = self.url(call.endpoint, &call.target);
        let sent = Instant::now();
        let outcome = self.transport.get(&url, self.settings.max_body_bytes).await;
        let tried = match outcome {
            Ok(answer) => self.read(call.wanted, answer),
            Err(fault) => Tried::of_fault(fault),
        };
        self.observer.on_event(&Event::Request {
            endpoint: call.endpoint,
            target: &call.target,
            attempt,
            answered: tried.answered,
            action: action(Method::Get, tried.answered, tried.kind, call.must_exist),
            body_bytes: tried.body.len(),
            elapsed: sent.elapsed(),
            waited: permit.waited,
        });
        tried
    }

    fn read(&self, wanted: Wanted, answer: RawAnswer) -> Tried {
        let (kind, envelope) = classify(wanted, answer.head.status, &answer.body);
        Tried {
            answered: Answered::Status(answer.head.status),
            kind,
            envelope,
            retry_after: self.told_to_wait(&answer.head),
            fault: None,
            context: if kind == BodyKind::Wanted {
                String::new()
            } else {
                start(&answer.body)
            },
            body: answer.body,
        }
    }

    pub(crate) fn told_to_wait(&self, head: &Head) -> Option<Duration> {
        let value = head.retry_after.as_deref()?;
        retry_after(value, head.date.as_deref(), self.clock.now())
    }

    /// Feeds an answer to the pace of the family. Gives back what is to be done, which is to
    /// pause where the firewall insists.
    pub(crate) fn react(
        &self,
        family: Family,
        next: Action,
        answered: Answered,
        told: Option<Duration>,
        permit: &Permit,
    ) -> Action {
        let next = match (next, answered) {
            (Action::RetrySlower, Answered::Status(200)) if permit.walled() => Action::Pause,
            _ => next,
        };
        let default = Duration::from_millis(self.settings.family(family).default_pause_ms);
        let (objection, pause) = match next {
            Action::Accept | Action::Empty | Action::NoSuchModality | Action::ConfirmGone => {
                permit.succeeded();
                self.budget.succeeded();
                (None, None)
            }
            Action::Pause => (Some(Objection::Refused), Some(told.unwrap_or(default))),
            Action::Retry | Action::RetrySlower if told.is_some() => {
                (Some(Objection::Refused), told)
            }
            Action::RetrySlower => (Some(Objection::Strained), None),
            Action::Retry | Action::Refuse => (None, None),
        };
        if let Some(requests_per_second) = objection.and_then(|said| permit.objected(said)) {
            debug!(%family, requests_per_second, "slowed down");
            self.observer.on_event(&Event::Slowed {
                family,
                requests_per_second,
            });
        }
        if let Some(wait) = pause {
            warn!(%family, wait_ms = wait.as_millis() as u64, ?answered, "paused");
            self.limits.pause(family, wait);
            self.observer.on_event(&Event::Paused { family, wait });
        }
        next
    }

    /// Whether the budget has a retry left, where one needs it: a confirmation is a question of
    /// its own, and a pause holds the whole family back already, as long as it is let in at times.
    pub(crate) fn may_retry(&self, family: Family, next: Action) -> bool {
        let free = match next {
            Action::ConfirmGone => true,
            Action::Pause => !self.limits.shut(family),
            _ => false,
        };
        free || self.budget.take()
    }

    fn accept(&self, call: &Call, tried: Tried) -> Result<Answer> {
        let now = self.clock.now();
        Ok(match (call.wanted, tried.envelope) {
            (Wanted::Page(_), Some(envelope)) => Answer::Page(tried.body, envelope, now),
            _ => Answer::Body(tried.body, now),
        })
    }

    /// Waits before the next request, or says why there will be none.
    async fn before_retry(
        &self,
        progress: &mut Progress<'_>,
        next: Action,
        tried: Tried,
    ) -> Result<()> {
        if matches!(tried.fault, Some(Fault::TooLarge)) {
            return Err(progress.failure(tried, self.settings.max_body_bytes));
        }
        let spent = progress.attempts >= self.settings.retry.attempts_max;
        let family = progress.call.endpoint.family();
        if spent || !self.may_retry(family, next) {
            return Err(progress.failure(tried, self.settings.max_body_bytes));
        }
        let delay = progress.delays.next();
        if Instant::now() + delay > progress.deadline {
            return Err(progress.failure(tried, self.settings.max_body_bytes));
        }
        debug!(attempt = progress.attempts, delay_ms = delay.as_millis() as u64, answered = ?tried.answered, body = %tried.context, "again");
        self.observer.on_event(&Event::Retry {
            endpoint: progress.call.endpoint,
            attempt: progress.attempts,
            delay,
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

impl Tried {
    fn of_fault(fault: Fault) -> Self {
        Self {
            answered: match fault {
                Fault::NoAnswer(_) => Answered::NoAnswer,
                Fault::Timeout(..) => Answered::Timeout,
                Fault::TooLarge => Answered::NoAnswer,
            },
            kind: BodyKind::Empty,
            body: Bytes::new(),
            envelope: None,
            retry_after: None,
            fault: Some(fault),
            context: String::new(),
        }
    }
}

impl Progress<'_> {
    fn context(&self, body_start: String) -> CallContext {
        CallContext {
            endpoint: self.call.endpoint,
            target: self.call.target.clone(),
            attempts: self.attempts,
            requests: self.attempts,
            retries: self.attempts.saturating_sub(1),
            elapsed: self.begun.elapsed(),
            body_start,
        }
    }

    fn failure(&self, tried: Tried, limit_bytes: usize) -> Error {
        let context = Box::new(self.context(tried.context));
        match (tried.fault, tried.answered) {
            (Some(Fault::NoAnswer(source)), _) => Error::Transport { context, source },
            (Some(Fault::Timeout(what, wait)), _) => Error::Transport {
                context,
                source: format!("timeout. waited_for=`{what}`, ms={}", wait.as_millis()).into(),
            },
            (Some(Fault::TooLarge), _) => Error::TooLarge {
                context,
                limit_bytes,
            },
            (None, Answered::Status(200)) => {
                let (json_path, source) = misfit(self.call.wanted, tried.kind, &tried.body);
                Error::Decode {
                    context,
                    json_path,
                    source,
                }
            }
            (None, Answered::Status(status)) => Error::Status {
                context,
                status,
                retry_after: tried.retry_after,
            },
            (None, Answered::NoAnswer | Answered::Timeout) => Error::Transport {
                context,
                source: "no answer".into(),
            },
        }
    }
}

/// Where a body is not what was wanted, and why.
fn misfit(wanted: Wanted, kind: BodyKind, body: &[u8]) -> (String, crate::error::BoxError) {
    let error = match wanted {
        Wanted::Page(_) => Envelope::read(body).err(),
        _ => syntax_error(body),
    };
    let Some(error) = error else {
        let source = format!("wanted={wanted:?}, got={kind:?}");
        return ("$".to_owned(), source.into());
    };
    let path = match &error {
        Error::Json { path, .. } => path.clone(),
        _ => "$".to_owned(),
    };
    (path, error.into())
}

/// The first 200 bytes, as text.
fn start(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}

/// What the body is, by its bytes. A page is read as such, so that its records are found and its
/// syntax checked in one go.
pub(crate) fn classify(wanted: Wanted, status: u16, body: &[u8]) -> (BodyKind, Option<Envelope>) {
    if let (200, Wanted::Page(number)) = (status, wanted)
        && let Ok(envelope) = Envelope::read(body)
    {
        let kind = if envelope.numero_pagina != u64::from(number) {
            BodyKind::OtherJson
        } else if envelope.records.is_empty() {
            BodyKind::Empty
        } else {
            BodyKind::Wanted
        };
        return (kind, Some(envelope));
    }
    let kind = match (Body::of(body), wanted) {
        (Body::Empty, _) => BodyKind::Empty,
        (Body::Html, _) => BodyKind::Html,
        (Body::Cut, _) => BodyKind::Cut,
        (Body::Text, _) => BodyKind::Text,
        (Body::Array, Wanted::Array)
        | (Body::Object, Wanted::Object)
        | (Body::Number, Wanted::Number)
            if status == 200 =>
        {
            BodyKind::Wanted
        }
        (Body::Object, _) => of_message(message_of(body).as_deref()),
        (Body::Array | Body::Number | Body::Scalar, _) => BodyKind::OtherJson,
    };
    (kind, None)
}

fn of_message(message: Option<&str>) -> BodyKind {
    match message {
        Some(text) if text.starts_with("Contratação não cadastrada") => BodyKind::NotRegistered,
        Some(text) if text.starts_with("Código da modalidade de contratação inválido") => {
            BodyKind::UnknownModality
        }
        _ => BodyKind::OtherJson,
    }
}
