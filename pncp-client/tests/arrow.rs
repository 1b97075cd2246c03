//! Columns against recorded answers and generated oddities.
#![cfg(feature = "arrow")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use chrono::DateTime;
use pncp_client::arrow::{
    ContratacaoBatchBuilder, DetailBatchBuilder, DetailRow, FacetMark, FacetValue, RejectReason,
    contratacao_json, contratacao_schema, details_schema, element_json,
};
use pncp_client::{ContratacaoKey, Shape, canonical_hash, canonical_json};
use proptest::prelude::*;
use serde_json::value::RawValue;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The texts of the elements of a JSON array, cut by serde_json, not by the code under test.
fn elements(text: &str) -> Vec<String> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).unwrap();
    raw.into_iter().map(|raw| raw.get().to_owned()).collect()
}

fn contratacoes() -> Vec<String> {
    let mut records = Vec::new();
    for file in files("contratacoes") {
        records.extend(elements(&fs::read_to_string(file).unwrap()));
    }
    for file in files("pages") {
        let text = fs::read_to_string(file).unwrap();
        let page: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_str(&text).unwrap();
        records.extend(elements(page["data"].get()));
    }
    records
}

fn at() -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(1_792_000_000, 0).unwrap()
}

fn batch(records: &[impl AsRef<str>]) -> RecordBatch {
    let mut builder = ContratacaoBatchBuilder::new("run-1");
    for record in records {
        assert!(
            builder
                .append_record(record.as_ref().as_bytes(), "/source", at())
                .unwrap()
        );
    }
    assert!(builder.byte_size() > 0);
    builder.finish().unwrap()
}

fn details(itens: &str, arquivos: &str) -> RecordBatch {
    let key = ContratacaoKey::parse("27142058000126|2026|163").unwrap();
    let mark = FacetMark {
        version: Some("v"),
        fetched_at: at(),
        execution: "run-1",
    };
    let (itens, arquivos) = (
        [Bytes::from(itens.to_owned())],
        [Bytes::from(arquivos.to_owned())],
    );
    let mut builder = DetailBatchBuilder::new();
    builder
        .append(&DetailRow {
            key: &key,
            numero_controle: None,
            itens: FacetValue::Fetched {
                pages: &itens,
                mark,
            },
            arquivos: FacetValue::Fetched {
                pages: &arquivos,
                mark,
            },
        })
        .unwrap();
    builder.finish().unwrap()
}

#[test]
fn every_recorded_contratacao_fits_and_comes_back() {
    let records = contratacoes();
    let batch = batch(&records);
    assert_eq!(batch.schema(), contratacao_schema());
    let unmapped = batch.column_by_name("_unmapped").unwrap();
    assert_eq!(unmapped.null_count(), records.len(), "{unmapped:?}");
    let hashes = batch.column_by_name("_hash").unwrap().as_string::<i32>();
    for (row, record) in records.iter().enumerate() {
        let canonical = canonical_json(record.as_bytes(), Shape::Contratacao).unwrap();
        assert_eq!(contratacao_json(&batch, row).unwrap(), canonical);
        assert_eq!(
            hashes.value(row),
            canonical_hash(record.as_bytes(), Shape::Contratacao).unwrap()
        );
    }
}

#[test]
fn key_order_does_not_change_the_hash() {
    let read = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/contratacoes")
            .join(name);
        elements(&fs::read_to_string(file).unwrap())
    };
    let (first, second) = (read("keyorder-fetch-1.json"), read("keyorder-fetch-2.json"));
    for (first, second) in first.iter().zip(&second) {
        assert_ne!(first, second);
        assert_eq!(
            canonical_hash(first.as_bytes(), Shape::Contratacao).unwrap(),
            canonical_hash(second.as_bytes(), Shape::Contratacao).unwrap()
        );
    }
}

#[test]
fn every_recorded_item_and_document_fits_and_comes_back() {
    for (folder, shape) in [("itens", Shape::Item), ("arquivos", Shape::Arquivo)] {
        for file in files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            let records = elements(&text);
            let batch = match shape {
                Shape::Item => details(&text, "[]"),
                _ => details("[]", &text),
            };
            assert_eq!(batch.schema(), details_schema());
            let list = batch.column_by_name(folder).unwrap().as_list::<i32>();
            let back = element_json(list, 0, shape).unwrap().unwrap();
            for (back, record) in back.iter().zip(&records) {
                assert_eq!(*back, canonical_json(record.as_bytes(), shape).unwrap());
            }
            assert_eq!(back.len(), records.len());
            // The audit's numbers carry the purchase's id, which no item has.
            if !file.to_string_lossy().contains("extreme") {
                let values = list.value(0);
                let unmapped = values.as_struct().column_by_name("_unmapped").unwrap();
                assert_eq!(unmapped.null_count(), records.len(), "{}", file.display());
            }
        }
    }
}

