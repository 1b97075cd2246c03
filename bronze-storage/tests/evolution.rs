//! Days whose entries are of several releases: the merge holds the columns of all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod releases;
mod rows;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bronze_storage::state::{
    ArchiveError, Archiver, IdColumns, MergeError, MergeOptions, Merger, ParquetRows,
};
use bronze_storage::{Dataset, Error, ReadOptions, Source};
use ingest_state::{Execution, Layout};
use proptest::prelude::*;
use releases::{Release, batch, model, rows_of};
use rows::{Bench, log_of, row, scope};
use serde_json::{Map, Value, json};

type Rows = Vec<Map<String, Value>>;

async fn append(bench: &Bench, schema: &SchemaRef, rows: &[Map<String, Value>]) {
    let rows = ParquetRows::new(&batch(schema, rows), &IdColumns::details()).unwrap();
    let mut day = bench.log.load(&scope()).await.unwrap();
    day.append(&rows, &Execution::new("x")).await.unwrap();
}

async fn viewed(bench: &Bench) -> Vec<Value> {
    rows_of(&bench.store, &bench.merger.key(&scope())).await
}

/// Nothing is left to do, and what lies there is what the log says.
async fn is_sound(bench: &Bench) {
    assert_eq!(bench.merger.merge(&scope()).await.unwrap().rounds, 0);
    let report = bench.log.verify_with(&scope(), &[&bench.merger]).await;
    let findings = report.unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
}

/// The columns of the view.
async fn columns(bench: &Bench) -> SchemaRef {
    let key = bench.merger.key(&scope());
    let file = bronze_storage::ParquetFile::open(&bench.store, &key).await;
    file.unwrap().schema().clone()
}

fn names(fields: &arrow_schema::Fields) -> Vec<&str> {
    fields.iter().map(|field| field.name().as_str()).collect()
}

fn element(schema: &Schema, column: &str) -> arrow_schema::Fields {
    match schema.field_with_name(column).unwrap().data_type() {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => fields.clone(),
            other => unreachable!("{other}"),
        },
        other => unreachable!("{other}"),
    }
}

/// Two releases: the second has new columns, at the top and in lists, and lacks others.
fn two() -> [Release; 2] {
    let first = [
        "orgao.cnpj",
        "orgao.nome",
        "orgao.unidade",
        "itens.sub",
        "itens.tags",
        "arquivos.url",
        "_itens.execution",
    ];
    let second = ["numero", "itens.extra", "arquivos.partes.k"];
    [Release::without(&first), Release::without(&second)]
}

/// An entry of a release: every third key from `first` on is refreshed by the next ones.
fn entry(release: &Release, number: u32, keys: impl Iterator<Item = u32>) -> Rows {
    let facets = |key: u32| match (key + number) % 3 {
        0 => [true, false],
        1 => [false, true],
        _ => [true, true],
    };
    keys.map(|key| release.row(number, &format!("k{key:05}"), facets(key)))
        .collect()
}

#[tokio::test]
async fn a_release_that_adds_and_drops_columns_is_merged() {
    let [first, second] = two();
    let bench = Bench::new(8);
    let mut entries = Vec::new();
    for number in 0..3 {
        let rows = entry(&first, number, number * 10..number * 10 + 15);
        append(&bench, &first.schema, &rows).await;
        entries.push(rows);
    }
    bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(viewed(&bench).await, model(&entries));
    assert_eq!(columns(&bench).await.fields(), first.schema.fields());

    for number in 3..6 {
        let rows = entry(&second, number, number * 7..number * 7 + 15);
        append(&bench, &second.schema, &rows).await;
        entries.push(rows);
    }
    let merged = bench.merger.merge(&scope()).await.unwrap();
    assert_eq!((merged.through, merged.entries, merged.rounds), (6, 3, 1));
    let view = viewed(&bench).await;
    assert_eq!(view, model(&entries));
    // Only an old entry has the first, only new ones the last.
    let old: Vec<_> = view
        .iter()
        .filter(|row| row["key"].as_str() < Some("k00010"))
        .collect();
    let new: Vec<_> = view
        .iter()
        .filter(|row| row["key"].as_str() > Some("k00042"))
        .collect();
    assert!(old.iter().all(|row| row.get("orgao").is_none()));
    assert!(old.iter().any(|row| row.get("numero").is_some()));
    assert!(new.iter().all(|row| row.get("numero").is_none()));
    assert!(new.iter().any(|row| row["orgao"].get("nome").is_some()));

    // The newest release's columns, then those that only the older one has.
    let schema = columns(&bench).await;
    let mut expected = names(second.schema.fields());
    expected.push("numero");
    assert_eq!(names(schema.fields()), expected);
    let itens = element(&schema, "itens");
    assert_eq!(names(&itens), ["n", "valor", "tags", "sub", "extra"]);
    assert!(!itens[0].is_nullable() && itens[3].is_nullable());
    is_sound(&bench).await;

    // The base of the day has all of them, and later entries of either release go on top of it.
    let archived = Archiver::new(bench.merger.clone()).archive(&scope()).await;
    assert_eq!(archived.unwrap().stubbed, 6);
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(viewed(&bench).await, model(&entries));
    is_sound(&bench).await;
    for (number, release) in [(6, &first), (7, &second), (8, &first)] {
        let rows = entry(release, number, number * 5 - 20..number * 5);
        append(&bench, &release.schema, &rows).await;
        entries.push(rows);
    }
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(viewed(&bench).await, model(&entries));
    is_sound(&bench).await;
}

