//! Parquet log entries and the keyed merge, on memory and a local folder.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use bronze_storage::BronzeStore;
use bronze_storage::state::{
    IdColumns, MergeError, Merger, ObjectLogStore, ParquetEntries, ParquetRows,
};
use bytes::Bytes;
use ingest_state::testing::{check_entry_format, check_log_store};
use ingest_state::{EntryRows, Execution, Layout, LogStore, MemoryStore};
use proptest::prelude::*;
use rows::{Bench, Facets, details, keys, log_of, model, read, row, scope, view};

fn records(ids: impl IntoIterator<Item = usize>, payload: usize) -> RecordBatch {
    let ids: Vec<String> = ids.into_iter().map(|n| format!("id-{n:06}")).collect();
    let text = |n: usize| {
        (0..payload)
            .map(|k| char::from(b'a' + (k * 7 + n) as u8 % 26))
            .collect()
    };
    let payloads: Vec<String> = (0..ids.len()).map(text).collect();
    let times = vec!["2025-10-22T08:00:00"; ids.len()];
    RecordBatch::try_from_iter([
        (
            "numeroControlePNCP",
            Arc::new(StringArray::from(ids)) as ArrayRef,
        ),
        ("dataAtualizacaoGlobal", Arc::new(StringArray::from(times))),
        ("payload", Arc::new(StringArray::from(payloads))),
    ])
    .unwrap()
}

#[tokio::test]
async fn parquet_entries_keep_the_contract() {
    for columns in [IdColumns::contratacoes(), IdColumns::details()] {
        let format = ParquetEntries::new(columns);
        check_entry_format(&format, &MemoryStore::new())
            .await
            .unwrap();
    }
    let store = BronzeStore::memory();
    let objects = ObjectLogStore::new(store.object_store().clone());
    check_log_store(&objects, "check").await.unwrap();
}

