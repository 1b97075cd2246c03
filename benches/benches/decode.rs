//! How fast do raw page bytes become a record batch, on one core?
//!
//! Ours against a tree of `serde_json::Value` with arrow-json, and against typed serde structs with
//! arrow-json. All three must give the same rows; the throughput is of raw page bytes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macro makes undocumented items, and a failed bench should stop"
)]

use std::hint::black_box;

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_schema::{Schema, SchemaRef};
use chrono::{NaiveDate, Utc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pncp_client::arrow::{ContratacaoBatchBuilder, contratacao_schema};
use pncp_sim::Sim;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The first 1,000 purchases of a synthetic day as pages of 50, byte for byte what the API sends.
fn pages() -> Vec<Vec<u8>> {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = runtime
        .block_on(Sim::builder().synthetic(1_000).seed(1).start())
        .unwrap();
    let records: Vec<String> = sim.truth(day).map(|record| record.contratacao).collect();
    assert_eq!(records.len(), 1_000);
    let page = |records: &[String]| {
        format!(
            r#"{{"data":[{}],"totalRegistros":1000,"totalPaginas":20,"numeroPagina":1,"paginasRestantes":19,"empty":false}}"#,
            records.join(",")
        )
        .into_bytes()
    };
    records.chunks(50).map(page).collect()
}

fn ours(builder: &mut ContratacaoBatchBuilder, page: &[u8]) -> RecordBatch {
    builder
        .append_body(page, "/v1/contratacoes/publicacao", Utc::now(), |_| true)
        .unwrap();
    builder.finish().unwrap()
}

/// The API's columns only: the baselines make neither `_unmapped` nor `_hash` nor lineage.
fn api_schema() -> SchemaRef {
    let schema = contratacao_schema();
    let fields = schema
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with('_'));
    Schema::new(fields.cloned().collect::<Vec<_>>()).into()
}

fn tree(schema: &SchemaRef, page: &[u8]) -> RecordBatch {
    let page: Value = serde_json::from_slice(page).unwrap();
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_coerce_primitive(true)
        .build_decoder()
        .unwrap();
    decoder.serialize(page["data"].as_array().unwrap()).unwrap();
    decoder.flush().unwrap().unwrap()
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Orgao {
    cnpj: Option<String>,
    razao_social: Option<String>,
    poder_id: Option<String>,
    esfera_id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unidade {
    codigo_unidade: Option<String>,
    nome_unidade: Option<String>,
    municipio_nome: Option<String>,
    codigo_ibge: Option<String>,
    uf_sigla: Option<String>,
    uf_nome: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Amparo {
    codigo: Option<i64>,
    nome: Option<String>,
    descricao: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fonte {
    codigo: Option<i64>,
    nome: Option<String>,
    descricao: Option<String>,
    data_inclusao: Option<String>,
}

/// What a client with plain serde would declare: floats for money, as such clients have it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(rename = "numeroControlePNCP")]
    numero_controle_pncp: Option<String>,
    ano_compra: Option<i64>,
    sequencial_compra: Option<i64>,
    orgao_entidade: Option<Orgao>,
    unidade_orgao: Option<Unidade>,
    orgao_sub_rogado: Option<Orgao>,
    unidade_sub_rogada: Option<Unidade>,
    amparo_legal: Option<Amparo>,
    fontes_orcamentarias: Option<Vec<Fonte>>,
    modalidade_id: Option<i64>,
    modalidade_nome: Option<String>,
    modo_disputa_id: Option<i64>,
    modo_disputa_nome: Option<String>,
    tipo_instrumento_convocatorio_codigo: Option<i64>,
    tipo_instrumento_convocatorio_nome: Option<String>,
    situacao_compra_id: Option<i64>,
    situacao_compra_nome: Option<String>,
    srp: Option<bool>,
    valor_total_estimado: Option<f64>,
    valor_total_homologado: Option<f64>,
    numero_compra: Option<String>,
    processo: Option<String>,
    objeto_compra: Option<String>,
    informacao_complementar: Option<String>,
    justificativa_presencial: Option<String>,
    link_sistema_origem: Option<String>,
    link_processo_eletronico: Option<String>,
    data_inclusao: Option<String>,
    data_publicacao_pncp: Option<String>,
    data_atualizacao: Option<String>,
    data_atualizacao_global: Option<String>,
    data_abertura_proposta: Option<String>,
    data_encerramento_proposta: Option<String>,
    usuario_nome: Option<String>,
    emenda_parlamentar: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    data: Vec<Typed>,
}

fn typed(schema: &SchemaRef, page: &[u8]) -> RecordBatch {
    let page: Envelope = serde_json::from_slice(page).unwrap();
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_coerce_primitive(true)
        .build_decoder()
        .unwrap();
    decoder.serialize(&page.data).unwrap();
    decoder.flush().unwrap().unwrap()
}

fn decode(criterion: &mut Criterion) {
    let pages = pages();
    let bytes: u64 = pages.iter().map(|page| page.len() as u64).sum();
    let schema = api_schema();
    let mut builder = ContratacaoBatchBuilder::new("bench");
    for page in &pages {
        let rows = ours(&mut builder, page).num_rows();
        assert_eq!(rows, 50);
        assert_eq!(rows, tree(&schema, page).num_rows());
        assert_eq!(rows, typed(&schema, page).num_rows());
    }

    let mut group = criterion.benchmark_group("page bytes to record batch");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("pncp-client", |bencher| {
        bencher.iter(|| {
            pages
                .iter()
                .for_each(|page| drop(black_box(ours(&mut builder, page))))
        });
    });
    group.bench_function("serde_json::Value and arrow-json", |bencher| {
        bencher.iter(|| {
            pages
                .iter()
                .for_each(|page| drop(black_box(tree(&schema, page))))
        });
    });
    group.bench_function("typed serde and arrow-json", |bencher| {
        bencher.iter(|| {
            pages
                .iter()
                .for_each(|page| drop(black_box(typed(&schema, page))))
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
