use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::call::Sent;
use crate::endpoint::Endpoint;

/// Any error of another crate, as the source of one of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being asked when a call failed, and what came back.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The endpoint called.
    pub endpoint: Endpoint,
    /// Path and query as sent, without host.
    pub target: String,
    /// Requests sent for this call, the first included.
    pub attempts: u32,
    /// Requests sent for the whole operation: for a list of details, those of its earlier pages
    /// and of its count are in it.
    pub requests: u32,
    /// Those among `requests` that repeated one that had failed.
    pub retries: u32,
    /// From the first request to giving up.
    pub elapsed: Duration,
    /// The start of the last body received (at most 200 bytes, lossy UTF-8); empty if none.
    pub body_start: String,
}

/// Why a call to the PNCP yielded nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Refused before anything was sent.
    #[error("invalid request: {reason}. field=`{field}`")]
    Invalid {
        /// The argument, setting or parameter at fault.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer arrived: DNS, connect, reset, timeout, a body cut short.
    #[error("no response. endpoint=`{}`, target=`{}`, attempts={}", .context.endpoint, .context.target, .context.attempts)]
    Transport {
        /// What was asked.
        context: Box<CallContext>,
        /// The last failure.
        source: BoxError,
    },
    /// An answer with a status that is not one of success for this endpoint.
    #[error("unexpected status. endpoint=`{}`, target=`{}`, attempts={}, status={status}, body=`{}`", .context.endpoint, .context.target, .context.attempts, .context.body_start)]
    Status {
        /// What was asked.
        context: Box<CallContext>,
        /// The last status.
        status: u16,
        /// What the last answer asked us to wait.
        retry_after: Option<Duration>,
    },
    /// A complete answer whose body is not the documented shape.
    #[error("unexpected body. endpoint=`{}`, target=`{}`, at=`{json_path}`, body=`{}`", .context.endpoint, .context.target, .context.body_start)]
    Decode {
        /// What was asked.
        context: Box<CallContext>,
        /// Where in the body.
        json_path: String,
        /// What did not fit.
        source: BoxError,
    },
    /// The server said when to come back, and that is later than this call may wait.
    #[error("deferred by the server. endpoint=`{}`, target=`{}`, until=`{until}`", .context.endpoint, .context.target)]
    Deferred {
        /// What was asked.
        context: Box<CallContext>,
        /// Not sooner than this.
        until: DateTime<Utc>,
    },
    /// A list whose length contradicts the API's own count, after reading it again.
    #[error("list contradicts its count. endpoint=`{}`, target=`{}`, declared={declared}, got={got}", .context.endpoint, .context.target)]
    Inconsistent {
        /// What was asked.
        context: Box<CallContext>,
        /// What `/quantidade` says.
        declared: u64,
        /// Distinct elements received.
        got: u64,
    },
    /// A body larger than `max_body_bytes`; reading stopped there.
    #[error("body too large. endpoint=`{}`, target=`{}`, limit_bytes={limit_bytes}", .context.endpoint, .context.target)]
    TooLarge {
        /// What was asked.
        context: Box<CallContext>,
        /// The bound.
        limit_bytes: usize,
    },
    /// JSON given to a decoder is not JSON, or not of the outer shape expected.
    #[error("malformed json: {reason}. at=`{path}`, offset={offset}, near=`{near}`")]
    Json {
        /// Byte offset.
        offset: usize,
        /// What was expected.
        reason: &'static str,
        /// Where: `$.data[17].orgaoEntidade.cnpj`.
        path: String,
        /// The first bytes of what stands there, lossy UTF-8.
        near: String,
    },
    /// A value does not fit the Arrow schema, or a batch is not of our schema.
    #[error("arrow schema mismatch: {reason}")]
    Schema {
        /// What does not fit.
        reason: String,
    },
    /// The HTTP engine could not be set up (TLS roots, proxy address).
    #[error("http client could not be set up")]
    Setup {
        /// Why.
        source: BoxError,
    },
}

impl Error {
    /// Whether the same call may succeed later: no answer, 408, 425, 429, 5xx, a moving list,
    /// or a time told by the server.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Deferred { .. } | Self::Inconsistent { .. } => true,
            // 204, 400, 404 and 422 pass, where a page should exist (API.md section 8).
            Self::Status { status, .. } => {
                matches!(status, 204 | 400 | 404 | 408 | 422 | 425 | 429 | 500..=599)
            }
            Self::Decode { .. } => true,
            Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::Json { .. }
            | Self::Schema { .. }
            | Self::Setup { .. } => false,
        }
    }

    /// Not sooner than this, where the server said so.
    pub fn retry_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Deferred { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// The last HTTP status, where an answer came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What was asked, where something was.
    pub fn context(&self) -> Option<&CallContext> {
        match self {
            Self::Transport { context, .. }
            | Self::Status { context, .. }
            | Self::Decode { context, .. }
            | Self::Deferred { context, .. }
            | Self::Inconsistent { context, .. }
            | Self::TooLarge { context, .. } => Some(context),
            Self::Invalid { .. } | Self::Json { .. } | Self::Schema { .. } | Self::Setup { .. } => {
                None
            }
        }
    }

    /// Requests sent for this call; 0 if nothing was sent.
    pub fn attempts(&self) -> u32 {
        self.context().map_or(0, |context| context.attempts)
    }

    /// Requests sent for the whole operation that failed, earlier pages included; 0 if nothing
    /// was sent.
    pub fn requests(&self) -> u32 {
        self.context().map_or(0, |context| context.requests)
    }

    /// Those among [`Error::requests`] that repeated one that had failed.
    pub fn retries(&self) -> u32 {
        self.context().map_or(0, |context| context.retries)
    }

    /// The same error, with what the whole operation sent.
    pub(crate) fn of_operation(mut self, sent: Sent) -> Self {
        if let Self::Transport { context, .. }
        | Self::Status { context, .. }
        | Self::Decode { context, .. }
        | Self::Deferred { context, .. }
        | Self::Inconsistent { context, .. }
        | Self::TooLarge { context, .. } = &mut self
        {
            context.requests = sent.requests;
            context.retries = sent.retries;
        }
        self
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }
}
