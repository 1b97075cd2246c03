//! Keeps one day of the PNCP in a folder: its contratações, then the itens and arquivos of each.
//!
//! ```sh
//! cargo run -p embed -- https://pncp.gov.br ./lakehouse 2025-10-22
//! ```
//!
//! Run again it takes what is new since; killed, it goes on where it was.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bronze_storage::state::{IdColumns, ParquetEntries, ParquetRows};
use bronze_storage::{BronzeConfig, BronzeStore};
use chrono::{NaiveDate, Utc};
use details_checkpoint::{BannerObserver, BronzeDetails, Ingester, PncpDetails};
use ingest_state::{DayLog, Execution, Layout, Log, ObjectLogStore, Scope};
use pncp_client::arrow::ContratacaoBatchBuilder;
use pncp_client::{ContratacoesQuery, PncpClient, Window};

/// Rows are held up to about so many bytes, then committed as one entry of the day's log.
const ENTRY_BYTES: usize = 4 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, folder, date] = &args[..] else {
        anyhow::bail!("usage: embed URL FOLDER YYYY-MM-DD");
    };
    let day: NaiveDate = date.parse().context("the day is YYYY-MM-DD")?;
    let store = BronzeStore::open(&BronzeConfig::local(folder))?;
    let client = PncpClient::builder()
        .with_consulta_url(format!("{url}/api/consulta"))
        .with_api_url(format!("{url}/api/pncp"))
        .build()?;
    let execution = Execution::new(format!("embed-{}", Utc::now().timestamp_micros()));

    let new = keep_contratacoes(&client, &store, day, &execution).await?;
    println!("{new} new contratações");

    let details = BronzeDetails::builder(store, Scope::new("pncp_details", day)?)
        .with_execution(execution.id)
        .build()?;
    let keys = details.contratacoes("pncp").await?;
    let ingester = Ingester::builder(Arc::new(PncpDetails::new(client)), Arc::new(details))
        .with_observer(Arc::new(BannerObserver::new(std::io::stdout())))
        .with_label(date.as_str())
        .build()?;
    let report = ingester.run(&keys).await?;
    println!("{} detail calls", report.calls);
    ensure!(report.complete, "{} still to do: run again", report.left);
    Ok(())
}

/// Lists the day, filters out what is in already, and commits the rest; how many were new.
async fn keep_contratacoes(
    client: &PncpClient,
    store: &BronzeStore,
    day: NaiveDate,
    execution: &Execution,
) -> Result<usize> {
    let columns = IdColumns::contratacoes();
    let objects = Arc::new(ObjectLogStore::new(Arc::clone(store.object_store())));
    let entries = Arc::new(ParquetEntries::new(columns.clone()));
    let log = Log::new(objects, entries, Layout::parquet("pncp"))?;
    let mut state = log.load(&Scope::new("pncp", day)?).await?;

    let mut rows = ContratacaoBatchBuilder::new(&execution.id);
    let commit = async |rows: &mut ContratacaoBatchBuilder, state: &mut DayLog| -> Result<usize> {
        let rejected = rows.take_rejected();
        ensure!(rejected.is_empty(), "no contratação: {rejected:?}");
        let entry = ParquetRows::new(&rows.finish()?, &columns)?;
        Ok(state.append(&entry, execution).await?.count())
    };
    let mut new = 0;
    let mut listing = client.contratacoes(ContratacoesQuery::publicacao(Window::day(day)?))?;
    while let Some(page) = listing.next_page().await? {
        rows.append_page_if(&page, |record| match &record.numero_controle {
            Some(id) => !state.done().contains(0, id),
            None => true, // set aside, with the reason
        })?;
        if rows.byte_size() > ENTRY_BYTES {
            new += commit(&mut rows, &mut state).await?;
        }
    }
    new += commit(&mut rows, &mut state).await?;
    state.finish(execution).await?;
    let proof = listing.into_proof();
    ensure!(proof.is_complete(), "the listing has holes: {proof:?}");
    Ok(new)
}
