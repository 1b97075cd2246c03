//! Every recorded answer becomes rows without anything left over, and comes back.
//!
//! The records in `tests/data` always; with `PNCP_SAMPLES` naming a folder of recorded answers,
//! all JSON files below it too.
#![cfg(feature = "arrow")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say what they skip"
)]

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use chrono::DateTime;
use pncp_client::arrow::{
    ContratacaoBatchBuilder, DetailBatchBuilder, DetailRow, FacetMark, FacetValue,
    contratacao_json, element_json,
};
use pncp_client::model::{Arquivo, Contratacao, Item};
use pncp_client::{Amount, ContratacaoKey, Shape, canonical_hash, canonical_json, key_fields};
use serde_json::value::RawValue;

/// The JSON files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
}

/// Every record of a file as its text stands there, whatever it is wrapped in.
fn records(text: &str, found: &mut Vec<String>) {
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) {
        list.iter().for_each(|raw| records(raw.get(), found));
    } else if let Ok(map) =
        serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(text)
    {
        if shape_of(text).is_some() {
            found.push(text.to_owned());
        } else {
            map.values().for_each(|raw| records(raw.get(), found));
        }
    }
}

/// What a record is, by the field that only its kind has.
fn shape_of(text: &str) -> Option<Shape> {
    let fields: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let has = |name: &str| fields.contains_key(name);
    match () {
        () if has("numeroControlePNCP") && has("orgaoEntidade") => Some(Shape::Contratacao),
        () if has("sequencialResultado") => None,
        () if has("numeroItem") && has("materialOuServico") => Some(Shape::Item),
        () if has("sequencialDocumento") => Some(Shape::Arquivo),
        () => None,
    }
}

fn key() -> ContratacaoKey {
    ContratacaoKey::parse("27142058000126|2026|163").unwrap()
}

fn details(itens: &[Bytes], arquivos: &[Bytes]) -> RecordBatch {
    let mark = FacetMark {
        version: None,
        fetched_at: DateTime::UNIX_EPOCH,
        execution: "run-1",
    };
    let fetched = |pages| FacetValue::Fetched { pages, mark };
    let mut builder = DetailBatchBuilder::new();
    let row = DetailRow {
        key: &key(),
        numero_controle: None,
        itens: fetched(itens),
        arquivos: fetched(arquivos),
    };
    builder.append(&row).unwrap();
    builder.finish().unwrap()
}

/// A record by itself: nothing left over, the same record back, the same hash and key.
fn check(record: &str, shape: Shape) {
    let bytes = record.as_bytes();
    let canonical = canonical_json(bytes, shape).unwrap();
    let page = [Bytes::from(format!("[{record}]"))];
    let list = match shape {
        Shape::Contratacao => {
            let mut builder = ContratacaoBatchBuilder::new("run-1");
            assert!(
                builder
                    .append_record(bytes, "/s", DateTime::UNIX_EPOCH)
                    .unwrap()
            );
            let batch = builder.finish().unwrap();
            assert_eq!(batch["_unmapped"].null_count(), 1, "{record}");
            assert_eq!(contratacao_json(&batch, 0).unwrap(), canonical);
            let hash = canonical_hash(bytes, shape).unwrap();
            assert_eq!(batch["_hash"].as_string::<i32>().value(0), hash);
            let typed: Contratacao = serde_json::from_str(record).unwrap();
            assert_eq!(typed.unmapped.len(), 0, "{record}");
            let fields = key_fields(bytes).unwrap();
            assert_eq!(
                fields.key().unwrap().numero_controle().as_str(),
                typed.numero_controle_pncp.unwrap()
            );
            return;
        }
        Shape::Item => details(&page, &[])["itens"].as_list::<i32>().clone(),
        _ => details(&[], &page)["arquivos"].as_list::<i32>().clone(),
    };
    let values = list.value(0);
    assert_eq!(values.as_struct()["_unmapped"].null_count(), 1, "{record}");
    assert_eq!(element_json(&list, 0, shape).unwrap().unwrap(), [canonical]);
    let unmapped = match shape {
        Shape::Item => serde_json::from_str::<Item>(record).unwrap().unmapped.len(),
        _ => serde_json::from_str::<Arquivo>(record)
            .unwrap()
            .unmapped
            .len(),
    };
    assert_eq!(unmapped, 0, "{record}");
}

