//! What goes over the wire, against bare sockets: headers, redirects, compression, timeouts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pncp_client::{
    ClientSettings, ContratacaoKey, Details, Error, FamilySettings, PncpClient, TabelaDominio,
};
use pncp_sim::{Fault, FaultKind, RetryAfter, Route, Sim};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{client_of, day, key, quick};

/// What a socket does after it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// One byte every few milliseconds, for ever.
    Drip(u8),
    /// Nothing, for ever.
    Hang,
}

/// A server of a few lines: one request a connection, and what was asked.
pub(crate) struct Wire {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    /// `answer` is given the number of the request, from 0, and its head.
    pub(crate) async fn start(
        answer: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer = Arc::new(answer);
        let next = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    log.lock().unwrap().push(head.clone());
                    for step in answer(next.fetch_add(1, Ordering::SeqCst), &head) {
                        match step {
                            Step::Send(bytes) => drop(stream.write_all(&bytes).await),
                            Step::Hang => std::future::pending().await,
                            Step::Drip(byte) => {
                                let mut tick = tokio::time::interval(Duration::from_millis(5));
                                while stream.write_all(&[byte]).await.is_ok() {
                                    tick.tick().await;
                                }
                            }
                        }
                    }
                });
            }
        });
        Self { url, asked }
    }

    /// The heads of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The paths of all requests, without the base.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.asked().iter().map(path).collect()
    }

    pub(crate) fn settings(&self) -> ClientSettings {
        let family = FamilySettings {
            requests_per_second_max: 10_000.0,
            requests_per_second_min: 1_000.0,
            requests_per_second_start: 10_000.0,
            concurrency_max: 16,
            default_pause_ms: 5,
        };
        let mut settings = ClientSettings {
            consulta_url: self.url.clone(),
            api_url: self.url.clone(),
            list: family,
            detail: family,
            ..ClientSettings::default()
        };
        settings.retry.first_delay_ms = 1;
        settings.retry.delay_max_ms = 2;
        settings.retry.attempts_max = 3;
        settings
    }

    pub(crate) fn client(&self) -> PncpClient {
        client_of(self.settings())
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<Step> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    vec![Step::Send([head.as_bytes(), body].concat())]
}

pub(crate) fn some_key() -> ContratacaoKey {
    ContratacaoKey::parse("27142058000126|2025|163").unwrap()
}

