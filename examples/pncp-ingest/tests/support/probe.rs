//! What a store holds of the day, read by the libraries and not by the command under test.

use std::path::Path;
use std::sync::Arc;

use bronze_storage::BronzeStore;
use bronze_storage::state::{IdColumns, Merger, ParquetEntries};
use ingest_state::{Layout, Log, ObjectLogStore, Scope};
use serde_json::Value;

use super::day;

/// A log of the day: how far it goes, and how far its snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Entries that exist.
    pub entries: u64,
    /// Different ids in them; an itens and an arquivos of one contratação are two.
    pub ids: u64,
    /// The last entry that every snapshot covers.
    pub snapshot: u64,
}

/// What a store holds of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub bronze: LogState,
    pub details: LogState,
    /// The last details entry that `details.parquet` covers.
    pub merged: u64,
}

/// Reads the day, and asserts that both logs are sound: no gap, no id twice, nothing unreadable.
pub async fn look(store: &BronzeStore) -> Seen {
    let bronze = log(store, Layout::of("pncp"), IdColumns::contratacoes());
    let details = log(store, Layout::of("pncp_details"), IdColumns::details());
    let merger = Merger::new(store.clone(), details.clone(), IdColumns::details());
    let merged = merger.status(&scope("pncp_details")).await.unwrap().through;
    Seen {
        bronze: state(store, &bronze, "pncp").await,
        details: state(store, &details, "pncp_details").await,
        merged,
    }
}

fn scope(source: &str) -> Scope {
    Scope::new(source, day()).unwrap()
}

fn log(store: &BronzeStore, layout: Layout, columns: IdColumns) -> Log {
    let objects = Arc::new(ObjectLogStore::new(Arc::clone(store.object_store())));
    Log::new(objects, Arc::new(ParquetEntries::new(columns)), layout).unwrap()
}

async fn state(store: &BronzeStore, log: &Log, source: &str) -> LogState {
    let scope = scope(source);
    let found = log.verify(&scope).await.unwrap();
    assert!(found.is_sound(), "{source}: {:?}", found.findings);
    let loaded = log.load_entries(&scope).await.unwrap();
    let (mut snapshot, mut ids) = (u64::MAX, 0);
    for (index, facet) in (0..).zip(log.layout().facet_names()) {
        ids += loaded.done().count(index) as u64;
        let key = log.layout().snapshot_key(&scope, facet);
        let value: Option<Value> = store.read_json(&key).await.unwrap();
        let through = value.and_then(|value| value["last_entry"].as_u64());
        snapshot = snapshot.min(through.unwrap_or(0));
    }
    LogState {
        entries: found.entries,
        ids,
        snapshot,
    }
}

/// Copies every object of `store` into `folder`, for readers that know no S3.
pub async fn download(store: &BronzeStore, folder: &Path) {
    for object in store.list("").await.unwrap() {
        let (bytes, _) = store.get(&object.key).await.unwrap();
        let path = folder.join(&object.key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
