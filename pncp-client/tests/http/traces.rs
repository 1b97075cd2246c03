//! The recorded series of requests as the server's behaviour.

use std::collections::BTreeSet;

use chrono::Days;
use pncp_client::{ClientSettings, ContratacoesQuery, Details, Verdict};
use pncp_sim::{Sim, SimHandle, Trace};

use crate::support::{assert_whole, client_of, day, key, list, quick};

async fn behaving_as(trace: Trace, scale: f64, per_day: u32) -> SimHandle {
    Sim::builder()
        .synthetic(per_day)
        .max_itens(50)
        .today(day())
        .trace(trace, scale)
        .start()
        .await
        .unwrap()
}

/// The logs name no durations but a read timeout of 15 s: that becomes a twentieth of a
/// second.
const OF_LOGS: f64 = 0.05 / 15.0;

/// The patience of the recorded client, and its pause of a minute, on the scale of the logs.
fn patience(sim: &SimHandle) -> ClientSettings {
    let mut settings = quick(sim);
    settings.timeouts.first_byte_ms = 50;
    settings.list.default_pause_ms = 100;
    settings.prefetch_pages = 16;
    // On a busy machine a right answer may take as long.
    settings.retry.attempts_max = 50;
    settings.retry.budget_reserve = 2_000;
    settings
}

#[tokio::test]
async fn a_sequential_crawl() {
    let sim = behaving_as(Trace::SequentialCrawl, 0.001, 4_700).await;
    // The recorded client gave up after 45 s; a patient one gets its 504 in the end.
    let mut settings = quick(&sim);
    settings.list.default_pause_ms = 60;
    let client = client_of(settings);
    let (ids, proof) = list(&client).await;
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
    assert_whole(&ids, &sim);
    let injected = sim.stats().injected;
    assert_eq!(
        (
            injected["trace-429"],
            injected["trace-5xx"],
            injected["trace-timeout"]
        ),
        (21, 3, 4)
    );
    for record in sim.truth(day()).take(205) {
        for (answer, expected) in [
            (client.itens(&key(&record)).await, record.itens.len()),
            (client.arquivos(&key(&record)).await, record.arquivos.len()),
        ] {
            assert!(
                matches!(&answer, Ok(Details::Found(found)) if found.count == expected as u64),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn five_workers_over_697_pages() {
    let sim = behaving_as(Trace::FiveWorkers, OF_LOGS, 2_100).await;
    let client = client_of(patience(&sim));
    let query = ContratacoesQuery::proposta(day() + Days::new(60)).tamanho_pagina(10);
    let mut listing = client.contratacoes(query).unwrap();
    let mut ids = BTreeSet::new();
    let mut pages = 0;
    while let Some(page) = listing.next_page().await.unwrap() {
        ids.extend(page.records().map(|record| record.id.unwrap().to_owned()));
        pages += 1;
    }
    let proof = listing.into_proof();
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
    assert_eq!(
        (ids.len() as u64, proof.parts[0].passes),
        (proof.declared(), 1)
    );
    assert!(pages >= 697, "{pages}");
    let injected = sim.stats().injected;
    assert_eq!((injected["trace-timeout"], injected["trace-204"]), (63, 2));
}

#[tokio::test]
async fn a_week_of_all_modalities() {
    let sim = behaving_as(Trace::WeekAllModalities, OF_LOGS, 6_650).await;
    let client = client_of(patience(&sim));
    let (ids, proof) = list(&client).await;
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
    assert_whole(&ids, &sim);
    let injected = sim.stats().injected;
    // The 400 on modality 8, page 307 of 310; modality 2, which has nothing and says so.
    assert_eq!(injected["trace-400"], 1, "{injected:?}");
    assert!(injected["trace-429"] >= 8, "{injected:?}");
    assert!(injected["trace-timeout"] >= 50, "{injected:?}");
    let empty = proof
        .parts
        .iter()
        .find(|part| part.modalidade.is_some_and(|m| m.codigo() == 2));
    assert_eq!(
        empty.map(|part| (part.records, part.verdict)),
        Some((0, Verdict::Complete))
    );
}
