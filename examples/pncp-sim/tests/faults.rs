//! Each fault, as a client meets it.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{below, get, list, publicacao};
use pncp_sim::{Fault, FaultKind, Latency, RateLimit, RetryAfter, Route, Scope, Sim, SimHandle};

const DAY: &str = "20251022";

async fn with(fault: Fault) -> SimHandle {
    Sim::builder()
        .synthetic(900)
        .fault(fault)
        .start()
        .await
        .unwrap()
}

fn page(n: u64) -> String {
    publicacao(DAY, 8, n, 50)
}

#[tokio::test]
async fn too_many_in_three_spellings() {
    let sim = with(Fault::new(FaultKind::TooMany).retry_after(RetryAfter::Seconds(7))).await;
    let reply = get(sim.url(), &page(1)).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert!(reply.text().contains("Limite de Requisições Excedido"));
    let sim = with(Fault::new(FaultKind::TooMany).retry_after(RetryAfter::Date(7))).await;
    let reply = get(sim.url(), &page(1)).await;
    let date = reply.header("retry-after").unwrap();
    assert!(
        chrono::DateTime::parse_from_rfc2822(date).is_ok() && date.ends_with("GMT"),
        "{date}"
    );
    let sim = with(Fault::new(FaultKind::TooMany).retry_after(RetryAfter::None)).await;
    assert_eq!(get(sim.url(), &page(1)).await.header("retry-after"), None);
}

#[tokio::test]
async fn requests_inside_a_pause_are_counted() {
    let fault = Fault::new(FaultKind::TooMany)
        .retry_after(RetryAfter::Seconds(30))
        .count(1);
    let sim = with(fault).await;
    assert_eq!(get(sim.url(), &page(1)).await.status, 429);
    // Past the grace for what was under way.
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(get(sim.url(), &page(1)).await.status, 200);
    assert_eq!(get(sim.url(), "/api/pncp/v1/modalidades").await.status, 200);
    assert_eq!(
        sim.stats().in_retry_after_pause,
        1,
        "the other base had not asked to wait"
    );
}

#[tokio::test]
async fn server_errors_come_in_storms() {
    let sim = with(Fault::new(FaultKind::ServerError).rate(0.05).burst(4)).await;
    let mut bodies = BTreeSet::new();
    let mut statuses = Vec::new();
    for n in 0..120 {
        let reply = get(sim.url(), &page(n % 9 + 1)).await;
        if reply.status != 200 {
            bodies.insert((
                reply.status,
                reply.text().chars().take(12).collect::<String>(),
            ));
        }
        statuses.push(reply.status);
    }
    let first = statuses.iter().position(|s| *s >= 500).unwrap();
    assert!(statuses[first..first + 4].iter().all(|s| *s >= 500));
    assert!(statuses.contains(&200));
    assert!(bodies.len() >= 3, "{bodies:?}");
    let sim = with("5xx:status=503".parse().unwrap()).await;
    assert_eq!(get(sim.url(), &page(1)).await.status, 503);
}

#[tokio::test]
async fn bodies_break_off() {
    let sim = with(Fault::new(FaultKind::Cut)).await;
    let (mut declared, mut chunked) = (0, 0);
    for n in 1..=8 {
        let reply = get(sim.url(), &page(n)).await;
        assert_eq!(reply.status, 200);
        assert!(!reply.whole);
        if reply.header("content-length").is_some() {
            declared += 1
        } else {
            chunked += 1
        }
    }
    assert!(declared > 0 && chunked > 0);
    let sim = with(Fault::new(FaultKind::CutClean)).await;
    let reply = get(sim.url(), &page(1)).await;
    assert!(reply.whole);
    assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_err());
}

