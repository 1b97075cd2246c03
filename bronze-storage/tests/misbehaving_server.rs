//! A small S3 server over HTTP that breaks one promise at a time, and what the probe says of it.
//! (Servers in real use that break some of them: `lawless_server.rs`, `stores.rs`.)
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bronze_storage::{BronzeConfig, BronzeStore, CheckError, Error, Operation, Problem, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Nothing.
    Nothing,
    /// Another body is read than was written.
    Body,
    /// A ranged read is answered whole, with 200.
    RangeIgnored,
    /// A ranged read is answered with other bytes of the right number.
    Range,
    /// A new object is not listed.
    Unlisted,
    /// A deleted object stays.
    Undeleted,
    /// A refused create has replaced the object all the same.
    Replaced,
    /// In a race, the one who was told that it won did not.
    Winner,
    /// A create with a condition is answered so.
    Create(&'static str, &'static str),
    /// These requests are answered with 403.
    Denied(Operation),
    /// A listing says that there is no bucket.
    NoBucketListed,
    /// A deletion is refused as Amazon does it: 200, and the refusal in the body.
    DeniedInBody,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: String,
    headers: String,
    body: Vec<u8>,
}

fn answer(status: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        status: status.to_owned(),
        headers: String::new(),
        body: body.into(),
    }
}

fn error(status: &str, code: &str) -> Answer {
    answer(status, format!("<Error><Code>{code}</Code></Error>"))
}

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Reads one request, head and body.
async fn request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length");
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        method,
        path: path
            .trim_start_matches("/bronze")
            .trim_start_matches('/')
            .to_owned(),
        query: query.to_owned(),
        headers,
        body,
    })
}

/// What the server does.
fn respond(wrong: Wrong, objects: &Objects, request: Request) -> Answer {
    let mut objects = objects.lock().unwrap();
    let create = request.headers.contains_key("if-none-match");
    let operation = match request.method.as_str() {
        "PUT" if create => Operation::Create,
        "PUT" => Operation::Put,
        "POST" => Operation::Delete,
        _ if request.query.contains("list-type=2") => Operation::List,
        _ => Operation::Get,
    };
    if wrong == Wrong::Denied(operation) {
        return error("403 Forbidden", "AccessDenied");
    }
    match operation {
        Operation::Create => {
            if let Wrong::Create(status, code) = wrong {
                return error(status, code);
            }
            let there = objects.contains_key(&request.path);
            let race = request.path.contains("race");
            let anyway = (wrong == Wrong::Replaced && !race) || (wrong == Wrong::Winner && race);
            if !there || anyway {
                objects.insert(request.path, request.body);
            }
            if there {
                error("412 Precondition Failed", "PreconditionFailed")
            } else {
                written()
            }
        }
        Operation::Put => {
            objects.insert(request.path, request.body);
            written()
        }
        Operation::Delete => {
            let text = String::from_utf8(request.body).unwrap();
            let key = text.split("<Key>").nth(1).unwrap();
            let key = key.split("</Key>").next().unwrap();
            if wrong == Wrong::DeniedInBody {
                let refusal = format!(
                    "<DeleteResult><Error><Key>{key}</Key><Code>AccessDenied</Code>\
                     <Message>Access Denied</Message></Error></DeleteResult>"
                );
                return answer("200 OK", refusal);
            }
            if wrong != Wrong::Undeleted {
                objects.remove(key);
            }
            let done = format!("<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>");
            answer("200 OK", done)
        }
        Operation::List if wrong == Wrong::NoBucketListed => error("404 Not Found", "NoSuchBucket"),
        Operation::List => {
            let keys = objects.iter().filter(|_| wrong != Wrong::Unlisted);
            let listed: String = keys
                .map(|(key, body)| {
                    format!(
                        "<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"1\"</ETag>\
                         <LastModified>2025-10-22T12:00:00.000Z</LastModified></Contents>",
                        body.len()
                    )
                })
                .collect();
            let list = format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
            );
            answer("200 OK", list)
        }
        _ => match objects.get(&request.path) {
            Some(body) => read(wrong, &request, body.clone()),
            None => error("404 Not Found", "NoSuchKey"),
        },
    }
}

fn written() -> Answer {
    Answer {
        headers: "etag: \"1\"\r\n".to_owned(),
        ..answer("200 OK", "")
    }
}

fn read(wrong: Wrong, request: &Request, mut body: Vec<u8>) -> Answer {
    let mut headers = "etag: \"1\"\r\nlast-modified: Wed, 22 Oct 2025 12:00:00 GMT\r\n".to_owned();
    let range = request.headers.get("range");
    let (mut status, whole) = ("200 OK", body.len());
    if let Some(range) = range.filter(|_| wrong != Wrong::RangeIgnored) {
        let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let to = to.min(whole - 1);
        body = body[from..=to].to_vec();
        headers.push_str(&format!("content-range: bytes {from}-{to}/{whole}\r\n"));
        status = "206 Partial Content";
    }
    if wrong == Wrong::Body || (wrong == Wrong::Range && range.is_some()) {
        body[0] ^= 1;
    }
    Answer {
        headers,
        ..answer(status, body)
    }
}