#[tokio::test]
async fn releases_are_merged_alike_on_any_number_of_threads() {
    let releases = two();
    let bench = Bench::new(64);
    let mut entries = Vec::new();
    for number in 0..6 {
        let release = &releases[number as usize / 2 % 2];
        let first = number % 3 * 300;
        let rows = entry(
            release,
            number,
            (first..first + 1_200).filter(|key| key % 4 != number % 4),
        );
        append(&bench, &release.schema, &rows).await;
        entries.push(rows);
    }
    let expected = model(&entries);
    for memory_bytes in [512 * 1024, 8 * 1024 * 1024] {
        let mut files = Vec::new();
        for threads in [1, 2, 16] {
            let options = MergeOptions {
                memory_bytes,
                threads,
                ..MergeOptions::default()
            };
            let (store, log) = (bench.store.clone(), bench.log.clone());
            let merger = Merger::new(store, log, IdColumns::details()).with_options(options);
            merger.merge(&scope()).await.unwrap();
            assert_eq!(viewed(&bench).await, expected);
            let key = merger.key(&scope());
            files.push(bench.store.get(&key).await.unwrap().0);
            bench.store.delete(&key).await.unwrap();
        }
        assert!(files.iter().all(|file| *file == files[0]));
    }
}

/// `schema` with another type for the column at `path`, of at most two names.
fn retyped(schema: &Schema, path: &str, kind: &DataType) -> SchemaRef {
    let (column, nested) = path.split_once('.').unwrap_or((path, ""));
    let fields = schema.fields().iter().map(|field| {
        let field = field.as_ref().clone();
        let kind = match field.data_type() {
            _ if field.name() != column => return field,
            DataType::List(item) => {
                let DataType::Struct(fields) = item.data_type() else {
                    unreachable!("{item}")
                };
                let fields = fields.iter().map(|field| match field.name() == nested {
                    true => Arc::new(Field::new(nested, kind.clone(), true)),
                    false => field.clone(),
                });
                let item = item.as_ref().clone();
                let item = item.with_data_type(DataType::Struct(fields.collect()));
                DataType::List(Arc::new(item))
            }
            _ => kind.clone(),
        };
        field.with_data_type(kind)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[tokio::test]
async fn a_column_of_another_type_is_refused_by_name() {
    let release = Release::without(&["orgao.unidade"]);
    let first = vec![release.row(1, "a", [true, true])];
    let object = vec![Field::new("texto", DataType::Utf8, true)];
    let object = DataType::Struct(object.into());
    for (path, kind, value, from) in [
        ("numero", &object, json!({"texto": "x"}), "Utf8"),
        ("itens.n", &DataType::Utf8, json!("x"), "Int32"),
    ] {
        let mut second = release.row(2, "b", [true, true]);
        match path.split_once('.') {
            None => drop(second.insert(path.to_owned(), value)),
            Some((list, field)) => {
                let mut element = Map::new();
                element.insert(field.to_owned(), value);
                second.insert(list.to_owned(), json!([element, null]));
            }
        }
        let schema = retyped(&release.schema, path, kind);
        for merged_before in [false, true] {
            let bench = Bench::new(8);
            append(&bench, &release.schema, &first).await;
            let key = match merged_before {
                true => bench.merger.merge(&scope()).await.unwrap().key,
                false => bench.log.layout().entry_key(&scope(), 1),
            };
            append(&bench, &schema, std::slice::from_ref(&second)).await;
            let before = bench.store.list("").await.unwrap();
            let error = bench.merger.merge(&scope()).await.unwrap_err();
            let MergeError::Schema {
                key: named,
                column,
                found,
                newer,
            } = &error
            else {
                unreachable!("{error:?}")
            };
            assert_eq!((named, column.as_str(), found.as_str()), (&key, path, from));
            assert_eq!(*newer, kind.to_string());
            let text = error.to_string();
            assert!(
                [&key, path, from].iter().all(|part| text.contains(*part)),
                "{text}"
            );
            assert!(!error.is_transient());
            assert_eq!(bench.store.list("").await.unwrap(), before);
        }
    }
}

#[tokio::test]
async fn digits_that_no_common_decimal_holds_are_refused_by_entry() {
    let release = Release::without(&["orgao.unidade"]);
    let bench = Bench::new(8);
    for (number, scale, digits) in [(1, 0, "9".repeat(36)), (2, 4, "1.2345".to_owned())] {
        let schema = retyped(
            &release.schema,
            "itens.valor",
            &DataType::Decimal128(38, scale),
        );
        let row = release.row(number, &format!("k{number}"), [true, true]);
        let mut row = serde_json::to_value(&row).unwrap();
        row["itens"] = json!([{"n": 1, "valor": 12_345_678}]);
        let text = row.to_string().replace("12345678", &digits);
        let data = Dataset::from_json_as([text], &schema).unwrap();
        let batches = data.into_batches().await.unwrap();
        let rows = ParquetRows::new(&batches[0], &IdColumns::details()).unwrap();
        let mut day = bench.log.load(&scope()).await.unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
    }
    let first = bench.log.layout().entry_key(&scope(), 1);
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::Source { key, .. } if *key == first),
        "{error:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_merge_of_any_releases_is_the_model(
        entries in prop::collection::vec(
            (
                any::<u32>(),
                prop::collection::btree_map("[a-e]{1,2}", any::<[bool; 2]>(), 1..9),
            ),
            1..8,
        ),
        releases in 1..8_usize,
        max_sources in 1..5_usize,
        steps in prop::collection::vec(0..4_u8, 8),
    ) {
        let known: Vec<u32> = entries.iter().map(|(bits, _)| *bits).take(releases).collect();
        let entries = entries.into_iter().enumerate().map(|(number, (_, rows))| {
            let release = Release::of_bits(known[number % known.len()]);
            let row = |(key, facets): (String, [bool; 2])| release.row(number as u32, &key, facets);
            let rows: Rows = rows.into_iter().map(row).collect();
            (release, rows)
        });
        let entries: Vec<(Release, Rows)> = entries.collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(max_sources);
            let mut taken = Vec::new();
            for ((release, rows), step) in entries.iter().zip(&steps) {
                append(&bench, &release.schema, rows).await;
                // A row without a facet is not taken.
                let has_facet = |row: &&Map<String, Value>| !(row["_itens"].is_null() && row["_arquivos"].is_null());
                taken.push(rows.iter().filter(has_facet).cloned().collect::<Rows>());
                if *step > 0 && bench.merger.merge(&scope()).await.unwrap().through > 0 {
                    assert_eq!(viewed(&bench).await, model(&taken));
                    if *step == 3 {
                        Archiver::new(bench.merger.clone()).archive(&scope()).await.unwrap();
                        bench.store.delete(&bench.merger.key(&scope())).await.unwrap();
                    }
                }
            }
            if bench.merger.merge(&scope()).await.unwrap().through > 0 {
                assert_eq!(viewed(&bench).await, model(&taken));
                is_sound(&bench).await;
            }
        });
    }
}

