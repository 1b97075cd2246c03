//! Data in, data out, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bronze_storage::{
    BatchStream, BronzeStore, Dataset, Error, Format, ParquetFile, ParquetWriter, ReadOptions,
    Source, WriteOptions, encode_parquet,
};
use bytes::Bytes;
use chrono::NaiveDate;
use futures::stream;
use proptest::prelude::*;

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()
}

fn pncp() -> Source {
    Source::new("pncp").unwrap()
}

const RECORDS: &str = r#"{"numeroControlePNCP":"A","valor":1472040000000.0001,"orgao":{"cnpj":"00"},"itens":[{"n":1},{"n":2,"x":"é\n"}]}
{"valor":0.00,"numeroControlePNCP":"B","orgao":null,"itens":[]}

{"numeroControlePNCP":"C","valor":9999999999999.99,"orgao":{"cnpj":"1","uf":"SP"},"itens":null,"extra":1e400}
"#;

const EXPECTED: &str = r#"{"numeroControlePNCP":"A","valor":1472040000000.0001,"orgao":{"cnpj":"00","uf":null},"itens":[{"n":1,"x":null},{"n":2,"x":"é\n"}],"extra":null}
{"numeroControlePNCP":"B","valor":0.0000,"orgao":null,"itens":[],"extra":null}
{"numeroControlePNCP":"C","valor":9999999999999.9900,"orgao":{"cnpj":"1","uf":"SP"},"itens":null,"extra":"1e400"}
"#;

#[tokio::test]
async fn records_come_back_value_by_value_in_every_format() {
    let store = BronzeStore::memory();
    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        let data = Dataset::from_ndjson(RECORDS.as_bytes()).unwrap();
        assert_eq!(data.known_rows(), Some(3));
        let reference = store.upload_temp(data, "e", "raw", format).await.unwrap();
        let text = store
            .read_temp(&reference)
            .await
            .unwrap()
            .into_ndjson()
            .await
            .unwrap();
        assert_eq!(text, EXPECTED, "{format}");
    }
    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Row {
        n: i64,
        text: Option<String>,
    }
    let rows = vec![
        Row { n: 1, text: None },
        Row {
            n: 2,
            text: Some("x".to_owned()),
        },
    ];
    let back: Vec<Row> = Dataset::from_serialize(&rows)
        .unwrap()
        .into_records()
        .await
        .unwrap();
    assert_eq!(back, rows);
}

