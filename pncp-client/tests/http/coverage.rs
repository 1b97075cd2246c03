//! Everything the client can ask for, against the simulator's truth.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::NaiveDate;
use futures::StreamExt as _;
use pncp_client::{
    ContratacaoKey, ContratacoesQuery, Details, Error, Modalidade, TabelaDominio, Verdict, Window,
};
use pncp_sim::{Fault, FaultKind, Latency, Route, Sim, TruthRecord};
use serde_json::Value;

use crate::support::{client, client_of, day, key, quick};
use crate::wire::{Wire, answer};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// All ids of a listing, and its proof.
async fn read(
    client: &pncp_client::PncpClient,
    query: ContratacoesQuery,
) -> (BTreeSet<String>, pncp_client::ListingProof) {
    let mut listing = client.contratacoes(query).unwrap();
    let mut ids = BTreeSet::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        ids.extend(page.records().map(|record| record.id.unwrap().to_owned()));
    }
    (ids, listing.into_proof())
}

#[tokio::test]
async fn the_three_lists() {
    let sim = Sim::builder()
        .synthetic(60)
        .today(day())
        .start()
        .await
        .unwrap();
    let client = client(&sim);
    let days = |back| day() - chrono::Days::new(back);
    let published: Vec<TruthRecord> = (0..40).flat_map(|n| sim.truth(days(n))).collect();
    let field = |record: &TruthRecord, name: &str| -> Option<String> {
        value(record.contratacao.as_bytes())[name]
            .as_str()
            .map(|text| text[..10].to_owned())
    };
    let whole = |(ids, proof): (BTreeSet<String>, pncp_client::ListingProof)| {
        assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
        ids
    };
    let of_day = Window::day(day()).unwrap();

    let ids = whole(read(&client, ContratacoesQuery::publicacao(of_day)).await);
    let truth: BTreeSet<_> = sim.truth(day()).map(|r| r.numero_controle).collect();
    assert_eq!(ids, truth);

    // A purchase of the simulator changes last within thirty days of its publication.
    let ids = whole(read(&client, ContratacoesQuery::atualizacao(of_day)).await);
    let today = day().to_string();
    let truth: BTreeSet<_> = published
        .iter()
        .filter(|r| field(r, "dataAtualizacaoGlobal").as_deref() == Some(&today))
        .map(|r| r.numero_controle.clone())
        .collect();
    assert_eq!(ids, truth);

    // Open until some day from today on, each for at most twenty-five days; all modalities at
    // once, or some.
    let last = day() + chrono::Days::new(10);
    let ids = whole(read(&client, ContratacoesQuery::proposta(last)).await);
    assert!(!ids.is_empty());
    for id in &ids {
        let found = published.iter().find(|r| r.numero_controle == *id);
        let ends = found
            .and_then(|r| field(r, "dataEncerramentoProposta"))
            .unwrap();
        assert!(
            (today.as_str()..=last.to_string().as_str()).contains(&ends.as_str()),
            "{ends}"
        );
    }
    let query = ContratacoesQuery::proposta(last).modalidades([Modalidade::new(6)]);
    let some = whole(read(&client, query).await);
    assert!(some.is_subset(&ids) && some.len() < ids.len());
}

#[tokio::test]
async fn one_purchase_and_what_lies_below_it() {
    let sim = Sim::builder().synthetic(60).start().await.unwrap();
    let client = client(&sim);
    let record = sim
        .truth(day())
        .find(|record| record.itens.len() > 2 && !record.arquivos.is_empty())
        .unwrap();
    let key = key(&record);

    let mut one = value(&client.contratacao(&key).await.unwrap().unwrap());
    for only_here in [
        "orcamentoSigilosoCodigo",
        "orcamentoSigilosoDescricao",
        "existeResultado",
    ] {
        assert!(one.as_object_mut().unwrap().remove(only_here).is_some());
    }
    assert_eq!(one, value(record.contratacao.as_bytes()));

    let Details::Found(itens) = client.itens(&key).await.unwrap() else {
        panic!("gone");
    };
    let got: Vec<Value> = itens
        .pages
        .iter()
        .flat_map(|page| value(page).as_array().unwrap().clone())
        .collect();
    let truth: Vec<Value> = record
        .itens
        .iter()
        .map(|item| value(item.as_bytes()))
        .collect();
    assert_eq!(got, truth);
    let second = client.item(&key, 2).await.unwrap().unwrap();
    assert_eq!(value(&second), truth[1]);
    assert!(client.item(&key, 60_000).await.is_err(), "no such item");

    let count = client.itens_quantidade(&key).await.unwrap();
    assert_eq!(count, Some(record.itens.len() as u64));
    let count = client.arquivos_quantidade(&key).await.unwrap();
    assert_eq!(count, Some(record.arquivos.len() as u64));

    let nobody = ContratacaoKey::parse("27142058000126|2025|99999").unwrap();
    assert_eq!(client.contratacao(&nobody).await.unwrap(), None);
    assert_eq!(client.item(&nobody, 1).await.unwrap(), None);
    assert_eq!(client.resultados(&nobody, 1).await.unwrap(), None);
    assert_eq!(client.itens_quantidade(&nobody).await.unwrap(), None);
}

