//! A closed day's rows move into a base: what is saved, what is refused, and every crash.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use bronze_storage::state::{
    ArchiveError, Archiver, IdColumns, MergeError, Merger, ParquetEntries,
};
use chrono::NaiveDate;
use ingest_state::testing::{Fault, FaultStore};
use ingest_state::{Layout, Log, Scope};
use rows::{Bench, Facets, log_of, row, scope};

/// A day of six entries, in which most rows are made of several, merged.
async fn merged_day() -> Bench {
    merged(6).await
}

async fn merged(entries: u32) -> Bench {
    let bench = Bench::new(8);
    for part in 0..entries {
        let rows: Vec<_> = (0..40)
            .map(|n| {
                let key = format!("k{:03}", (n * 7 + part * 11) % 97);
                match part % 3 {
                    0 => row(&key, Some((3, part)), None),
                    1 => row(&key, None, Some((2, part))),
                    _ => row(&key, Some((1, part)), Some((1, part))),
                }
            })
            .collect();
        let unique: BTreeMap<String, Facets> = rows.into_iter().collect();
        bench.append(&unique.into_iter().collect::<Vec<_>>()).await;
    }
    bench.merger.merge(&scope()).await.unwrap();
    bench
}

fn archiver(bench: &Bench) -> Archiver {
    Archiver::new(bench.merger.clone())
}

#[tokio::test]
async fn rows_move_into_a_base_and_ids_stay() {
    let bench = merged_day().await;
    let whole = bench.view().await;
    let day = bench.log.load(&scope()).await.unwrap();
    let archived = archiver(&bench).archive(&scope()).await.unwrap();
    assert_eq!((archived.through, archived.stubbed), (6, 6));
    let base = "pncp_details/_parts/year=2025/month=10/day=22/base_00000006.part";
    assert_eq!(archived.base.as_deref(), Some(base));

    // Readers of ids see the same log, entry by entry but for the rows.
    let again = bench.log.load(&scope()).await.unwrap();
    for (entry, stub) in day.entries().iter().zip(again.entries()) {
        assert!(stub.head.stub && !entry.head.stub);
        assert_eq!(
            (&entry.head.nonce, &entry.ids),
            (&stub.head.nonce, &stub.ids)
        );
    }
    let report = bench
        .log
        .verify_with(&scope(), &[&bench.merger])
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);

    // The view is made anew from the base alone.
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    let status = bench.merger.status(&scope()).await.unwrap();
    assert!(status.is_due() && status.unmerged_bytes > archived.bytes_after / 2);
    let merged = bench.merger.merge(&scope()).await.unwrap();
    assert_eq!((merged.through, merged.entries), (6, 0));
    assert_eq!(bench.view().await, whole);

    // A second time there is nothing to do.
    let second = archiver(&bench).archive(&scope()).await.unwrap();
    assert_eq!(
        (second.stubbed, second.bytes_after),
        (0, archived.bytes_after)
    );
}

#[tokio::test]
async fn entries_after_the_base_are_merged_on_top_of_it() {
    let bench = merged_day().await;
    archiver(&bench).archive(&scope()).await.unwrap();
    bench
        .append(&[
            row("k000", Some((9, 20)), None),
            row("z", None, Some((0, 1))),
        ])
        .await;
    // An old merged file over the new one, as a stalled merger leaves it.
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    let view: BTreeMap<String, Facets> = bench.view().await.into_iter().collect();
    assert_eq!(view["k000"][0], Some((9, 20)));
    assert_eq!(view["z"], [None, Some((0, 1))]);
    let archived = archiver(&bench).archive(&scope()).await.unwrap();
    assert_eq!((archived.through, archived.stubbed), (7, 1));
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(
        bench.view().await.into_iter().collect::<BTreeMap<_, _>>(),
        view
    );
}

#[tokio::test]
async fn a_day_whose_view_is_behind_is_refused() {
    let bench = merged_day().await;
    bench.append(&[row("late", Some((1, 1)), None)]).await;
    let before = bench.store.list("pncp_details/_parts").await.unwrap();
    let error = archiver(&bench).archive(&scope()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ArchiveError::Behind {
                through: 6,
                last: 7,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.is_transient());
    let too_large = archiver(&bench).with_max_bytes(10);
    bench.merger.merge(&scope()).await.unwrap();
    let error = too_large.archive(&scope()).await.unwrap_err();
    assert!(
        matches!(error, ArchiveError::TooLarge { max_bytes: 10, .. }),
        "{error:?}"
    );
    assert_eq!(
        bench.store.list("pncp_details/_parts").await.unwrap().len(),
        before.len()
    );

    // An empty log is archived by doing nothing; one without a view never.
    let empty = Bench::new(8);
    assert_eq!(archiver(&empty).archive(&scope()).await.unwrap().base, None);
    let log = log_of(
        &bench.store,
        Layout::parquet("pncp"),
        IdColumns::contratacoes(),
    );
    let records = Merger::new(bench.store.clone(), log, IdColumns::contratacoes());
    let error = Archiver::new(records).archive(&scope()).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NoView { .. }), "{error:?}");
    assert!(error.to_string().contains("pncp 2025-10-22"), "{error}");
}

