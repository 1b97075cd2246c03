//! Whole runs over HTTP against the loopback PNCP, compared with what it holds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveDate;
use futures::StreamExt as _;
use pncp_client::{
    ClientSettings, ContratacaoKey, ContratacoesQuery, Details, FamilySettings, PncpClient,
    Verdict, Window,
};
use pncp_sim::{Fault, FaultKind, RetryAfter, Route, Sim, SimHandle};

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

/// Delays of milliseconds, so that faults cost no time.
fn client(sim: &SimHandle) -> PncpClient {
    let family = FamilySettings {
        requests_per_second_max: 100_000.0,
        requests_per_second_min: 1_000.0,
        requests_per_second_start: 10_000.0,
        concurrency_max: 16,
        default_pause_ms: 5,
    };
    let mut settings = ClientSettings {
        list: family,
        detail: family,
        ..ClientSettings::default()
    };
    settings.retry.first_delay_ms = 1;
    settings.retry.delay_max_ms = 4;
    settings.retry.attempts_max = 12;
    settings.timeouts.first_byte_ms = 2_000;
    settings.timeouts.idle_ms = 2_000;
    settings.consulta_url = sim.consulta_url().to_owned();
    settings.api_url = sim.api_url().to_owned();
    PncpClient::builder()
        .with_settings(settings)
        .with_seed(7)
        .build()
        .unwrap()
}

