//! The merged file compared with its log, and golden files of what a log of details leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rows;

use bronze_storage::state::{IdColumns, ParquetEntries};
use bytes::Bytes;
use ingest_state::{
    Entry, EntryFormat, Finding, Id, IdList, Layout, LogStore, MemoryStore, Standing, View,
};
use proptest::prelude::*;
use rows::{Bench, Facets, row, scope};

/// What `verify` finds.
async fn findings(bench: &Bench) -> Vec<Finding> {
    let report = bench.log.verify_with(&scope(), &[&bench.merger]).await;
    report.unwrap().findings
}

async fn merge(bench: &Bench) -> String {
    bench.merger.merge(&scope()).await.unwrap().key
}

#[tokio::test]
async fn a_file_that_is_absent_stale_or_broken_is_found() {
    let bench = Bench::new(8);
    assert_eq!(findings(&bench).await, [], "no log, no file");
    bench.append(&[row("a", Some((1, 1)), Some((1, 1)))]).await;
    let key = bench.merger.key(&scope());
    let behind = |through, last| Finding::ViewBehind {
        key: key.clone(),
        through,
        last,
    };
    assert_eq!(findings(&bench).await, [behind(0, 1)]);
    merge(&bench).await;
    assert_eq!(findings(&bench).await, []);
    bench.append(&[row("b", Some((1, 1)), None)]).await;
    assert_eq!(findings(&bench).await, [behind(1, 2)]);
    merge(&bench).await;
    assert_eq!(findings(&bench).await, []);
    let (whole, _) = bench.store.get(&key).await.unwrap();
    for broken in [
        Bytes::new(),
        whole.slice(..whole.len() / 2),
        Bytes::from("PAR1 not at all PAR1"),
    ] {
        bench.store.put(&key, broken).await.unwrap();
        let found = findings(&bench).await;
        assert!(
            matches!(&found[..], [Finding::ViewUnreadable { key: at, .. }] if *at == key),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_file_of_another_log_is_found() {
    let (bench, other) = (Bench::new(8), Bench::new(8));
    let ours = [
        row("a", Some((1, 1)), Some((1, 1))),
        row("b", Some((2, 1)), None),
        row("c", None, Some((1, 3))),
    ];
    bench.append(&ours).await;
    let others = [
        row("a", Some((1, 2)), None),
        row("b", Some((2, 1)), None),
        row("x", Some((1, 1)), None),
    ];
    other.append(&others).await;
    let key = merge(&other).await;
    let (bytes, _) = other.store.get(&key).await.unwrap();
    bench.store.put(&key, bytes).await.unwrap();
    let expected = Finding::ViewIds {
        key: key.clone(),
        missing: 2,
        extra: 1,
        other_version: 1,
        rows: 3,
        keys: 3,
    };
    assert_eq!(findings(&bench).await, [expected]);
    bench.store.delete(&key).await.unwrap();
    merge(&bench).await;
    assert_eq!(findings(&bench).await, []);
    // A file that speaks of entries which are gone.
    let entry = bench.log.layout().entry_key(&scope(), 1);
    bench.store.delete(&entry).await.unwrap();
    let ahead = Finding::ViewAhead {
        key,
        through: 1,
        last: 0,
    };
    assert_eq!(findings(&bench).await, [ahead]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn after_any_series_of_merges_file_and_log_agree(
        entries in prop::collection::vec(
            prop::collection::btree_map(
                "[a-f]{1,2}",
                (prop::option::of((0..4i32, 0..4u32)), prop::option::of((0..4i32, 0..4u32))),
                1..12,
            ),
            1..7,
        ),
        max_sources in 1..5usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(max_sources);
            for rows in entries {
                let rows: Vec<(String, Facets)> =
                    rows.into_iter().map(|(key, (a, b))| row(&key, a, b)).collect();
                bench.append(&rows).await;
                merge(&bench).await;
                assert_eq!(findings(&bench).await, []);
            }
        });
    }
}

/// The golden file of this name; written first where the environment says `WRITE_GOLDEN=1`.
fn golden(name: &str, now: Bytes) -> Bytes {
    let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("WRITE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&file, now).unwrap();
    }
    Bytes::from(std::fs::read(file).unwrap())
}

/// As the first release wrote them; read for ever. Their bytes may change with the encoder, what is
/// read may not.
#[tokio::test]
async fn golden_parts_stubs_and_merged_file() {
    let bench = Bench::new(8);
    let both = [row("1|2025|2", Some((2, 1)), Some((0, 1)))];
    bench.append(&both).await;
    bench.append(&[row("1|2025|2", Some((1, 3)), None)]).await;
    let merged = merge(&bench).await;
    let layout = Layout::details("pncp_details");
    let (first, second) = (layout.entry_key(&scope(), 1), layout.entry_key(&scope(), 2));
    let empty = ParquetEntries::new(IdColumns::details());
    let id = |facet, id, version| Id { facet, id, version };
    let ids: IdList = [
        id(0, "1|2025|2", Some("2025-10-22T03:00:00#x")),
        id(1, "any \"text\" ç", None),
    ]
    .into_iter()
    .collect();
    let head = ingest_state::EntryHead {
        stub: true,
        ..ingest_state::testing::example_head(2)
    };
    let names = layout.facet_names();
    let stub = golden(
        "v1_stub.part",
        empty.encode_ids(&head, &ids, &names).unwrap(),
    );
    let store = MemoryStore::new();
    store.create("stub", stub).await.unwrap();
    let object = store.head("stub").await.unwrap().unwrap();
    let read = empty.read(&store, &object, &names).await.unwrap();
    assert_eq!(read, Entry { head, ids });

    let old = Bench::new(8);
    for (key, name) in [
        (&first, "v1_details_1.part"),
        (&second, "v1_details_2.part"),
        (&merged, "v1_details.parquet"),
    ] {
        let (bytes, _) = bench.store.get(key).await.unwrap();
        old.store.put(key, golden(name, bytes)).await.unwrap();
    }
    assert_eq!(findings(&old).await, []);
    assert_eq!(
        old.view().await,
        [row("1|2025|2", Some((1, 3)), Some((0, 1)))]
    );
    let content = old.merger.read(&scope()).await.unwrap().unwrap();
    assert_eq!(
        (content.through, content.rows, content.ids.len()),
        (2, 1, 2)
    );
    let day = old.log.load(&scope()).await.unwrap();
    assert_eq!((day.last_entry(), day.done().len()), (2, 1));
    for id in content.ids.iter() {
        assert_eq!(day.standing(id), Standing::AlreadyProcessed);
    }
    // A merger of today goes on from what it left.
    old.append(&[row("2|2025|3", None, Some((1, 1)))]).await;
    merge(&old).await;
    assert_eq!(old.view().await.len(), 2);
    assert_eq!(findings(&old).await, []);
}
