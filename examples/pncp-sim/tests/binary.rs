//! The command: the first line is the URL, and bad settings are refused.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{get, publicacao};

fn sim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pncp-sim"))
}

#[tokio::test]
async fn the_first_line_is_the_url() {
    let mut child = sim()
        .args(["--mode", "synthetic", "--per-day", "40", "--seed", "3"])
        .args(["--fault", "204:per_url=1", "--now", "2025-10-22T23:00:00"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.trim_end();
    let path = publicacao("20251022", 8, 1, 50);
    let statuses = [get(url, &path).await.status, get(url, &path).await.status];
    let stats = get(url, "/_sim/stats").await.json();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(statuses, [204, 200]);
    assert_eq!(stats["injected"]["204"], 1);
}

#[test]
fn bad_settings_are_named() {
    for (args, named) in [
        (["--fault", "moon"], "unknown kind"),
        (["--fault", "cut:rate=7"], "between 0 and 1"),
        (["--rate-limit", "0"], "rate-limit"),
        (["--mode", "live"], "--mode"),
    ] {
        let output = sim().args(args).output().unwrap();
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(named), "{text}");
    }
}
