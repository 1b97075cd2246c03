//! Details of a synthetic day from the loopback PNCP, through the real client.
#![cfg(feature = "pncp")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::{Arc, Mutex};

use chrono::NaiveDate;
use details_checkpoint::pncp::FACETS;
use details_checkpoint::{
    Candidate, FailureKind, Fetched, Ingester, KeyList, MemorySink, Options, Outcome, PncpDetails,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use pncp_client::{ClientSettings, ContratacaoKey, Details, PageGate, PncpClient};
use pncp_sim::{Fault, Sim, SimHandle};

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

fn client(sim: &SimHandle, attempts: u32) -> PncpClient {
    paged(sim, attempts, 500)
}

fn paged(sim: &SimHandle, attempts: u32, page_size: u32) -> PncpClient {
    let mut settings = ClientSettings {
        detail_page_size: page_size,
        ..ClientSettings::default()
    };
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

/// Lets every page through and keeps what it was told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<u64>>);

impl PageGate for Told {
    fn before_page(&self, total_bytes: u64) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push(total_bytes);
        async {}.boxed()
    }
}

#[tokio::test]
async fn a_long_list_announces_each_page_before_it_asks_for_it() {
    let sim = Sim::builder().synthetic(40).start().await.unwrap();
    let longest = sim.truth(day()).max_by_key(|record| record.itens.len());
    let longest = longest.unwrap();
    assert!(longest.itens.len() > 20, "{}", longest.itens.len());
    let key = format!("{}|{}|{}", longest.cnpj, longest.ano, longest.sequencial);
    let key = ContratacaoKey::parse(&key).unwrap();
    let told = Told::default();
    let found = paged(&sim, 5, 10).itens_gated(&key, &told).await.unwrap();
    let Details::Found(found) = found else {
        panic!("gone")
    };
    let told = told.0.into_inner().unwrap();
    assert!(told.len() + 1 >= found.pages.len() && found.pages.len() > 2);
    for (before, total) in told.iter().enumerate().take(found.pages.len() - 1) {
        let held: usize = found.pages[..=before].iter().map(|page| page.len()).sum();
        assert!(*total > held as u64, "{total} announced, {held} held");
    }
}

#[tokio::test]
async fn lists_larger_than_the_budget_arrive_one_by_one() {
    let sim = Sim::builder().synthetic(40).start().await.unwrap();
    let sink = MemorySink::new();
    let source = Arc::new(PncpDetails::new(paged(&sim, 5, 10)));
    let options = Options {
        memory_bytes: 150_000,
        concurrency: 16,
        ..Options::default()
    };
    let ingester = Ingester::builder(source, Arc::new(sink.clone()))
        .with_options(options)
        .build()
        .unwrap();
    let report = ingester.run(&keys(&sim)).await.unwrap();
    assert_eq!((report.outcome, report.processed), (Outcome::Complete, 40));
    let largest = sink.rows().values().map(|row| row.size_bytes()).max();
    // What is held beside the one list that goes over the budget stays within it.
    assert!(
        report.peak_held_bytes <= 150_000 + 2 * largest.unwrap(),
        "{} held, the largest list {largest:?}",
        report.peak_held_bytes
    );
}
