//! The bridge to polars, and scans of bronze by polars' own client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    DurationMicrosecondArray, Float64Array, Int16Array, Int64Array, ListArray, NullArray,
    RecordBatch, StringArray, StructArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow_select::concat::concat_batches;
use bronze_storage::testing::S3Server;
use bronze_storage::{BronzeConfig, BronzeStore, Dataset, Error, Format, ParquetFile, Source};
use chrono::NaiveDate;
use polars::prelude::{DataFrame, IntoLazy, LazyFrame, NamedFrom, Series, col, lit};
use proptest::prelude::*;

/// How deep the generated types are nested.
const DEPTH: usize = 3;

/// A generator that needs nothing but its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        self.0 >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Values, a quarter of them null.
    fn options<T>(&mut self, len: usize, value: impl Fn(u64) -> T) -> Vec<Option<T>> {
        let mut one = || (!self.next().is_multiple_of(4)).then(|| self.next());
        (0..len).map(|_| one().map(&value)).collect()
    }

    fn nulls(&mut self, len: usize) -> NullBuffer {
        (0..len).map(|_| !self.next().is_multiple_of(4)).collect()
    }

    fn data_type(&mut self, depth: usize) -> DataType {
        let kinds = if depth == 0 { 15 } else { 18 };
        match self.below(kinds) {
            0 => DataType::Boolean,
            1 => DataType::Int16,
            2 => DataType::UInt32,
            3 => DataType::Float64,
            4 => DataType::Binary,
            5 => DataType::Date32,
            6 => DataType::Time64(TimeUnit::Nanosecond),
            7 => DataType::Duration(TimeUnit::Microsecond),
            8 => DataType::Timestamp(TimeUnit::Millisecond, None),
            9 => DataType::Timestamp(TimeUnit::Microsecond, Some("America/Sao_Paulo".into())),
            10 => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            11 if depth == DEPTH => DataType::Null,
            11 | 12 => DataType::Int64,
            13 => DataType::Utf8,
            14 => DataType::Decimal128(38, i8::try_from(self.below(6)).unwrap()),
            15 => DataType::List(Arc::new(Field::new(
                "item",
                self.data_type(depth - 1),
                true,
            ))),
            _ => DataType::Struct(self.fields(depth - 1)),
        }
    }

    fn fields(&mut self, depth: usize) -> Fields {
        let count = 1 + self.below(4);
        let field = |n| Field::new(format!("c{n}"), self.data_type(depth), true);
        (0..count).map(field).collect()
    }

    /// An array of a type, a slice of a longer one.
    fn array(&mut self, data_type: &DataType, len: usize) -> ArrayRef {
        let (before, after) = (self.below(10), self.below(3));
        self.whole(data_type, before + len + after)
            .slice(before, len)
    }

    fn whole(&mut self, data_type: &DataType, len: usize) -> ArrayRef {
        let signed = |n: u64| n as i64 - (1 << 47);
        match data_type {
            DataType::Null => Arc::new(NullArray::new(len)),
            DataType::Boolean => Arc::new(BooleanArray::from(self.options(len, |n| n % 2 == 0))),
            DataType::Int16 => Arc::new(Int16Array::from(self.options(len, |n| n as i16))),
            DataType::UInt32 => Arc::new(UInt32Array::from(self.options(len, |n| n as u32))),
            DataType::Int64 => Arc::new(Int64Array::from(self.options(len, signed))),
            DataType::Float64 => Arc::new(Float64Array::from(
                self.options(len, |n| signed(n) as f64 / 8.0),
            )),
            DataType::Utf8 => {
                let text = |n: u64| {
                    "çã🙂 contratação"
                        .chars()
                        .cycle()
                        .take((n % 30) as usize)
                        .collect()
                };
                Arc::new(StringArray::from(self.options::<String>(len, text)))
            }
            DataType::Binary => {
                let bytes = self.options(len, |n| n.to_le_bytes()[..(n % 9) as usize].to_vec());
                Arc::new(BinaryArray::from_iter(bytes))
            }
            DataType::Date32 => Arc::new(Date32Array::from(self.options(len, |n| n as i32 >> 8))),
            DataType::Time64(_) => {
                let day = 86_400_000_000_000;
                Arc::new(Time64NanosecondArray::from(
                    self.options(len, |n| n as i64 % day),
                ))
            }
            DataType::Duration(_) => {
                Arc::new(DurationMicrosecondArray::from(self.options(len, signed)))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => Arc::new(
                TimestampMillisecondArray::from(self.options(len, |n| signed(n) >> 8)),
            ),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let times = TimestampMicrosecondArray::from(self.options(len, signed));
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            DataType::Timestamp(_, zone) => {
                let times = TimestampNanosecondArray::from(self.options(len, signed));
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            DataType::Decimal128(precision, scale) => {
                let values =
                    self.options(len, |n| i128::from(signed(n)) * 10_i128.pow(n as u32 % 20));
                let array = Decimal128Array::from(values);
                Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
            }
            DataType::List(item) => {
                let lengths: Vec<usize> = (0..len).map(|_| self.below(4)).collect();
                let values = self.array(item.data_type(), lengths.iter().sum());
                let nulls = self.nulls(len);
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(
                    ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls)).unwrap(),
                )
            }
            DataType::Struct(fields) => {
                let columns = fields
                    .iter()
                    .map(|f| self.array(f.data_type(), len))
                    .collect();
                let nulls = self.nulls(len);
                Arc::new(StructArray::try_new(fields.clone(), columns, Some(nulls)).unwrap())
            }
            other => panic!("no generator for {other}"),
        }
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn batches_come_back_from_a_frame_as_they_were(
        seed in any::<u64>(), lengths in prop::collection::vec(0..40_usize, 0..4)
    ) {
        let mut random = Random(seed);
        let schema: SchemaRef = Arc::new(Schema::new(random.fields(DEPTH)));
        let mut batches = Vec::new();
        for len in &lengths {
            let columns = schema.fields().iter().map(|f| random.array(f.data_type(), *len));
            batches.push(RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap());
        }
        let whole = concat_batches(&schema, &batches).unwrap();
        let data = match batches.is_empty() {
            true => Dataset::empty(Arc::clone(&schema)),
            false => Dataset::from_batches(batches).unwrap(),
        };
        let frame = block(data.into_polars()).unwrap();
        prop_assert_eq!(frame.shape(), (whole.num_rows(), schema.fields().len()));

        // A frame's own slices begin in the middle of its chunks.
        let (from, some) = (whole.num_rows() / 3, whole.num_rows() / 2);
        let part = Dataset::from_polars(frame.slice(from as i64, some)).unwrap();
        let part = concat_batches(&schema, &block(part.into_batches()).unwrap()).unwrap();
        prop_assert_eq!(part, whole.slice(from, some));

        let back = Dataset::from_polars(frame).unwrap();
        prop_assert_eq!(back.schema(), &schema);
        let back = concat_batches(&schema, &block(back.into_batches()).unwrap()).unwrap();
        // What lies below a null is nobody's: polars makes it null.
        prop_assert_eq!(back, whole);
    }
}

