//! What we write, read by pyarrow, pandas, DuckDB and Polars from a folder and from S3; what pandas,
//! pyarrow and Polars write, read by us.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bronze_storage::testing::S3Server;
use bronze_storage::{BronzeConfig, BronzeStore, Dataset, Format, Source, TempRef};
use chrono::NaiveDate;

const PACKAGES: [&str; 6] = [
    "pyarrow==26.0.0",
    "pandas==3.1.0",
    "duckdb==1.5.5",
    "duckdb-extensions==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "polars==2.1.0",
];

/// The Python of a venv in the target folder that has the readers.
fn python() -> Result<PathBuf, String> {
    let target = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = target.ancestors().find(|folder| folder.ends_with("target"));
    let target = target.ok_or("the test does not run in a target folder")?;
    let cache = target.join("readers");
    std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let lock = std::fs::File::create(cache.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let python = cache.join("venv/bin/python");
    let done = cache.join("installed");
    let wanted = PACKAGES.join(" ");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(cache.join("venv")))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(Command::new(&python).args(pip).args(PACKAGES))?;
    std::fs::write(done, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if out.status.success() {
        return Ok(());
    }
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    );
    Err(format!("{command:?}: {stdout}\n{stderr}"))
}

fn script(python: &Path, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.py");
    if let Err(error) = run(Command::new(python).arg(script).args(arguments)) {
        panic!("{error}");
    }
}

/// The interpreter, or `None` with a line that says why.
async fn readers() -> Option<PathBuf> {
    match tokio::task::spawn_blocking(python).await.unwrap() {
        Ok(python) => Some(python),
        Err(reason) => {
            let required = std::env::var("REQUIRE_PYTHON").is_ok_and(|value| value == "1");
            assert!(!required, "no readers: {reason}");
            eprintln!("SKIPPED: no readers: {reason}");
            None
        }
    }
}

fn pncp() -> Source {
    Source::new("pncp").unwrap()
}

fn day(d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, d).unwrap()
}

async fn write_days(store: &BronzeStore) {
    let records = [
        r#"{"id":"A","valor":1472040000000.0001,"srp":true,"n":1,"orgao":{"cnpj":"00","uf":"SP"},"itens":[{"n":1,"v":0.0951},{"n":2,"v":null}]}"#,
        r#"{"id":"B","valor":0.00,"srp":null,"n":null,"orgao":null,"itens":[]}"#,
        r#"{"id":"Ç\r\n","valor":null,"srp":false,"n":3,"orgao":{"cnpj":null},"itens":null}"#,
    ];
    for d in [22, 23] {
        let data = Dataset::from_json(records).unwrap();
        store
            .upload_to_bronze(data, &pncp(), day(d), Format::Parquet)
            .await
            .unwrap();
    }
    // What readers that glob must not see.
    let state = "pncp/_state/year=2025/month=10/day=22/s.json";
    store.write_json(state, &1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_a_folder_and_we_what_it_writes() {
    let Some(python) = readers().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    write_days(&store).await;
    let root = store.folder().unwrap().display().to_string();
    script(&python, &["read", &root]);

    let temp = store.folder().unwrap().join("_temp/from-python");
    std::fs::create_dir_all(&temp).unwrap();
    script(&python, &["write", temp.to_str().unwrap()]);
    for writer in ["pandas", "pyarrow", "polars"] {
        let reference: TempRef = format!("_temp/from-python/{writer}.parquet")
            .parse()
            .unwrap();
        let data = store.read_temp(&reference).await.unwrap();
        let amounts = data.schema().field(1).data_type().to_string();
        assert_eq!(amounts, "Decimal128(10, 2)", "{writer}");
        let text = data.into_ndjson().await.unwrap();
        assert_eq!(
            text,
            "{\"id\":\"A\",\"valor\":1.50,\"itens\":[{\"n\":1,\"v\":0.0951}],\"quando\":\"2025-10-22T12:00:00\",\"dia\":\"2025-10-22\",\"uf\":\"SP\"}\n\
             {\"id\":\"B\",\"valor\":null,\"itens\":[],\"quando\":null,\"dia\":null,\"uf\":null}\n",
            "{writer}"
        );
        // Passed on, it is the same again.
        let data = store.read_temp(&reference).await.unwrap();
        let again = store.upload_temp(data, "ours", writer, Format::Parquet);
        let again = store.read_temp(&again.await.unwrap()).await.unwrap();
        assert_eq!(again.into_ndjson().await.unwrap(), text, "{writer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_a_bucket() {
    let (Some(python), Some(server)) = (readers().await, S3Server::start().await) else {
        return;
    };
    let store = server.store("lake/house").unwrap();
    write_days(&store).await;
    script(
        &python,
        &["read-s3", server.endpoint(), "bronze", "lake/house"],
    );
}