#[test]
fn extreme_numbers_are_exact() {
    let text = fs::read_to_string(
        files("itens")
            .into_iter()
            .find(|f| f.to_string_lossy().contains("extreme"))
            .unwrap(),
    )
    .unwrap();
    let batch = details(&text, "[]");
    let values = batch
        .column_by_name("itens")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    let totals = values.as_struct().column_by_name("valorTotal").unwrap();
    let totals = totals.as_primitive::<Decimal128Type>();
    assert_eq!((totals.len(), totals.null_count()), (17, 0));
    assert_eq!(totals.value(0), 14_720_400_000_000_001);
    assert_eq!(totals.value(15), 99_999_999_999_999_900);
}

#[test]
fn what_does_not_fit_is_kept_and_spoils_nothing_else() {
    let record = r#"{"numeroControlePNCP":"27142058000126-1-000163/2026","valorTotalEstimado":0.12345,
        "valorTotalHomologado":"12", "anoCompra":99999999999,"srp":null,"novo":{"a":[1, 2]},"novo":3,
        "orgaoEntidade":{"cnpj":5,"x.y":1},"unidadeOrgao":"text","dataInclusao":"2026-01-01",
        "fontesOrcamentarias":[{"codigo":"a","nome":"n"},7,null],"processo":"p","processo":"q","objetoCompra":"\ud800"}"#;
    let batch = batch(&[record]);
    let unmapped = batch
        .column_by_name("_unmapped")
        .unwrap()
        .as_string::<i32>()
        .value(0)
        .to_owned();
    assert_eq!(
        unmapped,
        r#"{"valorTotalEstimado":0.12345,"valorTotalHomologado":"12","anoCompra":99999999999,"novo":{"a":[1,2]},"novo#2":3,"orgaoEntidade.cnpj":5,"orgaoEntidade.x~1y":1,"unidadeOrgao":"text","dataInclusao":"2026-01-01","fontesOrcamentarias[0].codigo":"a","fontesOrcamentarias[1]":7,"processo#2":"q","objetoCompra":"\ud800"}"#
    );
    assert_eq!(
        contratacao_json(&batch, 0).unwrap(),
        canonical_json(record.as_bytes(), Shape::Contratacao).unwrap()
    );
}