/// How many contratações, itens and arquivos there were.
fn check_all(folder: &Path) -> [usize; 3] {
    let (mut paths, mut counts) = (Vec::new(), [0; 3]);
    files(folder, &mut paths);
    for path in paths {
        let mut found = Vec::new();
        records(&fs::read_to_string(&path).unwrap(), &mut found);
        for record in found {
            let shape = shape_of(&record).unwrap();
            check(&record, shape);
            counts[match shape {
                Shape::Contratacao => 0,
                Shape::Item => 1,
                _ => 2,
            }] += 1;
        }
    }
    counts
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

#[test]
fn recorded_answers_fit_and_come_back() {
    let [contratacoes, itens, arquivos] = check_all(&data());
    assert_eq!((contratacoes, itens, arquivos), (99, 17, 40));
}

#[test]
fn all_samples_fit_and_come_back() {
    let Some(folder) = std::env::var_os("PNCP_SAMPLES") else {
        println!("SKIPPED: PNCP_SAMPLES names no folder");
        return;
    };
    let counts = check_all(Path::new(&folder));
    println!("contratacoes, itens, arquivos: {counts:?}");
    assert!(counts[0] > 0);
}

#[test]
fn recorded_pages_fit_as_pages() {
    let mut paths = Vec::new();
    files(&data().join("pages"), &mut paths);
    assert_eq!(paths.len(), 3);
    for path in paths {
        let body = fs::read(path).unwrap();
        let mut builder = ContratacaoBatchBuilder::new("run-1");
        let appended = builder
            .append_body(&body, "/s", DateTime::UNIX_EPOCH, |_| true)
            .unwrap();
        assert_eq!((appended.rows, appended.rejected), (10, 0));
        let batch = builder.finish().unwrap();
        assert_eq!(batch["_unmapped"].null_count(), 10);
        let mut found = Vec::new();
        records(std::str::from_utf8(&body).unwrap(), &mut found);
        for (row, record) in found.iter().enumerate() {
            let canonical = canonical_json(record.as_bytes(), Shape::Contratacao).unwrap();
            assert_eq!(contratacao_json(&batch, row).unwrap(), canonical);
        }
    }
}

/// The numbers that no float holds: each of them, in its column and as an [`Amount`].
#[test]
fn every_extreme_amount_survives() {
    let text = fs::read_to_string(data().join("itens/extreme-numbers-reported.json")).unwrap();
    let rows: Vec<std::collections::BTreeMap<String, &RawValue>> =
        serde_json::from_str(&text).unwrap();
    let batch = details(&[Bytes::from(text.clone())], &[]);
    let values = batch["itens"].as_list::<i32>().value(0);
    let (mut checked, mut beyond_floats) = (0, 0);
    for name in ["valorUnitarioEstimado", "valorTotal", "quantidade"] {
        let column = values.as_struct()[name]
            .as_primitive::<Decimal128Type>()
            .clone();
        for (row, fields) in rows.iter().enumerate() {
            let Some(raw) = fields.get(name) else {
                continue;
            };
            let amount = Amount::parse(raw.get()).unwrap();
            let scaled = amount.mantissa() * 10_i128.pow(4 - u32::from(amount.scale()));
            assert_eq!(column.value(row), scaled, "{name} {raw}");
            let through_float: f64 = raw.get().parse().unwrap();
            beyond_floats += usize::from(format!("{through_float:.4}") != with_places(&amount));
            assert_eq!(Amount::parse(&amount.to_string()).unwrap(), amount);
            checked += 1;
        }
    }
    assert!(checked >= 17, "{checked}");
    assert!(beyond_floats >= 10, "{beyond_floats}");
}

/// With four places, as `{:.4}` would print it.
fn with_places(amount: &Amount) -> String {
    let text = amount.to_string();
    let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}.{places:0<4}")
}