#[tokio::test]
async fn a_base_that_lacks_an_id_stubs_nothing() {
    let bench = merged_day().await;
    let layout = bench.log.layout();
    // A base that is one of an earlier time under a later name.
    let (short, _) = bench.store.get(&bench.merger.key(&scope())).await.unwrap();
    bench.append(&[row("new", Some((1, 1)), None)]).await;
    bench.merger.merge(&scope()).await.unwrap();
    bench
        .store
        .put(&layout.base_key(&scope(), 7), short)
        .await
        .unwrap();
    let error = archiver(&bench).archive(&scope()).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Source { .. }), "{error:?}");
    let day = bench.log.load(&scope()).await.unwrap();
    assert!(day.entries().iter().all(|entry| !entry.head.stub));
}

#[tokio::test]
async fn a_stub_without_its_base_is_told() {
    let bench = merged_day().await;
    let archived = archiver(&bench).archive(&scope()).await.unwrap();
    bench.store.delete(&archived.base.unwrap()).await.unwrap();
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    let error = bench.merger.merge(&scope()).await.unwrap_err();
    assert!(matches!(error, MergeError::Stub { .. }), "{error:?}");
}

/// The archiver over a store that fails as `plan` says.
fn faulty(
    bench: &Bench,
    plan: impl Fn(u64, &str) -> Option<Fault> + Send + Sync + 'static,
) -> Archiver {
    let store = Arc::new(FaultStore::new(bench.log.store().clone(), plan));
    let format = Arc::new(ParquetEntries::new(IdColumns::details()));
    let log = Log::new(store, format, Layout::details("pncp_details")).unwrap();
    Archiver::new(Merger::new(bench.store.clone(), log, IdColumns::details()))
}

/// Whatever was done up to a crash, the log is sound and the view can be made from it.
async fn is_whole(bench: &Bench, whole: &[(String, Facets)]) {
    let views: [&dyn ingest_state::View; 1] = [&bench.merger];
    let report = bench.log.verify_with(&scope(), &views).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    bench
        .store
        .delete(&bench.merger.key(&scope()))
        .await
        .unwrap();
    bench.merger.merge(&scope()).await.unwrap();
    assert_eq!(bench.view().await, whole);
}

#[tokio::test]
async fn every_crash_and_lost_answer_is_resumed() {
    let mut crashes = 0;
    for fault in [Fault::Before, Fault::After, Fault::Unclear] {
        for at in 0.. {
            let bench = merged(2).await;
            let whole = bench.view().await;
            // A process that is killed makes no call after it.
            let dies = move |call, _: &str| {
                (call >= at).then_some(if call == at { fault } else { Fault::Before })
            };
            let done = faulty(&bench, dies).archive(&scope()).await;
            is_whole(&bench, &whole).await;
            let resumed = archiver(&bench).archive(&scope()).await.unwrap();
            assert_eq!(resumed.through, 2);
            is_whole(&bench, &whole).await;
            let day = bench.log.load(&scope()).await.unwrap();
            assert!(day.entries().iter().all(|entry| entry.head.stub));
            if done.is_ok() {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 30, "{crashes} crashes");
}

#[tokio::test]
async fn a_lost_answer_about_the_base_is_read_back() {
    let bench = merged_day().await;
    let once = |_, name: &str| (name == "create").then_some(Fault::After);
    let archived = faulty(&bench, once).archive(&scope()).await.unwrap();
    assert_eq!(archived.stubbed, 6);
}

#[tokio::test]
async fn an_entry_of_another_day_is_neither_merged_nor_archived() {
    let said = "an entry of pncp 2025-10-22, not of pncp 2025-10-23";
    let other = Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 23).unwrap()).unwrap();
    let bench = merged(1).await;
    let (store, layout) = (bench.log.store(), Layout::details("pncp_details"));
    let entry = layout.entry_key(&scope(), 1);
    let copy = layout.entry_key(&other, 1);
    let bytes = store.get(&entry).await.unwrap().unwrap().bytes;
    store.create(&copy, bytes.clone()).await.unwrap();
    match bench.merger.merge(&other).await {
        Err(MergeError::Source { key, source }) => {
            assert_eq!(key, copy);
            assert!(source.to_string().contains(said), "{source}");
        }
        merged => panic!("{merged:?}"),
    }
    let view = bench.merger.key(&other);
    assert!(store.head(&view).await.unwrap().is_none());

    // A view that an older release made of it is not archived either, and the entry stays.
    let made = store.get(&bench.merger.key(&scope())).await.unwrap();
    store.overwrite(&view, made.unwrap().bytes).await.unwrap();
    match archiver(&bench).archive(&other).await {
        Err(ArchiveError::Source { key, source }) => {
            assert_eq!(key, copy);
            assert!(source.to_string().contains(said), "{source}");
        }
        archived => panic!("{archived:?}"),
    }
    assert_eq!(store.get(&copy).await.unwrap().unwrap().bytes, bytes);
}
