//! Details of a synthetic day into a bronze layer: parts, log, snapshots, merged view, quarantine.
#![cfg(all(feature = "pncp", feature = "bronze", feature = "test-util"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Int32Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use bronze_storage::{BronzeStore, ParquetFile, ReadOptions, WriteOptions, encode_parquet};
use chrono::{DateTime, NaiveDate, Utc};
use details_checkpoint::bronze::{MergePolicy, replay_keys};
use details_checkpoint::testing::check_checkpoint_sink;
use details_checkpoint::{
    BronzeDetails, CallStats, CheckpointSink, DetailKey, Fetched, Ingester, KeyList, MemorySource,
    Options, Outcome, Payload, PncpDetails, Refresh, Report,
};
use futures::TryStreamExt;
use ingest_state::Scope;
use pncp_client::{ClientSettings, PncpClient};
use pncp_sim::{Fault, Sim, SimHandle};

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_761_000_000, 0).unwrap()
}

fn sink(store: &BronzeStore, execution: &str) -> BronzeDetails {
    let scope = Scope::new("pncp_details", day()).unwrap();
    BronzeDetails::builder(store.clone(), scope)
        .with_execution(execution)
        .build()
        .unwrap()
}

fn client(sim: &SimHandle) -> PncpClient {
    let mut settings = ClientSettings::default();
    settings.retry.attempts_max = 2;
    settings.retry.first_delay_ms = 1;
    settings.retry.delay_max_ms = 5;
    settings.detail.requests_per_second_max = 10_000.0;
    settings.detail.requests_per_second_start = 10_000.0;
    settings.detail.concurrency_max = 64;
    PncpClient::builder()
        .with_settings(settings)
        .with_consulta_url(sim.consulta_url())
        .with_api_url(sim.api_url())
        .build()
        .unwrap()
}

/// The day's contratações as the first command would have left them, in the columns that matter.
async fn put_contratacoes(store: &BronzeStore, sim: &SimHandle) -> usize {
    let truth: Vec<_> = sim.truth(day()).collect();
    let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let cnpj = text(truth.iter().map(|record| record.cnpj.clone()).collect());
    let field = arrow_schema::Field::new("cnpj", arrow_schema::DataType::Utf8, true);
    let orgao = StructArray::from(vec![(Arc::new(field), cnpj)]);
    let version = |record: &pncp_sim::TruthRecord| {
        let json: serde_json::Value = serde_json::from_str(&record.contratacao).unwrap();
        let at = json["dataAtualizacaoGlobal"].as_str().unwrap();
        at.parse::<chrono::NaiveDateTime>()
            .unwrap()
            .and_utc()
            .timestamp_micros()
    };
    let fetched = TimestampMicrosecondArray::from(vec![at().timestamp_micros(); truth.len()]);
    let sequencial = truth
        .iter()
        .map(|record| i32::try_from(record.sequencial).unwrap());
    let batch = RecordBatch::try_from_iter([
        (
            "numeroControlePNCP",
            text(truth.iter().map(|r| r.numero_controle.clone()).collect()),
        ),
        ("orgaoEntidade", Arc::new(orgao) as ArrayRef),
        (
            "anoCompra",
            Arc::new(truth.iter().map(|r| Some(r.ano)).collect::<Int32Array>()),
        ),
        (
            "sequencialCompra",
            Arc::new(sequencial.map(Some).collect::<Int32Array>()),
        ),
        (
            "dataAtualizacaoGlobal",
            Arc::new(TimestampMicrosecondArray::from(
                truth.iter().map(version).collect::<Vec<_>>(),
            )),
        ),
        (
            "situacaoCompraId",
            Arc::new(Int32Array::from(vec![1; truth.len()])),
        ),
        ("_fetched_at", Arc::new(fetched.with_timezone("UTC"))),
    ])
    .unwrap();
    let bytes = encode_parquet(&batch.schema(), &[batch], &WriteOptions::default()).unwrap();
    let key = "pncp/year=2025/month=10/day=22/pncp_20251022_00000001.parquet";
    store.put(key, bytes).await.unwrap();
    truth.len()
}

