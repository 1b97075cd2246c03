//! Details of a synthetic day from the loopback PNCP, through the real client.
#![cfg(feature = "pncp")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::Arc;

use chrono::NaiveDate;
use details_checkpoint::pncp::FACETS;
use details_checkpoint::{
    Candidate, FailureKind, Fetched, Ingester, KeyList, MemorySink, Options, Outcome, PncpDetails,
};
use pncp_client::{ClientSettings, PncpClient};
use pncp_sim::{Fault, Sim, SimHandle};

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

fn client(sim: &SimHandle, attempts: u32) -> PncpClient {
    let mut settings = ClientSettings::default();
    settings.retry.attempts_max = attempts;
    settings.retry.first_delay_ms = 1;
    settings.retry.delay_max_ms = 5;
    settings.detail.requests_per_second_max = 10_000.0;
    settings.detail.requests_per_second_start = 10_000.0;
    settings.detail.concurrency_max = 64;
    PncpClient::builder()
        .with_settings(settings)
        .with_consulta_url(sim.consulta_url())
        .with_api_url(sim.api_url())
        .build()
        .unwrap()
}

fn keys(sim: &SimHandle) -> KeyList {
    let mut keys = KeyList::new();
    for record in sim.truth(day()) {
        let key = format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial);
        keys.push(Candidate::new(&key)).unwrap();
    }
    keys
}

#[tokio::test]
async fn every_item_and_document_of_a_day_arrives() {
    let sim = Sim::builder().synthetic(60).start().await.unwrap();
    let keys = keys(&sim);
    let sink = MemorySink::new();
    let source = Arc::new(PncpDetails::new(client(&sim, 5)));
    let ingester = Ingester::builder(source, Arc::new(sink.clone()))
        .build()
        .unwrap();
    let report = ingester.run(&keys).await.unwrap();
    assert_eq!((report.outcome, report.processed), (Outcome::Complete, 60));
    let rows = sink.rows();
    for record in sim.truth(day()) {
        let key = format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial);
        for (facet, expected) in FACETS.into_iter().zip([&record.itens, &record.arquivos]) {
            let row = &rows[&(key.clone(), facet)];
            assert_eq!(row.count() as usize, expected.len(), "{facet} of {key}");
            let Fetched::Present(payload) = &row.fetched else {
                panic!("{facet} of {key} is gone")
            };
            // The order of the keys differs from one answer to the next, on purpose.
            let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
            let got = payload.pages.iter().flat_map(|page| match value(page) {
                serde_json::Value::Array(elements) => elements,
                other => panic!("not a list: {other}"),
            });
            let expected = expected.iter().map(|element| value(element.as_bytes()));
            assert!(got.eq(expected), "{facet} of {key}");
        }
    }
    let calls = report.calls;
    assert_eq!(ingester.run(&keys).await.unwrap().calls, 0);
    assert_eq!(sim.stats().detail_calls(), calls);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_failure_and_never_an_empty_list() {
    let sim = Sim::builder()
        .synthetic(10)
        .fault("5xx:status=503".parse::<Fault>().unwrap())
        .start()
        .await
        .unwrap();
    let sink = MemorySink::new();
    let source = Arc::new(PncpDetails::new(client(&sim, 2)));
    let options = Options {
        failure_threshold: 1.0,
        ..Options::default()
    };
    let ingester = Ingester::builder(source, Arc::new(sink.clone()))
        .with_options(options)
        .build()
        .unwrap();
    let report = ingester.run(&keys(&sim)).await.unwrap();
    assert_eq!(
        (report.outcome, report.processed, report.failed),
        (Outcome::Partial, 0, 10)
    );
    assert!(sink.rows().is_empty());
    let aside = sink.quarantined();
    assert_eq!(aside.len(), 20);
    assert!(aside.iter().all(|failure| failure.kind == FailureKind::Transient && failure.reason.contains("503")));
}
