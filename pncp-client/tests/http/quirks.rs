//! A test for each numbered quirk of API.md section 8, over HTTP. What the same quirks do to
//! timing and to the ledger is in `src/script.rs` and `src/listing/`; `tests/README.md` has the
//! whole table.

use chrono::NaiveDate;
use pncp_client::{Cnpj, ContratacoesQuery, Details, Error, Modalidade, Verdict, Window};
use pncp_sim::{Fault, FaultKind, Route, Sim, SimHandle};

use crate::support::{assert_whole, client, client_of, day, key, list, quick};
use crate::wire::{Wire, answer};

async fn with(faults: impl IntoIterator<Item = Fault>) -> SimHandle {
    let builder = Sim::builder().synthetic(300);
    let builder = faults.into_iter().fold(builder, |b, fault| b.fault(fault));
    builder.start().await.unwrap()
}

async fn a_day_comes_whole_in_spite_of(fault: Fault) {
    let kind = format!("{fault:?}");
    let sim = with([fault]).await;
    let (ids, proof) = list(&client(&sim)).await;
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
    assert_whole(&ids, &sim);
    let struck: u64 = sim.stats().injected.values().sum();
    assert!(struck >= 3, "{kind} struck {struck} times");
}

#[tokio::test]
async fn quirk_01_a_204_in_the_middle_of_a_listing_is_a_fault() {
    a_day_comes_whole_in_spite_of(Fault::new(FaultKind::NoContent).rate(0.3).per_url(1)).await;
}

#[tokio::test]
async fn quirk_02_a_400_on_a_valid_page_passes() {
    // On a first page nobody can tell it from a query that is wrong, so they are spared.
    let fault = Fault::new(FaultKind::BadRequest)
        .rate(0.5)
        .per_url(1)
        .after(12);
    let sim = with([fault]).await;
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap())
        .modalidades([Modalidade::new(8)])
        .tamanho_pagina(10);
    let mut settings = quick(&sim);
    settings.prefetch_pages = 1;
    let mut listing = client_of(settings).contratacoes(query).unwrap();
    let mut seen = 0;
    while let Some(page) = listing.next_page().await.unwrap() {
        seen += page.fresh_len();
    }
    let proof = listing.into_proof();
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
    assert_eq!(seen, sim.truth(day()).filter(|r| r.modalidade == 8).count());
    assert!(sim.stats().answered(Route::Publicacao, 400) >= 1);
}

#[tokio::test]
async fn quirk_03_a_422_on_a_valid_date_passes_and_a_wrong_window_is_noticed() {
    a_day_comes_whole_in_spite_of(Fault::new(FaultKind::Unprocessable).rate(0.3).per_url(1)).await;
    a_day_comes_whole_in_spite_of(Fault::new(FaultKind::WrongWindow).rate(0.3).per_url(1)).await;
    // If it stays wrong it is not taken for complete, and its records are told apart.
    let sim = with([Fault::new(FaultKind::WrongWindow)]).await;
    let (_, proof) = list(&client(&sim)).await;
    assert_eq!(proof.verdict(), Verdict::Short);
    let outside: u64 = proof.parts.iter().map(|part| part.outside_window).sum();
    assert_eq!(
        outside,
        proof.parts.iter().map(|part| part.records).sum::<u64>()
    );
}

#[tokio::test]
async fn quirk_04_a_404_while_the_purchase_exists_passes() {
    let sim = with([
        Fault::new(FaultKind::NotFound)
            .rate(0.4)
            .per_url(1)
            .route(Route::Itens),
        Fault::new(FaultKind::NotFound)
            .rate(0.4)
            .per_url(1)
            .route(Route::Arquivos),
        Fault::new(FaultKind::NotFound)
            .rate(0.4)
            .per_url(1)
            .route(Route::Compra),
    ])
    .await;
    let client = client(&sim);
    for record in sim.truth(day()).take(60) {
        let key = key(&record);
        for (found, expected) in [
            (client.itens(&key).await, record.itens.len()),
            (client.arquivos(&key).await, record.arquivos.len()),
        ] {
            let right = matches!(&found, Ok(Details::Found(f)) if f.count == expected as u64);
            assert!(right, "{key}: {found:?}");
        }
        assert!(client.contratacao(&key).await.unwrap().is_some(), "{key}");
    }
    assert!(sim.stats().injected["404"] > 30);
}

