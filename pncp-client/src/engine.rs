//! The only file that knows `reqwest`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use reqwest::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::settings::{ClientSettings, TimeoutSettings};
use crate::transport::{Fault, Head, RawAnswer, RawStream, Transport};

/// Redirects followed, on the same host only.
const REDIRECTS_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct Engine {
    http: reqwest::Client,
    timeouts: TimeoutSettings,
}

impl Engine {
    pub(crate) fn new(settings: &ClientSettings) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let user_agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|_| Error::invalid("user_agent", "must be printable ASCII"))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(user_agent)
            .default_headers(headers)
            .connect_timeout(Duration::from_millis(settings.timeouts.connect_ms))
            .redirect(reqwest::redirect::Policy::custom(redirect))
            // One layer retries, and it is ours.
            .retry(reqwest::retry::never())
            // The environment is not asked.
            .no_proxy();
        if let Some(proxy) = &settings.proxy {
            let proxy = reqwest::Proxy::all(proxy)
                .map_err(|_| Error::invalid("proxy", "is not an address"))?;
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(|error| Error::Setup {
            source: error.into(),
        })?;
        Ok(Self {
            http,
            timeouts: settings.timeouts,
        })
    }

    async fn send(&self, url: &str) -> Result<reqwest::Response, Fault> {
        let wait = Duration::from_millis(self.timeouts.first_byte_ms);
        match timeout(wait, self.http.get(url).send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(fault(error, &self.timeouts)),
            Err(_elapsed) => Err(Fault::Timeout("first byte", wait)),
        }
    }

    async fn whole(&self, url: &str, max_bytes: usize) -> Result<RawAnswer, Fault> {
        let mut response = self.send(url).await?;
        let head = head(&response);
        if head
            .content_length
            .is_some_and(|length| length > max_bytes as u64)
        {
            return Err(Fault::TooLarge);
        }
        let idle = Duration::from_millis(self.timeouts.idle_ms);
        let mut body = Gathered::default();
        loop {
            match timeout(idle, response.chunk()).await {
                Ok(Ok(Some(piece))) if body.len() + piece.len() > max_bytes => {
                    return Err(Fault::TooLarge);
                }
                Ok(Ok(Some(piece))) => body.push(piece, head.content_length),
                Ok(Ok(None)) => {
                    return Ok(RawAnswer {
                        head,
                        body: body.done(),
                    });
                }
                Ok(Err(error)) => return Err(fault(error, &self.timeouts)),
                Err(_elapsed) => return Err(Fault::Timeout("idle body", idle)),
            }
        }
    }
}

impl Transport for Engine {
    fn get<'a>(
        &'a self,
        url: &'a str,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<RawAnswer, Fault>> {
        let total = Duration::from_millis(self.timeouts.total_ms);
        Box::pin(async move {
            timeout(total, self.whole(url, max_bytes))
                .await
                .unwrap_or(Err(Fault::Timeout("total", total)))
        })
    }

    fn open<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<RawStream, Fault>> {
        Box::pin(async move {
            let response = self.send(url).await?;
            let head = head(&response);
            let idle = Duration::from_millis(self.timeouts.idle_ms);
            let timeouts = self.timeouts;
            let body = futures::stream::try_unfold(response, move |mut response| async move {
                match timeout(idle, response.chunk()).await {
                    Ok(Ok(Some(piece))) => Ok(Some((piece, response))),
                    Ok(Ok(None)) => Ok(None),
                    Ok(Err(error)) => Err(fault(error, &timeouts)),
                    Err(_elapsed) => Err(Fault::Timeout("idle body", idle)),
                }
            });
            Ok(RawStream {
                head,
                body: body.boxed(),
            })
        })
    }
}

/// A body that is kept as it is when it came in one piece.
#[derive(Default)]
struct Gathered {
    only: Option<Bytes>,
    joined: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.only.as_ref().map_or(self.joined.len(), Bytes::len)
    }

    fn push(&mut self, piece: Bytes, expected: Option<u64>) {
        if self.len() == 0 {
            self.only = Some(piece);
            return;
        }
        if let Some(first) = self.only.take() {
            let expected = usize::try_from(expected.unwrap_or(0)).unwrap_or(0);
            self.joined
                .reserve(expected.max((first.len() + piece.len()) * 2));
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&piece);
    }

    fn done(self) -> Bytes {
        self.only.unwrap_or_else(|| self.joined.freeze())
    }
}

fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| {
        first.host_str() == attempt.url().host_str()
            && first.port_or_known_default() == attempt.url().port_or_known_default()
            && first.scheme() == attempt.url().scheme()
    });
    // Elsewhere is not followed: the 3xx itself is then the answer.
    if same && attempt.previous().len() <= REDIRECTS_MAX {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn head(response: &reqwest::Response) -> Head {
    let text = |name: HeaderName| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    Head {
        status: response.status().as_u16(),
        retry_after: text(RETRY_AFTER),
        date: text(DATE),
        content_type: text(CONTENT_TYPE),
        content_length: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    }
}

fn fault(error: reqwest::Error, timeouts: &TimeoutSettings) -> Fault {
    if error.is_timeout() {
        return Fault::Timeout("connect", Duration::from_millis(timeouts.connect_ms));
    }
    // The address stands in our own error already.
    Fault::NoAnswer(error.without_url().into())
}
