//! A server by script, for tests under paused time, and the tests of what calls do with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::domain::{ContratacaoKey, Modalidade, Window};
use crate::listing::Verdict;
use crate::settings::ClientSettings;
use crate::transport::{Fault, Head, RawAnswer, RawStream, Transport};
use crate::{ContratacoesQuery, Details, Error, PncpClient};

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    body: String,
    retry_after: Option<String>,
    delay: Duration,
    broken: Option<&'static str>,
}

fn reply(status: u16, body: impl Into<String>) -> Reply {
    Reply {
        status,
        body: body.into(),
        retry_after: None,
        delay: Duration::ZERO,
        broken: None,
    }
}

/// Answers by URL ending; the last of each keeps being given. What is not scripted is 500.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    replies: Arc<Mutex<HashMap<String, VecDeque<Reply>>>>,
    log: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Script {
    fn on(self, ending: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.replies
            .lock()
            .unwrap()
            .insert(ending.to_owned(), replies.into_iter().collect());
        self
    }

    fn client(&self) -> PncpClient {
        self.client_with(|_| {})
    }

    fn client_with(&self, change: impl FnOnce(&mut ClientSettings)) -> PncpClient {
        let mut settings = ClientSettings::default();
        change(&mut settings);
        let builder = PncpClient::builder().with_settings(settings).with_seed(1);
        builder.build_over(Box::new(self.clone())).unwrap()
    }

    fn sent(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    fn times(&self) -> Vec<Instant> {
        self.log.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

impl Transport for Script {
    fn get<'a>(&'a self, url: &'a str, _max: usize) -> BoxFuture<'a, Result<RawAnswer, Fault>> {
        Box::pin(async move {
            self.log
                .lock()
                .unwrap()
                .push((Instant::now(), url.to_owned()));
            let reply = {
                let mut replies = self.replies.lock().unwrap();
                let queue = replies
                    .iter_mut()
                    .find(|(ending, _)| url.ends_with(*ending));
                match queue {
                    Some((_, queue)) if queue.len() > 1 => queue.pop_front().unwrap(),
                    Some((_, queue)) => queue.front().unwrap().clone(),
                    None => reply(500, "Erro na comunicação com o banco de dados."),
                }
            };
            tokio::time::sleep(reply.delay).await;
            match reply.broken {
                Some("timeout") => Err(Fault::Timeout("first byte", Duration::from_secs(60))),
                Some(other) => Err(Fault::NoAnswer(other.into())),
                None => Ok(RawAnswer {
                    head: Head {
                        status: reply.status,
                        retry_after: reply.retry_after,
                        ..Head::default()
                    },
                    body: Bytes::from(reply.body),
                }),
            }
        })
    }

    fn open<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<RawStream, Fault>> {
        Box::pin(async move {
            let answer = self.get(url, usize::MAX).await?;
            let body = futures::stream::iter([Ok(answer.body)]);
            Ok(RawStream {
                head: answer.head,
                body: Box::pin(body),
            })
        })
    }
}

fn record(number: u32, day: &str) -> String {
    format!(
        r#"{{"numeroControlePNCP":"27142058000126-1-{number:06}/2026","dataPublicacaoPncp":"{day}T10:00:00"}}"#
    )
}

fn page(number: u32, pages: u32, total: u32, records: &[String]) -> Reply {
    reply(
        200,
        format!(
            r#"{{"data":[{}],"totalRegistros":{total},"totalPaginas":{pages},"numeroPagina":{number},"paginasRestantes":{},"empty":false}}"#,
            records.join(","),
            pages.saturating_sub(number)
        ),
    )
}

fn records(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| record(number, "2026-03-16")).collect()
}

fn key() -> ContratacaoKey {
    ContratacaoKey::parse("27142058000126|2026|163").unwrap()
}

fn query() -> ContratacoesQuery {
    let day = chrono::NaiveDate::from_ymd_opt(2026, 3, 16).unwrap();
    ContratacoesQuery::publicacao(Window::day(day).unwrap())
        .modalidades([Modalidade::new(6)])
        .tamanho_pagina(10)
}

/// Reads a listing to its end: ids that were fresh, and the proof.
async fn read(client: &PncpClient) -> (Vec<String>, crate::ListingProof) {
    let mut listing = client.contratacoes(query()).unwrap();
    let mut ids = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        ids.extend(
            page.records()
                .filter(|r| r.fresh)
                .map(|r| r.id.unwrap().to_owned()),
        );
    }
    (ids, listing.into_proof())
}

const ITENS: &str = "/itens?pagina=1&tamanhoPagina=500";
const NOT_REGISTERED: &str =
    r#"{"status":"404","error":"404 NOT_FOUND","message":"Contratação não cadastrada."}"#;

#[tokio::test(start_paused = true)]
async fn quirk_01_and_02_a_204_or_400_inside_a_listing_passes() {
    for status in [204, 400] {
        let script = Script::default()
            .on("pagina=1", [page(1, 3, 25, &records(0..10))])
            .on(
                "pagina=2",
                [reply(status, ""), page(2, 3, 25, &records(10..20))],
            )
            .on(
                "pagina=3",
                [reply(200, ""), page(3, 3, 25, &records(20..25))],
            );
        let (ids, proof) = read(&script.client()).await;
        assert_eq!(
            (ids.len(), proof.verdict()),
            (25, Verdict::Complete),
            "{status}"
        );
        assert_eq!(script.sent(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_window_is_confirmed_and_complete() {
    let script = Script::default().on("pagina=1", [reply(204, "")]);
    let (ids, proof) = read(&script.client()).await;
    assert_eq!(
        (ids.len(), proof.verdict(), script.sent()),
        (0, Verdict::Complete, 2)
    );
    // A passing 204 on the first page is found out by that.
    let script = Script::default().on("pagina=1", [reply(204, ""), page(1, 1, 3, &records(0..3))]);
    let (ids, proof) = read(&script.client()).await;
    assert_eq!((ids.len(), proof.verdict()), (3, Verdict::Complete));
}

#[tokio::test(start_paused = true)]
async fn quirk_03_a_422_passes_but_an_unknown_modality_does_not() {
    let bad_date = reply(422, r#"{"message":"Data Inicial inválida","status":"422"}"#);
    let script = Script::default().on("pagina=1", [bad_date, page(1, 1, 3, &records(0..3))]);
    let (ids, proof) = read(&script.client()).await;
    assert_eq!((ids.len(), proof.verdict()), (3, Verdict::Complete));

    let unknown = r#"{"message":"Código da modalidade de contratação inválido.","status":"422"}"#;
    let script = Script::default().on("pagina=1", [reply(422, unknown)]);
    let (_, proof) = read(&script.client()).await;
    assert!(proof.parts[0].no_such_modalidade && proof.is_complete());
    assert_eq!(script.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn quirk_03_a_wrong_window_is_noticed() {
    let other = [record(90, "2026-03-15"), record(91, "2026-03-15")];
    let right = page(1, 1, 2, &records(0..2));
    let script = Script::default().on("pagina=1", [page(1, 1, 2, &other), right]);
    let (ids, proof) = read(&script.client()).await;
    assert_eq!((ids.len(), proof.verdict()), (2, Verdict::Complete));
    // If it stays so, it is counted and not taken for complete.
    let script = Script::default().on("pagina=1", [page(1, 1, 2, &other)]);
    let (_, proof) = read(&script.client()).await;
    assert_eq!(
        (proof.parts[0].outside_window, proof.verdict()),
        (2, Verdict::Short)
    );
}

#[tokio::test(start_paused = true)]
async fn quirk_04_a_passing_404_and_a_purchase_that_is_gone() {
    let framework = r#"{"timestamp":"2025-07-18T09:56:31.388+00:00","status":404,"error":"Not Found","message":"No message available"}"#;
    let script = Script::default().on(ITENS, [reply(404, framework), reply(200, "[{}]")]);
    let Details::Found(found) = script.client().itens(&key()).await.unwrap() else {
        panic!("gone");
    };
    assert_eq!(found.count, 1);

    let script = Script::default().on(ITENS, [reply(404, NOT_REGISTERED)]);
    assert_eq!(
        script.client().itens(&key()).await.unwrap(),
        Details::Gone {
            calls: 2,
            retries: 1
        }
    );
    assert_eq!(script.sent(), 2);
    // Said once, it is not believed.
    let script = Script::default().on(ITENS, [reply(404, NOT_REGISTERED), reply(200, "[{}]")]);
    assert!(matches!(
        script.client().itens(&key()).await.unwrap(),
        Details::Found(_)
    ));
    // A 404 that stays means none only where the count says so.
    for (count, expected) in [("0", true), ("2", false)] {
        let script = Script::default()
            .on(ITENS, [reply(404, framework)])
            .on("/itens/quantidade", [reply(200, count)]);
        let answer = script.client().itens(&key()).await;
        assert_eq!(answer.is_ok(), expected, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn quirk_05_faults_of_the_server_pass() {
    for fault in [
        reply(500, "Erro na comunicação com o banco de dados."),
        reply(503, "<html>"),
        reply(200, "<html><title>Limite de Requisições Excedido</title>"),
        reply(200, r#"[{"numeroItem":1},{"nu"#),
        Reply {
            broken: Some("reset"),
            ..reply(0, "")
        },
        Reply {
            broken: Some("timeout"),
            ..reply(0, "")
        },
    ] {
        let script = Script::default().on(ITENS, [fault.clone(), reply(200, "[{}]")]);
        let answer = script.client().itens(&key()).await;
        assert!(
            matches!(answer, Ok(Details::Found(_))),
            "{fault:?} {answer:?}"
        );
        assert_eq!(script.sent(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn quirk_07_a_list_that_moves_is_read_again() {
    let script = Script::default()
        .on(
            "pagina=1",
            [
                page(1, 2, 12, &records(0..10)),
                page(1, 2, 11, &records(1..11)),
            ],
        )
        .on("pagina=2", [page(2, 2, 11, &records(11..12))]);
    let (ids, proof) = read(&script.client()).await;
    // Number 10 slid onto the first page between the two; the second pass finds it.
    assert_eq!(ids.len(), 12);
    let part = &proof.parts[0];
    assert_eq!(
        (part.verdict, part.passes, part.vanished),
        (Verdict::Complete, 2, 1)
    );
    let json = serde_json::to_string(&proof).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::ListingProof>(&json).unwrap(),
        proof
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_grows_is_read_to_its_new_end() {
    // Page 2 announces a third, which the first did not know of; then all stands still.
    let script = Script::default()
        .on(
            "pagina=1",
            [
                page(1, 2, 20, &records(0..10)),
                page(1, 3, 21, &records(0..10)),
            ],
        )
        .on("pagina=2", [page(2, 3, 21, &records(10..20))])
        .on("pagina=3", [page(3, 3, 21, &records(20..21))]);
    let (ids, proof) = read(&script.client()).await;
    assert_eq!(
        (ids.len(), proof.verdict(), proof.parts[0].passes),
        (21, Verdict::Complete, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_had_is_named() {
    let script = Script::default()
        .on("pagina=1", [page(1, 3, 25, &records(0..10))])
        .on("pagina=2", [reply(500, "x")])
        .on("pagina=3", [page(3, 3, 25, &records(20..25))]);
    let (ids, proof) = read(&script.client()).await;
    assert_eq!((ids.len(), proof.verdict()), (15, Verdict::Short));
    let short: Vec<_> = proof.parts[0]
        .short_pages
        .iter()
        .map(|p| (p.numero, p.status))
        .collect();
    assert_eq!(short, [(2, Some(500))]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_default_of_ten_is_found_out() {
    let list = |numbers: std::ops::Range<u32>| {
        let all: Vec<_> = numbers
            .map(|n| format!(r#"{{"numeroItem":{n}}}"#))
            .collect();
        reply(200, format!("[{}]", all.join(",")))
    };
    let script = Script::default()
        .on(ITENS, [list(0..10)])
        .on("pagina=2&tamanhoPagina=500", [list(10..14)])
        .on("/itens/quantidade", [reply(200, "14")]);
    let Details::Found(found) = script.client().itens(&key()).await.unwrap() else {
        panic!("gone");
    };
    assert_eq!((found.count, found.pages.len()), (14, 2));
    // A list that really has ten costs one call more.
    let script = Script::default()
        .on(ITENS, [list(0..10)])
        .on("/itens/quantidade", [reply(200, "10")]);
    script.client().itens(&key()).await.unwrap();
    assert_eq!(script.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_last_page_is_checked_and_a_contradiction_told() {
    let full: Vec<_> = (0..500)
        .map(|n| format!(r#"{{"numeroItem":{n}}}"#))
        .collect();
    let full = format!("[{}]", full.join(","));
    let script = |count: &str| {
        Script::default()
            .on(ITENS, [reply(200, full.clone())])
            .on("pagina=2&tamanhoPagina=500", [reply(200, "[]")])
            .on("/itens/quantidade", [reply(200, count)])
    };
    let answer = script("500").client().itens(&key()).await.unwrap();
    assert!(matches!(answer, Details::Found(found) if found.count == 500));
    let error = script("501").client().itens(&key()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Inconsistent {
                declared: 501,
                got: 500,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_the_family_and_is_never_undercut() {
    let mut limited = reply(429, "<html>");
    limited.retry_after = Some("30".to_owned());
    let script = Script::default().on(ITENS, [limited, reply(200, "[{}]")]);
    let client = script.client();
    let (one, key) = (client.clone(), key());
    let first = tokio::spawn(async move { one.itens(&key).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = Instant::now();
    client.arquivos(&self::key()).await.unwrap_err();
    first.await.unwrap().unwrap();
    let inside: Vec<_> = script
        .times()
        .into_iter()
        .skip(1)
        .filter(|&at| at - begun < Duration::from_millis(29_990))
        .collect();
    assert!(inside.is_empty(), "{inside:?}");
}

#[tokio::test(start_paused = true)]
async fn a_download_keeps_the_pause_it_was_told() {
    use futures::StreamExt as _;
    let mut limited = reply(429, "");
    limited.retry_after = Some("90".to_owned());
    let script = Script::default().on("/arquivos/1", [limited, reply(200, "%PDF")]);
    let mut download = script.client().baixar_arquivo(&key(), 1).await.unwrap();
    assert_eq!(download.next().await.unwrap().unwrap(), "%PDF");
    let times = script.times();
    assert!(times[1] - times[0] >= Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_pause_beyond_the_deadline_says_until_when() {
    let mut limited = reply(429, "");
    limited.retry_after = Some("7200".to_owned());
    let script = Script::default().on(ITENS, [limited]);
    let before = chrono::Utc::now();
    let error = script.client().itens(&key()).await.unwrap_err();
    assert!(matches!(error, Error::Deferred { .. }), "{error}");
    let wait = error.retry_at().unwrap() - before;
    assert!((7_190..7_260).contains(&wait.num_seconds()), "{wait}");
    assert_eq!(script.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_total_outage_costs_a_fifth_more_at_most() {
    let script = Script::default();
    let client = script.client();
    let mut failed = 0;
    for _ in 0..200 {
        failed += u32::from(client.itens(&key()).await.is_err());
    }
    assert_eq!(failed, 200);
    assert!(script.sent() <= 240, "{}", script.sent());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_listing_stops_its_requests() {
    let slow = Reply {
        delay: Duration::from_secs(5),
        ..page(2, 90, 900, &records(10..20))
    };
    let script = Script::default().on("pagina=1", [page(1, 90, 900, &records(0..10))]);
    let script = (2..=90).fold(script, |script, n| {
        script.on(&format!("pagina={n}"), [slow.clone()])
    });
    let client = script.client();
    let mut listing = client.contratacoes(query()).unwrap();
    listing.next_page().await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(3), listing.next_page()).await;
    assert!(more.is_err());
    let before = script.sent();
    assert!(before <= 1 + client.settings().prefetch_pages);
    drop(listing);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(script.sent(), before);
}

#[tokio::test(start_paused = true)]
async fn two_thousand_details_at_full_speed() {
    let script = Script::default().on(
        ITENS,
        [Reply {
            delay: Duration::from_millis(100),
            ..reply(200, "[{}]")
        }],
    );
    let client = script.client_with(|settings| {
        settings.detail.requests_per_second_max = 10_000.0;
        settings.detail.requests_per_second_start = 1_000.0;
    });
    let begun = Instant::now();
    let calls = futures::stream::iter(0..2_000).map(|_| {
        let (client, key) = (client.clone(), key());
        async move { client.itens(&key).await.unwrap() }
    });
    use futures::StreamExt as _;
    assert_eq!(calls.buffer_unordered(16).count().await, 2_000);
    let ideal = 2_000.0 * 0.1 / 16.0;
    let efficiency = ideal / begun.elapsed().as_secs_f64();
    assert!(efficiency >= 0.95, "{efficiency}");
}

#[tokio::test(start_paused = true)]
async fn typed_records_come_as_a_stream() {
    use futures::StreamExt as _;
    let mut odd = records(0..2);
    odd.push("7".to_owned());
    let script = Script::default().on("pagina=1", [page(1, 1, 3, &odd)]);
    let client = script.client();
    let mut listing = client.contratacoes(query()).unwrap();
    let typed: Vec<_> = listing.records().collect().await;
    assert_eq!(typed.iter().filter(|record| record.is_ok()).count(), 2);
    let first = typed[0].as_ref().unwrap();
    assert_eq!(
        first.numero_controle_pncp.as_deref(),
        Some("27142058000126-1-000000/2026")
    );
    assert_eq!(listing.proof().parts[0].unidentified, 1);
}

#[tokio::test(start_paused = true)]
async fn modalidades_come_from_the_table() {
    let script = Script::default()
        .on("/modalidades?statusAtivo=true", [reply(200, r#"[{"id":6,"nome":"Pregão","statusAtivo":true},{"id":99,"nome":"x","statusAtivo":false}]"#)])
        .on("codigoModalidadeContratacao=6&tamanhoPagina=50&pagina=1", [page(1, 1, 1, &records(0..1))]);
    let day = chrono::NaiveDate::from_ymd_opt(2026, 3, 16).unwrap();
    let query = ContratacoesQuery::publicacao(Window::day(day).unwrap());
    let client = script.client();
    let mut listing = client.contratacoes(query).unwrap();
    let page = listing.next_page().await.unwrap().unwrap();
    assert_eq!(page.modalidade, Some(Modalidade::new(6)));
    assert!(listing.next_page().await.unwrap().is_none());
    assert!(listing.proof().is_complete());
}

/// What stays unreadable after every retry is told by where it is unreadable.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_fit_is_told_by_its_path() {
    let decode = |error: Error| match error {
        Error::Decode {
            json_path,
            source,
            context,
        } => (json_path, source.to_string(), context.body_start),
        other => panic!("{other}"),
    };
    let list = r#"[{"numeroItem":1,"catalogo":null},{"numeroItem":2,"catalogo":{"id":7"#;
    let script = Script::default().on(ITENS, [reply(200, list)]);
    let (path, source, start) = decode(script.client().itens(&key()).await.unwrap_err());
    assert_eq!(path, "$[1].catalogo.id");
    assert!(source.contains("unexpected end"), "{source}");
    assert_eq!(start, list);

    let table = r#"[{"id":6,"statusAtivo":true},{"id":"x","statusAtivo":true}]"#;
    let script = Script::default().on("statusAtivo=true", [reply(200, table)]);
    let (path, _, start) = decode(script.client().modalidades().await.unwrap_err());
    assert_eq!((path.as_str(), start.as_str()), ("$[1].id", table));

    let broken = records(0..2)
        .join(",")
        .replace("000001/2026\"", "000001/2026\\x\"");
    let body = page(1, 1, 2, &[broken]);
    let text = body.body.clone();
    let script = Script::default().on("pagina=1", [body]);
    let mut listing = script.client().contratacoes(query()).unwrap();
    assert!(listing.next_page().await.unwrap().is_none());
    let proof = listing.into_proof();
    let short = &proof.parts[0].short_pages[0].error;
    assert!(
        short.contains("at=`$.data[1].numeroControlePNCP`"),
        "{short} {text}"
    );
}