#[tokio::test]
async fn two_writers_of_one_day_double_nothing() {
    let store = BronzeStore::memory();
    let log = log_of(&store, Layout::parquet("pncp"), IdColumns::contratacoes());
    let mut one = log.load(&scope()).await.unwrap();
    let mut two = log.load(&scope()).await.unwrap();
    let columns = IdColumns::contratacoes();
    let offer = |ids| ParquetRows::new(&records(ids, 10), &columns).unwrap();
    let first = one
        .append(&offer(0..30), &Execution::new("one"))
        .await
        .unwrap();
    let second = two
        .append(&offer(20..50), &Execution::new("two"))
        .await
        .unwrap();
    assert_eq!(
        (first.count(), second.count(), second.races_lost),
        (30, 20, 1)
    );
    two.finish(&Execution::new("two")).await.unwrap();
    assert!(log.verify(&scope()).await.unwrap().is_sound());

    let mut rows = Vec::new();
    for object in store.list("pncp").await.unwrap() {
        if object.key.ends_with(".parquet") {
            let (bytes, _) = store.get(&object.key).await.unwrap();
            rows.extend(keys(&read(bytes), "numeroControlePNCP"));
        }
    }
    rows.sort();
    let expected: Vec<String> = (0..50).map(|n| format!("id-{n:06}")).collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn ids_of_a_large_entry_are_read_by_projection() {
    let columns = IdColumns::contratacoes();
    let batch = records(0..3_000, 900);
    let rows = ParquetRows::new(&batch, &columns).unwrap();
    let head = ingest_state::testing::example_head(3_000);
    let bytes = rows.encode(&head, &vec![true; 3_000]).unwrap();
    let store = BronzeStore::memory();
    let objects = ObjectLogStore::new(store.object_store().clone());
    let padded = bytes.len();
    objects.create("big", bytes).await.unwrap();
    let object = objects.head("big").await.unwrap().unwrap();
    let format = ParquetEntries::new(columns);
    let entry = ingest_state::EntryFormat::read(&format, &objects, &object, &[""])
        .await
        .unwrap();
    assert_eq!((entry.ids.len(), entry.head.rows), (3_000, 3_000));
    assert!(
        entry
            .ids
            .get(7)
            .unwrap()
            .version
            .unwrap()
            .starts_with("2025-10-22T08:00:00#")
    );
    // An overwrite between two reads is seen.
    objects
        .overwrite("big", Bytes::from(vec![0u8; padded]))
        .await
        .unwrap();
    let stale = ingest_state::EntryFormat::read(&format, &objects, &object, &[""]).await;
    assert!(
        matches!(stale, Err(ingest_state::FormatError::Store(_))),
        "{stale:?}"
    );
}

#[tokio::test]
async fn a_large_execution_is_split() {
    let columns = IdColumns::contratacoes();
    let batches = [
        records(0..500, 200),
        records(500..510, 200),
        records(510..2_000, 200),
    ];
    let pieces = ParquetRows::split(&batches, &columns, 64 * 1024).unwrap();
    let total: usize = pieces.iter().map(|piece| piece.ids().len()).sum();
    assert_eq!(total, 2_000);
    assert!(pieces.len() > 5, "{}", pieces.len());
    for piece in &pieces {
        let ids = piece.ids().len();
        let head = ingest_state::testing::example_head(ids as u64);
        let bytes = piece.encode(&head, &vec![true; ids]).unwrap();
        assert!(bytes.len() < 64 * 1024 + 4_096, "{}", bytes.len());
    }
}

#[tokio::test]
async fn later_entries_fill_and_refresh_halves() {
    let bench = Bench::new(32);
    bench
        .append(&[row("b", Some((2, 1)), None), row("a", None, Some((0, 1)))])
        .await;
    let merged = bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(
        merged.key,
        "pncp_details/year=2025/month=10/day=22/details.parquet"
    );
    assert_eq!(
        (merged.through, merged.rows, merged.entries, merged.rounds),
        (1, 2, 1, 1)
    );
    assert!(bench.merger.status(&scope()).await.unwrap().unmerged_bytes == 0);

    bench
        .append(&[
            row("b", None, Some((3, 1))),
            row("c", Some((1, 2)), Some((1, 2))),
        ])
        .await;
    bench.append(&[row("b", Some((5, 2)), None)]).await;
    let status = bench.merger.status(&scope()).await.unwrap();
    assert_eq!((status.through, status.last_entry), (1, 3));
    assert!(status.is_due());
    bench.merger.merge(&scope()).await.unwrap();
    let expected = [
        row("a", None, Some((0, 1))),
        row("b", Some((5, 2)), Some((3, 1))),
        row("c", Some((1, 2)), Some((1, 2))),
    ];
    assert_eq!(bench.view().await, expected);
    // Nothing to do: nothing is written.
    assert_eq!(bench.merger.merge(&scope()).await.unwrap().rounds, 0);
}

#[tokio::test]
async fn a_file_that_is_broken_or_stale_is_made_anew() {
    let bench = Bench::new(2);
    let key = bench.merger.key(&scope());
    let mut stale = Bytes::new();
    for n in 0..5 {
        bench
            .append(&[row(&format!("k{n}"), Some((n, 1)), None)])
            .await;
        if n == 2 {
            let merged = bench.merger.merge(&scope()).await.unwrap();
            assert_eq!(merged.rounds, 1, "three entries whose keys do not overlap");
            stale = bench.store.get(&key).await.unwrap().0;
        }
    }
    bench.merger.merge(&scope()).await.unwrap();
    let whole = bench.view().await;
    assert_eq!(whole.len(), 5);
    for body in [
        stale,
        Bytes::from_static(b"PAR1 not at all PAR1"),
        Bytes::new(),
    ] {
        bench.store.put(&key, body).await.unwrap();
        bench.merger.merge(&scope()).await.unwrap();
        assert_eq!(bench.view().await, whole);
    }
}

#[tokio::test]
async fn a_broken_entry_is_refused_by_name() {
    let bench = Bench::new(8);
    bench.append(&[row("a", Some((1, 1)), None)]).await;
    let entry = bench.log.layout().entry_key(&scope(), 1);
    let (bytes, _) = bench.store.get(&entry).await.unwrap();
    bench
        .store
        .put(&entry, bytes.slice(..bytes.len() - 9))
        .await
        .unwrap();
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::Source { key, .. } if *key == entry),
        "{error:?}"
    );
    assert!(
        !bench
            .store
            .list("pncp_details")
            .await
            .unwrap()
            .iter()
            .any(|o| o.key.ends_with("details.parquet"))
    );
}