#[tokio::test]
async fn lists_longer_than_a_page_come_whole() {
    let sim = Sim::builder().synthetic(400).start().await.unwrap();
    let mut settings = quick(&sim);
    settings.detail_page_size = 10;
    let client = client_of(settings);
    let mut longest = 0;
    // Among them lists that end with a full page, which only the count proves.
    let mut full = 0;
    for record in sim.truth(day()).filter(|r| r.itens.len() >= 10).take(60) {
        let Details::Found(found) = client.itens(&key(&record)).await.unwrap() else {
            panic!("gone");
        };
        assert_eq!(found.count as usize, record.itens.len());
        longest = longest.max(found.pages.len());
        full += usize::from(record.itens.len().is_multiple_of(10));
    }
    assert!(longest > 3 && full > 0, "{longest} {full}");
    assert!(sim.stats().requests(Route::ItensQuantidade) > 0);
}

#[tokio::test]
async fn results_of_items() {
    let sim = Sim::builder().synthetic(200).start().await.unwrap();
    let client = client(&sim);
    let (mut with, mut without) = (0, 0);
    for record in sim.truth(day()).take(80) {
        let found = client.resultados(&key(&record), 1).await.unwrap().unwrap();
        let results = value(&found);
        for result in results.as_array().unwrap() {
            assert_eq!(result["numeroItem"], 1);
        }
        // None is said by a 204, and is `[]` here.
        match results.as_array().unwrap().len() {
            0 => without += 1,
            _ => with += 1,
        }
    }
    assert!(with > 0 && without > 0, "{with} {without}");
    assert_eq!(sim.stats().answered(Route::Resultados, 204), without);
}

#[tokio::test]
async fn a_document_is_a_stream_of_bytes() {
    let sim = Sim::builder()
        .synthetic(50)
        .fault(
            Fault::new(FaultKind::ServerError)
                .route(Route::Arquivo)
                .per_url(2),
        )
        .start()
        .await
        .unwrap();
    let client = client(&sim);
    let record = sim.truth(day()).find(|r| !r.arquivos.is_empty()).unwrap();
    let document = value(record.arquivos[0].as_bytes());
    let number = document["sequencialDocumento"].as_u64().unwrap() as u32;
    let mut download = client.baixar_arquivo(&key(&record), number).await.unwrap();
    assert_eq!(download.content_type(), Some("application/octet-stream"));
    let declared = download.content_length();
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    let text = format!("pncp-sim {} document {number}\n", record.numero_controle);
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
    assert_eq!(declared, Some(text.len() as u64));
    assert_eq!(sim.stats().requests(Route::Arquivo), 3);
    let missing = client
        .baixar_arquivo(&key(&record), 60_000)
        .await
        .unwrap_err();
    assert_eq!(missing.status(), Some(404), "{missing}");
}

#[tokio::test]
async fn a_document_that_breaks_off_is_an_error_of_its_stream() {
    let sim = Sim::builder()
        .synthetic(50)
        .fault(Fault::new(FaultKind::Cut).route(Route::Arquivo))
        .start()
        .await
        .unwrap();
    let client = client(&sim);
    let mut failed = 0;
    for record in sim.truth(day()).filter(|r| !r.arquivos.is_empty()).take(10) {
        let document = value(record.arquivos[0].as_bytes());
        let number = document["sequencialDocumento"].as_u64().unwrap() as u32;
        let download = client.baixar_arquivo(&key(&record), number).await.unwrap();
        let pieces: Vec<_> = download.collect().await;
        failed += usize::from(pieces.last().is_some_and(
            |last| matches!(last, Err(Error::Transport { context, .. }) if context.attempts == 1),
        ));
    }
    assert_eq!(failed, 10);
}

