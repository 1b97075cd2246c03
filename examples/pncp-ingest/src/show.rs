//! What lies in the store, and a small table read back from the Parquet.

use std::collections::HashMap;
use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array as _, RecordBatch, StructArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use bronze_storage::{ParquetFile, ReadOptions};
use chrono::NaiveDate;
use futures::TryStreamExt as _;
use ingest_state::Layout;

use crate::context::{Context, DETAILS, PNCP};
use crate::failure::Failure;
use crate::say::say;

/// Rows of the table.
const ROWS: usize = 8;

/// Prints every object with its size.
pub(crate) async fn objects(context: &Context, folder: &Path) -> Result<(), Failure> {
    let listed = context.store.list("").await;
    let listed = listed.map_err(|error| Failure::of("listing the store", &error))?;
    say!(
        "\n📦 In {} ({}):",
        folder.display(),
        context.store.location()
    );
    for object in listed {
        say!("   {:>9}  {}", object.size, object.key);
    }
    Ok(())
}

/// Prints the day's dearest purchases with the number of their itens and arquivos.
pub(crate) async fn table(context: &Context, day: NaiveDate) -> Result<(), Failure> {
    let details = details(context, day).await?;
    let mut rows = contratacoes(context, day).await?;
    rows.sort_by(|a, b| b.amount.cmp(&a.amount).then_with(|| a.id.cmp(&b.id)));
    say!(
        "\n📊 {} contratações of {day}, the dearest {ROWS} of them, from the Parquet:",
        rows.len()
    );
    say!(
        "   {:<28} {:<28} {:>18} {:>6} {:>9}  objeto",
        "numeroControlePNCP",
        "município",
        "valor estimado R$",
        "itens",
        "arquivos"
    );
    for row in rows.iter().take(ROWS) {
        let (itens, arquivos) = details.get(&row.id).copied().unwrap_or((0, 0));
        say!(
            "   {:<28} {:<28} {:>18} {itens:>6} {arquivos:>9}  {}",
            row.id,
            cut(&row.place, 28),
            row.text,
            cut(&row.subject, 40)
        );
    }
    let (itens, arquivos) = details
        .values()
        .fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
    say!("   in all: {itens} itens, {arquivos} arquivos\n");
    Ok(())
}

#[derive(Debug)]
struct Row {
    id: String,
    place: String,
    subject: String,
    amount: i128,
    text: String,
}

async fn contratacoes(context: &Context, day: NaiveDate) -> Result<Vec<Row>, Failure> {
    let scope = context.scope(PNCP, day)?;
    let prefix = Layout::of(PNCP).entries_prefix(&scope);
    let columns = [
        "numeroControlePNCP",
        "unidadeOrgao",
        "objetoCompra",
        "valorTotalEstimado",
    ];
    let mut rows = Vec::new();
    for batch in read(context, &prefix, &columns).await? {
        let (Some(ids), Some(units), Some(subjects), Some(amounts)) = (
            batch.column_by_name(columns[0]),
            batch
                .column_by_name(columns[1])
                .and_then(|column| column.as_struct_opt()),
            batch.column_by_name(columns[2]),
            batch.column_by_name(columns[3]),
        ) else {
            continue;
        };
        let decimals = amounts.as_primitive_opt::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            rows.push(Row {
                id: text(ids, row),
                place: place(units, row),
                subject: text(subjects, row).replace(['\r', '\n'], " "),
                amount: decimals
                    .filter(|d| d.is_valid(row))
                    .map_or(-1, |d| d.value(row)),
                text: text(amounts, row),
            });
        }
    }
    Ok(rows)
}

async fn details(
    context: &Context,
    day: NaiveDate,
) -> Result<HashMap<String, (i64, i64)>, Failure> {
    let prefix = format!("{DETAILS}/{}", day.format("year=%Y/month=%m/day=%d/"));
    let mut counts = HashMap::new();
    for batch in read(context, &prefix, &["numeroControlePNCP", "metadata"]).await? {
        let (Some(ids), Some(metadata)) = (
            batch.column_by_name("numeroControlePNCP"),
            batch
                .column_by_name("metadata")
                .and_then(|column| column.as_struct_opt()),
        ) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            let count = |name: &str| {
                let column = metadata.column_by_name(name);
                column
                    .and_then(|column| text(column, row).parse().ok())
                    .unwrap_or(0)
            };
            counts.insert(
                text(ids, row),
                (count("total_itens"), count("total_arquivos")),
            );
        }
    }
    Ok(counts)
}

async fn read(
    context: &Context,
    prefix: &str,
    columns: &[&str],
) -> Result<Vec<RecordBatch>, Failure> {
    let reading = |error: &(dyn std::error::Error + 'static)| Failure::of("reading back", error);
    let mut batches = Vec::new();
    for object in context
        .store
        .list(prefix.trim_end_matches('/'))
        .await
        .map_err(|error| reading(&error))?
    {
        if !object.key.ends_with(".parquet") {
            continue;
        }
        let file = ParquetFile::open(&context.store, &object.key).await;
        let file = file.map_err(|error| reading(&error))?;
        let stream = file.read(&ReadOptions::columns(columns.iter().copied()));
        let stream = stream.map_err(|error| reading(&error))?;
        batches.extend(
            stream
                .try_collect::<Vec<_>>()
                .await
                .map_err(|error| reading(&error))?,
        );
    }
    Ok(batches)
}

fn place(units: &StructArray, row: usize) -> String {
    let field = |name: &str| units.column_by_name(name).map(|column| text(column, row));
    format!(
        "{}/{}",
        field("municipioNome").unwrap_or_default(),
        field("ufSigla").unwrap_or_default()
    )
}

fn text(column: &dyn arrow_array::Array, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    ArrayFormatter::try_new(column, &FormatOptions::default())
        .map(|formatter| formatter.value(row).to_string())
        .unwrap_or_default()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}
