//! What is handed between tasks and lies in folders, as the first release wrote it: read for ever.
//!
//! `WRITE_GOLDEN=1` writes it anew, which only a new version of a format is a reason for. Log
//! entries and merged files: `view.rs`, `state.rs`; a whole day with the API's columns: in
//! `examples/pncp-ingest/tests`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bronze_storage::{
    BronzeStore, Clock, Dataset, Error, Format, ParquetFile, Source, Stage, TempRef,
};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

const RECORDS: [&str; 3] = [
    r#"{"id":"A","valor":1472040000000.0001,"srp":true,"itens":[{"n":1,"v":0.0951},{"n":2,"v":null}]}"#,
    r#"{"id":"B","valor":0.0000,"srp":null,"itens":[]}"#,
    r#"{"id":"Ç\r\n","valor":null,"srp":false,"itens":null}"#,
];
const ID: &str = "manual__2025-10-23T12:00:00+00:00";

fn written() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2025-10-23T12:00:05Z")
        .unwrap()
        .to_utc()
}

/// An empty store, and how many seconds after [`written`] it is.
fn store() -> (BronzeStore, Arc<AtomicI64>) {
    let after = Arc::new(AtomicI64::new(0));
    let shared = Arc::clone(&after);
    let clock: Clock =
        Arc::new(move || written() + TimeDelta::seconds(shared.load(Ordering::SeqCst)));
    let store = BronzeStore::builder()
        .with_store(Arc::new(object_store::memory::InMemory::new()))
        .with_clock(clock);
    (store.build().unwrap(), after)
}

fn long_id() -> String {
    format!("backfill/{}", "ç".repeat(120))
}

/// The golden file of this name; written first where the environment says so.
fn golden(name: &str, now: Bytes) -> Bytes {
    let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("WRITE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&file, now).unwrap();
    }
    Bytes::from(std::fs::read(file).unwrap())
}

fn text() -> String {
    RECORDS.map(|record| format!("{record}\n")).concat()
}

/// What the object of a reference was, and its reference, written then.
async fn handed_over(format: Format, id: &str, names: [&str; 2]) -> (TempRef, Bytes) {
    let (today, _) = store();
    let data = Dataset::from_json(RECORDS).unwrap();
    let stage = Stage::new("raw").shard(3).attempt(1);
    let reference = today.upload_temp(data, id, stage, format).await.unwrap();
    let (bytes, _) = today.get(&reference.key).await.unwrap();
    let json = Bytes::from(serde_json::to_vec_pretty(&reference).unwrap());
    let (json, bytes) = (golden(names[0], json), golden(names[1], bytes));
    let old: TempRef = serde_json::from_slice(&json).unwrap();
    // The name of the same thing is the same for ever, and so is what a reference says of it.
    assert_eq!(old.key, reference.key);
    let fields = [old.bytes, old.rows];
    assert_eq!(fields, [Some(bytes.len() as u64), Some(3)]);
    assert_eq!(
        (old.created, &old.schema),
        (Some(written()), &reference.schema)
    );
    assert_eq!(old.expires, Some(written() + TimeDelta::days(7)));
    assert_eq!(old.checksum.as_deref().map(str::len), Some(32));
    (old, bytes)
}

#[tokio::test]
async fn a_reference_and_its_parquet() {
    let names = ["v1_temp_ref.json", "v1_temp.parquet"];
    let (reference, bytes) = handed_over(Format::Parquet, ID, names).await;
    let key = "_temp/manual__2025-10-23T12=3A00=3A00=2B00=3A00/raw.s3.t1.parquet";
    assert_eq!(reference.key, key);
    let (store, after) = store();
    store.put(key, bytes).await.unwrap();
    let data = store.read_temp(&reference).await.unwrap();
    let amounts = data
        .schema()
        .field_with_name("valor")
        .unwrap()
        .data_type()
        .to_string();
    assert_eq!(amounts, "Decimal128(38, 4)");
    assert_eq!(data.into_ndjson().await.unwrap(), text());
    // What the footer says, by name.
    let file = ParquetFile::open(&store, key).await.unwrap();
    assert_eq!(file.metadata("bronze.execution"), Some(ID));
    assert_eq!(
        file.metadata("bronze.expires"),
        Some("2025-10-30T12:00:05+00:00")
    );
    after.store(7 * 24 * 3600, Ordering::SeqCst);
    let plain: TempRef = key.parse().unwrap();
    for reference in [reference, plain] {
        let read = store.read_temp(&reference).await;
        assert!(matches!(read, Err(Error::Expired { .. })), "{read:?}");
    }
}

#[tokio::test]
async fn records_of_an_execution_with_a_long_id() {
    let id = long_id();
    let names = ["v1_temp_ref_records.json", "v1_temp.ndjson.zst"];
    let (reference, bytes) = handed_over(Format::Ndjson, &id, names).await;
    let (store, _) = store();
    store.put(&reference.key, bytes).await.unwrap();
    let data = store.read_temp(&reference).await.unwrap();
    assert_eq!(data.into_ndjson().await.unwrap(), text());

    let folder = reference.key.rsplit_once('/').unwrap().0;
    assert_eq!(folder.len(), "_temp/".len() + 120);
    let lies = format!("{folder}/_execution");
    let now = self::store().0;
    let data = Dataset::from_json(RECORDS).unwrap();
    now.upload_temp(data, &id, "raw", Format::Ndjson)
        .await
        .unwrap();
    let (now, _) = now.get(&lies).await.unwrap();
    store.put(&lies, golden("v1_execution", now)).await.unwrap();
    let usage = store.temp_usage().await.unwrap();
    assert_eq!(usage.executions[&id].objects, 2);
    assert_eq!(store.cleanup_temp(&id).await.unwrap(), 2);
}

#[tokio::test]
async fn files_of_bronze_in_every_format() {
    let (source, day) = (
        Source::new("pncp").unwrap(),
        NaiveDate::from_ymd_opt(2025, 10, 22).unwrap(),
    );
    for (format, name) in [
        (Format::Parquet, "v1_bronze.parquet"),
        (Format::Ndjson, "v1_bronze.ndjson.zst"),
        (Format::Json, "v1_bronze.json"),
    ] {
        let (today, _) = store();
        let data = Dataset::from_json(RECORDS).unwrap();
        let written = today
            .upload_to_bronze(data, &source, day, format)
            .await
            .unwrap();
        let ending = name.strip_prefix("v1_bronze").unwrap();
        let key = format!("pncp/year=2025/month=10/day=22/pncp_20251022_120005{ending}");
        assert_eq!(written.key, key);
        let (bytes, _) = today.get(&key).await.unwrap();
        let (old, _) = store();
        old.put(&key, golden(name, bytes)).await.unwrap();
        let listed = old.list_bronze(&source, day, day).await.unwrap();
        assert_eq!((listed.len(), listed[0].format), (1, Some(format)));
        let data = old.read_at(&key).await.unwrap();
        assert_eq!(data.into_ndjson().await.unwrap(), text(), "{name}");
    }
}