#[tokio::test]
async fn the_small_tables() {
    let sim = Sim::builder().synthetic(5).start().await.unwrap();
    let modalidades = client(&sim).modalidades().await.unwrap();
    let codes: Vec<_> = modalidades.iter().map(|row| row.id.codigo()).collect();
    assert_eq!(codes, (1..=19).collect::<Vec<_>>());
    assert!(
        modalidades
            .iter()
            .all(|row| row.id.nome() == Some(&row.nome))
    );
    for table in [
        TabelaDominio::Modalidades,
        TabelaDominio::ModosDisputas,
        TabelaDominio::CriteriosJulgamentos,
        TabelaDominio::TiposDocumentos,
        TabelaDominio::TiposInstrumentosConvocatorios,
    ] {
        let rows = value(&client(&sim).tabela(table).await.unwrap());
        assert!(
            rows.as_array().is_some_and(|rows| rows.len() > 2),
            "{table:?}"
        );
    }
    // Those that the simulator does not have: the path and the shape.
    let wire = Wire::start(|_, _| answer("200 OK", "", br#"[{"id":1}]"#)).await;
    for table in [
        TabelaDominio::FontesOrcamentarias,
        TabelaDominio::AmparosLegais,
        TabelaDominio::Catalogos,
        TabelaDominio::PortesEmpresa,
    ] {
        assert_eq!(
            &wire.client().tabela(table).await.unwrap()[..],
            br#"[{"id":1}]"#
        );
    }
    assert_eq!(
        wire.paths(),
        [
            "/v1/fontes-orcamentarias",
            "/v1/amparos-legais",
            "/v1/catalogos",
            "/v1/portes-empresa"
        ]
    );
}

#[tokio::test]
async fn windows_over_a_year_are_split_where_the_server_would_refuse() {
    let sim = Sim::builder().synthetic(7).start().await.unwrap();
    let first = NaiveDate::from_ymd_opt(2024, 9, 1).unwrap();
    let last = first + chrono::Days::new(399);
    let query = ContratacoesQuery::publicacao(Window::new(first, last).unwrap())
        .modalidades([Modalidade::new(8)]);
    let (ids, proof) = read(&client(&sim), query).await;
    assert_eq!((proof.verdict(), proof.parts.len()), (Verdict::Complete, 2));
    let truth: BTreeSet<_> = (0..400)
        .flat_map(|n| sim.truth(first + chrono::Days::new(n)))
        .filter(|record| record.modalidade == 8)
        .map(|record| record.numero_controle)
        .collect();
    assert_eq!(ids, truth);
    assert_eq!(sim.stats().answered(Route::Publicacao, 422), 0);
}

#[tokio::test]
async fn what_the_api_would_refuse_or_ignore_is_never_sent() {
    let sim = Sim::builder().synthetic(5).start().await.unwrap();
    let query = || ContratacoesQuery::publicacao(Window::day(day()).unwrap());
    for bad in [
        query().tamanho_pagina(9),
        query().tamanho_pagina(51),
        query().uf("São Paulo"),
        query().codigo_municipio_ibge("35503"),
        query().codigo_unidade(""),
        query().codigo_unidade(&"9".repeat(31)),
        query().modalidades([]),
        ContratacoesQuery::proposta(day()).modo_disputa(1),
    ] {
        let refused = client(&sim).contratacoes(bad);
        assert!(matches!(refused, Err(Error::Invalid { .. })));
    }
    assert!(Window::new(day(), day() - chrono::Days::new(1)).is_err());
    assert_eq!(sim.stats().total, 0);
}

#[tokio::test]
async fn dropping_a_listing_stops_its_requests() {
    let sim = Sim::builder()
        .synthetic(2_000)
        .latency(Latency::Fixed(Duration::from_millis(5)))
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.prefetch_pages = 3;
    let client = client_of(settings);
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap())
        .modalidades([Modalidade::new(8)])
        .tamanho_pagina(10);
    let mut listing = client.contratacoes(query).unwrap();
    for _ in 0..4 {
        listing.next_page().await.unwrap().unwrap();
    }
    drop(listing);
    // Whatever was still asked for would have come while these are answered.
    for _ in 0..30 {
        client.tabela(TabelaDominio::ModosDisputas).await.unwrap();
    }
    let stats = sim.stats();
    assert!((4..=4 + 3).contains(&stats.list_calls()), "{stats:?}");
}

#[tokio::test]
async fn dropping_a_call_or_a_download_gives_its_room_back() {
    let sim = Sim::builder()
        .synthetic(50)
        .fault(Fault::new(FaultKind::Stall).ms(600_000).route(Route::Itens))
        .fault(
            Fault::new(FaultKind::Drip)
                .ms(600_000)
                .route(Route::Arquivo),
        )
        .start()
        .await
        .unwrap();
    let mut settings = quick(&sim);
    settings.detail.concurrency_max = 1;
    let client = client_of(settings);
    let record = sim.truth(day()).find(|r| !r.arquivos.is_empty()).unwrap();
    let key = key(&record);
    let stalled = client.itens(&key);
    let asked = tokio::time::timeout(Duration::from_millis(100), stalled).await;
    assert!(asked.is_err());
    let document = value(record.arquivos[0].as_bytes());
    let number = document["sequencialDocumento"].as_u64().unwrap() as u32;
    let download = client.baixar_arquivo(&key, number).await.unwrap();
    assert_eq!(sim.stats().max_in_flight, 1);
    drop(download);
    assert!(client.arquivos_quantidade(&key).await.is_ok());
}
