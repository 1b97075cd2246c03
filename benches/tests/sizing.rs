//! A small sweep of the sizing harness, with kills.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

use std::process::{Command, Output};

use serde_json::Value;

fn harness(args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkpoint-sizing"));
    command.args(args.split(' ')).output().unwrap()
}

fn json(args: &str) -> Value {
    let output = harness(args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value, name: &str) -> f64 {
    value[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn a_sweep_measures_predicts_and_recommends() {
    let report = json(
        "--json --keys 60 --every 5,30 --concurrency 4 --latency-ms 20 --kills-per-hour 3600 --seed 511 \
         --for-latency-ms 100 --for-keys 6500 --for-memory-mb 24",
    );
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        // 120 calls of 20 ms, 4 at a time, take 0.6 s at least.
        assert!(number(run, "seconds") > 0.6, "{run}");
        let predicted = &run["predicted"];
        assert!(number(predicted, "total_seconds") > 0.6, "{run}");
        assert!(number(run, "stored_bytes") > 0.0, "{run}");
        // A kill repeats a checkpoint, and two calls a place, at most. A key whose list is empty takes a third call.
        let bound = number(run, "kills") * (3.0 * number(run, "every") + 2.0 * 4.0);
        assert!(number(run, "repeated_calls") <= bound, "{run}");
    }
    let kills: f64 = runs.iter().map(|run| number(run, "kills")).sum();
    assert!(kills > 0.0, "{report}");
    let bytes = |at: usize| number(&runs[at], "stored_bytes");
    assert!(bytes(0) > bytes(1), "small checkpoints take more room");

    let recommended = &report["recommended"];
    assert_eq!(recommended["concurrency"], 4);
    let best = &recommended["recommendation"]["best"];
    assert!(number(best, "peak_bytes") <= 24e6, "{recommended}");
    let text = recommended["text"].as_str().unwrap();
    assert!(text.starts_with("6500 keys at 2."), "{text}");
    assert_eq!(recommended["checkpoint_every"], best["checkpoint_every"]);
    let rows = number(best, "stored_bytes")
        - number(best, "checkpoints") * number(&report["calibrations"][0], "stored_fixed_bytes");
    assert!(number(best, "stored_bytes") <= 2.0 * rows, "{recommended}");
}

#[test]
fn memory_needs_no_disk_and_outlives_no_kill() {
    let output = harness("--keys 20 --every 10 --concurrency 2 --latency-ms 1 --store memory");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("| 2 | 10 | 0 |"), "{told}");
    assert!(
        told.contains("Set --concurrency 2 --checkpoint-every"),
        "{told}"
    );

    let refused = harness("--store memory --kills-per-hour 60");
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("does not outlive a kill"), "{told}");
}
