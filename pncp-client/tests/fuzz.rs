//! Damaged, hostile and odd page bytes: nothing panics, nothing is half appended, and what is
//! taken comes back.
#![cfg(feature = "arrow")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use chrono::DateTime;
use pncp_client::arrow::{
    Appended, ContratacaoBatchBuilder, DetailBatchBuilder, DetailRow, FacetMark, FacetValue,
    contratacao_json, element_json,
};
use pncp_client::{ContratacaoKey, Error, Shape, canonical_hash, canonical_json, key_fields};
use proptest::prelude::*;
use serde_json::value::RawValue;

const NUMERO: &str = "27142058000126-1-000163/2026";

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    fs::read(path.join(name)).unwrap()
}

fn page_of(records: &[&str]) -> Vec<u8> {
    let data = records.join(",");
    format!(r#"{{"data":[{data}],"totalRegistros":1,"totalPaginas":1,"numeroPagina":1}}"#).into()
}

fn append(builder: &mut ContratacaoBatchBuilder, body: &[u8]) -> pncp_client::Result<Appended> {
    builder.append_body(body, "/s", DateTime::UNIX_EPOCH, |_| true)
}

/// Appends a body after a sound one. Refused, it leaves only the sound one's row; taken, each
/// of its rows gives back the record whose hash it carries.
fn survives(body: &[u8]) {
    let sound = format!(r#"{{"numeroControlePNCP":"{NUMERO}","processo":"sound"}}"#);
    let mut builder = ContratacaoBatchBuilder::new("run-1");
    append(&mut builder, &page_of(&[&sound])).unwrap();
    let rows = match append(&mut builder, body) {
        Ok(appended) => appended.rows,
        Err(error) => {
            checked(&error, body);
            0
        }
    };
    let batch = builder.finish().unwrap();
    assert_eq!(batch.num_rows(), rows + 1);
    comes_back(&batch);
}

fn comes_back(batch: &RecordBatch) {
    let hashes = batch["_hash"].as_string::<i32>();
    for row in 0..batch.num_rows() {
        let json = contratacao_json(batch, row).unwrap();
        let hash = canonical_hash(json.as_bytes(), Shape::Contratacao).unwrap();
        assert_eq!(hashes.value(row), hash, "{json}");
    }
}

/// An error says where, and what stands there.
fn checked(error: &Error, body: &[u8]) {
    let Error::Json {
        offset, path, near, ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(*offset <= body.len() && path.starts_with('$'), "{error}");
    let from = String::from_utf8_lossy(&body[*offset..]);
    assert!(
        near.is_empty() || from.starts_with(near.trim_end_matches('\u{fffd}')),
        "{error}"
    );
}

/// As [`survives`], as a list of itens.
fn list_survives(page: &[u8]) {
    let pages = [Bytes::copy_from_slice(page)];
    let key = ContratacaoKey::parse("27142058000126|2026|163").unwrap();
    let mark = FacetMark {
        version: None,
        fetched_at: DateTime::UNIX_EPOCH,
        execution: "run-1",
    };
    let row = DetailRow {
        key: &key,
        numero_controle: None,
        itens: FacetValue::Fetched {
            pages: &pages,
            mark,
        },
        arquivos: FacetValue::NotFetched,
    };
    let mut builder = DetailBatchBuilder::new();
    let taken = builder.append(&row);
    let batch = builder.finish().unwrap();
    if let Err(error) = taken {
        checked(&error, page);
        assert_eq!(batch.num_rows(), 0);
        return;
    }
    let list = batch["itens"].as_list::<i32>();
    for json in element_json(list, 0, Shape::Item).unwrap().unwrap() {
        assert_eq!(canonical_json(json.as_bytes(), Shape::Item).unwrap(), json);
    }
}

/// A piece of damage: at a place (a share of the length), something is put in or taken out.
#[derive(Debug, Clone)]
enum Damage {
    Put(f64, Vec<u8>),
    Cut(f64, usize),
    Repeat(f64, usize),
    End(f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let token = proptest::sample::select(vec![
        &b"null"[..],
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b",",
        b":",
        b"\\ud800",
        b"\\u00",
        b"1e999",
        b"-0",
        b"99999999999999999999999999999999999999999999",
        b"\xff",
        b"\xc3",
        b"\0",
        b"\"data\":[{}],",
        b"\"anoCompra\":\"x\",",
        b"\"srp\":{},",
        b"[[[[[[[[",
        b" \n\t",
    ]);
    let put = prop_oneof![
        token.prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 1..6),
    ];
    let place = 0.0..1.0;
    prop_oneof![
        4 => (place.clone(), put).prop_map(|(at, bytes)| Damage::Put(at, bytes)),
        2 => (place.clone(), 1_usize..80).prop_map(|(at, count)| Damage::Cut(at, count)),
        1 => (place.clone(), 1_usize..400).prop_map(|(at, count)| Damage::Repeat(at, count)),
        1 => place.prop_map(Damage::End),
    ]
}

fn damaged(mut body: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    for damage in all {
        let length = body.len();
        let place = |at: &f64| (*at * length as f64) as usize;
        match damage {
            Damage::Put(at, bytes) => {
                let at = place(at);
                body.splice(at..at, bytes.iter().copied());
            }
            Damage::Cut(at, count) => {
                let at = place(at);
                body.drain(at..(at + count).min(length));
            }
            Damage::Repeat(at, count) => {
                let at = place(at);
                let again = body[at..(at + count).min(length)].to_vec();
                body.splice(at..at, again);
            }
            Damage::End(at) => body.truncate(place(at)),
        }
    }
    body
}

/// A small real page: mutations then hit structure more often than text.
fn small_page() -> Vec<u8> {
    let text = String::from_utf8(read("contratacoes/keyorder-fetch-1.json")).unwrap();
    let records: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
    page_of(&records.iter().map(|raw| raw.get()).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_pages(all in proptest::collection::vec(damage(), 1..4)) {
        survives(&damaged(small_page(), &all));
    }

    #[test]
    fn damaged_recorded_pages(all in proptest::collection::vec(damage(), 1..3), which in 0_usize..2) {
        let name = ["pages/publicacao-mod6-2026-06-04-p1.json", "pages/atualizacao-mod1-2024-07-p1.json"][which];
        survives(&damaged(read(name), &all));
    }

    #[test]
    fn damaged_lists(all in proptest::collection::vec(damage(), 1..4)) {
        list_survives(&damaged(read("itens/itens-2026-36-fields.json"), &all));
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        survives(&bytes);
        list_survives(&bytes);
    }

    #[test]
    fn any_json_like_bytes(bytes in proptest::collection::vec(proptest::sample::select(br#"{}[]",:\u0123456789abcdefnrt.-+E "#.to_vec()), 0..60)) {
        let mut page = br#"{"totalRegistros":1,"totalPaginas":1,"data":["#.to_vec();
        page.extend_from_slice(&bytes);
        page.extend_from_slice(b"]}");
        survives(&page);
        // Where it is JSON at all, it is ours to read.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&page).is_ok() {
            let mut builder = ContratacaoBatchBuilder::new("");
            let taken = append(&mut builder, &page);
            // A second `data` or count may have come with the bytes.
            prop_assert!(taken.is_ok() || page.windows(3).any(|three| three == b"]}]"), "{:?}", taken);
        }
    }

    /// What `keep` is shown equals what the record says by itself.
    #[test]
    fn keep_sees_the_key_fields(
        fields in proptest::collection::vec((key_name(), key_value()), 0..8),
        cnpj in proptest::collection::vec((Just("cnpj"), key_value()), 0..3),
    ) {
        let spell = |fields: &[(&str, String)]| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        let mut fields = fields;
        fields.push(("orgaoEntidade", spell(&cnpj)));
        fields.push(("numeroControlePNCP", format!("\"{NUMERO}\"")));
        let record = spell(&fields);
        let mut builder = ContratacaoBatchBuilder::new("");
        let expected = key_fields(record.as_bytes()).unwrap();
        let mut shown = 0;
        builder.append_body(&page_of(&[&record]), "/s", DateTime::UNIX_EPOCH, |fields| {
            assert_eq!(*fields, expected, "{record}");
            shown += 1;
            true
        }).unwrap();
        prop_assert_eq!(shown, usize::from(expected.numero_controle.as_deref() == Some(NUMERO)));
    }
}

fn key_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "numeroControlePNCP",
        "anoCompra",
        "sequencialCompra",
        "modalidadeId",
        "dataPublicacaoPncp",
        "dataAtualizacaoGlobal",
        "orgaoEntidade",
        "novo",
        r"ano\u0043ompra",
    ])
}

fn key_value() -> impl Strategy<Value = String> {
    let fixed = [
        "null",
        "6",
        "6.0",
        "1e3",
        "2.5",
        "true",
        "[]",
        r#"{"cnpj":"1"}"#,
        r#""x""#,
        r#""\u0041""#,
        r#""\ud800""#,
    ];
    prop_oneof![
        proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        Just(format!("\"{NUMERO}\"")),
    ]
}

/// Every field of a real record in turn is of every wrong type: the page is taken, the other
/// fields keep their values, and what does not fit is kept under its path.
#[test]
fn one_ill_typed_field_never_fails_its_page() {
    let text = String::from_utf8(read("contratacoes/keyorder-fetch-1.json")).unwrap();
    let records: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
    let fields: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(records[0].get()).unwrap();
    assert_eq!(fields.len(), 34);
    let odd = [
        "true",
        "1.00005",
        "[1]",
        r#"{"a":1}"#,
        r#""x""#,
        r#""\udfff""#,
        "1e400",
        "[{\"cnpj\":null}]",
    ];
    let (mut kept, mut lost_identity) = (0, 0);
    for name in fields.keys() {
        for odd in odd {
            let spelled: Vec<_> = fields
                .iter()
                .map(|(other, raw)| {
                    let raw = if other == name { odd } else { raw.get() };
                    format!(r#""{other}":{raw}"#)
                })
                .collect();
            let record = format!("{{{}}}", spelled.join(","));
            let mut builder = ContratacaoBatchBuilder::new("run-1");
            let page = page_of(&[records[1].get(), &record, records[2].get()]);
            let appended = append(&mut builder, &page).unwrap();
            if name == "numeroControlePNCP" {
                assert_eq!((appended.rows, appended.rejected), (2, 1));
                assert_eq!(builder.take_rejected()[0].raw, record.as_bytes());
                lost_identity += 1;
                continue;
            }
            assert_eq!((appended.rows, appended.rejected), (3, 0), "{record}");
            let batch = builder.finish().unwrap();
            let canonical = canonical_json(record.as_bytes(), Shape::Contratacao).unwrap();
            assert_eq!(contratacao_json(&batch, 1).unwrap(), canonical);
            let unmapped = batch["_unmapped"].as_string::<i32>();
            assert!(unmapped.is_null(0) && unmapped.is_null(2));
            // A field that took the odd value, or an object with an odd field, is no loss.
            if unmapped.is_valid(1) {
                let names: std::collections::BTreeMap<String, &RawValue> =
                    serde_json::from_str(unmapped.value(1)).unwrap();
                assert_eq!(names.len(), 1, "{record}");
                let (path, raw) = names.iter().next().unwrap();
                let inside = path.strip_prefix(name.as_str()).unwrap();
                assert!(
                    inside.is_empty() || inside.starts_with(['.', '[']),
                    "{path}"
                );
                assert!(!inside.is_empty() || raw.get() == odd, "{path} {raw}");
                kept += 1;
            }
        }
    }
    assert_eq!(lost_identity, odd.len());
    assert!(kept > 200, "{kept}");
}

#[test]
fn errors_name_the_path_and_what_stands_there() {
    let sound = r#"{"orgaoEntidade":{"cnpj":"1"},"processo":"a"}"#;
    let broken = r#"{"processo":"b","orgaoEntidade":{"razaoSocial":"x","cnpj":2714x}}"#;
    let mut records = vec![sound; 17];
    records.push(broken);
    let body = page_of(&records);
    let error = append(&mut ContratacaoBatchBuilder::new(""), &body).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("at=`$.data[17].orgaoEntidade.cnpj`") && message.contains("near=`x}}"),
        "{message}"
    );

    let list = Bytes::from_static(
        br#"[{"numeroItem":1,"catalogo":{"id":1}},{"numeroItem":2,"catalogo":{"id":tru}}]"#,
    );
    let mark = FacetMark {
        version: None,
        fetched_at: DateTime::UNIX_EPOCH,
        execution: "",
    };
    let key = ContratacaoKey::parse("27142058000126|2026|163").unwrap();
    let row = DetailRow {
        key: &key,
        numero_controle: None,
        itens: FacetValue::Fetched {
            pages: &[list],
            mark,
        },
        arquivos: FacetValue::NotFetched,
    };
    let message = DetailBatchBuilder::new()
        .append(&row)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("at=`$[1].catalogo.id`") && message.contains("near=`tru}}]`"),
        "{message}"
    );

    for (body, at) in [
        (
            &br#"{"data":[],"totalRegistros":"many","totalPaginas":1}"#[..],
            "$.totalRegistros",
        ),
        (
            br#"{"data":{"a":1},"totalRegistros":1,"totalPaginas":1}"#,
            "$.data",
        ),
        (
            b"{\"data\":[{\"objetoCompra\":\"caf\xe9\"}]}",
            "$.data[0].objetoCompra",
        ),
        (
            br#"{"data":[{"objetoCompra":"cut her"#,
            "$.data[0].objetoCompra",
        ),
        (br#"{"data":[]}"#, "$"),
        (b"<html>", "$"),
    ] {
        let error = append(&mut ContratacaoBatchBuilder::new(""), body).unwrap_err();
        let Error::Json { path, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(path, at, "{error}");
    }
}

#[test]
fn depth_is_bounded_and_numbers_are_not() {
    let record = |value: &str| {
        format!(
            r#"{{"numeroControlePNCP":"{NUMERO}","novo":{value},"valorTotalEstimado":{value}}}"#
        )
    };
    let nested = |depth: usize| record(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    survives(&page_of(&[&nested(90)]));
    for depth in [100, 10_000, 1_000_000] {
        let error = append(
            &mut ContratacaoBatchBuilder::new(""),
            &page_of(&[&nested(depth)]),
        );
        assert!(error.unwrap_err().to_string().contains("nested too deep"));
    }
    let huge = record(&"7".repeat(1_000_000));
    survives(&page_of(&[&huge]));
    for odd in [
        "1e999999999999999999999",
        "-0.00000000000000000000000000000000000000000001",
        "1E-400",
    ] {
        let mut builder = ContratacaoBatchBuilder::new("");
        assert_eq!(
            append(&mut builder, &page_of(&[&record(odd)]))
                .unwrap()
                .rows,
            1
        );
        let batch = builder.finish().unwrap();
        assert!(batch["valorTotalEstimado"].is_null(0));
        let unmapped = batch["_unmapped"].as_string::<i32>();
        assert_eq!(
            unmapped.value(0),
            format!(r#"{{"novo":{odd},"valorTotalEstimado":{odd}}}"#)
        );
    }
}

/// A key that nobody knew of appears in the middle of a page, in another order, and goes again.
#[test]
fn order_and_fields_may_change_within_a_page() {
    let records = [
        format!(r#"{{"srp":true,"processo":"a","numeroControlePNCP":"{NUMERO}"}}"#),
        format!(r#"{{"processo":"b","novo":1,"numeroControlePNCP":"{NUMERO}","srp":false}}"#),
        format!(
            r#"{{ "numeroControlePNCP" : "{NUMERO}" , "srp" : null , "process\u006f" : "c" }}"#
        ),
        format!(r#"{{"srp":true,"processo":"d","numeroControlePNCP":"{NUMERO}"}}"#),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let mut builder = ContratacaoBatchBuilder::new("");
    assert_eq!(append(&mut builder, &page_of(&records)).unwrap().rows, 4);
    let batch = builder.finish().unwrap();
    let processos: Vec<_> = batch["processo"]
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(processos, ["a", "b", "c", "d"]);
    assert_eq!(
        batch["_unmapped"].as_string::<i32>().value(1),
        r#"{"novo":1}"#
    );
    for (row, record) in records.iter().enumerate() {
        let canonical = canonical_json(record.as_bytes(), Shape::Contratacao).unwrap();
        assert_eq!(contratacao_json(&batch, row).unwrap(), canonical);
    }
    comes_back(&batch);
}

/// Half a surrogate pair in a key is not a backslash with the same digits, and both come back.
#[test]
fn half_a_surrogate_in_a_key_comes_back() {
    let record = format!(
        r#"{{"numeroControlePNCP":"{NUMERO}","amparoLegal":{{"c\ud800":1,"c\\ud800":2,"\udc00\ud800.x":3}}}}"#
    );
    let mut builder = ContratacaoBatchBuilder::new("");
    assert_eq!(append(&mut builder, &page_of(&[&record])).unwrap().rows, 1);
    let batch = builder.finish().unwrap();
    assert_eq!(
        batch["_unmapped"].as_string::<i32>().value(0),
        r#"{"amparoLegal.c~5d800":1,"amparoLegal.c\\ud800#2":2,"amparoLegal.~5dc00~5d800~1x":3}"#
    );
    let json = contratacao_json(&batch, 0).unwrap();
    assert_eq!(
        json,
        canonical_json(record.as_bytes(), Shape::Contratacao).unwrap()
    );
    assert!(
        json.contains(r#"{"\udc00\ud800.x":3,"c\\ud800":2,"c\ud800":1}"#),
        "{json}"
    );
    comes_back(&batch);
}