#[tokio::test]
async fn slow_bodies_arrive_whole() {
    let sim = with(Fault::new(FaultKind::Drip).ms(1)).await;
    let started = std::time::Instant::now();
    let reply = get(sim.url(), &page(1)).await;
    assert!(reply.whole);
    assert_eq!(reply.json()["data"].as_array().unwrap().len(), 50);
    assert!(started.elapsed() >= Duration::from_millis(60));
    let sim = with(Fault::new(FaultKind::Stall).ms(80).per_url(1)).await;
    let started = std::time::Instant::now();
    assert_eq!(get(sim.url(), &page(1)).await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn wrong_answers_to_right_questions_pass_on_retry() {
    let cases = [
        (FaultKind::NoContent, 204),
        (FaultKind::BadRequest, 400),
        (FaultKind::Unprocessable, 422),
        (FaultKind::Html200, 200),
        (FaultKind::Empty200, 200),
    ];
    for (kind, status) in cases {
        let sim = with(Fault::new(kind).per_url(1)).await;
        let first = get(sim.url(), &page(2)).await;
        assert_eq!(first.status, status, "{kind:?}");
        assert!(!first.text().contains("\"data\":["), "{kind:?}");
        let second = get(sim.url(), &page(2)).await;
        assert_eq!(second.json()["numeroPagina"], 2, "{kind:?}");
        assert_eq!(sim.stats().injected[kind.name()], 1);
    }
    let sim = with(Fault::new(FaultKind::NotFound).per_url(1)).await;
    let t = sim.truth("2025-10-22".parse().unwrap()).next().unwrap();
    let path = below(&t.cnpj, t.ano, t.sequencial, "/itens");
    assert_eq!(get(sim.url(), &path).await.status, 404);
    assert_eq!(get(sim.url(), &path).await.status, 200);
    assert_eq!(
        get(sim.url(), &page(1)).await.status,
        200,
        "404 strikes details unless told"
    );
}

async fn ids(sim: &SimHandle, kind: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 1.. {
        let reply = get(sim.url(), &list(kind, DAY, 8, n, 50)).await;
        if reply.status == 204 {
            break;
        }
        let body = reply.json();
        let data = body["data"].as_array().unwrap();
        ids.extend(
            data.iter()
                .map(|r| r["numeroControlePNCP"].as_str().unwrap().to_owned()),
        );
    }
    ids
}

#[tokio::test]
async fn a_vanished_record_pulls_the_next_ones_forward() {
    let sim = with(
        Fault::new(FaultKind::Vanish)
            .count(1)
            .route(Route::Publicacao),
    )
    .await;
    let seen = ids(&sim, "publicacao").await;
    let truth: Vec<_> = sim
        .truth("2025-10-22".parse().unwrap())
        .filter(|t| t.modalidade == 8)
        .collect();
    let gone: Vec<_> = truth.iter().filter(|t| t.vanished).collect();
    assert_eq!(gone.len(), 1);
    let gone = gone[0];
    assert!(
        seen.contains(&gone.numero_controle),
        "an earlier page had shown it"
    );
    let missed: Vec<_> = truth
        .iter()
        .filter(|t| !seen.contains(&t.numero_controle))
        .collect();
    assert_eq!(
        missed.len(),
        1,
        "the one that slipped over the page boundary"
    );
    let path = below(&gone.cnpj, gone.ano, gone.sequencial, "/itens");
    assert_eq!(get(sim.url(), &path).await.status, 404);
    let again = ids(&sim, "publicacao").await;
    assert_eq!(again.len(), truth.len() - 1);
    sim.reset();
    assert!(
        sim.truth("2025-10-22".parse().unwrap())
            .all(|t| !t.vanished)
    );
}

#[tokio::test]
async fn a_record_that_changes_moves_to_the_end_or_out() {
    let (mut to_the_end, mut out) = (0, 0);
    for seed in 1..=8 {
        let fault = Fault::new(FaultKind::Move)
            .count(1)
            .route(Route::Atualizacao);
        let sim = Sim::builder().synthetic(900).seed(seed);
        let all = ids(&sim.clone().start().await.unwrap(), "atualizacao").await;
        let sim = sim.fault(fault).start().await.unwrap();
        let seen = ids(&sim, "atualizacao").await;
        let again = ids(&sim, "atualizacao").await;
        let missed = all.iter().filter(|id| !seen.contains(id)).count();
        assert_eq!(missed, 1, "one slips over the page boundary");
        if again.len() == all.len() {
            let last = again.last().unwrap();
            assert_eq!(
                seen.iter().filter(|id| *id == last).count(),
                2,
                "shown, then shown again"
            );
            to_the_end += 1;
        } else {
            assert_eq!(again.len(), all.len() - 1);
            out += 1;
        }
    }
    assert!(to_the_end > 0 && out > 0, "{to_the_end} {out}");
}

#[tokio::test]
async fn another_window_may_be_served() {
    let sim = with(Fault::new(FaultKind::WrongWindow).per_url(1)).await;
    let first = |reply: common::Reply| reply.json()["data"][0]["dataPublicacaoPncp"].to_string();
    assert!(first(get(sim.url(), &page(1)).await).starts_with("\"2025-10-21"));
    assert!(first(get(sim.url(), &page(1)).await).starts_with("\"2025-10-22"));
}

#[tokio::test]
async fn unknown_and_ill_typed_fields_are_in_the_truth_and_in_the_pages_alike() {
    let sim = Sim::builder()
        .synthetic(300)
        .fault(Fault::new(FaultKind::UnknownFields).rate(0.5))
        .fault(Fault::new(FaultKind::IllTyped).rate(0.5))
        .start()
        .await
        .unwrap();
    let truth: Vec<_> = sim
        .truth("2025-10-22".parse().unwrap())
        .filter(|t| t.modalidade == 8)
        .collect();
    let body = get(sim.url(), &page(1)).await.json();
    for (record, t) in body["data"].as_array().unwrap().iter().zip(&truth) {
        assert_eq!(
            *record,
            serde_json::from_str::<serde_json::Value>(&t.contratacao).unwrap()
        );
        assert_eq!(record["numeroControlePNCP"], t.numero_controle.as_str());
    }
    let sizes: BTreeSet<usize> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r.as_object().unwrap().len())
        .collect();
    assert_eq!(sizes, BTreeSet::from([34, 35]));
    assert!(
        truth
            .iter()
            .any(|t| t.contratacao.contains("\"situacaoCompraId\":\"1\""))
    );
    assert!(
        truth
            .iter()
            .flat_map(|t| &t.itens)
            .any(|i| i.contains("\"quantidade\":\"1.0000\""))
    );
}

#[tokio::test]
async fn the_hidden_limit_is_felt() {
    let limit = RateLimit {
        per_second: 0.5,
        burst: 3,
        halve_after: None,
        retry_after: RetryAfter::Seconds(2),
        pause_untold: Duration::ZERO,
    };
    let sim = Sim::builder().rate_limit(limit).start().await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(get(sim.url(), "/api/pncp/v1/modalidades").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(sim.stats().rate_limited, 2);
}

#[tokio::test]
async fn latency_and_concurrency_are_measured() {
    let sim = Sim::builder()
        .latency(Latency::Fixed(Duration::from_millis(60)))
        .start()
        .await
        .unwrap();
    let started = std::time::Instant::now();
    let paths: Vec<String> = (1..=4).map(|n| publicacao(DAY, 6, n, 10)).collect();
    futures::future::join_all(paths.iter().map(|path| get(sim.url(), path))).await;
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert_eq!(sim.stats().max_in_flight, 4);
    let sim = Sim::builder()
        .latency(Latency::Recorded { scale: 0.01 })
        .start()
        .await
        .unwrap();
    assert_eq!(get(sim.url(), &paths[0]).await.status, 200);
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_requests_in_any_order() {
    let strikes = |order: Vec<u64>| async move {
        let sim = with(
            Fault::new(FaultKind::NoContent)
                .rate(0.4)
                .route(Scope::Lists),
        )
        .await;
        let mut struck = BTreeSet::new();
        for n in order {
            if get(sim.url(), &page(n)).await.status == 204 {
                struck.insert(n);
            }
        }
        struck
    };
    let forward = strikes((1..=8).collect()).await;
    assert_eq!(forward, strikes((1..=8).rev().collect()).await);
    assert!(!forward.is_empty() && forward.len() < 8);
}

#[tokio::test]
async fn nonsense_is_refused() {
    assert!(Sim::builder().synthetic(2_000_000).start().await.is_err());
    assert!(
        Sim::builder()
            .fault(Fault::new(FaultKind::Cut).rate(1.5))
            .start()
            .await
            .is_err()
    );
    let sim = Sim::builder().start().await.unwrap();
    let port = sim.url().rsplit(':').next().unwrap().parse().unwrap();
    assert!(Sim::builder().port(port).start().await.is_err());
}