#[tokio::test]
async fn mergers_at_once_leave_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&bronze_storage::BronzeConfig::local(folder.path())).unwrap();
    let log = log_of(
        &store,
        Layout::details("pncp_details"),
        IdColumns::details(),
    );
    let merger = Merger::new(store.clone(), log.clone(), IdColumns::details());
    for n in 0..12 {
        let rows: Vec<_> = (0..40)
            .map(|k| {
                row(
                    &format!("k{:03}", (k * 13 + n * 5) % 97),
                    Some((k, n as u32)),
                    None,
                )
            })
            .collect();
        let mut unique: BTreeMap<String, Facets> = BTreeMap::new();
        unique.extend(rows);
        let rows: Vec<_> = unique.into_iter().collect();
        let rows = ParquetRows::new(&details(&rows), &IdColumns::details()).unwrap();
        let mut day = log.load(&scope()).await.unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
        let day = scope();
        let all = futures::future::join_all((0..3).map(|_| merger.merge(&day))).await;
        assert!(all.iter().any(Result::is_ok), "{all:?}");
    }
    merger.merge(&scope()).await.unwrap();
    let rows = view(&store, &merger.key(&scope())).await;
    let day = log.load(&scope()).await.unwrap();
    assert_eq!(rows.len(), day.done().count(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_merge_is_the_model(
        entries in prop::collection::vec(
            prop::collection::btree_map(
                "[a-f]{1,2}",
                (prop::option::of((0..4i32, 0..4u32)), prop::option::of((0..4i32, 0..4u32))),
                1..12,
            ),
            1..9,
        ),
        max_sources in 1..5usize,
        merges in prop::collection::vec(any::<bool>(), 9),
    ) {
        let entries: Vec<Vec<(String, Facets)>> = entries
            .into_iter()
            .map(|rows| rows.into_iter().map(|(key, (a, b))| row(&key, a, b)).collect())
            .collect();
        let expected = model(&entries);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(max_sources);
            for (entry, merge) in entries.iter().zip(&merges) {
                bench.append(entry).await;
                if *merge {
                    bench.merger.merge(&scope()).await.unwrap();
                }
            }
            let merged = bench.merger.merge(&scope()).await.unwrap();
            if merged.through == 0 {
                assert!(expected.is_empty());
            } else {
                assert_eq!(bench.view().await, expected);
            }
        });
    }
}

/// A Parquet entry as the first release wrote it: 30 rows, read for ever.
#[tokio::test]
async fn the_golden_entry_is_read() {
    let golden = Bytes::from_static(include_bytes!("golden/v1_entry.parquet"));
    let store = MemoryStore::new();
    store.create("entry", golden).await.unwrap();
    let object = store.head("entry").await.unwrap().unwrap();
    let format = ParquetEntries::new(IdColumns::contratacoes());
    let entry = ingest_state::EntryFormat::read(&format, &store, &object, &[""])
        .await
        .unwrap();
    let head = ingest_state::EntryHead {
        rows: 30,
        ..ingest_state::testing::example_head(30)
    };
    assert_eq!(entry.head, head);
    let ids: Vec<&str> = entry.ids.iter().map(|id| id.id).collect();
    assert_eq!((ids[0], ids[29]), ("id-000000", "id-000029"));
}

