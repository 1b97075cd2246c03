//! How fast, and in how much memory, do 200 parts of a day become one `details.parquet`?
//!
//! Ours merges by key and facet in bounded memory. pandas with pyarrow and Polars are given the
//! easier job of keeping the last row of each key: all parts are read, made unique, sorted and
//! written with zstd. Each contender is a process of its own and writes a file of its own; rows
//! and itens of all files must agree. The time is that of the merge, without the start of the
//! process; they take turns, seven rounds of them, and the fastest of each counts. All compress
//! with zstd at level 1; each may use every processor.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and a failed one should stop"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use benches::python::{Measured, interpreter, last_line, run_python, run_self, table};
use bronze_storage::state::{IdColumns, Merger, ParquetEntries, ParquetRows};
use bronze_storage::{BronzeConfig, BronzeStore};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use ingest_state::{Execution, Layout, Log, ObjectLogStore, Scope};
use pncp_client::ContratacaoKey;
use pncp_client::arrow::{DetailBatchBuilder, DetailRow, FacetMark, FacetValue};
use pncp_sim::{Sim, TruthRecord};
use serde_json::json;

/// Parts, and contratações in each: what checkpoints of 50 leave of a day of 10,000.
const PARTS: usize = 200;
const ROWS: usize = 50;
const RUNS: usize = 7;

const PANDAS: &str = r#"
import glob
import pandas as pd
parts, out = sys.argv[1], sys.argv[2]
started = time.perf_counter()
files = sorted(glob.glob(parts + "/*.part"))
frames = [pd.read_parquet(name, dtype_backend="pyarrow") for name in files]
whole = pd.concat(frames, ignore_index=True).drop_duplicates("key", keep="last").sort_values("key")
whole.to_parquet(out, compression="zstd", compression_level=1, index=False)
seconds, peak = time.perf_counter() - started, peak_bytes()
import pyarrow.compute as pc, pyarrow.parquet as pq
table = pq.read_table(out, columns=["itens"])
itens = pc.sum(pc.list_value_length(table["itens"])).as_py()
print(json.dumps({"seconds": seconds, "peak_bytes": peak, "rows": table.num_rows, "itens": itens}))
"#;

const PYARROW: &str = r#"
import glob
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
parts, out = sys.argv[1], sys.argv[2]
started = time.perf_counter()
files = sorted(glob.glob(parts + "/*.part"))
whole = pa.concat_tables([pq.read_table(name) for name in files])
whole = whole.append_column("_row", pa.array(range(whole.num_rows)))
last = whole.select(["key", "_row"]).group_by("key").aggregate([("_row", "max")]).sort_by("key")
whole = whole.drop_columns("_row").take(last["_row_max"])
pq.write_table(whole, out, compression="zstd", compression_level=1)
seconds, peak = time.perf_counter() - started, peak_bytes()
table = pq.read_table(out, columns=["itens"])
itens = pc.sum(pc.list_value_length(table["itens"])).as_py()
print(json.dumps({"seconds": seconds, "peak_bytes": peak, "rows": table.num_rows, "itens": itens}))
"#;

const POLARS: &str = r#"
import glob
import polars as pl
parts, out = sys.argv[1], sys.argv[2]
started = time.perf_counter()
files = sorted(glob.glob(parts + "/*.part"))
whole = pl.read_parquet(files).unique("key", keep="last", maintain_order=True).sort("key")
whole.write_parquet(out, compression="zstd", compression_level=1)
seconds, peak = time.perf_counter() - started, peak_bytes()
itens = pl.scan_parquet(out).select(pl.col("itens").list.len().sum()).collect().item()
rows = pl.scan_parquet(out).select(pl.len()).collect().item()
print(json.dumps({"seconds": seconds, "peak_bytes": peak, "rows": rows, "itens": itens}))
"#;

const CHECK: &str = r#"
import pyarrow.compute as pc, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
itens = pc.sum(pc.list_value_length(table["itens"])).as_py()
print(json.dumps({"seconds": 0, "peak_bytes": peak_bytes(), "rows": table.num_rows, "itens": itens}))
"#;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "ours") {
        println!("{}", ours(Path::new(&args[2])));
        return;
    }
    let folder = std::env::temp_dir().join(format!("bench-merge-{}", std::process::id()));
    let itens = runtime().block_on(write_parts(&folder));
    compare(&folder, itens);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn scope() -> Scope {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    Scope::new("pncp_details", day).unwrap()
}

