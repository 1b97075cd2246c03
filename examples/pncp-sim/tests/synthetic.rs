//! Made-up days: the same for the same seed, paged whole, with the oddities of the real data.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDate;
use common::{below, get, publicacao};
use pncp_sim::{Sim, SimHandle, TruthRecord};
use serde_json::Value;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

async fn synthetic(per_day: u32, seed: u64) -> SimHandle {
    Sim::builder()
        .synthetic(per_day)
        .seed(seed)
        .start()
        .await
        .unwrap()
}

/// Every record that paging yields, by id.
async fn paged(sim: &SimHandle, day: &str, size: u64) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for modalidade in 1..=19 {
        let mut page = 1;
        loop {
            let reply = get(sim.url(), &publicacao(day, modalidade, page, size)).await;
            if reply.status == 204 {
                break;
            }
            let body = reply.json();
            for record in body["data"].as_array().unwrap() {
                let id = record["numeroControlePNCP"].as_str().unwrap().to_owned();
                assert!(found.insert(id, record.clone()).is_none(), "twice");
            }
            if body["paginasRestantes"] == 0 {
                break;
            }
            page += 1;
        }
    }
    found
}

#[tokio::test]
async fn paging_yields_the_truth_whatever_the_page_size() {
    let sim = synthetic(700, 11).await;
    let truth: BTreeMap<String, Value> = sim
        .truth(day("2025-10-22"))
        .map(|t| {
            (
                t.numero_controle,
                serde_json::from_str(&t.contratacao).unwrap(),
            )
        })
        .collect();
    assert_eq!(truth.len(), 700);
    for size in [10, 17, 50] {
        assert_eq!(paged(&sim, "20251022", size).await, truth);
    }
}

#[tokio::test]
async fn details_are_those_of_the_truth() {
    let sim = synthetic(60, 5).await;
    for t in sim.truth(day("2026-07-15")) {
        let path = |rest: &str| below(&t.cnpj, t.ano, t.sequencial, rest);
        for (rest, expected) in [("/itens", &t.itens), ("/arquivos", &t.arquivos)] {
            let reply = get(
                sim.url(),
                &path(&format!("{rest}?pagina=1&tamanhoPagina=3000")),
            )
            .await;
            let expected: Vec<Value> = expected
                .iter()
                .map(|i| serde_json::from_str(i).unwrap())
                .collect();
            if reply.status == 204 {
                assert!(expected.is_empty());
            } else {
                assert_eq!(reply.json(), Value::Array(expected));
            }
        }
    }
}

#[tokio::test]
async fn a_seed_makes_the_same_day_and_another_one_another() {
    let truth = |sim: &SimHandle, at: &str| -> Vec<TruthRecord> { sim.truth(day(at)).collect() };
    let (one, same, other) = (
        synthetic(80, 1).await,
        synthetic(80, 1).await,
        synthetic(80, 2).await,
    );
    let first = truth(&one, "2025-10-22");
    assert_eq!(first, truth(&same, "2025-10-22"));
    assert_ne!(first, truth(&other, "2025-10-22"));
    let ids = |records: &[TruthRecord]| -> HashSet<String> {
        records.iter().map(|r| r.numero_controle.clone()).collect()
    };
    assert!(ids(&first).is_disjoint(&ids(&truth(&one, "2025-10-23"))));
}

