//! A real SIGTERM: the command ends in good order, and the next run takes up where it ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pncp_sim::{Latency, Sim};
use support::{DAY, Ended, Lakehouse};

const PURCHASES: u64 = 240;

async fn lakehouse(latency_ms: u64) -> Lakehouse {
    let latency = Latency::Fixed(Duration::from_millis(latency_ms));
    let builder = Sim::builder().synthetic(PURCHASES as u32).latency(latency);
    let lakehouse = Lakehouse::new(builder.start().await.unwrap());
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    lakehouse
}

fn send(signal: &str, child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
}

/// Starts `details`, sends the signals once the second checkpoint is saved, waits for the end.
async fn stopped(lakehouse: &Lakehouse, args: &[&str], signals: &'static [&'static str]) -> Ended {
    let mut all = vec!["details", "--date", DAY, "--checkpoint-every", "20"];
    all.extend(args);
    let mut command = lakehouse.command(&all);
    tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("Checkpoint 2: Saved 40") {
            assert!(stdout.read_line(&mut text).unwrap() > 0, "{text}");
        }
        for signal in signals {
            send(signal, &child);
            if signals.len() > 1 {
                while !text.contains("Stopping") {
                    assert!(stdout.read_line(&mut text).unwrap() > 0, "{text}");
                }
            }
        }
        stdout.read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        Ended::from(&std::process::Output {
            status,
            stdout: text.into_bytes(),
            stderr: Vec::new(),
        })
    })
    .await
    .unwrap()
}

async fn resumes(lakehouse: &Lakehouse) {
    let resumed = lakehouse
        .run(&["details", "--date", DAY])
        .await
        .expect_code(0);
    assert_eq!(
        resumed.number("already_done") + resumed.number("processed"),
        PURCHASES
    );
    assert_eq!(resumed.last["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_saves_all_that_arrived_and_says_how_to_resume() {
    let lakehouse = lakehouse(20).await;
    let listed_twice = lakehouse.sim.stats().repeated_identical;
    for signal in [&["-TERM"], &["-INT"]] {
        let ended = stopped(&lakehouse, &[], signal).await.expect_code(1);
        assert_eq!(ended.last["stopped"], "signal", "{}", ended.last);
        assert_eq!(ended.last["resumable"], true);
        assert!(ended.number("left") > 0 && ended.number("processed") >= 40);
        assert!(ended.stdout.contains("run the same command to resume"));
    }
    resumes(&lakehouse).await;
    if let Some(report) = lakehouse.compare(&[]).await {
        assert_eq!(report["details"], PURCHASES);
    }
    let repeated = lakehouse.sim.stats().repeated_identical;
    assert_eq!(repeated, listed_twice, "a call was made twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_ends_at_once_and_loses_no_more_than_a_kill() {
    let lakehouse = lakehouse(120).await;
    let listed_twice = lakehouse.sim.stats().repeated_identical;
    let args = ["--concurrency", "16"];
    let ended = stopped(&lakehouse, &args, &["-TERM", "-TERM"]).await;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert_eq!(ended.last["status"], "failed");
    resumes(&lakehouse).await;
    // A checkpoint of 20 keys, and the calls in flight.
    let repeated = lakehouse.sim.stats().repeated_identical - listed_twice;
    assert!(repeated <= 2 * (20 + 16), "{repeated} calls repeated");
}
