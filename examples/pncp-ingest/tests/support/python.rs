//! An independent reader: Python with pyarrow and DuckDB, in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What the comparison needs, pinned.
const PACKAGES: [&str; 2] = ["pyarrow==26.0.0", "duckdb==1.5.5"];

/// The interpreter with the packages, made once per target folder; none without Python.
///
/// # Panics
/// If Python is missing or the packages do not install, and `REQUIRE_PYTHON` is set.
pub fn interpreter() -> Option<&'static Path> {
    static INTERPRETER: OnceLock<Option<PathBuf>> = OnceLock::new();
    INTERPRETER
        .get_or_init(|| match prepare() {
            Ok(path) => Some(path),
            Err(why) if std::env::var_os("REQUIRE_PYTHON").is_some() => {
                panic!("the independent reader is required: {why}")
            }
            Err(why) => {
                eprintln!("SKIPPED: the independent reader: {why}");
                None
            }
        })
        .as_deref()
}

/// The four readers of `bronze-storage`'s tests, the same list in the same folder.
const READERS: [&str; 6] = [
    "pyarrow==26.0.0",
    "pandas==3.1.0",
    "duckdb==1.5.5",
    "duckdb-extensions==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "polars==2.1.0",
];

/// The interpreter with pyarrow, pandas, DuckDB and Polars; none without Python.
///
/// # Panics
/// As [`interpreter`].
pub fn readers() -> Option<&'static Path> {
    static INTERPRETER: OnceLock<Option<PathBuf>> = OnceLock::new();
    INTERPRETER
        .get_or_init(|| match prepare_readers() {
            Ok(path) => Some(path),
            Err(why) if std::env::var_os("REQUIRE_PYTHON").is_some() => {
                panic!("the readers are required: {why}")
            }
            Err(why) => {
                eprintln!("SKIPPED: the readers: {why}");
                None
            }
        })
        .as_deref()
}

fn prepare_readers() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let cache = target.ok_or("no target folder")?.join("readers");
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(&cache).map_err(failed)?;
    let lock = std::fs::File::create(cache.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let (venv, done) = (cache.join("venv"), cache.join("installed"));
    let python = venv.join("bin/python");
    let wanted = READERS.join(" ");
    if std::fs::read_to_string(&done).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    run(
        Path::new("python3"),
        &["-m", "venv", &venv.to_string_lossy()],
    )?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(&python, &[&pip[..], &READERS[..]].concat())?;
    std::fs::write(&done, &wanted).map_err(failed)?;
    Ok(python)
}

fn prepare() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reader");
    let python = folder.join("bin/python");
    let ready = folder.join("ready");
    let wanted = PACKAGES.join(" ");
    if std::fs::read_to_string(&ready).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let folder_text = folder.to_string_lossy().into_owned();
    run(Path::new("python3"), &["-m", "venv", &folder_text])?;
    let mut install = vec![
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    install.extend(PACKAGES);
    run(&python, &install)?;
    std::fs::write(&ready, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Runs to the end; anything but success is an error with what was printed.
pub fn run(program: &Path, args: &[&str]) -> Result<Output, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{} {}: {}\n{}{}",
        program.display(),
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}