#[tokio::test]
async fn the_oddities_of_real_records_occur() {
    let sim = synthetic(3_000, 3).await;
    let all: Vec<(TruthRecord, Value)> = sim
        .truth(day("2026-07-15"))
        .map(|t| {
            let value = serde_json::from_str(&t.contratacao).unwrap();
            (t, value)
        })
        .collect();
    let share = |what: &dyn Fn(&TruthRecord, &Value) -> bool| {
        let hits = all.iter().filter(|(t, v)| what(t, v)).count();
        hits * 1_000 / all.len()
    };
    assert!(all.iter().all(|(_, v)| v.as_object().unwrap().len() == 35));
    let zero = share(&|t, _| t.contratacao.contains("\"valorTotalEstimado\":0.00,"));
    assert!((130..=250).contains(&zero), "{zero}");
    let other_year = share(&|t, _| t.ano != 2026);
    assert!((90..=160).contains(&other_year), "{other_year}");
    assert!(share(&|t, _| t.cnpj.bytes().any(|b| b.is_ascii_uppercase())) > 5);
    assert!(share(&|_, v| v["orgaoEntidade"]["poderId"] == "N") > 600);
    let direct = |v: &Value| v["modalidadeId"] == 8 || v["modalidadeId"] == 9;
    assert!(
        all.iter()
            .all(|(_, v)| v["dataAberturaProposta"].is_null() == direct(v))
    );
    for (name, hit) in [
        ("sub-rogado", share(&|_, v| v["orgaoSubRogado"].is_object())),
        (
            "fontes",
            share(&|_, v| v["fontesOrcamentarias"] != serde_json::json!([])),
        ),
        (
            "literal string",
            share(&|_, v| v["justificativaPresencial"] == "string"),
        ),
        (
            "empty text",
            share(&|_, v| v["informacaoComplementar"] == ""),
        ),
        (
            "crlf",
            share(&|_, v| {
                v["informacaoComplementar"]
                    .as_str()
                    .is_some_and(|t| t.contains("\r\n"))
            }),
        ),
        (
            "long",
            share(&|_, v| v["objetoCompra"].as_str().unwrap().chars().count() > 1_200),
        ),
        (
            "global moved",
            share(&|_, v| v["dataAtualizacaoGlobal"] != v["dataAtualizacao"]),
        ),
        (
            "trailing space",
            share(&|_, v| v["amparoLegal"]["nome"].as_str().unwrap().ends_with(' ')),
        ),
    ] {
        assert!(hit > 0, "{name}");
    }
    let control = format!("\"{}\"", all[0].0.numero_controle);
    assert!(all[0].0.contratacao.contains(&control));
    let early = all.iter().any(|(_, v)| {
        v["dataAberturaProposta"]
            .as_str()
            .is_some_and(|d| d < &v["dataPublicacaoPncp"].as_str().unwrap()[..10])
    });
    assert!(early, "opened before published");
}

#[tokio::test]
async fn money_is_spelled_with_its_places_and_extremes_do_not_fit_a_float() {
    let sim = synthetic(2_000, 3).await;
    let mut unfaithful = 0;
    for t in sim.truth(day("2025-10-22")) {
        for item in &t.itens {
            for key in [
                "\"valorTotal\":",
                "\"quantidade\":",
                "\"valorUnitarioEstimado\":",
            ] {
                let rest = &item[item.find(key).unwrap() + key.len()..];
                let token = &rest[..rest.find([',', '}']).unwrap()];
                let (_, places) = token.split_once('.').unwrap();
                assert_eq!(places.len(), 4, "{token}");
                // What a client that reads a double would write back.
                let double: f64 = token.parse().unwrap();
                unfaithful += usize::from(format!("{double:.4}") != token);
            }
        }
    }
    assert!(unfaithful > 0);
}

#[tokio::test]
async fn key_order_changes_between_two_fetches_and_values_do_not() {
    let sim = synthetic(200, 3).await;
    let path = publicacao("20251022", 8, 1, 50);
    let (first, second) = (get(sim.url(), &path).await, get(sim.url(), &path).await);
    assert_ne!(first.text(), second.text());
    assert_eq!(first.json(), second.json());
}

#[tokio::test]
async fn a_day_grows_with_the_clock() {
    let sim = synthetic(500, 3).await;
    let mut last = 0;
    for hour in [6, 9, 12, 18] {
        sim.set_now(Some(day("2025-10-22").and_hms_opt(hour, 0, 0).unwrap()));
        let records = paged(&sim, "20251022", 50).await;
        assert!(records.len() > last);
        assert_eq!(records.len(), sim.truth(day("2025-10-22")).count());
        last = records.len();
    }
    assert_eq!(
        get(sim.url(), &publicacao("20251023", 8, 1, 50))
            .await
            .status,
        204
    );
    sim.set_now(None);
    assert_eq!(paged(&sim, "20251022", 50).await.len(), 500);
}
