//! Clients with short delays, and days of the simulator.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use pncp_client::{
    ClientSettings, ContratacaoKey, ContratacoesQuery, FamilySettings, ListingProof, PncpClient,
    Window,
};
use pncp_sim::{SimHandle, TruthRecord};

pub(crate) fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

/// Delays of milliseconds and no limit to speak of, so that faults cost no time.
pub(crate) fn quick(sim: &SimHandle) -> ClientSettings {
    let family = FamilySettings {
        requests_per_second_max: 100_000.0,
        requests_per_second_min: 1_000.0,
        requests_per_second_start: 10_000.0,
        concurrency_max: 16,
        default_pause_ms: 5,
    };
    let mut settings = ClientSettings {
        consulta_url: sim.consulta_url().to_owned(),
        api_url: sim.api_url().to_owned(),
        list: family,
        detail: family,
        ..ClientSettings::default()
    };
    settings.retry.first_delay_ms = 1;
    settings.retry.delay_max_ms = 4;
    settings.retry.attempts_max = 12;
    settings
}

pub(crate) fn client_of(settings: ClientSettings) -> PncpClient {
    PncpClient::builder()
        .with_settings(settings)
        .with_seed(7)
        .build()
        .unwrap()
}

pub(crate) fn client(sim: &SimHandle) -> PncpClient {
    client_of(quick(sim))
}

pub(crate) fn key(record: &TruthRecord) -> ContratacaoKey {
    ContratacaoKey::new(&record.cnpj, record.ano as u16, record.sequencial).unwrap()
}

/// Lists the day ten a page: ids with how often they were fresh, and the proof.
pub(crate) async fn list(client: &PncpClient) -> (BTreeMap<String, u32>, ListingProof) {
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap()).tamanho_pagina(10);
    let mut listing = client.contratacoes(query).unwrap();
    let mut ids = BTreeMap::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        for record in page.records().filter(|record| record.fresh) {
            *ids.entry(record.id.unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    (ids, listing.into_proof())
}

/// The ids of a day are those of the truth, each once.
pub(crate) fn assert_whole(ids: &BTreeMap<String, u32>, sim: &SimHandle) {
    let truth: Vec<_> = sim.truth(day()).collect();
    assert_eq!(ids.len(), truth.len());
    for record in truth {
        assert_eq!(ids.get(&record.numero_controle), Some(&1));
    }
}
