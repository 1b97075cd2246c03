//! Contenders in processes of their own: Python with pandas, pyarrow, Polars, and this program.
//!
//! A contender's last line on stdout is a JSON object with `seconds`; what it says besides is its
//! answer, which the bench compares. Its peak resident set is the kernel's count of that process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a Python contender may use, pinned.
const PACKAGES: [&str; 4] = [
    "numpy==2.4.6",
    "pandas==3.1.1",
    "polars==2.1.0",
    "pyarrow==26.0.0",
];

/// What goes before a Python script: `peak_bytes()` is the peak resident set up to then.
const PRELUDE: &str = r#"
import json, sys, time
def peak_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
"#;

/// One contender's run.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Who ran.
    pub name: String,
    /// Wall time of what was asked, without the start of the process, in seconds.
    pub seconds: f64,
    /// Peak resident set of the process, in bytes.
    pub peak_bytes: u64,
    /// Its last line.
    pub answer: Value,
}

/// The interpreter of a virtual environment with the pinned packages, made once in the target
/// folder. `None`, with a line that says so on stderr, where Python is missing or the packages do
/// not install.
///
/// # Panics
/// In that case if `REQUIRE_PYTHON` is set.
#[allow(clippy::panic, reason = "what is required and missing stops a bench")]
pub fn interpreter() -> Option<PathBuf> {
    match prepare() {
        Ok(path) => Some(path),
        Err(why) if std::env::var_os("REQUIRE_PYTHON").is_some() => {
            panic!("Python is required: {why}")
        }
        Err(why) => {
            eprintln!("SKIPPED: the contenders in Python: {why}");
            None
        }
    }
}

fn prepare() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = program
        .ancestors()
        .find(|folder| folder.join(".cargo-lock").exists() || folder.join("CACHEDIR.TAG").exists())
        .ok_or("not run from a target folder")?;
    let folder = target.join("bench-python");
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    let wanted = PACKAGES.join(" ");
    if std::fs::read_to_string(&ready).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let make = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .output();
    succeeded("python3 -m venv", make)?;
    let install = Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PACKAGES)
        .output();
    succeeded("pip install", install)?;
    std::fs::write(&ready, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Runs `script` (a Python program) with `args`. It finds `json`, `sys`, `time` and `peak_bytes()`
/// and ends with `print(json.dumps({"seconds": …, "peak_bytes": peak_bytes(), …}))`.
///
/// # Errors
/// What it printed, if it failed or its last line is no such object.
pub fn run_python(
    python: &Path,
    name: &str,
    script: &str,
    args: &[&str],
) -> Result<Measured, String> {
    let mut command = Command::new(python);
    command
        .arg("-c")
        .arg(format!("{PRELUDE}\n{script}"))
        .args(args);
    run(name, &mut command)
}

/// Runs this same program again with `args`, as a process of its own; it ends by printing what
/// [`last_line`] makes.
///
/// # Errors
/// As [`run_python`].
pub fn run_self(name: &str, args: &[&str]) -> Result<Measured, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    run(name, Command::new(program).args(args))
}

/// The last line of a contender in Rust: `answer` with the time and this process' peak.
pub fn last_line(seconds: f64, mut answer: Value) -> String {
    answer["seconds"] = seconds.into();
    answer["peak_bytes"] = peak_bytes().unwrap_or(0).into();
    answer.to_string()
}

/// The peak resident set of this process so far, where the kernel tells it.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn run(name: &str, command: &mut Command) -> Result<Measured, String> {
    // As the command line starts itself: glibc keeps an arena for each thread, which says nothing
    // of what a contender needs.
    command.env("MALLOC_ARENA_MAX", "1");
    let output = succeeded(name, command.stdin(Stdio::null()).output())?;
    let line = output.lines().rfind(|line| !line.trim().is_empty());
    let answer: Value = serde_json::from_str(line.unwrap_or_default())
        .map_err(|error| format!("{name}: {error}: {output}"))?;
    let number = |field: &str| {
        let value = answer[field].as_f64();
        value.ok_or_else(|| format!("{name}: no {field} in {answer}"))
    };
    Ok(Measured {
        name: name.to_owned(),
        seconds: number("seconds")?,
        peak_bytes: number("peak_bytes")? as u64,
        answer: answer.clone(),
    })
}

fn succeeded(what: &str, output: std::io::Result<std::process::Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if output.status.success() {
        Ok(out.into_owned())
    } else {
        Err(format!("{what}: {}\n{out}{err}", output.status))
    }
}

/// A table of runs, each beside the first: seconds, MiB, and how many times the first's they are.
pub fn table(title: &str, runs: &[Measured]) -> String {
    let mut text = format!(
        "{title}\n{:<28} {:>10} {:>10} {:>8} {:>8}\n",
        "", "seconds", "peak MiB", "time x", "peak x"
    );
    let Some(first) = runs.first() else {
        return text;
    };
    for run in runs {
        text.push_str(&format!(
            "{:<28} {:>10.3} {:>10.1} {:>8.2} {:>8.2}\n",
            run.name,
            run.seconds,
            run.peak_bytes as f64 / 1_048_576.0,
            run.seconds / first.seconds,
            run.peak_bytes as f64 / first.peak_bytes.max(1) as f64
        ));
    }
    text
}
