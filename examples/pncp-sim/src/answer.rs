//! Answers, and the error bodies in their three shapes.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use chrono::{DateTime, Utc};

use crate::fault::RetryAfter;
use crate::json::Fields;

const JSON: &str = "application/json";
const HTML: &str = "text/html";

/// The instants of error bodies. Fixed: equal requests get equal bytes.
const TIMESTAMP_FRAMEWORK: &str = "2025-07-18T09:56:26.826+00:00";
const TIMESTAMP_APPLICATION: &str = "2025-07-18T06:56:32.688-03:00";

/// A status, a body and the headers that matter.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    pub(crate) extra: Option<(HeaderName, String)>,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            extra: None,
        }
    }

    pub(crate) fn json(body: Vec<u8>) -> Self {
        Self::new(200, JSON, body)
    }

    pub(crate) fn ndjson(body: Vec<u8>) -> Self {
        Self::new(200, "application/x-ndjson", body)
    }

    pub(crate) fn octets(body: Vec<u8>) -> Self {
        Self::new(200, "application/octet-stream", body)
    }

    /// 204 comes labelled as JSON, without a body.
    pub(crate) fn no_content() -> Self {
        Self::new(204, JSON, Bytes::new())
    }

    pub(crate) fn empty() -> Self {
        Self::new(200, JSON, Bytes::new())
    }

    pub(crate) fn redirect(location: String) -> Self {
        Self {
            extra: Some((LOCATION, location)),
            ..Self::new(301, JSON, Bytes::new())
        }
    }

    /// The web framework's shape: `status` is an int.
    pub(crate) fn framework(status: u16, message: &str, path: &str) -> Self {
        let mut f = Fields::default();
        f.str("timestamp", TIMESTAMP_FRAMEWORK);
        f.int("status", status);
        f.str("error", reason(status));
        f.str("message", message);
        f.str("path", path);
        Self::of_fields(status, &f)
    }

    /// The application's shape: `status` is a string.
    pub(crate) fn application(status: u16, message: &str, path: &str) -> Self {
        let mut f = Fields::default();
        f.str("path", path);
        f.str("message", message);
        let name = reason(status).to_uppercase().replace(' ', "_");
        f.str("error", &format!("{status} {name}"));
        f.str("timestamp", TIMESTAMP_APPLICATION);
        f.str("status", &status.to_string());
        Self::of_fields(status, &f)
    }

    fn of_fields(status: u16, fields: &Fields) -> Self {
        let mut body = Vec::new();
        fields.write(0, &mut body);
        Self::new(status, JSON, body)
    }

    pub(crate) fn too_many(retry_after: RetryAfter) -> Self {
        let page = "<html>\n<head>\n    <meta charset=\"UTF-8\">\n    <title>Limite de Requisições Excedido</title>\n</head>\n<body>\n    <h2>Limite de requisições excedido</h2>\n\n    <p>Tente novamente mais tarde.</p>\n</body>\n</html>\n";
        let extra = match retry_after {
            RetryAfter::Seconds(seconds) => Some((RETRY_AFTER, seconds.to_string())),
            RetryAfter::Date(seconds) => Some((RETRY_AFTER, http_date(seconds))),
            RetryAfter::None => None,
        };
        Self {
            extra,
            ..Self::new(429, HTML, page)
        }
    }

    pub(crate) fn html_200() -> Self {
        let page = "<html>\n<head>\n    <title>Request Rejected</title>\n</head>\n<body>The requested URL was rejected. Please consult with your administrator.</body>\n</html>\n";
        Self::new(200, HTML, page)
    }

    /// One of the recorded bodies of 500, or a gateway's page.
    pub(crate) fn server_error(status: Option<u16>, draw: u64, path: &str) -> Self {
        let status = status.unwrap_or([500, 500, 503, 504][usize::try_from(draw % 4).unwrap_or(0)]);
        match (status, draw >> 8 & 1) {
            (500, 0) => Self::new(500, JSON, "Erro na comunicação com o banco de dados."),
            (500, _) => {
                let message = "Failed to obtain JDBC Connection; nested exception is java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, request timed out after 30000ms.";
                Self::framework(500, message, path)
            }
            _ => {
                let name = reason(status);
                let page = format!(
                    "<html><body><h1>{status} {name}</h1>\nNo server is available to handle this request.\n</body></html>\n"
                );
                Self::new(status, HTML, page)
            }
        }
    }

    fn builder(&self) -> axum::http::response::Builder {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut builder = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, self.content_type);
        if let Some((name, value)) = &self.extra
            && let Ok(value) = HeaderValue::from_str(value)
        {
            builder = builder.header(name, value);
        }
        builder
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let builder = self.builder();
        builder.body(Body::from(self.body)).unwrap_or_default()
    }

    /// The status and headers of this answer before a body that is made elsewhere; its length is
    /// declared if `whole_length` says so.
    pub(crate) fn with_body(&self, body: Body, whole_length: bool) -> Response<Body> {
        let mut builder = self.builder();
        if whole_length {
            builder = builder.header(CONTENT_LENGTH, self.body.len());
        }
        builder.body(body).unwrap_or_default()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        // The Java framework of the server has the older name.
        422 => "Unprocessable Entity",
        _ => StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or(""),
    }
}

fn http_date(seconds_ahead: u32) -> String {
    // The header is an instant of the real clock; nothing else here reads it.
    let now: DateTime<Utc> = std::time::SystemTime::now().into();
    // Rounded up, or a second would be lost by dropping the fraction.
    let at = now + chrono::TimeDelta::seconds(i64::from(seconds_ahead) + 1);
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