#[test]
fn a_given_schema_holds_exactly_or_refuses_with_the_record() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("v", DataType::Decimal128(5, 2), true),
    ]));
    Dataset::from_json_as([r#"{"id":1,"v":999.99}"#, r#"{"id":2}"#], &schema).unwrap();
    for (bad, at) in [
        (r#"{"id":1,"v":1000}"#, "v is"),
        (r#"{"id":1,"v":0.001}"#, "v is"),
        (r#"{"id":1.5}"#, "id is"),
        (r#"{"id":3000000000}"#, "id is"),
        (r#"{"v":1}"#, "id is absent"),
        (r#"{"id":1,"w":1}"#, "no column \"w\""),
        (r#"[1]"#, "a record is an object"),
        (r#"{"id":1"#, "the text ends"),
    ] {
        match Dataset::from_json_as([r#"{"id":1}"#, bad], &schema) {
            Err(Error::Json { record: 1, reason }) => assert!(reason.contains(at), "{reason}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn days_whose_fractions_differ_in_places_read_as_one_exactly() {
    let store = BronzeStore::memory();
    let days = [(20, "1.5"), (21, "1472040000000.0001"), (22, "7")];
    for (d, value) in days {
        let data = Dataset::from_json([format!(r#"{{"v":[{value},0.25]}}"#)]).unwrap();
        let date = NaiveDate::from_ymd_opt(2025, 10, d).unwrap();
        store
            .upload_to_bronze(data, &pncp(), date, Format::Parquet)
            .await
            .unwrap();
    }
    let first = NaiveDate::from_ymd_opt(2025, 10, 20).unwrap();
    let stream = store
        .read_bronze(&pncp(), first, day(), &ReadOptions::default())
        .await
        .unwrap();
    let text = Dataset::from_stream(stream).into_ndjson().await.unwrap();
    assert_eq!(
        text,
        "{\"v\":[1.5000,0.2500]}\n{\"v\":[1472040000000.0001,0.2500]}\n{\"v\":[7.0000,0.2500]}\n"
    );

    // More digits than a decimal has, once in one scale: an error that names the object.
    let wide = "9".repeat(36);
    let data = Dataset::from_json([format!(r#"{{"v":[{wide}.0]}}"#)]).unwrap();
    let written = store
        .upload_to_bronze(data, &pncp(), day(), Format::Parquet)
        .await
        .unwrap();
    let stream = store
        .read_bronze(&pncp(), first, day(), &ReadOptions::default())
        .await
        .unwrap();
    match stream.collect_batches().await {
        Err(Error::Schema { at, .. }) => assert_eq!(at, written.key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_columns_and_no_records_are_refused() {
    for text in ["", "\n", "{}\n{}"] {
        let read = Dataset::from_ndjson(text.as_bytes());
        assert!(
            matches!(read, Err(Error::Schema { .. })),
            "{text:?}: {read:?}"
        );
    }
    assert!(matches!(
        Dataset::from_batches(vec![]),
        Err(Error::Schema { .. })
    ));
    let nothing = Arc::new(Schema::empty());
    let encoded = encode_parquet(&nothing, &[], &WriteOptions::default());
    assert!(matches!(encoded, Err(Error::Schema { .. })));
    let twice = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("a", DataType::Int64, true),
    ]);
    let encoded = encode_parquet(&Arc::new(twice), &[], &WriteOptions::default());
    assert!(matches!(encoded, Err(Error::Schema { .. })));
}

#[tokio::test]
async fn an_empty_dataset_keeps_its_columns() {
    let store = BronzeStore::memory();
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let data = Dataset::empty(Arc::clone(&schema));
    let written = store
        .upload_to_bronze(data, &pncp(), day(), Format::Parquet)
        .await
        .unwrap();
    assert_eq!(written.rows, 0);
    let stream = store
        .read_bronze(&pncp(), day(), day(), &ReadOptions::default())
        .await
        .unwrap();
    assert_eq!(stream.schema().fields(), schema.fields());
    let rows: usize = stream
        .collect_batches()
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn an_object_is_read_by_its_ending_and_named_when_it_is_not_what_it_says() {
    let store = BronzeStore::memory();
    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        let key = format!("lookup/orgaos.{format}");
        let data = Dataset::from_ndjson(RECORDS.as_bytes()).unwrap();
        store.write_at(data, &key, format).await.unwrap();
        let read = store.read_at(&key).await.unwrap();
        assert_eq!(read.into_ndjson().await.unwrap(), EXPECTED, "{key}");

        let (whole, _) = store.get(&key).await.unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
            store.put(&key, whole.slice(..cut)).await.unwrap();
            match store.read_at(&key).await {
                Err(Error::Format { key: named, .. }) => assert_eq!(named, key, "{cut} bytes"),
                other => panic!("{key}, {cut} bytes: {other:?}"),
            }
        }
    }
    // Records that cannot be told apart from nothing, or are none.
    let frame = |text: &str| Bytes::from(zstd::encode_all(text.as_bytes(), 1).unwrap());
    store.put("a.ndjson.zst", frame("")).await.unwrap();
    store.put("a.json", "[]".into()).await.unwrap();
    for key in ["a.ndjson.zst", "a.json"] {
        let read = store.read_at(key).await;
        assert!(
            matches!(&read, Err(Error::Schema { at, .. }) if at == key),
            "{read:?}"
        );
    }
    store
        .put("a.ndjson.zst", frame("{\"a\":1}\n[2]\n"))
        .await
        .unwrap();
    let read = store.read_at("a.ndjson.zst").await.unwrap_err();
    let chain = format!("{read}: {}", std::error::Error::source(&read).unwrap());
    assert!(
        chain.contains("a.ndjson.zst") && chain.contains("record=1"),
        "{chain}"
    );
    assert!(matches!(
        store.read_at("a.csv").await,
        Err(Error::Name { .. })
    ));
    assert!(matches!(
        store.read_at("b.json").await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_stream_that_fails_leaves_nothing_visible() {
    let store = BronzeStore::memory();
    let batch = int_batch(10);
    for format in [Format::Parquet, Format::Ndjson, Format::Json] {
        let broken = Error::Json {
            record: 7,
            reason: "source failed".to_owned(),
        };
        let batches = stream::iter([Ok(batch.clone()), Err(broken)]);
        let data = Dataset::from_stream(BatchStream::new(batch.schema(), batches));
        let failed = store.upload_to_bronze(data, &pncp(), day(), format).await;
        let error = failed.unwrap_err();
        assert!(matches!(error, Error::Json { record: 7, .. }), "{error:?}");
        assert!(error.to_string().contains(OBJECT), "{error}");
    }
    let other = Dataset::from_stream(BatchStream::new(
        batch.schema(),
        stream::iter([Ok(batch.clone()), Ok(text_batch())]),
    ));
    let failed = store
        .upload_to_bronze(other, &pncp(), day(), Format::Parquet)
        .await;
    let error = failed.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error:?}");
    assert!(error.to_string().contains(OBJECT), "{error}");
    assert!(store.list("").await.unwrap().is_empty());
}

/// What the names of all objects of [`day`] begin with.
const OBJECT: &str = "object=`pncp/year=2025/month=10/day=22/pncp_20251022_";

/// Data is refused in code that knows no object; the error of a write names it all the same.
#[tokio::test]
async fn what_ends_a_write_names_its_object() {
    let store = BronzeStore::memory();
    let none = Arc::new(Schema::empty());
    let twice = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("a", DataType::Int64, true),
    ]));
    for (schema, format) in [(&none, Format::Parquet), (&twice, Format::Parquet)] {
        let empty = || Dataset::from_stream(BatchStream::new(schema.clone(), stream::iter([])));
        let uploaded = store
            .upload_to_bronze(empty(), &pncp(), day(), format)
            .await;
        let text = uploaded.unwrap_err().to_string();
        assert!(
            text.contains("`pncp/year=2025/month=10/day=22/pncp_20251022_"),
            "{text}"
        );
        let handed = store.upload_temp(empty(), "run", "raw", format).await;
        let text = handed.unwrap_err().to_string();
        assert!(text.contains("`_temp/run/raw.parquet`"), "{text}");
    }
    let batch = int_batch(1);
    let options = WriteOptions::default();
    let mut writer =
        ParquetWriter::create(&store, "a/b.parquet", &batch.schema(), &options).unwrap();
    let text = writer.write(&text_batch()).await.unwrap_err().to_string();
    assert!(text.contains("`a/b.parquet`"), "{text}");
    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let text = store
        .write_json("a/s.json", &unwritable)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("`a/s.json`"), "{text}");
    assert!(store.list("").await.unwrap().is_empty());
}

fn int_batch(rows: i64) -> RecordBatch {
    let column = Int64Array::from_iter_values(0..rows);
    RecordBatch::try_from_iter([("a", Arc::new(column) as _)]).unwrap()
}

fn text_batch() -> RecordBatch {
    let column = arrow_array::StringArray::from(vec!["x"]);
    RecordBatch::try_from_iter([("a", Arc::new(column) as _)]).unwrap()
}

#[tokio::test]
async fn the_same_upload_in_the_same_second_is_one_file_and_another_is_a_second() {
    let at = "2025-10-23T12:00:00Z".parse().unwrap();
    let store = BronzeStore::builder()
        .with_store(Arc::new(object_store::memory::InMemory::new()))
        .with_clock(Arc::new(move || at))
        .build()
        .unwrap();
    let upload = async |rows| {
        let data = Dataset::from_batches(vec![int_batch(rows)]).unwrap();
        store
            .upload_to_bronze(data, &pncp(), day(), Format::Parquet)
            .await
            .unwrap()
            .key
    };
    let folder = "pncp/year=2025/month=10/day=22";
    assert_eq!(
        upload(3).await,
        format!("{folder}/pncp_20251022_120000.parquet")
    );
    assert_eq!(
        upload(3).await,
        format!("{folder}/pncp_20251022_120000.parquet")
    );
    assert_eq!(
        upload(4).await,
        format!("{folder}/pncp_20251022_120000_01.parquet")
    );
    assert_eq!(store.list("pncp").await.unwrap().len(), 2);
}

#[tokio::test]
async fn truncated_and_foreign_files_are_named() {
    let store = BronzeStore::memory();
    let folder = "pncp/year=2025/month=10/day=22";
    let whole = encode_parquet(
        &int_batch(100).schema(),
        &[int_batch(100)],
        &WriteOptions::default(),
    );
    let whole = whole.unwrap();
    store
        .put(&format!("{folder}/good.parquet"), whole.clone())
        .await
        .unwrap();
    store
        .put(
            &format!("{folder}/readme.txt"),
            Bytes::from_static(b"hello"),
        )
        .await
        .unwrap();
    store
        .put(
            "pncp/_state/year=2025/month=10/day=22/s.json",
            Bytes::from_static(b"{}"),
        )
        .await
        .unwrap();
    store
        .put("pncp/year=2025/month=10/day=23/x.parquet", whole.clone())
        .await
        .unwrap();
    let read = async || {
        let stream = store
            .read_bronze(&pncp(), day(), day(), &ReadOptions::default())
            .await?;
        stream.collect_batches().await
    };
    assert_eq!(
        read()
            .await
            .unwrap()
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        100
    );
    let listed = store.list_bronze(&pncp(), day(), day()).await.unwrap();
    let formats: Vec<_> = listed.iter().map(|object| object.format).collect();
    assert_eq!(formats, [Some(Format::Parquet), None]);

    let bad = format!("{folder}/bad.parquet");
    for cut in [0, 3, 8, whole.len() / 2, whole.len() - 1] {
        store.put(&bad, whole.slice(..cut)).await.unwrap();
        match read().await {
            Err(Error::Format { key, .. }) => assert_eq!(key, bad, "{cut} bytes"),
            other => panic!("{cut} bytes: {other:?}"),
        }
    }
    let mut rotten = whole.to_vec();
    rotten[6] ^= 0xff;
    rotten[7] ^= 0xff;
    store.put(&bad, Bytes::from(rotten)).await.unwrap();
    assert!(matches!(read().await, Err(Error::Format { key, .. }) if key == bad));
}

#[tokio::test]
async fn a_reader_never_mixes_two_versions() {
    let store = BronzeStore::memory();
    let options = WriteOptions::default();
    let schema = int_batch(1).schema();
    let write = async |rows| {
        let mut writer = ParquetWriter::create(&store, "f.parquet", &schema, &options).unwrap();
        writer.write(&int_batch(rows)).await.unwrap();
        writer.finish().await.unwrap()
    };
    write(100_000).await;
    let file = ParquetFile::open(&store, "f.parquet").await.unwrap();
    write(100_001).await;
    let read = file
        .read(&ReadOptions::default())
        .unwrap()
        .collect_batches()
        .await;
    assert!(matches!(read, Err(Error::Changed { key, .. }) if key == "f.parquet"));
    let unknown = file.read(&ReadOptions::columns(["b"]));
    assert!(matches!(unknown, Err(Error::Schema { at, .. }) if at == "b"));
}

#[test]
fn row_groups_are_cut_by_bytes_and_pages_are_zstd() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let values = (0..400_000_i64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64));
    let column = Int64Array::from_iter_values(values);
    let batch = RecordBatch::try_from_iter([("a", Arc::new(column) as _)]).unwrap();
    let options = WriteOptions {
        row_group_bytes: 1024 * 1024,
        ..WriteOptions::default()
    }
    .with_metadata("k", "v");
    let bytes = encode_parquet(&batch.schema(), &[batch], &options).unwrap();
    let reader = SerializedFileReader::new(bytes).unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.len() >= 3, "{}", groups.len());
    for group in groups {
        assert!(group.compressed_size() < 3 * 1024 * 1024);
        let column = group.column(0);
        assert!(column.statistics().is_some());
        assert!(matches!(
            column.compression(),
            parquet::basic::Compression::ZSTD(_)
        ));
    }
}

proptest! {
    #[test]
    fn decimals_survive_parquet_with_every_digit(
        values in prop::collection::vec((any::<i64>(), 0_u32..10_000), 1..20)
    ) {
        let records: Vec<String> = values
            .iter()
            .map(|(whole, places)| format!(r#"{{"v":{whole}.{places:04}}}"#))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = runtime.block_on(async {
            let store = BronzeStore::memory();
            let data = Dataset::from_json(&records).unwrap();
            let temp = store.upload_temp(data, "e", "raw", Format::Parquet).await.unwrap();
            store.read_temp(&temp).await.unwrap().into_ndjson().await.unwrap()
        });
        let expected: String = records.iter().map(|record| format!("{record}\n")).collect();
        prop_assert_eq!(text, expected.replace(":-0.0000}", ":0.0000}"));
    }
}

#[tokio::test]
async fn what_widens_late_is_as_if_it_had_been_known() {
    // Batches are of 1,024 records: the widening comes in the second, the third and the last.
    let record = |n: usize| match n {
        1500 => r#"{"a":1500,"b":0.25}"#.to_owned(),
        2100 => r#"{"a":2100,"c":[{"d":true}]}"#.to_owned(),
        4999 => r#"{"a":4999,"b":1.125,"c":[{"d":null,"e":7}]}"#.to_owned(),
        n => format!(r#"{{"a":{n},"b":1}}"#),
    };
    let records: Vec<String> = (0..5000).map(record).collect();
    let data = Dataset::from_json(&records).unwrap();
    let known = Dataset::from_json_as(&records, data.schema()).unwrap();
    assert_eq!(
        data.schema().field(1).data_type(),
        &DataType::Decimal128(38, 3)
    );
    assert_eq!(data.known_rows(), Some(5000));
    let (data, known) = (
        data.into_batches().await.unwrap(),
        known.into_batches().await.unwrap(),
    );
    assert_eq!(data, known);
}
