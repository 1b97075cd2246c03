//! What we write, read by pyarrow, pandas, DuckDB and Polars; what pandas writes, read by us.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bronze_storage::{
    BronzeConfig, BronzeStore, Dataset, Error, Format, ReadOptions, Source, TempRef,
};
use chrono::NaiveDate;

const PACKAGES: [&str; 4] = [
    "pyarrow==26.0.0",
    "pandas==3.1.0",
    "duckdb==1.5.5",
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

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_what_we_write_and_we_what_it_writes() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            let required = std::env::var("REQUIRE_PYTHON").is_ok_and(|value| value == "1");
            assert!(!required, "no readers: {reason}");
            eprintln!("SKIPPED: no readers: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    let source = Source::new("pncp").unwrap();
    let day = |d| NaiveDate::from_ymd_opt(2025, 10, d).unwrap();
    let records = [
        r#"{"id":"A","valor":1472040000000.0001,"srp":true,"n":1,"orgao":{"cnpj":"00","uf":"SP"},"itens":[{"n":1,"v":0.0951},{"n":2,"v":null}]}"#,
        r#"{"id":"B","valor":0.00,"srp":null,"n":null,"orgao":null,"itens":[]}"#,
        r#"{"id":"Ç\r\n","valor":null,"srp":false,"n":3,"orgao":{"cnpj":null},"itens":null}"#,
    ];
    for d in [22, 23] {
        let data = Dataset::from_json(records).unwrap();
        store
            .upload_to_bronze(data, &source, day(d), Format::Parquet)
            .await
            .unwrap();
    }
    // What readers that glob must not see.
    store
        .write_json("pncp/_state/year=2025/month=10/day=22/s.json", &1)
        .await
        .unwrap();
    let root = store.folder().unwrap().display().to_string();
    script(&python, &["read", &root]);

    let key = "_temp/from-pandas/raw.parquet";
    std::fs::create_dir_all(store.folder().unwrap().join("_temp/from-pandas")).unwrap();
    script(&python, &["write", &format!("{root}/{key}")]);
    let reference: TempRef = key.parse().unwrap();
    let text = store
        .read_temp(&reference)
        .await
        .unwrap()
        .into_ndjson()
        .await
        .unwrap();
    assert_eq!(
        text,
        "{\"id\":\"A\",\"valor\":1.50,\"itens\":[{\"n\":1}],\"quando\":\"2025-10-22T12:00:00\"}\n\
         {\"id\":\"B\",\"valor\":null,\"itens\":[],\"quando\":null}\n"
    );
    let read = store
        .read_bronze(&source, day(1), day(2), &ReadOptions::default())
        .await;
    assert!(matches!(read, Err(Error::NotFound { .. })));
}
