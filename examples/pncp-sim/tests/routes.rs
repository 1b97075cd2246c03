//! Every route, its limits and its error bodies.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{below, get, list, publicacao, request};
use pncp_sim::{Route, Sim};
use serde_json::json;

const DAY: &str = "20251022";

#[tokio::test]
async fn a_recorded_day_is_paged_with_the_documented_envelope() {
    let sim = Sim::builder().start().await.unwrap();
    let mut ids = Vec::new();
    for page in 1..=6 {
        let reply = get(sim.url(), &publicacao(DAY, 6, page, 10)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let body = reply.json();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        assert_eq!(body["totalRegistros"], 52);
        assert_eq!(body["totalPaginas"], 6);
        assert_eq!(body["numeroPagina"], page);
        assert_eq!(body["paginasRestantes"], 6 - page);
        assert_eq!(body["empty"], false);
        for record in body["data"].as_array().unwrap() {
            assert!(
                record["dataPublicacaoPncp"]
                    .as_str()
                    .unwrap()
                    .starts_with("2025-10-22T")
            );
            ids.push((
                record["dataPublicacaoPncp"].as_str().unwrap().to_owned(),
                record["numeroControlePNCP"].as_str().unwrap().to_owned(),
            ));
        }
    }
    assert_eq!(ids.len(), 52);
    assert!(ids.is_sorted_by_key(|(at, _)| at.clone()));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 52);
    for path in [
        publicacao(DAY, 6, 7, 10),
        publicacao(DAY, 8, 1, 50),
        publicacao("20230101", 6, 1, 50),
    ] {
        let reply = get(sim.url(), &path).await;
        assert_eq!((reply.status, reply.body.len()), (204, 0), "{path}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn recorded_bytes_are_served_untouched() {
    let sim = Sim::builder().start().await.unwrap();
    let reply = get(sim.url(), &publicacao("20260604", 6, 1, 10)).await;
    assert!(reply.text().contains("\"valorTotalEstimado\":100720.00,"));
}

#[tokio::test]
async fn limits_and_bad_parameters_answer_as_recorded() {
    let sim = Sim::builder().start().await.unwrap();
    let base = "/api/consulta/v1/contratacoes/publicacao?";
    let cases = [
        (
            format!("{base}dataInicial={DAY}&dataFinal={DAY}&pagina=1"),
            400,
            "framework",
            "Required request parameter 'codigoModalidadeContratacao' for method parameter type Long is not present",
        ),
        (
            format!("{base}dataFinal={DAY}&codigoModalidadeContratacao=6&pagina=1"),
            400,
            "framework",
            "Required request parameter 'dataInicial' for method parameter type String is not present",
        ),
        (
            format!("{base}dataInicial={DAY}&dataFinal={DAY}&codigoModalidadeContratacao=6"),
            400,
            "framework",
            "Required request parameter 'pagina' for method parameter type Integer is not present",
        ),
        (
            publicacao(DAY, 6, 1, 51),
            400,
            "application",
            "Tamanho de página inválido",
        ),
        (
            publicacao(DAY, 6, 1, 9),
            400,
            "application",
            "Tamanho de página inválido",
        ),
        (
            publicacao(DAY, 6, 0, 50),
            400,
            "application",
            "Número da página inválido",
        ),
        (
            publicacao(DAY, 20, 1, 50),
            422,
            "application",
            "Código da modalidade de contratação inválido.",
        ),
        (
            publicacao("2025-10-22", 6, 1, 50),
            422,
            "application",
            "Data Inicial inválida, deve estar no formato yyyyMMdd.",
        ),
        (
            publicacao("20251332", 6, 1, 50),
            422,
            "application",
            "Data Inicial inválida, deve estar no formato yyyyMMdd.",
        ),
        (
            format!(
                "{base}dataInicial=20251022&dataFinal=20251021&codigoModalidadeContratacao=6&pagina=1"
            ),
            422,
            "application",
            "Data Inicial deve ser anterior ou igual à Data Final",
        ),
        (
            format!(
                "{base}dataInicial=20240101&dataFinal=20250102&codigoModalidadeContratacao=6&pagina=1"
            ),
            422,
            "application",
            "Período inicial e final maior que 365 dias.",
        ),
        (
            "/api/consulta/v1/contratacoes/proposta?dataFinal=20200101&pagina=1".to_owned(),
            422,
            "application",
            "Data Final inválida. Data Final deve ser maior ou igual a data atual",
        ),
    ];
    for (path, status, shape, message) in cases {
        let reply = get(sim.url(), &path).await;
        assert_eq!(reply.status, status, "{path}");
        let body = reply.json();
        assert_eq!(body["message"], message, "{path}");
        assert!(
            body["path"]
                .as_str()
                .unwrap()
                .starts_with("/pncp-consulta/v1/contratacoes/")
        );
        if shape == "framework" {
            assert_eq!(body["status"], status);
            assert!(body["timestamp"].as_str().unwrap().ends_with("+00:00"));
        } else {
            assert_eq!(body["status"], status.to_string());
            assert!(
                body["error"]
                    .as_str()
                    .unwrap()
                    .starts_with(&status.to_string())
            );
            assert!(body["timestamp"].as_str().unwrap().ends_with("-03:00"));
        }
    }
    let bad = publicacao(DAY, 6, 1, 50).replace("pagina=1", "pagina=um");
    assert_eq!(get(sim.url(), &bad).await.json()["status"], 400);
    for size in [10, 50] {
        assert_eq!(
            get(sim.url(), &publicacao(DAY, 6, 1, size)).await.status,
            200
        );
    }
    // Ignored, not refused.
    let odd = format!("{}&cnpjOrgao=00000000000191", publicacao(DAY, 6, 1, 50));
    assert_eq!(get(sim.url(), &odd).await.json()["totalRegistros"], 52);
}

#[tokio::test]
async fn filters_keep_what_the_record_says() {
    let sim = Sim::builder().synthetic(2_000).start().await.unwrap();
    let all = get(sim.url(), &publicacao(DAY, 6, 1, 50)).await.json();
    let first = &all["data"][0];
    let (uf, cnpj) = (
        first["unidadeOrgao"]["ufSigla"].clone(),
        first["orgaoEntidade"]["cnpj"].clone(),
    );
    let by_uf = format!("{}&uf={}", publicacao(DAY, 6, 1, 50), uf.as_str().unwrap());
    let by_uf = get(sim.url(), &by_uf).await.json();
    assert!(by_uf["totalRegistros"].as_u64() < all["totalRegistros"].as_u64());
    assert!(
        by_uf["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["unidadeOrgao"]["ufSigla"] == uf)
    );
    let by_cnpj = format!(
        "{}&cnpj={}",
        publicacao(DAY, 6, 1, 50),
        cnpj.as_str().unwrap()
    );
    let by_cnpj = get(sim.url(), &by_cnpj).await.json();
    assert!(
        by_cnpj["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["orgaoEntidade"]["cnpj"] == cnpj)
    );
    let mode = format!("{}&codigoModoDisputa=2", publicacao(DAY, 6, 1, 50));
    let mode = get(sim.url(), &mode).await.json();
    assert!(
        mode["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["modoDisputaId"] == 2)
    );
}

#[tokio::test]
async fn atualizacao_and_proposta_follow_their_own_dates() {
    for sim in [Sim::builder(), Sim::builder().synthetic(3_000)] {
        let sim = sim.start().await.unwrap();
        let changed = get(sim.url(), &list("atualizacao", DAY, 6, 1, 50))
            .await
            .json();
        let dates: Vec<&str> = changed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["dataAtualizacaoGlobal"].as_str().unwrap())
            .collect();
        assert!(!dates.is_empty() && dates.is_sorted());
        assert!(dates.iter().all(|d| d.starts_with("2025-10-22T")));
        let path =
            "/api/consulta/v1/contratacoes/proposta?dataFinal=20260815&pagina=1&tamanhoPagina=50";
        let open = get(sim.url(), path).await;
        assert!(matches!(open.status, 200 | 204));
        if open.status == 200 {
            let open = open.json();
            let closing =
                |r: &serde_json::Value| r["dataEncerramentoProposta"].as_str().unwrap().to_owned();
            assert!(
                open["data"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|r| *closing(r) > *"2026-06-17")
            );
        }
    }
    let today = chrono::NaiveDate::from_ymd_opt(2025, 10, 29).unwrap();
    let sim = Sim::builder().today(today).start().await.unwrap();
    let path =
        "/api/consulta/v1/contratacoes/proposta?dataFinal=20251130&pagina=1&tamanhoPagina=50";
    let open = get(sim.url(), path).await.json();
    assert!(open["totalRegistros"].as_u64().unwrap() > 300);
    let one = format!("{path}&codigoModalidadeContratacao=1");
    assert_eq!(get(sim.url(), &one).await.status, 204);
}

#[tokio::test]
async fn details_of_a_purchase() {
    let sim = Sim::builder().synthetic(4_000).start().await.unwrap();
    let day = "2025-10-22".parse().unwrap();
    let long = sim.truth(day).find(|t| t.itens.len() > 500).unwrap();
    let key = |rest: &str| below(&long.cnpj, long.ano, long.sequencial, rest);
    let ten = get(sim.url(), &key("/itens")).await.json();
    assert_eq!(
        ten.as_array().unwrap().len(),
        10,
        "ten unless asked otherwise"
    );
    let mut paged = Vec::new();
    for page in 1.. {
        let path = key(&format!("/itens?pagina={page}&tamanhoPagina=100"));
        let items = get(sim.url(), &path).await;
        assert_eq!(items.status, 200);
        let items = items.json();
        if items == json!([]) {
            break;
        }
        paged.extend(items.as_array().unwrap().clone());
    }
    let truth: Vec<serde_json::Value> = long
        .itens
        .iter()
        .map(|i| serde_json::from_str(i).unwrap())
        .collect();
    assert_eq!(paged, truth);
    let whole = get(sim.url(), &key("/itens?pagina=1&tamanhoPagina=5000"))
        .await
        .json();
    assert_eq!(whole.as_array().unwrap().len(), long.itens.len());
    let count = get(sim.url(), &key("/itens/quantidade")).await;
    assert_eq!(count.text(), long.itens.len().to_string());
    assert_eq!(get(sim.url(), &key("/itens/3")).await.json(), truth[2]);
    assert_eq!(get(sim.url(), &key("/itens/99999")).await.status, 404);
    let documents = get(sim.url(), &key("/arquivos?tamanhoPagina=50")).await;
    let expected = format!("[{}]", long.arquivos.join(","));
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    if !long.arquivos.is_empty() {
        assert_eq!(documents.json(), expected);
        let n = &expected[0]["sequencialDocumento"];
        let file = get(sim.url(), &key(&format!("/arquivos/{n}"))).await;
        assert_eq!(
            file.header("content-type"),
            Some("application/octet-stream")
        );
    }
    let count = get(sim.url(), &key("/arquivos/quantidade")).await;
    assert_eq!(count.text(), long.arquivos.len().to_string());
    assert_eq!(get(sim.url(), &key("/arquivos/999")).await.status, 404);
    assert_eq!(
        get(sim.url(), &key("/itens?tamanhoPagina=0")).await.status,
        400
    );
}

#[tokio::test]
async fn results_are_those_of_awarded_items() {
    let sim = Sim::builder().synthetic(500).start().await.unwrap();
    let day = "2025-10-22".parse().unwrap();
    let (mut some, mut none) = (0, 0);
    for t in sim.truth(day).filter(|t| t.itens.len() > 3).take(8) {
        for item in t.itens.iter().take(5) {
            let item: serde_json::Value = serde_json::from_str(item).unwrap();
            let rest = format!("/itens/{}/resultados", item["numeroItem"]);
            let reply = get(sim.url(), &below(&t.cnpj, t.ano, t.sequencial, &rest)).await;
            if item["situacaoCompraItem"] == 2 {
                some += 1;
                let results = reply.json();
                let first = &results[0];
                assert_eq!(
                    first["numeroControlePNCPCompra"],
                    t.numero_controle.as_str()
                );
                assert_eq!(first["dataResultado"].as_str().unwrap().len(), 10);
                let one = below(&t.cnpj, t.ano, t.sequencial, &format!("{rest}/1"));
                assert_eq!(get(sim.url(), &one).await.json(), *first);
            } else {
                none += 1;
                assert_eq!(reply.status, 204);
            }
        }
    }
    assert!(some > 0 && none > 0);
}

#[tokio::test]
async fn one_purchase_redirects_and_unknown_ones_are_not_there() {
    let sim = Sim::builder().start().await.unwrap();
    let day = "2025-10-22".parse().unwrap();
    let t = sim.truth(day).next().unwrap();
    let path = below(&t.cnpj, t.ano, t.sequencial, "");
    let moved = get(sim.url(), &path).await;
    assert_eq!(moved.status, 301);
    let location = moved.header("location").unwrap().to_owned();
    assert_eq!(location, path.replace("/api/pncp", "/api/consulta"));
    let record = get(sim.url(), &location).await.json();
    assert_eq!(record["numeroControlePNCP"], t.numero_controle.as_str());
    assert!(
        record.get("orcamentoSigilosoCodigo").is_some() && record.get("existeResultado").is_some()
    );
    for unknown in [
        below(&t.cnpj, t.ano, 999_999, "/itens"),
        below("00000000000000", t.ano, t.sequencial, "/arquivos"),
        below(&t.cnpj, t.ano, t.sequencial, "/itens").replace(
            &format!("/{}/itens", t.sequencial),
            &format!("/{:06}/itens", t.sequencial),
        ),
    ] {
        let reply = get(sim.url(), &unknown).await;
        assert_eq!(reply.status, 404, "{unknown}");
        assert_eq!(reply.json()["message"], "Contratação não cadastrada.");
        assert_eq!(reply.json()["status"], "404");
    }
    // Items live on the other base only, and there is no list of results of a purchase.
    let wrong = below(&t.cnpj, t.ano, t.sequencial, "/itens").replace("/api/pncp", "/api/consulta");
    assert_eq!(get(sim.url(), &wrong).await.json()["error"], "Not Found");
    let wrong = below(&t.cnpj, t.ano, t.sequencial, "/resultados");
    assert_eq!(get(sim.url(), &wrong).await.status, 404);
    assert_eq!(get(sim.url(), "/").await.status, 404);
    assert_eq!(request("POST", sim.url(), &path).await.status, 405);
}

#[tokio::test]
async fn recorded_details_without_a_header_are_served() {
    let sim = Sim::builder().start().await.unwrap();
    let items = get(sim.url(), &below("24855835000191", 2024, 24, "/itens"))
        .await
        .json();
    assert_eq!(items.as_array().unwrap().len(), 10);
    assert_eq!(items[0].as_object().unwrap().len(), 24, "the shape of 2024");
    let results = get(
        sim.url(),
        &below("43052497000102", 2026, 308, "/itens/1/resultados"),
    )
    .await;
    assert!(
        results
            .text()
            .contains("\"niFornecedor\":\"20321273000145\"")
    );
}

#[tokio::test]
async fn aliases_tables_and_administration() {
    let sim = Sim::builder().start().await.unwrap();
    let alias = publicacao(DAY, 6, 1, 50).replace("/api/consulta", "/pncp-consulta");
    assert_eq!(get(sim.url(), &alias).await.json()["totalRegistros"], 52);
    let tables = [
        "modalidades",
        "modos-disputas",
        "tipos-documentos",
        "tipos-instrumentos-convocatorios",
        "criterios-julgamentos",
    ];
    for table in tables {
        let rows = get(
            sim.api_url().trim_end_matches("/api/pncp"),
            &format!("/pncp-api/v1/{table}?statusAtivo=true"),
        )
        .await
        .json();
        assert!(
            rows.as_array()
                .unwrap()
                .iter()
                .all(|r| r["id"].is_u64() && r["statusAtivo"] == true)
        );
        let one = get(sim.url(), &format!("/api/pncp/v1/{table}/1"))
            .await
            .json();
        assert_eq!(one, rows[0]);
    }
    let rows = get(sim.url(), "/api/pncp/v1/modalidades").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 19);
    get(sim.url(), &alias).await;
    let stats = get(sim.url(), "/_sim/stats").await.json();
    assert_eq!(stats["by_route"]["publicacao"]["200"], 2);
    assert_eq!(stats["repeated_identical"], 1);
    assert_eq!(sim.stats().requests(Route::Tabelas), 11);
    assert_eq!(request("POST", sim.url(), "/_sim/reset").await.status, 204);
    assert_eq!(sim.stats().total, 0);
    let truth = get(sim.url(), "/_sim/truth?date=20251022&numbers=text").await;
    assert!(truth.whole);
    let lines: Vec<serde_json::Value> = truth
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 52);
    assert!(
        lines
            .iter()
            .all(|l| l["contratacao"]["valorTotalEstimado"].is_string())
    );
    assert_eq!(get(sim.url(), "/_sim/truth?date=x").await.status, 400);
    assert_eq!(
        request("POST", sim.url(), "/_sim/now?at=2025-10-22T12:00:00")
            .await
            .status,
        204
    );
    let half = get(sim.url(), &publicacao(DAY, 6, 1, 50)).await.json();
    assert!(half["totalRegistros"].as_u64().unwrap() < 52);
    assert_eq!(
        sim.truth("2025-10-22".parse().unwrap()).count() as u64,
        half["totalRegistros"].as_u64().unwrap()
    );
    let url = sim.url().to_owned();
    sim.shutdown().await;
    let address = url.strip_prefix("http://").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stopped_server_closes_kept_connections() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sim = Sim::builder().start().await.unwrap();
    let address = sim.url().strip_prefix("http://").unwrap().to_owned();
    let mut kept = tokio::net::TcpStream::connect(&address).await.unwrap();
    let text = "GET /api/pncp/v1/modalidades/1 HTTP/1.1\r\nHost: x\r\n\r\n";
    kept.write_all(text.as_bytes()).await.unwrap();
    let mut first = vec![0; 4_096];
    assert!(kept.read(&mut first).await.unwrap() > 0);
    sim.shutdown().await;
    let mut rest = Vec::new();
    // Ends: the idle connection was closed.
    kept.read_to_end(&mut rest).await.unwrap();
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}