#[tokio::test]
async fn quirk_05_a_500_may_be_the_limiter_and_is_asked_again() {
    a_day_comes_whole_in_spite_of(Fault::new(FaultKind::ServerError).status(500).rate(0.3)).await;
    a_day_comes_whole_in_spite_of(Fault::new(FaultKind::ServerError).rate(0.02).burst(6)).await;
}

#[tokio::test]
async fn quirk_06_only_parameters_that_the_api_knows_are_sent() {
    let wire = Wire::start(|_, _| answer("204 No Content", "", b"")).await;
    let cnpj = Cnpj::parse("27142058000126").unwrap();
    let all = |query: ContratacoesQuery| {
        query
            .cnpj(cnpj)
            .uf("es")
            .codigo_municipio_ibge("3205309")
            .codigo_unidade("1 á")
            .id_usuario(3)
            .modalidades([Modalidade::new(6)])
    };
    let window = Window::day(day()).unwrap();
    for query in [
        all(ContratacoesQuery::publicacao(window)).modo_disputa(1),
        all(ContratacoesQuery::atualizacao(window)).modo_disputa(1),
        all(ContratacoesQuery::proposta(day())),
    ] {
        let mut listing = wire.client().contratacoes(query).unwrap();
        assert!(listing.next_page().await.unwrap().is_none());
    }
    let dated = ["dataInicial", "dataFinal", "codigoModoDisputa"];
    let open = ["dataFinal"];
    let every = [
        "pagina",
        "tamanhoPagina",
        "codigoModalidadeContratacao",
        "uf",
        "codigoMunicipioIbge",
        "cnpj",
        "codigoUnidadeAdministrativa",
        "idUsuario",
    ];
    let asked = wire.paths();
    for (path, own) in [
        ("/v1/contratacoes/publicacao?", &dated[..]),
        ("/v1/contratacoes/atualizacao?", &dated[..]),
        ("/v1/contratacoes/proposta?", &open[..]),
    ] {
        let query = asked
            .iter()
            .find_map(|asked| asked.strip_prefix(path))
            .unwrap();
        let mut names: Vec<_> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap().0)
            .collect();
        let mut expected: Vec<_> = every.iter().chain(own).copied().collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{path}");
        assert!(
            query.contains("&uf=ES&") && query.contains("=1%20%C3%A1&"),
            "{query}"
        );
    }
    // What `proposta` would ignore is refused.
    let ignored = ContratacoesQuery::proposta(day()).modo_disputa(1);
    assert!(matches!(
        wire.client().contratacoes(ignored),
        Err(Error::Invalid {
            field: "codigoModoDisputa",
            ..
        })
    ));
}

#[tokio::test]
async fn quirk_06_the_right_name_really_filters() {
    let sim = with([]).await;
    let buyer = sim.truth(day()).next().unwrap().cnpj;
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap())
        .cnpj(Cnpj::parse(&buyer).unwrap());
    let mut listing = client(&sim).contratacoes(query).unwrap();
    let mut seen = 0;
    while let Some(page) = listing.next_page().await.unwrap() {
        for record in page.records() {
            assert!(record.id.unwrap().starts_with(&buyer));
            seen += 1;
        }
    }
    assert_eq!(
        seen,
        sim.truth(day())
            .filter(|record| record.cnpj == buyer)
            .count()
    );
}

#[tokio::test]
async fn quirk_07_a_list_that_moves_while_it_is_read() {
    let sim = with([Fault::new(FaultKind::Vanish)
        .route(Route::Publicacao)
        .after(6)
        .count(3)])
    .await;
    let (ids, proof) = list(&client(&sim)).await;
    // Nothing that is still there was skipped, or the proof says that it may have been.
    let missing = sim
        .truth(day())
        .filter(|record| !record.vanished && !ids.contains_key(&record.numero_controle))
        .count();
    assert!(
        missing == 0 || proof.verdict() != Verdict::Complete,
        "{proof:#?}"
    );
    assert!(proof.parts.iter().any(|part| part.passes > 1), "{proof:#?}");
    assert!(ids.values().all(|&times| times == 1));
}