async fn run(sim: &SimHandle, store: &BronzeStore, execution: &str, options: Options) -> Report {
    let sink = sink(store, execution);
    let keys = sink.contratacoes("pncp").await.unwrap();
    let source = Arc::new(PncpDetails::new(client(sim)));
    let ingester = Ingester::builder(source, Arc::new(sink))
        .with_options(options)
        .build()
        .unwrap();
    ingester.run(&keys).await.unwrap()
}

/// Keys and lengths of both lists, as a reader of the merged view sees them.
async fn view(store: &BronzeStore) -> BTreeMap<String, (Option<usize>, Option<usize>)> {
    let key = sink(store, "reader").view_key();
    let file = ParquetFile::open(store, &key).await.unwrap();
    let batches = file.read(&ReadOptions::default()).unwrap();
    let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
    let mut rows = BTreeMap::new();
    for batch in batches {
        let keys = batch
            .column_by_name("key")
            .unwrap()
            .as_string::<i32>()
            .clone();
        let lists = ["itens", "arquivos"].map(|name| batch.column_by_name(name).unwrap().clone());
        for row in 0..batch.num_rows() {
            let len = |list: &ArrayRef| {
                let list = list.as_list::<i32>();
                list.is_valid(row).then(|| list.value(row).len())
            };
            let before = rows.insert(keys.value(row).to_owned(), (len(&lists[0]), len(&lists[1])));
            assert_eq!(before, None, "a key twice");
        }
    }
    rows
}

fn truth(sim: &SimHandle) -> BTreeMap<String, (Option<usize>, Option<usize>)> {
    let row = |record: pncp_sim::TruthRecord| {
        let key = format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial);
        (key, (Some(record.itens.len()), Some(record.arquivos.len())))
    };
    sim.truth(day()).map(row).collect()
}

async fn listed(store: &BronzeStore, prefix: &str) -> Vec<String> {
    store
        .list(prefix)
        .await
        .unwrap()
        .into_iter()
        .map(|object| object.key)
        .collect()
}

