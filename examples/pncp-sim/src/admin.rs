//! `/_sim/…`: what the real server does not have.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Response, Uri};
use chrono::{NaiveDate, NaiveDateTime};
use futures::stream;

use crate::answer::Answer;
use crate::json::Fields;
use crate::request::Params;
use crate::server::{Shared, pairs};
use crate::truth::Truth;

/// Statistics, truth, reset, clock.
pub(crate) fn administer(shared: &Arc<Shared>, method: &str, uri: &Uri) -> Response<Body> {
    let params = Params {
        pairs: pairs(uri),
        alias: uri.path(),
    };
    let bad = |message: &str| Answer::framework(400, message, uri.path()).into_response();
    match (method, uri.path()) {
        ("GET", "/_sim/stats") => {
            let body = serde_json::to_vec(&shared.stats()).unwrap_or_default();
            Answer::json(body).into_response()
        }
        ("POST", "/_sim/reset") => {
            shared.reset();
            Answer::no_content().into_response()
        }
        ("POST", "/_sim/now") => {
            let now = params
                .get("at")
                .map(str::parse::<NaiveDateTime>)
                .transpose();
            match now {
                Ok(now) => {
                    shared.world.set_now(now);
                    Answer::no_content().into_response()
                }
                Err(_) => bad("at: expected YYYY-MM-DDTHH:MM:SS"),
            }
        }
        ("GET", "/_sim/truth") => {
            let date = params.get("date").unwrap_or_default();
            match NaiveDate::parse_from_str(date, "%Y%m%d") {
                Ok(date) => truth(shared, date, params.get("numbers") == Some("text")),
                Err(_) => bad("date: expected YYYYMMDD"),
            }
        }
        _ => {
            let mut f = Fields::default();
            f.str(
                "see",
                "/_sim/stats /_sim/truth?date=YYYYMMDD /_sim/reset /_sim/now?at=",
            );
            let mut body = Vec::new();
            f.write(0, &mut body);
            Answer {
                status: 404,
                ..Answer::json(body)
            }
            .into_response()
        }
    }
}

fn truth(shared: &Shared, date: NaiveDate, as_text: bool) -> Response<Body> {
    let lines = Truth::new(Arc::clone(&shared.world), date).map(move |record| {
        let mut line = record.to_ndjson(as_text);
        line.push('\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    Answer::ndjson(Vec::new()).with_body(Body::from_stream(stream::iter(lines)), false)
}
