//! What a command does where nobody takes what it prints.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use pncp_sim::Sim;
use support::{DAY, Lakehouse};

/// Runs it with this as its stdout; the simulator lives on this runtime.
async fn ended(mut command: Command, gone: bool) -> Output {
    if gone {
        command.stdout(Stdio::piped());
    } else {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        command.stdout(full);
    }
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    ended.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_no_command() {
    let lakehouse = Lakehouse::new(Sim::builder().synthetic(200).start().await.unwrap());
    for args in [
        &["daily", "--date", DAY][..],
        &["state", "load", "--source", "pncp", "--date", DAY],
    ] {
        let output = ended(lakehouse.command(args), true).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {told}");
    }
    let verify = ["state", "verify", "--source", "pncp", "--date", DAY];
    assert_eq!(
        lakehouse.run(&verify).await.expect_code(0).number("ids"),
        200
    );
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_behind_a_redirect_is_told_and_the_work_is_done() {
    let lakehouse = Lakehouse::new(Sim::builder().synthetic(20).start().await.unwrap());
    let output = ended(lakehouse.command(&["daily", "--date", DAY]), false).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("is not whole: No space left"), "{told}");
    let again = lakehouse.run(&["daily", "--date", DAY]).await;
    assert_eq!(again.expect_code(0).number("new_records"), 0);
}