#[tokio::test]
async fn the_sink_keeps_the_contract() {
    let key = |n| DetailKey::new(format!("83102277000152|2025|{}", n + 1));
    let fetched = |_| {
        let stats = CallStats::new(1, 0);
        Fetched::Present(Payload {
            pages: vec!["[]".into()],
            stats,
            ..Payload::default()
        })
    };
    let store = BronzeStore::memory();
    check_checkpoint_sink(
        &sink(&store, "x"),
        &["itens", "arquivos"],
        key,
        fetched,
        at(),
    )
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = bronze_storage::BronzeConfig::local(folder.path());
    let store = BronzeStore::open(&config).unwrap();
    check_checkpoint_sink(
        &sink(&store, "x"),
        &["itens", "arquivos"],
        key,
        fetched,
        at(),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_day_ends_as_parts_snapshots_and_one_sorted_view() {
    let sim = Sim::builder().synthetic(120).start().await.unwrap();
    let store = BronzeStore::memory();
    let count = put_contratacoes(&store, &sim).await;
    let report = run(&sim, &store, "first", Options::default()).await;
    assert_eq!((report.outcome, report.complete), (Outcome::Complete, true));
    assert_eq!(report.processed as usize, count);
    assert_eq!(view(&store).await, truth(&sim));
    let parts = listed(&store, "pncp_details/_parts").await;
    assert_eq!(parts.len(), report.checkpoints.len());
    let saved: Vec<&String> = report
        .checkpoints
        .iter()
        .map(|checkpoint| &checkpoint.key)
        .collect();
    assert_eq!(saved, parts.iter().collect::<Vec<_>>());
    assert!(
        report
            .checkpoints
            .iter()
            .all(|checkpoint| checkpoint.saved_bytes > 0)
    );
    assert_eq!(listed(&store, "pncp_details/_state").await.len(), 2);
    let before = (
        listed(&store, "pncp_details").await,
        sim.stats().detail_calls(),
    );
    let again = run(&sim, &store, "second", Options::default()).await;
    assert_eq!(
        (again.outcome, again.calls, again.finished.merged),
        (Outcome::NothingNew, 0, None)
    );
    assert_eq!(
        (
            listed(&store, "pncp_details").await,
            sim.stats().detail_calls()
        ),
        before
    );
}

#[tokio::test]
async fn facets_are_fetched_on_their_own_and_meet_in_one_row() {
    let sim = Sim::builder().synthetic(30).start().await.unwrap();
    let store = BronzeStore::memory();
    put_contratacoes(&store, &sim).await;
    let only = |facet: &str| Options {
        only: vec![facet.to_owned()],
        ..Options::default()
    };
    let itens = run(&sim, &store, "itens", only("itens")).await;
    assert_eq!((itens.outcome, itens.complete), (Outcome::Complete, false));
    sink(&store, "m").merge().await.unwrap();
    let half = truth(&sim)
        .into_iter()
        .map(|(key, (itens, _))| (key, (itens, None)))
        .collect();
    assert_eq!(view(&store).await, half);
    let arquivos = run(&sim, &store, "arquivos", Options::default()).await;
    assert_eq!(arquivos.facets[0].saved, 0, "itens are not fetched again");
    assert_eq!(view(&store).await, truth(&sim));
}

#[tokio::test]
async fn failures_wait_in_the_quarantine_and_leave_it_once_they_succeed() {
    let fault: Fault = "5xx:status=503,route=arquivos,rate=0.3,per_url=2"
        .parse()
        .unwrap();
    let sim = Sim::builder()
        .synthetic(40)
        .fault(fault)
        .start()
        .await
        .unwrap();
    let store = BronzeStore::memory();
    put_contratacoes(&store, &sim).await;
    let options = Options {
        failure_threshold: 1.0,
        ..Options::default()
    };
    let mut report = run(&sim, &store, "run 0", options.clone()).await;
    assert_eq!(report.outcome, Outcome::Partial);
    let aside = sink(&store, "q").quarantined().await.unwrap();
    assert_eq!(aside.len() as u64, report.failed);
    assert!(
        aside
            .iter()
            .all(|note| note.failure.facet == "arquivos" && note.failure.runs == 1)
    );
    let missing = view_or_empty(&store)
        .await
        .values()
        .filter(|(_, arquivos)| arquivos.is_none())
        .count();
    assert!(missing == aside.len() || report.finished.merged.is_none());
    for attempt in 1..10 {
        let keys = replay_keys(&sink(&store, "q").quarantined().await.unwrap()).unwrap();
        if keys.is_empty() {
            break;
        }
        let options = Options {
            retry_set_aside: true,
            ..options.clone()
        };
        let sink = sink(&store, &format!("run {attempt}"));
        let source = Arc::new(PncpDetails::new(client(&sim)));
        let ingester = Ingester::builder(source, Arc::new(sink))
            .with_options(options)
            .build()
            .unwrap();
        report = ingester.run(&keys).await.unwrap();
    }
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(
        listed(&store, "pncp_details/_quarantine").await,
        Vec::<String>::new()
    );
    sink(&store, "m").merge().await.unwrap();
    assert_eq!(view(&store).await, truth(&sim));
}

async fn view_or_empty(store: &BronzeStore) -> BTreeMap<String, (Option<usize>, Option<usize>)> {
    let key = sink(store, "reader").view_key();
    if store.head(&key).await.unwrap().is_some() {
        view(store).await
    } else {
        BTreeMap::new()
    }
}

#[tokio::test]
async fn a_refresh_replaces_the_rows_that_moved_and_no_others() {
    let store = BronzeStore::memory();
    let key = |n: u32| format!("83102277000152|2025|{n}");
    let list = |version: &str| {
        let mut keys = KeyList::new();
        for n in 1..=3 {
            let version = if n == 2 {
                version
            } else {
                "2025-10-22T10:00:00"
            };
            let candidate = key(n);
            let candidate = details_checkpoint::Candidate::new(&candidate).with_version(version);
            keys.push(candidate).unwrap();
        }
        keys
    };
    let source = |itens: u32| {
        let body = format!(
            "[{}]",
            vec![r#"{"numeroItem":1}"#; itens as usize].join(",")
        );
        let mut source = MemorySource::new(&["itens", "arquivos"]);
        for n in 1..=3 {
            source = source.with(&key(n), "itens", itens, body.clone()).with(
                &key(n),
                "arquivos",
                0,
                "[]",
            );
        }
        Arc::new(source)
    };
    let ingest = |source, options| {
        let scope = Scope::new("pncp_details", day()).unwrap();
        let sink = BronzeDetails::builder(store.clone(), scope).with_merge(MergePolicy::Always);
        let sink = Arc::new(sink.with_execution("r").build().unwrap());
        Ingester::builder(source, sink)
            .with_options(options)
            .build()
            .unwrap()
    };
    let refresh = Options {
        refresh: Some(Refresh::default()),
        ..Options::default()
    };
    let first = ingest(source(1), Options::default())
        .run(&list("2025-10-22T10:00:00"))
        .await
        .unwrap();
    assert_eq!(first.calls, 6);
    let same = ingest(source(2), refresh.clone())
        .run(&list("2025-10-22T10:00:00"))
        .await
        .unwrap();
    assert_eq!(same.outcome, Outcome::NothingNew);
    let moved = ingest(source(2), refresh.clone())
        .run(&list("2025-10-22T11:00:00"))
        .await
        .unwrap();
    assert_eq!(moved.calls, 2);
    let lengths: Vec<_> = view(&store)
        .await
        .into_values()
        .map(|(itens, _)| itens.unwrap())
        .collect();
    assert_eq!(lengths, [1, 2, 1]);
    let again = ingest(source(2), refresh)
        .run(&list("2025-10-22T11:00:00"))
        .await
        .unwrap();
    assert_eq!(again.outcome, Outcome::NothingNew);
    let forced = Options {
        auto_resume: false,
        ..Options::default()
    };
    let forced = ingest(source(4), forced)
        .run(&list("2025-10-22T11:00:00"))
        .await
        .unwrap();
    assert_eq!(forced.calls, 6);
    let lengths: Vec<_> = view(&store)
        .await
        .into_values()
        .map(|(itens, _)| itens.unwrap())
        .collect();
    assert_eq!(lengths, [4, 4, 4]);
}

#[tokio::test]
async fn the_days_list_is_read_by_projection() {
    let sim = Sim::builder().synthetic(25).start().await.unwrap();
    let store = BronzeStore::memory();
    let empty = sink(&store, "x").contratacoes("pncp").await.unwrap();
    assert!(empty.is_empty());
    put_contratacoes(&store, &sim).await;
    let keys = sink(&store, "x").contratacoes("pncp").await.unwrap();
    let got: Vec<String> = keys
        .iter()
        .map(|candidate| candidate.key.into_owned())
        .collect();
    let expected: Vec<String> = truth(&sim).into_keys().collect();
    assert_eq!(got.len(), expected.len());
    assert!(expected.iter().all(|key| got.contains(key)));
    assert!(
        keys.iter()
            .all(|candidate| candidate.version.is_some() && candidate.arrived == Some(at()))
    );
}

#[tokio::test]
async fn part_rows_are_sorted_and_say_their_totals() {
    let sim = Sim::builder().synthetic(20).start().await.unwrap();
    let store = BronzeStore::memory();
    put_contratacoes(&store, &sim).await;
    let report = run(&sim, &store, "first", Options::default()).await;
    let file = ParquetFile::open(&store, &report.checkpoints[0].key)
        .await
        .unwrap();
    let batches: Vec<RecordBatch> = file
        .read(&ReadOptions::default())
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let batch = &batches[0];
    let keys = batch.column_by_name("key").unwrap().as_string::<i32>();
    assert!((1..keys.len()).all(|row| keys.value(row - 1) < keys.value(row)));
    let metadata = batch.column_by_name("metadata").unwrap().as_struct();
    let totals = metadata
        .column_by_name("total_itens")
        .unwrap()
        .as_primitive::<Int32Type>();
    let itens = batch.column_by_name("itens").unwrap().as_list::<i32>();
    assert!((0..keys.len()).all(|row| totals.value(row) as usize == itens.value(row).len()));
    assert!(sink(&store, "p").peak_bytes(1) > 1);
}