#[tokio::test]
async fn quirk_08_absence_from_a_list_is_not_deletion() {
    let sim = with([Fault::new(FaultKind::Vanish)
        .route(Route::Publicacao)
        .after(6)
        .count(2)])
    .await;
    let client = client(&sim);
    let (ids, proof) = list(&client).await;
    let vanished: Vec<_> = sim.truth(day()).filter(|record| record.vanished).collect();
    assert!(!vanished.is_empty());
    // What was read before it went stays read: it is counted, and nothing calls it deleted.
    let counted: u64 = proof.parts.iter().map(|part| part.vanished).sum();
    let read = vanished
        .iter()
        .filter(|record| ids.contains_key(&record.numero_controle));
    assert_eq!(counted, read.count() as u64);
    // Nor does an empty answer for it, once: only the API's own word, said again.
    let sim = with([
        Fault::new(FaultKind::NoContent)
            .per_url(1)
            .route(Route::Compra),
        Fault::new(FaultKind::Empty200)
            .per_url(1)
            .route(Route::Compra),
    ])
    .await;
    let client = crate::support::client(&sim);
    let record = sim.truth(day()).next().unwrap();
    assert!(client.contratacao(&key(&record)).await.unwrap().is_some());
    let nobody = pncp_client::ContratacaoKey::parse("27142058000126|2025|99999").unwrap();
    assert_eq!(client.contratacao(&nobody).await.unwrap(), None);
    assert_eq!(sim.stats().answered(Route::Compra, 404), 2);
    assert!(matches!(
        client.itens(&nobody).await.unwrap(),
        Details::Gone {
            calls: 2,
            retries: 1
        }
    ));
}

#[tokio::test]
async fn quirk_09_a_record_is_what_it_says_not_what_was_asked() {
    // A town of Goiás under the IBGE code of São Paulo, as it was seen.
    let page = r#"{"data":[{"numeroControlePNCP":"27142058000126-1-000163/2025","dataPublicacaoPncp":"2025-10-22T10:00:00","unidadeOrgao":{"ufSigla":"GO","municipioNome":"Anápolis","codigoIbge":"3550308"}}],"totalRegistros":1,"totalPaginas":1,"numeroPagina":1,"paginasRestantes":0,"empty":false}"#;
    let wire = Wire::start(|_, _| answer("200 OK", "", page.as_bytes())).await;
    let query = ContratacoesQuery::publicacao(Window::day(day()).unwrap())
        .uf("SP")
        .modalidades([Modalidade::new(6)]);
    let mut listing = wire.client().contratacoes(query).unwrap();
    let read = listing.next_page().await.unwrap().unwrap();
    // Neither dropped nor corrected.
    assert_eq!(&read.body[..], page.as_bytes());
    let record = read.records().next().unwrap();
    let typed: pncp_client::model::Contratacao = serde_json::from_slice(record.bytes).unwrap();
    assert_eq!(typed.unidade_orgao.unwrap().uf_sigla.as_deref(), Some("GO"));
    assert!(listing.next_page().await.unwrap().is_none());
    assert!(listing.proof().is_complete());
}

#[tokio::test]
async fn quirk_07_an_old_window_of_changes_shrinks() {
    // A record that changes again leaves its old day: the list of that day is then read again.
    let sim = with([Fault::new(FaultKind::Move)
        .route(Route::Atualizacao)
        .after(2)
        .count(1)])
    .await;
    let today = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let query = ContratacoesQuery::atualizacao(Window::day(today).unwrap())
        .modalidades([Modalidade::new(8)])
        .tamanho_pagina(10);
    let mut listing = client(&sim).contratacoes(query).unwrap();
    let mut times = std::collections::BTreeMap::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        for record in page.records().filter(|record| record.fresh) {
            *times.entry(record.id.unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    let proof = listing.into_proof();
    assert_eq!(sim.stats().injected["move"], 1);
    assert!(times.values().all(|&n| n == 1));
    assert!(proof.parts[0].passes > 1, "{proof:#?}");
    assert_eq!(proof.verdict(), Verdict::Complete, "{proof:#?}");
}