#[tokio::test]
async fn numbers_are_shared_and_not_copied() {
    let values = Int64Array::from_iter_values(0..1000);
    let amounts = Decimal128Array::from_iter_values(0..1000);
    let pointers = (
        values.values().as_ptr() as usize,
        amounts.values().as_ptr() as usize,
    );
    let batch = RecordBatch::try_from_iter([
        ("n", Arc::new(values) as ArrayRef),
        (
            "valor",
            Arc::new(amounts.with_precision_and_scale(38, 4).unwrap()) as _,
        ),
    ]);
    let frame = Dataset::from_batches(vec![batch.unwrap()])
        .unwrap()
        .into_polars()
        .await
        .unwrap();
    let shared = frame
        .column("n")
        .unwrap()
        .i64()
        .unwrap()
        .cont_slice()
        .unwrap()
        .as_ptr() as usize;
    assert_eq!(shared, pointers.0);
    let batches = Dataset::from_polars(frame)
        .unwrap()
        .into_batches()
        .await
        .unwrap();
    let column = |n: usize| batches[0].column(n).to_data().buffers()[0].as_ptr() as usize;
    assert_eq!((column(0), column(1)), pointers);
}

#[tokio::test]
async fn what_polars_has_no_type_for_is_widened_or_refused_by_name() {
    use arrow_array::{Decimal256Array, DictionaryArray, Time32SecondArray, TimestampSecondArray};
    let columns: [(&str, ArrayRef); 3] = [
        (
            "quando",
            Arc::new(TimestampSecondArray::from(vec![Some(1_761_134_400), None])),
        ),
        ("hora", Arc::new(Time32SecondArray::from(vec![43_200, 0]))),
        (
            "uf",
            Arc::new(
                ["SP", "RJ"]
                    .into_iter()
                    .collect::<DictionaryArray<arrow_array::types::Int32Type>>(),
            ),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let frame = Dataset::from_batches(vec![batch])
        .unwrap()
        .into_polars()
        .await
        .unwrap();
    let text = Dataset::from_polars(frame)
        .unwrap()
        .into_ndjson()
        .await
        .unwrap();
    assert_eq!(
        text,
        "{\"quando\":\"2025-10-22T12:00:00\",\"hora\":\"12:00:00\",\"uf\":\"SP\"}\n\
         {\"quando\":null,\"hora\":\"00:00:00\",\"uf\":\"RJ\"}\n"
    );
    // Nulls without a type inside a list: strings afterwards, as inference makes them.
    let nulls = |_| Arc::new(NullArray::new(2)) as ArrayRef;
    let item = Arc::new(Field::new("item", DataType::Null, true));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([2, 0]), nulls(()), None);
    let batch = RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef), ("n", nulls(()))]);
    let data = Dataset::from_batches(vec![batch.unwrap()]).unwrap();
    let back = Dataset::from_polars(data.into_polars().await.unwrap()).unwrap();
    assert_eq!(back.schema().field(0).data_type().to_string(), "List(Utf8)");
    assert_eq!(back.schema().field(1).data_type(), &DataType::Null);
    let text = back.into_ndjson().await.unwrap();
    assert_eq!(
        text,
        "{\"l\":[null,null],\"n\":null}\n{\"l\":[],\"n\":null}\n"
    );

    // Seconds that no millisecond holds are an error, not another time.
    let far = RecordBatch::try_from_iter([(
        "quando",
        Arc::new(TimestampSecondArray::from(vec![i64::MAX])) as ArrayRef,
    )]);
    let wide = RecordBatch::try_from_iter([(
        "valor",
        Arc::new(Decimal256Array::from_iter_values([arrow_buffer::i256::ONE])) as ArrayRef,
    )]);
    for (batch, name) in [(far, "quando"), (wide, "valor")] {
        let refused = Dataset::from_batches(vec![batch.unwrap()])
            .unwrap()
            .into_polars()
            .await;
        assert!(
            matches!(&refused, Err(Error::Schema { at, .. }) if at == name),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_chunks_strings_and_categories_is_a_dataset() {
    let frame = |texts: [&str; 2]| {
        let text = Series::new("texto".into(), texts);
        DataFrame::new(2, vec![text.into()]).unwrap()
    };
    let mut all = frame(["a", "um texto que não cabe numa vista"]);
    all.vstack_mut(&frame(["b", "c"])).unwrap();
    let all = all
        .lazy()
        .with_column(lit(1_i16).alias("n"))
        .collect()
        .unwrap();
    let store = BronzeStore::memory();
    let reference = store
        .upload_temp(Dataset::try_from(all).unwrap(), "e", "raw", Format::Parquet)
        .await
        .unwrap();
    let data = store.read_temp(&reference).await.unwrap();
    assert_eq!(data.schema().field(0).data_type(), &DataType::Utf8);
    let frame = data.into_polars().await.unwrap();
    assert_eq!(frame.shape(), (4, 2));
    let empty = Dataset::from_polars(frame.clear()).unwrap();
    assert_eq!(
        (empty.known_rows(), empty.schema().fields().len()),
        (Some(0), 2)
    );
    let none = Dataset::from_polars(DataFrame::empty()).unwrap();
    assert!(none.schema().fields().is_empty());
    let refused = store.upload_temp(none, "e", "none", Format::Parquet).await;
    assert!(matches!(refused, Err(Error::Schema { .. })), "{refused:?}");
}

fn pncp() -> Source {
    Source::new("pncp").unwrap()
}

fn day(d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, d).unwrap()
}

async fn upload(store: &BronzeStore, d: u32, records: &str) -> String {
    let data = Dataset::from_ndjson(records.as_bytes()).unwrap();
    store
        .upload_to_bronze(data, &pncp(), day(d), Format::Parquet)
        .await
        .unwrap()
        .key
}

/// Collects as a program in an async runtime has to: on a thread that may block.
async fn collect(frame: LazyFrame) -> Result<String, String> {
    let frame = tokio::task::spawn_blocking(|| frame.collect())
        .await
        .unwrap();
    let frame = frame.map_err(|error| error.to_string())?;
    Ok(Dataset::from_polars(frame)
        .unwrap()
        .into_ndjson()
        .await
        .unwrap())
}

/// Makes the pages of some columns of a file unreadable; its footer stays.
async fn spoil(store: &BronzeStore, key: &str, columns: &[&str]) {
    let file = ParquetFile::open(store, key).await.unwrap();
    let mut bytes = store.get(key).await.unwrap().0.to_vec();
    for group in file.footer().row_groups() {
        for chunk in group.columns() {
            if columns.contains(&chunk.column_path().string().as_str()) {
                let (start, len) = chunk.byte_range();
                bytes[start as usize..(start + len) as usize].fill(0xff);
            }
        }
    }
    store.put(key, bytes.into()).await.unwrap();
}

async fn scans(store: &BronzeStore) {
    let rows = r#"{"id":"A","valor":1472040000000.0001,"texto":"x","itens":[{"n":1,"v":0.5}]}
{"id":"B","valor":null,"texto":"y","itens":[]}
"#;
    let mut keys = Vec::new();
    for d in 21..=24 {
        keys.push(upload(store, d, rows).await);
    }
    // Neither foreign files, nor other sources, nor state.
    store
        .put("pncp/year=2025/month=10/day=22/readme.txt", "x".into())
        .await
        .unwrap();
    store
        .put(
            "pncp/_state/year=2025/month=10/day=22/s.parquet",
            "x".into(),
        )
        .await
        .unwrap();

    let scan = async |from, to| {
        store
            .scan_bronze(&pncp(), day(from), day(to))
            .await
            .unwrap()
    };
    let frame = scan(22, 23).await;
    let text = collect(frame.clone().filter(col("id").eq(lit("A"))))
        .await
        .unwrap();
    let row = |d: u32| {
        format!(
            r#"{{"id":"A","valor":1472040000000.0001,"texto":"x","itens":[{{"n":1,"v":0.5}}],"year":2025,"month":10,"day":{d}}}"#
        )
    };
    assert_eq!(text, format!("{}\n{}\n", row(22), row(23)));

    // Columns and days that nobody asks for are not read: they could not be.
    spoil(store, &keys[1], &["id", "texto", "valor"]).await;
    spoil(store, &keys[2], &["texto"]).await;
    let one = frame
        .clone()
        .filter(col("day").eq(lit(23)))
        .select([col("id"), col("day")]);
    let text = collect(one).await.unwrap();
    assert_eq!(
        text,
        "{\"id\":\"A\",\"day\":23}\n{\"id\":\"B\",\"day\":23}\n"
    );
    assert!(
        collect(frame.select([col("texto")])).await.is_err(),
        "the spoiled pages were not read"
    );

    // Files whose columns grew.
    upload(
        store,
        24,
        "{\"id\":\"C\",\"valor\":0.123456,\"itens\":[{\"n\":2,\"x\":\"z\"}],\"novo\":7}\n",
    )
    .await;
    let text = collect(scan(24, 24).await.filter(col("id").neq(lit("B"))))
        .await
        .unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            r#"{"id":"A","valor":1472040000000.000100,"texto":"x","itens":[{"n":1,"v":0.5,"x":null}],"novo":null,"year":2025,"month":10,"day":24}"#,
            r#"{"id":"C","valor":0.123456,"texto":null,"itens":[{"n":2,"v":null,"x":"z"}],"novo":7,"year":2025,"month":10,"day":24}"#,
        ]
    );
    let none = store.scan_bronze(&pncp(), day(1), day(2)).await;
    assert!(matches!(none, Err(Error::NotFound { .. })));
    store.put(&keys[0], "PAR1 cut short".into()).await.unwrap();
    let cut = store.scan_bronze(&pncp(), day(21), day(21)).await;
    assert!(matches!(cut, Err(Error::Format { key, .. }) if key == keys[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_polars_has_no_type_for_is_named_with_its_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    let wide = arrow_array::Decimal256Array::from_iter_values([arrow_buffer::i256::ONE]);
    let wide = RecordBatch::try_from_iter([("valor", Arc::new(wide) as ArrayRef)]).unwrap();
    let wide = Dataset::from_batches(vec![wide]).unwrap();
    let source = pncp();
    let first = store.upload_to_bronze(wide, &source, day(21), Format::Parquet);
    let keys = [
        first.await.unwrap().key,
        upload(&store, 22, "{\"n\":1}\n").await,
    ];
    // The day that lacks the column cannot be given a null of its type.
    match store.scan_bronze(&pncp(), day(21), day(22)).await.map(drop) {
        Err(Error::Schema { at, reason }) => {
            assert_eq!(at, "valor");
            assert!(keys.iter().any(|key| reason.contains(key)), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_scanned_with_pushdown() {
    let folder = tempfile::tempdir().unwrap();
    let config = BronzeConfig::local(folder.path().join("a lake ç/run=3 [*]"));
    scans(&BronzeStore::open(&config).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_scanned_with_pushdown() {
    let Some(server) = S3Server::start().await else {
        return;
    };
    scans(&server.store("scans/of polars").unwrap()).await;
}

#[tokio::test]
async fn stores_that_polars_cannot_open_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hive = BronzeConfig::local(folder.path().join("year=2020"));
    let stores = [
        BronzeStore::memory(),
        BronzeStore::open(&BronzeConfig::memory()).unwrap(),
        BronzeStore::open(&hive).unwrap(),
    ];
    for store in stores {
        upload(&store, 22, "{\"id\":\"A\"}\n").await;
        let refused = store
            .scan_bronze(&pncp(), day(22), day(22))
            .await
            .err()
            .unwrap();
        assert!(matches!(refused, Error::Config { .. }), "{refused}");
    }
}