fn opened(folder: &Path) -> (BronzeStore, Log) {
    let store = BronzeStore::open(&BronzeConfig::local(folder)).unwrap();
    let objects = Arc::new(ObjectLogStore::new(store.object_store().clone()));
    let format = Arc::new(ParquetEntries::new(IdColumns::details()));
    let log = Log::new(objects, format, Layout::details("pncp_details")).unwrap();
    (store, log)
}

/// The log of a synthetic day, fetched in the order of the keys. Returns its itens.
async fn write_parts(folder: &Path) -> u64 {
    let sim = Sim::builder()
        .synthetic((PARTS * ROWS) as u32)
        .seed(1)
        .start()
        .await
        .unwrap();
    let mut truth: Vec<TruthRecord> = sim.truth(scope().date()).collect();
    assert_eq!(truth.len(), PARTS * ROWS);
    let key =
        |record: &TruthRecord| format!("{}|{}|{}", record.cnpj, record.ano, record.sequencial);
    truth.sort_by_key(key);
    let (_, log) = opened(folder);
    let mut day = log.load(&scope()).await.unwrap();
    let mut itens = 0;
    for part in truth.chunks(ROWS) {
        let mut builder = DetailBatchBuilder::new();
        for record in part {
            itens += record.itens.len() as u64;
            let mark = FacetMark {
                version: Some("2025-10-22T10:00:00"),
                fetched_at: DateTime::UNIX_EPOCH,
                execution: "bench",
            };
            let page = |elements: &[String]| [Bytes::from(format!("[{}]", elements.join(",")))];
            let (some, others) = (page(&record.itens), page(&record.arquivos));
            builder
                .append(&DetailRow {
                    key: &ContratacaoKey::parse(&key(record)).unwrap(),
                    numero_controle: Some(&record.numero_controle),
                    itens: FacetValue::Fetched { pages: &some, mark },
                    arquivos: FacetValue::Fetched {
                        pages: &others,
                        mark,
                    },
                })
                .unwrap();
        }
        let rows = ParquetRows::new(&builder.finish().unwrap(), &IdColumns::details()).unwrap();
        day.append(&rows, &Execution::new("bench")).await.unwrap();
    }
    itens
}

/// The contender in Rust: merges, and says how long it took.
fn ours(folder: &Path) -> String {
    runtime().block_on(async {
        let (store, log) = opened(folder);
        let merger = Merger::new(store, log, IdColumns::details());
        let started = Instant::now();
        let merged = merger.merge(&scope()).await.unwrap();
        let seconds = started.elapsed().as_secs_f64();
        last_line(seconds, json!({ "rows": merged.rows }))
    })
}

fn compare(folder: &Path, itens: u64) {
    let bucket = folder.join("lh-bronze/pncp_details");
    let day = "year=2025/month=10/day=22";
    let parts = bucket.join("_parts").join(day);
    let view = bucket.join(day).join("details.parquet");
    let out = folder.join("out.parquet");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let bytes = |path: &Path| std::fs::metadata(path).unwrap().len();
    let python = interpreter();
    let scripts = [
        ("pandas + pyarrow", PANDAS),
        ("pyarrow", PYARROW),
        ("Polars", POLARS),
    ];
    let mut fastest: Vec<Measured> = Vec::new();
    let mut sizes = Vec::new();
    for round in 0..RUNS {
        let _ = std::fs::remove_file(&view);
        let mut runs = vec![run_self("ours", &["ours", &text(folder)]).unwrap()];
        assert_eq!(runs[0].answer["rows"], PARTS * ROWS);
        let mut written = vec![("ours", bytes(&view))];
        if let Some(python) = &python {
            for (name, script) in scripts {
                let args = [text(&parts), text(&out)];
                let run = run_python(python, name, script, &[&args[0], &args[1]]).unwrap();
                assert_eq!(run.answer["rows"], PARTS * ROWS, "{name}");
                assert_eq!(run.answer["itens"], itens, "{name}");
                written.push((name, bytes(&out)));
                runs.push(run);
            }
        }
        if round == 0 {
            (fastest, sizes) = (runs, written);
            continue;
        }
        for (best, run) in fastest.iter_mut().zip(runs) {
            if run.seconds < best.seconds {
                *best = run;
            }
        }
    }
    if let Some(python) = &python {
        let check = run_python(python, "ours, read by pyarrow", CHECK, &[&text(&view)]).unwrap();
        assert_eq!(check.answer["rows"], PARTS * ROWS);
        assert_eq!(check.answer["itens"], itens);
    }
    let title = format!("{PARTS} parts of {ROWS} contratações, {itens} itens");
    println!("{}", table(&title, &fastest));
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(name, bytes)| format!("{name} {:.2}", *bytes as f64 / 1e6))
        .collect();
    println!("MB written: {}", sizes.join(", "));
}
