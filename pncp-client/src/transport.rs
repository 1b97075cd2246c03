use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::error::BoxError;

/// Sends one GET. The seam below which `reqwest` lives; tests put a script in its place.
pub(crate) trait Transport: fmt::Debug + Send + Sync + 'static {
    /// The whole answer, at most `max_bytes` of it.
    fn get<'a>(&'a self, url: &'a str, max_bytes: usize)
    -> BoxFuture<'a, Result<RawAnswer, Fault>>;

    /// The head, and the body as it comes.
    fn open<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<RawStream, Fault>>;
}

/// The head of an answer, as far as it matters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) content_length: Option<u64>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct RawAnswer {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

/// An answer whose body is still coming.
pub(crate) struct RawStream {
    pub(crate) head: Head,
    pub(crate) body: BoxStream<'static, Result<Bytes, Fault>>,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) enum Fault {
    NoAnswer(BoxError),
    Timeout(&'static str, Duration),
    TooLarge,
}