fn page() -> Vec<u8> {
    let a = "a".repeat(300);
    format!(r#"[{{"numeroItem":1,"descricao":"{a}"}}]"#).into_bytes()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// [`page`], compressed by gzip, brotli and zstd of other makers (Python, Node, the zstd tool).
const COMPRESSED: [(&str, &str); 3] = [
    (
        "gzip",
        "1f8b08000000000002038bae56ca2bcd4d2dcaf72c49cd55b232d4514a492d4e2eca4c4ecc57b2524a1c054403a5da58009ea884244d010000",
    ),
    (
        "br",
        "1b4c01f01d07ce393d7e3c8cd1cd553642a567d8d65eb3e874f5699198b1b7e09003f60b7d49cc0972f5a0553ae034aa2d9a7345ac610e38f732e200",
    ),
    (
        "zstd",
        "28b52ffd045855010024025b7b226e756d65726f4974656d223a312c2264657363726963616f223a2261227d5d0100a3a8c009f44c85fb",
    ),
];

#[tokio::test]
async fn a_request_names_its_client_and_what_it_takes() {
    let wire = Wire::start(|_, _| answer("200 OK", "", b"[]")).await;
    wire.client()
        .tabela(TabelaDominio::ModosDisputas)
        .await
        .unwrap();
    let head = wire.asked().remove(0).to_lowercase();
    assert!(
        head.starts_with("get /v1/modos-disputas http/1.1\r\n"),
        "{head}"
    );
    let own = concat!(
        "user-agent: pncp-client/",
        env!("CARGO_PKG_VERSION"),
        "\r\n"
    );
    assert!(head.contains(own), "{head}");
    assert!(head.contains("accept: application/json\r\n"), "{head}");
    let encodings = head
        .lines()
        .find_map(|line| line.strip_prefix("accept-encoding: "))
        .unwrap();
    for name in ["gzip", "br", "zstd"] {
        assert!(
            encodings.split(',').any(|e| e.trim() == name),
            "{encodings}"
        );
    }

    let mut settings = wire.settings();
    settings.user_agent = "somebody/2".to_owned();
    client_of(settings)
        .tabela(TabelaDominio::ModosDisputas)
        .await
        .unwrap();
    assert!(wire.asked()[1].contains("user-agent: somebody/2\r\n"));
}

#[tokio::test]
async fn compressed_bodies_are_handed_over_plain() {
    for (name, hex) in COMPRESSED {
        let header = format!("content-encoding: {name}\r\n");
        let wire = Wire::start(move |_, _| answer("200 OK", &header, &from_hex(hex))).await;
        let Details::Found(found) = wire.client().itens(&some_key()).await.unwrap() else {
            panic!("gone");
        };
        assert_eq!(found.pages, [page()], "{name}");
    }
}

#[tokio::test]
async fn a_compressed_body_that_breaks_off_is_asked_for_again() {
    for (name, hex) in COMPRESSED {
        let header = format!("content-encoding: {name}\r\n");
        let wire = Wire::start(move |n, _| {
            let whole = from_hex(hex);
            let sent = if n == 0 {
                &whole[..whole.len() - 12]
            } else {
                &whole[..]
            };
            answer("200 OK", &header, sent)
        })
        .await;
        let Details::Found(found) = wire.client().itens(&some_key()).await.unwrap() else {
            panic!("gone");
        };
        assert_eq!(found.pages, [page()], "{name}");
        assert_eq!(found.calls, 2, "{name}");
    }
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_only() {
    let wire = Wire::start(|_, head| {
        if head.contains("/moved/") {
            answer("200 OK", "", b"[{}]")
        } else {
            answer("301 Moved Permanently", "location: /moved/itens\r\n", b"")
        }
    })
    .await;
    assert!(matches!(
        wire.client().itens(&some_key()).await.unwrap(),
        Details::Found(_)
    ));
    assert_eq!(wire.asked().len(), 2);

    let elsewhere = Wire::start(|_, _| answer("200 OK", "", b"[{}]")).await;
    let location = format!("location: {}/itens\r\n", elsewhere.url);
    let wire = Wire::start(move |_, _| answer("302 Found", &location, b"")).await;
    let error = wire.client().itens(&some_key()).await.unwrap_err();
    assert_eq!(
        (error.status(), error.attempts()),
        (Some(302), 1),
        "{error}"
    );
    assert!(!error.is_transient());
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let wire = Wire::start(|_, _| answer("302 Found", "location: /round\r\n", b"")).await;
    let error = wire.client().itens(&some_key()).await.unwrap_err();
    assert_eq!(error.status(), Some(302), "{error}");
    assert!(wire.asked().len() <= 4, "{}", wire.asked().len());
}

#[tokio::test]
async fn the_header_of_a_purchase_is_found_where_it_moved_to() {
    let sim = Sim::builder().synthetic(5).start().await.unwrap();
    // A client whose list base is the detail base: the simulator redirects it, as the server does.
    let mut settings = quick(&sim);
    settings.consulta_url = sim.api_url().to_owned();
    let record = sim.truth(day()).next().unwrap();
    let found = client_of(settings)
        .contratacao(&key(&record))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&found.unwrap()).contains(&record.numero_controle));
    assert_eq!(sim.stats().answered(Route::Compra, 301), 1);
}

/// The error of a call under timeouts that the server exceeds, as text with its cause.
async fn timed_out(steps: Vec<Step>, change: impl Fn(&mut ClientSettings)) -> String {
    let wire = Wire::start(move |_, _| steps.clone()).await;
    let mut settings = wire.settings();
    settings.retry.attempts_max = 2;
    change(&mut settings);
    let error = client_of(settings).itens(&some_key()).await.unwrap_err();
    assert!(error.is_transient() && error.attempts() == 2, "{error}");
    assert_eq!(wire.asked().len(), 2);
    let Error::Transport { source, .. } = error else {
        panic!("{error}");
    };
    source.to_string()
}

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n[{\"numeroItem\":1}";

#[tokio::test]
async fn a_server_that_says_nothing_runs_into_the_first_byte_timeout() {
    let cause = timed_out(vec![Step::Hang], |s| s.timeouts.first_byte_ms = 40).await;
    assert!(cause.contains("`first byte`, ms=40"), "{cause}");
}

#[tokio::test]
async fn a_body_that_stops_coming_runs_into_the_idle_timeout() {
    let steps = vec![Step::Send(HALF.to_vec()), Step::Hang];
    let cause = timed_out(steps, |s| s.timeouts.idle_ms = 40).await;
    assert!(cause.contains("`idle body`, ms=40"), "{cause}");
}

#[tokio::test]
async fn a_body_that_never_ends_runs_into_the_total_timeout() {
    let steps = vec![Step::Send(HALF.to_vec()), Step::Drip(b' ')];
    let cause = timed_out(steps, |s| s.timeouts.total_ms = 80).await;
    assert!(cause.contains("`total`, ms=80"), "{cause}");
}

#[tokio::test]
async fn a_drip_fed_body_that_ends_is_taken() {
    let sim = Sim::builder()
        .synthetic(5)
        .fault(Fault::new(FaultKind::Drip).ms(1))
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.timeouts.idle_ms = 5_000;
    let record = sim.truth(day()).next().unwrap();
    let Details::Found(found) = client_of(settings).itens(&key(&record)).await.unwrap() else {
        panic!("gone");
    };
    assert_eq!((found.count, found.retries), (record.itens.len() as u64, 0));
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let wire = Wire::start(|_, _| Vec::new()).await;
    let mut settings = wire.settings();
    settings.api_url = url;
    let error = client_of(settings).itens(&some_key()).await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    assert_eq!(error.attempts(), 3);
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_once() {
    let long = "x".repeat(1 << 17);
    let declared = answer("200 OK", "", long.as_bytes());
    let undeclared = vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec()),
        Step::Send(long.into_bytes()),
    ];
    for steps in [declared, undeclared] {
        let wire = Wire::start(move |_, _| steps.clone()).await;
        let mut settings = wire.settings();
        settings.max_body_bytes = 1 << 16;
        let error = client_of(settings).itens(&some_key()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert_eq!(wire.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_says_until_when() {
    for retry_after in [RetryAfter::Seconds(7_200), RetryAfter::Date(7_200)] {
        let sim = Sim::builder()
            .synthetic(5)
            .fault(Fault::new(FaultKind::TooMany).retry_after(retry_after))
            .start()
            .await
            .unwrap();
        let client = client_of(quick(&sim));
        let key = key(&sim.truth(day()).next().unwrap());
        let before = chrono::Utc::now();
        let error = client.itens(&key).await.unwrap_err();
        let wait = (error.retry_at().unwrap() - before).num_seconds();
        assert!((7_199..7_260).contains(&wait), "{wait}");
        assert_eq!((error.attempts(), error.requests()), (1, 1));
        // Who asks next is told without a request.
        let error = client.arquivos(&key).await.unwrap_err();
        assert!(matches!(error, Error::Deferred { .. }) && error.attempts() == 0);
        assert_eq!(sim.stats().total, 1);
    }
}