#[tokio::test]
async fn later_versions_have_a_log_of_their_own() {
    let store = BronzeStore::memory();
    let log = log_of(&store, Layout::versions("pncp"), IdColumns::versions());
    let mut day = log.load(&scope()).await.unwrap();
    let offer = ParquetRows::new(&records(0..3, 5), &IdColumns::versions()).unwrap();
    let first = day.append(&offer, &Execution::new("one")).await.unwrap();
    assert_eq!(
        first.key.as_deref(),
        Some("pncp/_versions/year=2025/month=10/day=22/pncp_20251022_00000001.parquet")
    );
    let again = day.append(&offer, &Execution::new("two")).await.unwrap();
    assert_eq!((first.count(), again.count()), (3, 0));
    assert!(day.done().contains(0, "id-000001@2025-10-22T08:00:00#"));
}

/// A day as it is: 130 checkpoints of 50 contratações, merged in a small budget.
#[tokio::test]
async fn a_day_of_checkpoints_is_merged_in_rounds() {
    let bench = Bench::new(32);
    let mut day = bench.log.load(&scope()).await.unwrap();
    for part in 0..130 {
        let rows: Vec<_> = (0..50)
            .map(|n| {
                row(
                    &format!("k{:05}", (part * 50 + n) * 7_919 % 6_500),
                    Some((9, 1)),
                    Some((2, 1)),
                )
            })
            .collect();
        let rows = ParquetRows::new(&details(&rows), &IdColumns::details()).unwrap();
        day.append(&rows, &Execution::new("x")).await.unwrap();
        if part == 9 {
            bench.merger.merge(&scope()).await.unwrap();
        }
    }
    let merged = bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(
        (merged.through, merged.rows, merged.entries),
        (130, 6_500, 120)
    );
    assert_eq!(merged.rounds, 4, "120 entries, 32 at once");
    let view = bench.view().await;
    assert_eq!(view.len(), 6_500);
    assert!(
        view.iter()
            .all(|(_, facets)| *facets == [Some((9, 1)), Some((2, 1))])
    );
}

#[tokio::test]
async fn an_entry_whose_rows_are_elsewhere_is_not_merged() {
    let bench = Bench::new(8);
    let format = ParquetEntries::new(IdColumns::details());
    let ids = [ingest_state::Id {
        facet: 0,
        id: "a",
        version: None,
    }]
    .into_iter()
    .collect();
    let head = ingest_state::EntryHead {
        stub: true,
        ..ingest_state::testing::example_head(1)
    };
    let facets = ["itens", "arquivos"];
    let stub = ingest_state::EntryFormat::encode_ids(&format, &head, &ids, &facets).unwrap();
    let key = bench.log.layout().entry_key(&scope(), 1);
    bench.store.put(&key, stub).await.unwrap();
    assert!(
        bench
            .log
            .load(&scope())
            .await
            .unwrap()
            .done()
            .contains(0, "a")
    );
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(
        matches!(&error, MergeError::Stub { key: named } if *named == key),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_execution_that_says_too_much_of_itself_writes_nothing() {
    let store = BronzeStore::memory();
    let log = log_of(&store, Layout::parquet("pncp"), IdColumns::contratacoes());
    let columns = IdColumns::contratacoes();
    let rows = ParquetRows::new(&records(0..3, 10), &columns).unwrap();
    let with = |bytes: usize| {
        let mut execution = Execution::new("x");
        execution
            .metadata
            .insert("note".to_owned(), "n".repeat(bytes).into());
        execution
    };
    let mut day = log.load(&scope()).await.unwrap();
    let error = day.append(&rows, &with(64 * 1024)).await.unwrap_err();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    assert!(text.contains("more than 65536"), "{text}");
    assert!(!error.is_transient());
    assert!(store.list("").await.unwrap().is_empty());
    // What is allowed is the most that it adds to the rows.
    day.append(&rows, &with(63 * 1024)).await.unwrap();
    let object = &store.list("pncp/year=2025").await.unwrap()[0];
    assert!(object.size < 3 * 64 * 1024, "{} bytes", object.size);
}