#[test]
fn records_without_identity_are_set_aside() {
    let body = br#"{"data":[7,{"anoCompra":1},{"numeroControlePNCP":"x"},{"numeroControlePNCP":"27142058000126-1-000163/2026"}],"totalRegistros":4,"totalPaginas":1,"numeroPagina":1}"#;
    let mut builder = ContratacaoBatchBuilder::new("run-1");
    let appended = builder.append_body(body, "/s", at(), |_| true).unwrap();
    assert_eq!((appended.rows, appended.rejected), (1, 3));
    let rejected = builder.take_rejected();
    let reasons: Vec<_> = rejected.iter().map(|rejected| rejected.reason).collect();
    assert_eq!(
        reasons,
        [
            RejectReason::NotAnObject,
            RejectReason::NoNumeroControle,
            RejectReason::MalformedNumeroControle
        ]
    );
    assert_eq!(rejected[1].raw, br#"{"anoCompra":1}"#);
    assert_eq!(builder.finish().unwrap().num_rows(), 1);
    assert_eq!(builder.finish().unwrap().num_rows(), 0);
}

#[test]
fn facets_are_null_empty_or_gone() {
    let key = ContratacaoKey::parse("27142058000126|2026|163").unwrap();
    let mark = FacetMark {
        version: None,
        fetched_at: at(),
        execution: "run-1",
    };
    let mut builder = DetailBatchBuilder::new();
    let mut append = |itens, arquivos| {
        builder
            .append(&DetailRow {
                key: &key,
                numero_controle: None,
                itens,
                arquivos,
            })
            .unwrap();
    };
    append(
        FacetValue::Fetched { pages: &[], mark },
        FacetValue::NotFetched,
    );
    append(
        FacetValue::Gone(mark),
        FacetValue::Fetched {
            pages: &[Bytes::from_static(b"[{}, 5]")],
            mark,
        },
    );
    let broken = [Bytes::from_static(b"[{]")];
    let row = DetailRow {
        key: &key,
        numero_controle: None,
        itens: FacetValue::NotFetched,
        arquivos: FacetValue::Fetched {
            pages: &broken,
            mark,
        },
    };
    assert!(builder.append(&row).is_err());
    assert_eq!(builder.rows(), 2);
    let batch = builder.finish().unwrap();
    let list = |name| batch.column_by_name(name).unwrap().as_list::<i32>().clone();
    assert!(list("itens").is_valid(0) && list("itens").value_length(0) == 0);
    assert!(list("itens").is_null(1) && list("arquivos").is_null(0));
    assert_eq!(
        element_json(&list("arquivos"), 1, Shape::Arquivo)
            .unwrap()
            .unwrap(),
        ["{}", "5"]
    );
    let status = |name, row| {
        let mark = batch.column_by_name(name).unwrap().as_struct().clone();
        mark.is_valid(row)
            .then(|| mark.column(0).as_string::<i32>().value(row).to_owned())
    };
    assert_eq!(status("_itens", 0).as_deref(), Some("ok"));
    assert_eq!(status("_itens", 1).as_deref(), Some("gone"));
    assert_eq!(status("_arquivos", 0), None);
}

/// Any JSON value, a little of everything.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?",
        "\\PC{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\ud800\u00e9""#.to_owned()),
        Just(r#""a\/\u0041\n\"\\""#.to_owned()),
        Just("\"a\tb\\n\"".to_owned()),
        Just(r#""2026-06-04T00:00:03""#.to_owned()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[{}]", all.join(","))),
            proptest::collection::vec((name(), inner), 0..4).prop_map(|all| object(&all)),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "anoCompra",
            "orgaoEntidade",
            "cnpj",
            "amparoLegal",
            "codigo",
            "nome",
            "fontesOrcamentarias",
            "srp",
            "valorTotalEstimado",
            "valorTotal",
            "quantidade",
            "dataInclusao",
            "catalogo",
            "id",
            "processo",
            "novo",
            "numeroItem",
        ])
        .prop_map(str::to_owned),
        "[a~.#!u\\[\\]\"\\\\é]{0,3}",
    ]
}

fn object(fields: &[(String, String)]) -> String {
    let fields: Vec<_> = fields
        .iter()
        // `!` stands for half a surrogate pair, which no Rust string holds.
        .map(|(name, value)| {
            let name = serde_json::to_string(name).unwrap().replace('!', "\\ud800");
            format!("{name}:{value}")
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

proptest! {
    #[test]
    fn any_record_comes_back(fields in proptest::collection::vec((name(), value()), 0..10)) {
        let mut fields = fields;
        fields.push(("numeroControlePNCP".to_owned(), "\"27142058000126-1-000163/2026\"".to_owned()));
        let record = object(&fields);
        let batch = batch(&[&record]);
        prop_assert_eq!(
            contratacao_json(&batch, 0).unwrap(),
            canonical_json(record.as_bytes(), Shape::Contratacao).unwrap(),
            "{}", record
        );
        // One is made on the way into the columns, the other by itself.
        let hashes = batch.column_by_name("_hash").unwrap().as_string::<i32>();
        prop_assert_eq!(
            hashes.value(0),
            canonical_hash(record.as_bytes(), Shape::Contratacao).unwrap(),
            "{}", record
        );
    }

    #[test]
    fn any_list_comes_back(elements in proptest::collection::vec(value(), 0..5)) {
        let page = format!("[{}]", elements.join(","));
        let batch = details(&page, "[]");
        let list = batch.column_by_name("itens").unwrap().as_list::<i32>();
        let expected: Vec<_> = elements.iter().map(|e| canonical_json(e.as_bytes(), Shape::Item).unwrap()).collect();
        prop_assert_eq!(element_json(list, 0, Shape::Item).unwrap().unwrap(), expected);
    }

    #[test]
    fn no_page_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut builder = ContratacaoBatchBuilder::new("");
        let _ = builder.append_body(&bytes, "", at(), |_| true);
        let _ = builder.append_record(&bytes, "", at());
        prop_assert!(builder.finish().is_ok());
    }

    #[test]
    fn no_damaged_page_panics(cut in 0_usize..17_000, at_byte in 0_usize..17_000, byte: u8) {
        let mut body = fs::read(&files("pages")[0]).unwrap();
        let at_byte = at_byte % body.len();
        body[at_byte] = byte;
        body.truncate(body.len() - cut % 300);
        let mut builder = ContratacaoBatchBuilder::new("");
        let _ = builder.append_body(&body, "", at(), |_| true);
        prop_assert!(builder.finish().is_ok());
    }
}