/// A server with this fault; its bucket, and what is in it.
async fn serve(wrong: Wrong) -> (BronzeStore, Objects) {
    let objects = Objects::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::clone(&objects);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let objects = Arc::clone(&shared);
            tokio::spawn(async move {
                let Some(request) = request(&mut socket).await else {
                    return;
                };
                let head_only = request.method == "HEAD";
                let answer = respond(wrong, &objects, request);
                let mut bytes = format!(
                    "HTTP/1.1 {}\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
                    answer.status,
                    answer.headers,
                    answer.body.len()
                )
                .into_bytes();
                if !head_only {
                    bytes.extend(answer.body);
                }
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    let config = BronzeConfig {
        storage_type: bronze_storage::StorageType::Minio,
        bucket: "bronze".to_owned(),
        endpoint_url: Some(endpoint),
        access_key: Some(Secret::new("test")),
        secret_key: Some(Secret::new("do-not-show")),
        max_retries: 0,
        ..BronzeConfig::default()
    };
    (BronzeStore::open(&config).unwrap(), objects)
}

async fn refused(wrong: Wrong) -> (CheckError, usize) {
    let (store, objects) = serve(wrong).await;
    let error = store.check().await.unwrap_err();
    let left = objects.lock().unwrap().len();
    assert!(!format!("{error:?}").contains("do-not-show"), "{error:?}");
    (error, left)
}

fn answer_of(error: &CheckError) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = error.answer.as_ref().map(|e| &**e as _);
    while let Some(error) = next {
        text.push_str(&format!("{error}: "));
        next = error.source();
    }
    text
}

#[tokio::test]
async fn a_server_that_keeps_every_promise_passes() {
    let (store, objects) = serve(Wrong::Nothing).await;
    store.check().await.unwrap();
    assert_eq!(objects.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn every_broken_promise_has_a_name_and_its_answer() {
    let race = "told that it won";
    for (wrong, problem, words) in [
        (Wrong::Body, Problem::Inconsistent, "other bytes were read"),
        (
            Wrong::Unlisted,
            Problem::Inconsistent,
            "missing in a listing",
        ),
        (
            Wrong::Range,
            Problem::Inconsistent,
            "ranged read answered other bytes",
        ),
        (Wrong::Winner, Problem::Inconsistent, race),
        (
            Wrong::Undeleted,
            Problem::Inconsistent,
            "deleted object is still there",
        ),
        (Wrong::RangeIgnored, Problem::RangesIgnored, "non-partial"),
        (
            Wrong::Replaced,
            Problem::ConditionsIgnored,
            "yet the object was replaced",
        ),
    ] {
        let (error, left) = refused(wrong).await;
        assert_eq!(error.problem, problem, "{wrong:?}: {error:?}");
        let answer = answer_of(&error);
        assert!(answer.contains(words), "{wrong:?}: {answer}");
        assert!(error.problem.forbids_state());
        assert_eq!(left > 0, wrong == Wrong::Undeleted, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_refused_condition_is_told_from_a_failed_create() {
    for (status, code) in [
        ("501 Not Implemented", "NotImplemented"),
        ("400 Bad Request", "InvalidArgument"),
        ("405 Method Not Allowed", "MethodNotAllowed"),
    ] {
        let (error, left) = refused(Wrong::Create(status, code)).await;
        assert_eq!(error.problem, Problem::ConditionsRefused, "{error:?}");
        assert!(error.problem.forbids_state());
        let (words, answer) = (error.to_string(), answer_of(&error));
        assert!(
            words.contains("refuses the same one with If-None-Match"),
            "{words}"
        );
        assert!(answer.contains(code) && answer.contains(status), "{answer}");
        assert_eq!(left, 0);
    }
    let (error, _) = refused(Wrong::Create("500 Internal Server Error", "InternalError")).await;
    assert_eq!(
        error.problem,
        Problem::Failed(Operation::Create),
        "{error:?}"
    );
    assert!(!error.problem.forbids_state());
}

#[tokio::test]
async fn what_is_denied_is_named() {
    for operation in [
        Operation::Put,
        Operation::Create,
        Operation::Get,
        Operation::List,
        Operation::Delete,
    ] {
        let (error, left) = refused(Wrong::Denied(operation)).await;
        assert_eq!(error.problem, Problem::Denied(operation), "{error:?}");
        assert!(!error.problem.forbids_state());
        let words = format!("may not {operation}");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(left > 0, operation == Operation::Delete, "{operation}");
    }
    // What a listing and a deletion answer is told apart outside of the probe as well.
    let (store, _) = serve(Wrong::Denied(Operation::List)).await;
    let listed = store.list("pncp").await;
    assert!(matches!(listed, Err(Error::Denied { .. })), "{listed:?}");
    let (store, _) = serve(Wrong::NoBucketListed).await;
    let listed = store.list("pncp").await;
    assert!(matches!(listed, Err(Error::NotFound { .. })), "{listed:?}");
    assert_eq!(store.check().await.unwrap_err().problem, Problem::NoBucket);
    let (error, _) = refused(Wrong::DeniedInBody).await;
    assert_eq!(
        error.problem,
        Problem::Denied(Operation::Delete),
        "{error:?}"
    );
}
