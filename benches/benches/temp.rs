//! How fast, and in how much memory, do 5,000 raw contratações become a temporary Parquet object,
//! and rows again?
//!
//! From the API's pages, byte for byte: ours with the schema inferred by `Dataset::from_json` and
//! with pncp-client's, against pandas with pyarrow and against Polars in Python. Ours keep every
//! decimal exact and verify a checksum on the way back; theirs do neither. All must find the same
//! rows and amounts. The folder is in memory where the system has one, since ours alone wait for
//! the disk (fsync). `ROUNDS` runs of each, in turns; the fastest counts.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and a failed one should stop"
)]

use std::path::Path;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use benches::python::{Measured, interpreter, last_line, run_python, run_self, table};
use bronze_storage::{BronzeConfig, BronzeStore, Dataset, Format};
use chrono::{NaiveDate, Utc};
use pncp_client::arrow::ContratacaoBatchBuilder;
use pncp_sim::Sim;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

const ROWS: usize = 5_000;
const PAGE: usize = 50;
const ROUNDS: usize = 5;

const PANDAS: &str = r#"
import pathlib
import pandas, pyarrow
pages = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
started = time.perf_counter()
rows = []
for page in pages:
    rows.extend(json.loads(page.read_bytes())["data"])
frame = pandas.DataFrame(rows)
path = sys.argv[2] + "/raw.parquet"
frame.to_parquet(path, engine="pyarrow", compression="zstd", index=False)
del frame, rows
up = time.perf_counter() - started
frame = pandas.read_parquet(path, engine="pyarrow")
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), "up": up, "rows": len(frame),
    "ids": frame["numeroControlePNCP"].nunique(), "sum": float(frame["valorTotalEstimado"].sum())}))
"#;

const POLARS: &str = r#"
import io, pathlib
import polars
pages = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
started = time.perf_counter()
frames = []
for page in pages:
    body = polars.read_json(io.BytesIO(page.read_bytes()), infer_schema_length=None)
    frames.append(body.select("data").explode("data").unnest("data"))
frame = polars.concat(frames, how="diagonal_relaxed")
path = sys.argv[2] + "/raw.parquet"
frame.write_parquet(path, compression="zstd")
del frame, frames
up = time.perf_counter() - started
frame = polars.read_parquet(path)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), "up": up, "rows": len(frame),
    "ids": frame["numeroControlePNCP"].n_unique(), "sum": float(frame["valorTotalEstimado"].sum())}))
"#;

const POLARS_ROWS: &str = r#"
import pathlib
import polars
pages = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
started = time.perf_counter()
rows = []
for page in pages:
    rows.extend(json.loads(page.read_bytes())["data"])
frame = polars.DataFrame(rows, infer_schema_length=None)
path = sys.argv[2] + "/raw.parquet"
frame.write_parquet(path, compression="zstd")
del frame, rows
up = time.perf_counter() - started
frame = polars.read_parquet(path)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), "up": up, "rows": len(frame),
    "ids": frame["numeroControlePNCP"].n_unique(), "sum": float(frame["valorTotalEstimado"].sum())}))
"#;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some(how @ ("inferred" | "typed")) => println!("{}", ours(how, &args[2], &args[3])),
        _ => compare(),
    }
}

fn compare() {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() {
        tempfile::tempdir_in(shared)
    } else {
        tempfile::tempdir()
    };
    let folder = folder.unwrap();
    let pages = folder.path().join("pages");
    std::fs::create_dir(&pages).unwrap();
    let bytes = write_pages(&pages);
    let python = interpreter();
    let pages = pages.to_str().unwrap().to_owned();
    let scripts = [
        ("pandas + pyarrow", PANDAS),
        ("Polars, its JSON reader", POLARS),
        ("Polars, rows of dicts", POLARS_ROWS),
    ];
    let mut runs: Vec<Measured> = Vec::new();
    for _ in 0..ROUNDS {
        for (name, how) in [
            ("ours, schema inferred", "inferred"),
            ("ours, pncp-client's schema", "typed"),
        ] {
            let out = tempfile::tempdir_in(folder.path()).unwrap();
            let arguments = [how, &pages, out.path().to_str().unwrap()];
            keep(&mut runs, run_self(name, &arguments));
        }
        for (name, script) in scripts {
            let Some(python) = &python else { continue };
            let out = tempfile::tempdir_in(folder.path()).unwrap();
            let arguments = [pages.as_str(), out.path().to_str().unwrap()];
            keep(&mut runs, run_python(python, name, script, &arguments));
        }
    }
    let title = format!(
        "{ROWS} contratações, {:.1} MiB of pages, up and down as temporary Parquet",
        bytes as f64 / 1_048_576.0
    );
    println!("{}", table(&title, &runs));
    let sum = runs[0].answer["sum"].as_f64().unwrap();
    for run in &runs {
        let up = run.answer["up"].as_f64().unwrap();
        println!(
            "{:<28} up {up:.3} s, down {:.3} s",
            run.name,
            run.seconds - up
        );
        assert_eq!(run.answer["rows"], ROWS, "{}", run.name);
        assert_eq!(run.answer["ids"], ROWS, "{}", run.name);
        let theirs = run.answer["sum"].as_f64().unwrap();
        // Theirs are floats.
        assert!((theirs / sum - 1.0).abs() < 1e-9, "{}: {theirs}", run.name);
    }
    for ours in &runs[..2] {
        let reference = ours.answer["reference_bytes"].as_u64().unwrap();
        assert!(reference <= 400, "a reference of {reference} bytes");
        println!("{:<28} reference of {reference} bytes", ours.name);
        for theirs in &runs[2..] {
            assert!(ours.seconds < theirs.seconds, "{} is faster", theirs.name);
            assert!(
                ours.peak_bytes < theirs.peak_bytes,
                "{} is smaller",
                theirs.name
            );
        }
    }
}

