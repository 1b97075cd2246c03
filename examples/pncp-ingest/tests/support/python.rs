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
