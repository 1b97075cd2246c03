//! The program against the simulator: short, whole, and with nothing to do the second time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch};
use bronze_storage::{BronzeConfig, BronzeStore, ParquetFile, ReadOptions, Source};
use chrono::NaiveDate;
use pncp_client::arrow::{contratacao_json, element_json};
use pncp_client::{Shape, canonical_json};
use pncp_sim::{Sim, SimHandle};

const DAY: &str = "2025-10-22";

/// A contratação with its itens and arquivos, each in canonical spelling.
type Record = (String, Vec<String>, Vec<String>);

fn truth(sim: &SimHandle) -> BTreeMap<String, Record> {
    let spell = |record: &String, shape| canonical_json(record.as_bytes(), shape).unwrap();
    let day: NaiveDate = DAY.parse().unwrap();
    let records = sim.truth(day).map(|record| {
        let itens = record.itens.iter().map(|item| spell(item, Shape::Item));
        let arquivos = record.arquivos.iter();
        let arquivos = arquivos.map(|arquivo| spell(arquivo, Shape::Arquivo));
        let value = (
            spell(&record.contratacao, Shape::Contratacao),
            itens.collect(),
            arquivos.collect(),
        );
        (record.numero_controle, value)
    });
    records.collect()
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    let column = batch.column_by_name(column).unwrap();
    column.as_string::<i32>().value(row).to_owned()
}

/// What lies in the folder; asserts that no record lies there twice.
async fn kept(folder: &Path) -> BTreeMap<String, Record> {
    let store = BronzeStore::open(&BronzeConfig::local(folder)).unwrap();
    let day: NaiveDate = DAY.parse().unwrap();
    let (source, all) = (Source::new("pncp").unwrap(), ReadOptions::default());
    let bronze = store.read_bronze(&source, day, day, &all).await.unwrap();
    let mut records = BTreeMap::new();
    for batch in bronze.collect_batches().await.unwrap() {
        for row in 0..batch.num_rows() {
            let id = text(&batch, "numeroControlePNCP", row);
            let record = contratacao_json(&batch, row).unwrap();
            let before = records.insert(id, (record, Vec::new(), Vec::new()));
            assert_eq!(before, None);
        }
    }
    let key = "pncp_details/year=2025/month=10/day=22/details.parquet";
    let file = ParquetFile::open(&store, key).await.unwrap();
    let mut rows = 0;
    for batch in file.read(&all).unwrap().collect_batches().await.unwrap() {
        let list = |column, row, shape| {
            let list = batch.column_by_name(column).unwrap().as_list::<i32>();
            assert!(!list.is_null(row));
            element_json(list, row, shape).unwrap().unwrap()
        };
        for row in 0..batch.num_rows() {
            let id = text(&batch, "numeroControlePNCP", row);
            let record = records.get_mut(&id).unwrap();
            record.1 = list("itens", row, Shape::Item);
            record.2 = list("arquivos", row, Shape::Arquivo);
            rows += 1;
        }
    }
    assert_eq!(rows, records.len());
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_team_keeps_a_day_in_under_a_hundred_lines() {
    assert!(include_str!("../src/main.rs").lines().count() < 100);

    let sim = Sim::builder().replay().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = async || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embed"));
        command.args([sim.url(), folder.path().to_str().unwrap(), DAY]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}\n{error}");
        told
    };
    let first = run().await;
    let truth = truth(&sim);
    assert!(
        first.contains(&format!("{} new contratações", truth.len())),
        "{first}"
    );
    assert!(kept(folder.path()).await == truth);

    let calls = sim.stats().detail_calls();
    let second = run().await;
    assert!(second.contains("0 new contratações"), "{second}");
    assert!(second.contains("0 detail calls"), "{second}");
    assert_eq!(sim.stats().detail_calls(), calls);
    assert!(kept(folder.path()).await == truth);
}