#[tokio::test]
async fn entries_of_two_releases_are_read_as_one() {
    let bench = Bench::new(8);
    let log = log_of(
        &bench.store,
        Layout::parquet("pncp"),
        IdColumns::contratacoes(),
    );
    let text = |name| Field::new(name, DataType::Utf8, true);
    let orgao = |fields: Vec<Field>| Field::new("orgao", DataType::Struct(fields.into()), true);
    let id = || Field::new("numeroControlePNCP", DataType::Utf8, false);
    let first = Schema::new(vec![id(), text("velho"), orgao(vec![text("cnpj")])]);
    let second = Schema::new(vec![
        id(),
        orgao(vec![text("cnpj"), text("uf")]),
        text("novo"),
    ]);
    let mut day = log.load(&scope()).await.unwrap();
    for (schema, row) in [
        (
            first,
            json!({"numeroControlePNCP": "a", "velho": "v", "orgao": {"cnpj": "1"}}),
        ),
        (
            second,
            json!({"numeroControlePNCP": "b", "novo": "n", "orgao": {"cnpj": "2", "uf": "SP"}}),
        ),
    ] {
        let rows = batch(&Arc::new(schema), &[row.as_object().unwrap().clone()]);
        let rows = ParquetRows::new(&rows, &IdColumns::contratacoes()).unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
    }
    let (source, date) = (Source::new("pncp").unwrap(), scope().date());
    let read = async |options: ReadOptions| {
        let stream = bench
            .store
            .read_bronze(&source, date, date, &options)
            .await?;
        Dataset::from_stream(stream).into_ndjson().await
    };
    assert_eq!(
        read(ReadOptions::default()).await.unwrap(),
        "{\"numeroControlePNCP\":\"a\",\"velho\":\"v\",\"orgao\":{\"cnpj\":\"1\",\"uf\":null},\"novo\":null}\n\
         {\"numeroControlePNCP\":\"b\",\"velho\":null,\"orgao\":{\"cnpj\":\"2\",\"uf\":\"SP\"},\"novo\":\"n\"}\n"
    );
    // A column that only one release has is null in the rows of the other.
    let some = ReadOptions::columns(["numeroControlePNCP", "novo", "orgao.uf"]);
    assert_eq!(
        read(some).await.unwrap(),
        "{\"numeroControlePNCP\":\"a\",\"orgao\":null,\"novo\":null}\n\
         {\"numeroControlePNCP\":\"b\",\"orgao\":{\"uf\":\"SP\"},\"novo\":\"n\"}\n"
    );
    assert_eq!(
        read(ReadOptions::columns(["novo"])).await.unwrap(),
        "{\"novo\":null}\n{\"novo\":\"n\"}\n"
    );
    let unknown = read(ReadOptions::columns(["novo", "nenhum"])).await;
    assert!(
        matches!(&unknown, Err(Error::Schema { at, .. }) if at == "nenhum"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_file_or_a_base_that_speaks_of_entries_that_are_gone_is_refused() {
    let bench = Bench::new(8);
    bench.append(&[row("a", Some((1, 1)), None)]).await;
    bench.append(&[row("b", Some((2, 1)), None)]).await;
    let view = bench.merger.merge(&scope()).await.unwrap().key;
    let (bytes, _) = bench.store.get(&view).await.unwrap();
    let layout = bench.log.layout();
    bench
        .store
        .delete(&layout.entry_key(&scope(), 2))
        .await
        .unwrap();
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::Ahead { key, through: 2, last: 1 } if *key == view),
        "{error:?}"
    );
    assert!(!error.is_transient());
    assert_eq!(bench.store.get(&view).await.unwrap().0, bytes);

    bench.store.delete(&view).await.unwrap();
    let base = layout.base_key(&scope(), 2);
    bench.store.put(&base, bytes).await.unwrap();
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::Ahead { key, through: 2, last: 1 } if *key == base),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_base_that_lacks_an_id_of_an_entry_keeps_the_entry() {
    let (bench, other) = (Bench::new(8), Bench::new(8));
    for (bench, key) in [(&bench, "b"), (&other, "x")] {
        bench.append(&[row("a", Some((1, 1)), None)]).await;
        bench.append(&[row(key, Some((1, 1)), None)]).await;
        bench.merger.merge(&scope()).await.unwrap();
    }
    let base = bench.log.layout().base_key(&scope(), 2);
    let (bytes, _) = other.store.get(&other.merger.key(&scope())).await.unwrap();
    bench.store.put(&base, bytes).await.unwrap();
    let second = bench.log.layout().entry_key(&scope(), 2);
    let (rows, _) = bench.store.get(&second).await.unwrap();
    let error = Archiver::new(bench.merger.clone()).archive(&scope()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Missing { base: of, entry, id }
            if *of == base && *entry == second && id == "b"),
        "{error:?}"
    );
    assert!(!error.is_transient());
    assert_eq!(bench.store.get(&second).await.unwrap().0, rows);
}