/// The fastest run of each.
fn keep(runs: &mut Vec<Measured>, run: Result<Measured, String>) {
    let run = run.unwrap_or_else(|error| unreachable!("{error}"));
    match runs.iter_mut().find(|other| other.name == run.name) {
        Some(other) if other.seconds <= run.seconds => {}
        Some(other) => *other = run,
        None => runs.push(run),
    }
}

/// A synthetic day as pages, byte for byte what the API sends.
fn write_pages(folder: &Path) -> usize {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = runtime.block_on(
        Sim::builder()
            .synthetic(ROWS.try_into().unwrap())
            .seed(1)
            .start(),
    );
    let records: Vec<String> = sim
        .unwrap()
        .truth(day)
        .map(|record| record.contratacao)
        .collect();
    assert_eq!(records.len(), ROWS);
    let total = ROWS / PAGE;
    let mut bytes = 0;
    for (n, page) in records.chunks(PAGE).enumerate() {
        let body = format!(
            r#"{{"data":[{}],"totalRegistros":{ROWS},"totalPaginas":{total},"numeroPagina":{},"paginasRestantes":{},"empty":false}}"#,
            page.join(","),
            n + 1,
            total - n - 1
        );
        bytes += body.len();
        std::fs::write(folder.join(format!("{n:03}.json")), body).unwrap();
    }
    bytes
}

fn ours(how: &str, pages: &str, out: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut paths: Vec<_> = std::fs::read_dir(pages)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let store = BronzeStore::open(&BronzeConfig::local(out)).unwrap();
        let started = Instant::now();
        let data = if how == "typed" {
            typed(&paths)
        } else {
            inferred(&paths)
        };
        let execution = "manual__2025-10-23T12:00:00+00:00";
        let uploaded = store
            .upload_temp(data, execution, "raw", Format::Parquet)
            .await;
        let reference = uploaded.unwrap();
        let up = started.elapsed().as_secs_f64();
        let data = store.read_temp(&reference).await.unwrap();
        let batches = data.into_batches().await.unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let mut ids = std::collections::HashSet::new();
        for batch in &batches {
            let column = batch.column_by_name("numeroControlePNCP").unwrap();
            ids.extend(
                column
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .map(str::to_owned),
            );
        }
        let answer = json!({
            "up": up,
            "rows": batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            "ids": ids.len(),
            "sum": batches.iter().map(amounts).sum::<f64>(),
            "reference_bytes": serde_json::to_string(&reference).unwrap().len(),
        });
        last_line(seconds, answer)
    })
}

/// Only to compare with the floats of the others.
fn amounts(batch: &RecordBatch) -> f64 {
    let column = batch.column_by_name("valorTotalEstimado").unwrap();
    let column = column.as_primitive::<Decimal128Type>();
    let sum: i128 = column.iter().flatten().sum();
    sum as f64 / 10_f64.powi(i32::from(column.scale()))
}

fn inferred(paths: &[std::path::PathBuf]) -> Dataset {
    #[derive(Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    let bodies: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let mut records = Vec::new();
    for body in &bodies {
        records.extend(serde_json::from_slice::<Page<'_>>(body).unwrap().data);
    }
    Dataset::from_json(records.iter().map(|record| record.get().as_bytes())).unwrap()
}

fn typed(paths: &[std::path::PathBuf]) -> Dataset {
    let mut builder = ContratacaoBatchBuilder::new("bench");
    let mut batches = Vec::new();
    for path in paths {
        let body = std::fs::read(path).unwrap();
        builder
            .append_body(&body, "/v1/contratacoes/publicacao", Utc::now(), |_| true)
            .unwrap();
        batches.push(builder.finish().unwrap());
    }
    Dataset::from_batches(batches).unwrap()
}
