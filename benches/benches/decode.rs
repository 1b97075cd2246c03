//! How fast do raw bytes of pages, item lists and document lists become record batches, on one
//! core? The throughput is of raw bytes, and all three must give the same number of rows.
//!
//! - ours: everything that the library makes of them. Syntax checked, decimals exact,
//!   `_unmapped`; for contratações the canonical JSON of each record and its SHA-256, and the
//!   lineage columns; for lists the nesting by contratação with its marks.
//! - `serde_json::Value` and arrow-json: a tree per page, then its records. Money goes through
//!   floats; unknown fields are dropped without a word; no hash, no lineage, no nesting.
//! - typed serde and arrow-json: what a client with plain serde would declare, floats for money.
//!   The same is missing, and one ill-typed field fails its page.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macro makes undocumented items, and a failed bench should stop"
)]

use std::hint::black_box;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::{Fields, Schema, SchemaRef};
use bytes::Bytes;
use chrono::{NaiveDate, Utc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pncp_client::ContratacaoKey;
use pncp_client::arrow::{
    ContratacaoBatchBuilder, DetailBatchBuilder, DetailRow, FacetMark, FacetValue, arquivo_fields,
    contratacao_schema, item_fields,
};
use pncp_sim::Sim;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The first 1,000 purchases of a synthetic day, byte for byte what the API sends.
struct Day {
    /// Of 50 records.
    pages: Vec<Vec<u8>>,
    /// One list a purchase, of the first 200.
    itens: Vec<Bytes>,
    arquivos: Vec<Bytes>,
}

fn day() -> Day {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = runtime
        .block_on(Sim::builder().synthetic(1_000).seed(1).start())
        .unwrap();
    let truth: Vec<_> = sim.truth(day).collect();
    assert_eq!(truth.len(), 1_000);
    let page = |records: &[pncp_sim::TruthRecord]| {
        let records: Vec<&str> = records.iter().map(|r| r.contratacao.as_str()).collect();
        format!(
            r#"{{"data":[{}],"totalRegistros":1000,"totalPaginas":20,"numeroPagina":1,"paginasRestantes":19,"empty":false}}"#,
            records.join(",")
        )
        .into_bytes()
    };
    let list = |elements: &[String]| Bytes::from(format!("[{}]", elements.join(",")));
    Day {
        pages: truth.chunks(50).map(page).collect(),
        itens: truth[..200].iter().map(|r| list(&r.itens)).collect(),
        arquivos: truth[..200].iter().map(|r| list(&r.arquivos)).collect(),
    }
}

fn ours(builder: &mut ContratacaoBatchBuilder, page: &[u8]) -> RecordBatch {
    builder
        .append_body(page, "/v1/contratacoes/publicacao", Utc::now(), |_| true)
        .unwrap();
    builder.finish().unwrap()
}

/// Which of the two lists.
#[derive(Clone, Copy)]
enum Facet {
    Itens,
    Arquivos,
}

/// Fills a batch from the lists of 50 purchases, as a checkpoint does.
fn ours_details(
    builder: &mut DetailBatchBuilder,
    key: &ContratacaoKey,
    lists: &[Bytes],
    facet: Facet,
) -> RecordBatch {
    let mark = FacetMark {
        version: Some("2025-10-22T10:00:00"),
        fetched_at: Utc::now(),
        execution: "bench",
    };
    for list in lists {
        let pages = std::slice::from_ref(list);
        let (fetched, nothing) = (FacetValue::Fetched { pages, mark }, FacetValue::NotFetched);
        let (itens, arquivos) = match facet {
            Facet::Itens => (fetched, nothing),
            Facet::Arquivos => (nothing, fetched),
        };
        builder
            .append(&DetailRow {
                key,
                numero_controle: None,
                itens,
                arquivos,
            })
            .unwrap();
    }
    builder.finish().unwrap()
}

/// The API's columns only: the baselines make neither `_unmapped` nor `_hash` nor lineage.
fn api_schema(fields: &Fields) -> SchemaRef {
    let fields = fields.iter().filter(|field| !field.name().starts_with('_'));
    Schema::new(fields.cloned().collect::<Vec<_>>()).into()
}

fn decoder(schema: &SchemaRef) -> Decoder {
    ReaderBuilder::new(schema.clone())
        .with_coerce_primitive(true)
        .build_decoder()
        .unwrap()
}

fn tree(schema: &SchemaRef, page: &[u8]) -> RecordBatch {
    let page: Value = serde_json::from_slice(page).unwrap();
    let mut decoder = decoder(schema);
    decoder.serialize(page["data"].as_array().unwrap()).unwrap();
    decoder.flush().unwrap().unwrap()
}

/// The elements of some lists in one batch, each list read as `Vec<T>`.
fn lists<T: DeserializeOwned + Serialize>(schema: &SchemaRef, lists: &[Bytes]) -> RecordBatch {
    let mut decoder = decoder(schema);
    for list in lists {
        let elements: Vec<T> = serde_json::from_slice(list).unwrap();
        decoder.serialize(&elements).unwrap();
    }
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

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Catalogo {
    id: Option<i64>,
    nome: Option<String>,
    descricao: Option<String>,
    data_inclusao: Option<String>,
    data_atualizacao: Option<String>,
    status_ativo: Option<bool>,
    url: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Margem {
    codigo: Option<i64>,
    nome: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedItem {
    numero_item: Option<i64>,
    descricao: Option<String>,
    material_ou_servico: Option<String>,
    material_ou_servico_nome: Option<String>,
    valor_unitario_estimado: Option<f64>,
    valor_total: Option<f64>,
    quantidade: Option<f64>,
    unidade_medida: Option<String>,
    orcamento_sigiloso: Option<bool>,
    item_categoria_id: Option<i64>,
    item_categoria_nome: Option<String>,
    patrimonio: Option<String>,
    codigo_registro_imobiliario: Option<String>,
    criterio_julgamento_id: Option<i64>,
    criterio_julgamento_nome: Option<String>,
    situacao_compra_item: Option<i64>,
    situacao_compra_item_nome: Option<String>,
    tipo_beneficio: Option<i64>,
    tipo_beneficio_nome: Option<String>,
    incentivo_produtivo_basico: Option<bool>,
    data_inclusao: Option<String>,
    data_atualizacao: Option<String>,
    tem_resultado: Option<bool>,
    imagem: Option<i64>,
    aplicabilidade_margem_preferencia_normal: Option<bool>,
    aplicabilidade_margem_preferencia_adicional: Option<bool>,
    percentual_margem_preferencia_normal: Option<f64>,
    percentual_margem_preferencia_adicional: Option<f64>,
    ncm_nbs_codigo: Option<String>,
    ncm_nbs_descricao: Option<String>,
    catalogo: Option<Catalogo>,
    categoria_item_catalogo: Option<Catalogo>,
    catalogo_codigo_item: Option<String>,
    informacao_complementar: Option<String>,
    tipo_margem_preferencia: Option<Margem>,
    exigencia_conteudo_nacional: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedArquivo {
    uri: Option<String>,
    url: Option<String>,
    cnpj: Option<String>,
    ano_compra: Option<i64>,
    sequencial_compra: Option<i64>,
    sequencial_documento: Option<i64>,
    titulo: Option<String>,
    tipo_documento_id: Option<i64>,
    tipo_documento_nome: Option<String>,
    tipo_documento_descricao: Option<String>,
    data_publicacao_pncp: Option<String>,
    status_ativo: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    data: Vec<Typed>,
}

fn typed(schema: &SchemaRef, page: &[u8]) -> RecordBatch {
    let page: Envelope = serde_json::from_slice(page).unwrap();
    let mut decoder = decoder(schema);
    decoder.serialize(&page.data).unwrap();
    decoder.flush().unwrap().unwrap()
}

const VALUE: &str = "serde_json::Value and arrow-json";
const TYPED: &str = "typed serde and arrow-json";

fn contratacoes(criterion: &mut Criterion, pages: &[Vec<u8>]) {
    let bytes: u64 = pages.iter().map(|page| page.len() as u64).sum();
    let schema = api_schema(contratacao_schema().fields());
    let mut builder = ContratacaoBatchBuilder::new("bench");
    for page in pages {
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
    group.bench_function(VALUE, |bencher| {
        bencher.iter(|| {
            pages
                .iter()
                .for_each(|page| drop(black_box(tree(&schema, page))))
        });
    });
    group.bench_function(TYPED, |bencher| {
        bencher.iter(|| {
            pages
                .iter()
                .for_each(|page| drop(black_box(typed(&schema, page))))
        });
    });
    group.finish();
}

fn details<T: DeserializeOwned + Serialize>(
    criterion: &mut Criterion,
    name: &str,
    all: &[Bytes],
    facet: Facet,
    fields: &Fields,
) {
    let bytes: u64 = all.iter().map(|list| list.len() as u64).sum();
    let schema = api_schema(fields);
    let key = ContratacaoKey::parse("27142058000126|2025|163").unwrap();
    let mut builder = DetailBatchBuilder::new();
    let column = match facet {
        Facet::Itens => "itens",
        Facet::Arquivos => "arquivos",
    };
    for part in all.chunks(50) {
        let batch = ours_details(&mut builder, &key, part, facet);
        let elements = batch[column].as_list::<i32>().values().len();
        assert!(elements > 0);
        assert_eq!(elements, lists::<Value>(&schema, part).num_rows());
        assert_eq!(elements, lists::<T>(&schema, part).num_rows());
    }

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("pncp-client", |bencher| {
        bencher.iter(|| {
            for part in all.chunks(50) {
                black_box(ours_details(&mut builder, &key, part, facet));
            }
        });
    });
    group.bench_function(VALUE, |bencher| {
        bencher.iter(|| {
            for part in all.chunks(50) {
                black_box(lists::<Value>(&schema, part));
            }
        });
    });
    group.bench_function(TYPED, |bencher| {
        bencher.iter(|| {
            for part in all.chunks(50) {
                black_box(lists::<T>(&schema, part));
            }
        });
    });
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let day = day();
    contratacoes(criterion, &day.pages);
    details::<TypedItem>(
        criterion,
        "item lists to record batch",
        &day.itens,
        Facet::Itens,
        &item_fields(),
    );
    details::<TypedArquivo>(
        criterion,
        "document lists to record batch",
        &day.arquivos,
        Facet::Arquivos,
        &arquivo_fields(),
    );
}

criterion_group!(benches, decode);
criterion_main!(benches);