/// Lists the day; ids with how often they were fresh, and whether the proof is complete.
async fn list(client: &PncpClient) -> (BTreeMap<String, u32>, pncp_client::ListingProof) {
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap());
    let mut listing = client.contratacoes(query).unwrap();
    let mut ids = BTreeMap::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        for record in page.records().filter(|record| record.fresh) {
            *ids.entry(record.id.unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    (ids, listing.into_proof())
}

#[tokio::test]
async fn a_faulty_day_comes_whole() {
    let sim = Sim::builder()
        .synthetic(400)
        .fault(Fault::new(FaultKind::NoContent).rate(0.1).per_url(2))
        .fault(
            Fault::new(FaultKind::BadRequest)
                .rate(0.05)
                .per_url(1)
                .route(Route::Publicacao)
                .after(30),
        )
        .fault(Fault::new(FaultKind::ServerError).rate(0.1).per_url(2))
        .fault(Fault::new(FaultKind::CutClean).rate(0.05).per_url(1))
        .fault(Fault::new(FaultKind::Cut).rate(0.05).per_url(1))
        .fault(Fault::new(FaultKind::Html200).rate(0.05).per_url(1))
        .fault(
            Fault::new(FaultKind::NotFound)
                .rate(0.05)
                .per_url(1)
                .route(Route::Itens),
        )
        .fault(
            Fault::new(FaultKind::Unprocessable)
                .rate(0.05)
                .per_url(1)
                .route(Route::Publicacao),
        )
        .fault(Fault::new(FaultKind::WrongWindow).rate(0.05).per_url(1))
        .start()
        .await
        .unwrap();
    let client = client(&sim);
    let (ids, proof) = list(&client).await;
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
    let truth: Vec<_> = sim.truth(day()).collect();
    assert_eq!(ids.len(), truth.len());
    assert!(
        truth
            .iter()
            .all(|record| ids.get(&record.numero_controle) == Some(&1))
    );

    let details = futures::stream::iter(truth.into_iter().take(150)).map(|record| {
        let client = client.clone();
        async move {
            let key =
                ContratacaoKey::new(&record.cnpj, record.ano as u16, record.sequencial).unwrap();
            for (answer, expected) in [
                (client.itens(&key).await, record.itens.len()),
                (client.arquivos(&key).await, record.arquivos.len()),
            ] {
                match answer.unwrap() {
                    Details::Found(found) => assert_eq!(found.count, expected as u64, "{key}"),
                    Details::Gone { .. } => panic!("{key} is gone"),
                }
            }
        }
    });
    details.buffer_unordered(8).for_each(|()| async {}).await;
    assert!(
        sim.stats().injected.values().sum::<u64>() > 50,
        "{:?}",
        sim.stats().injected
    );
}

#[tokio::test]
async fn a_record_that_vanishes_while_the_day_is_read_costs_no_other() {
    let sim = Sim::builder()
        .synthetic(400)
        .fault(
            Fault::new(FaultKind::Vanish)
                .route(Route::Publicacao)
                .after(12)
                .count(2),
        )
        .start()
        .await
        .unwrap();
    let (ids, proof) = list(&client(&sim)).await;
    let kept: Vec<_> = sim.truth(day()).filter(|record| !record.vanished).collect();
    let missing: Vec<_> = kept
        .iter()
        .filter(|record| !ids.contains_key(&record.numero_controle))
        .collect();
    assert!(
        missing.is_empty() || proof.verdict() != Verdict::Complete,
        "{proof:#?}"
    );
    assert!(ids.values().all(|&times| times == 1));
}

#[tokio::test]
async fn no_request_inside_a_pause() {
    let sim = Sim::builder()
        .synthetic(100)
        .fault(
            Fault::new(FaultKind::TooMany)
                .route(Route::Publicacao)
                .after(3)
                .count(1)
                .retry_after(RetryAfter::Seconds(1)),
        )
        .start()
        .await
        .unwrap();
    let (ids, proof) = list(&client(&sim)).await;
    assert_eq!(proof.verdict(), Verdict::Complete);
    assert_eq!(ids.len(), sim.truth(day()).count());
    assert_eq!(sim.stats().in_retry_after_pause, 0);
}

#[tokio::test]
async fn a_document_comes_as_bytes() {
    let sim = Sim::builder().synthetic(50).start().await.unwrap();
    let client = client(&sim);
    let record = sim
        .truth(day())
        .find(|record| !record.arquivos.is_empty())
        .unwrap();
    let document: serde_json::Value = serde_json::from_str(&record.arquivos[0]).unwrap();
    let number = document["sequencialDocumento"].as_u64().unwrap() as u32;
    let key = ContratacaoKey::new(&record.cnpj, record.ano as u16, record.sequencial).unwrap();
    let mut download = client.baixar_arquivo(&key, number).await.unwrap();
    let mut bytes = 0;
    while let Some(piece) = download.next().await {
        bytes += piece.unwrap().len();
    }
    assert!(bytes > 0);
    let single = client.contratacao(&key).await.unwrap().unwrap();
    let fields = pncp_client::key_fields(&single).unwrap();
    assert_eq!(
        fields.numero_controle.as_deref(),
        Some(record.numero_controle.as_str())
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let sim = Sim::builder()
        .synthetic(10)
        .fault(Fault::new(FaultKind::Stall).ms(60_000).route(Route::Itens))
        .start()
        .await
        .unwrap();
    let mut settings = client(&sim).settings().clone();
    settings.timeouts.first_byte_ms = 50;
    settings.retry.attempts_max = 2;
    let client = PncpClient::builder()
        .with_settings(settings)
        .build()
        .unwrap();
    let key = ContratacaoKey::parse("27142058000126|2025|163").unwrap();
    let asked = tokio::time::timeout(Duration::from_secs(5), client.itens(&key)).await;
    let error = asked.unwrap().unwrap_err();
    assert!(error.is_transient() && error.attempts() == 2, "{error:?}");
}

#[cfg(feature = "arrow")]
#[tokio::test]
async fn pages_become_rows_with_and_without_a_filter() {
    use pncp_client::arrow::ContratacaoBatchBuilder;

    let sim = Sim::builder().synthetic(120).start().await.unwrap();
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap());
    let mut listing = client(&sim).contratacoes(query).unwrap();
    let mut all = ContratacaoBatchBuilder::new("a");
    let mut some = ContratacaoBatchBuilder::new("a");
    while let Some(page) = listing.next_page().await.unwrap() {
        let appended = all.append_page(&page).unwrap();
        assert_eq!((appended.rows, appended.rejected), (page.len(), 0));
        assert_eq!(some.append_page_if(&page, |_| true).unwrap(), appended);
        assert_eq!(
            some.append_page_if(&page, |_| false).unwrap().skipped,
            page.len()
        );
    }
    assert_eq!(all.rows(), sim.truth(day()).count());
    assert_eq!(all.finish().unwrap(), some.finish().unwrap());
}
