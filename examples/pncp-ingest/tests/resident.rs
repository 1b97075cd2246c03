//! The peak resident set of the real command, from a small day to a very large one.
//!
//! Minutes, and of use with the release binary only:
//! `PNCP_INGEST=$PWD/target/release/pncp-ingest cargo test -p pncp-ingest --test resident -- --ignored --nocapture`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use pncp_sim::Sim;
use support::kills::setting;
use support::{DAY, Lakehouse};

/// What the peak may grow by for each id that the log holds: the set of what is done.
const BYTES_PER_ID: u64 = 64;
/// What it may differ by besides: buffers that a day of 1,000 does not fill, and from run to run the allocator's
/// and the kernel's granularity.
const NOISE: u64 = 6 * 1024 * 1024;

#[ignore = "minutes; for a release build"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peak_is_flat_beyond_64_bytes_an_id() {
    let small = 1_000;
    let large = setting("RESIDENT_LARGEST", 50_000);
    let mut peaks: Vec<[u64; 3]> = Vec::new();
    for purchases in [small, large] {
        let sim = Sim::builder().synthetic(u32::try_from(purchases).unwrap());
        // Short lists of items: the time goes into contratações, and there are fifty thousand.
        let sim = sim.seed(3).max_itens(60).start().await.unwrap();
        let lakehouse = Lakehouse::new(sim);
        let daily = lakehouse.run(&["daily", "--date", DAY]).await;
        let daily = daily.expect_code(0);
        assert_eq!(daily.number("new_records"), purchases);
        let details = lakehouse.run(&["details", "--date", DAY]).await;
        let details = details.expect_code(0);
        assert_eq!(details.number("processed"), purchases);
        let again = lakehouse.run(&["details", "--date", DAY]).await;
        let again = again.expect_code(0);
        assert_eq!(again.number("detail_calls"), 0);
        let of = [&daily, &details, &again].map(|ended| ended.number("peak_resident_bytes"));
        eprintln!("{purchases} contratações: daily, details, details again: {of:?} bytes");
        peaks.push(of);
    }
    let more = large - small;
    // Of a contratação `daily` holds the id in the log's set, in the listing's ledger and, with its version, in the
    // snapshot that it writes; `details` holds an id for each facet.
    let commands = [("daily", 3), ("details", 2), ("details again", 2)];
    for (at, (command, _)) in commands.into_iter().enumerate() {
        let growth = peaks[1][at].saturating_sub(peaks[0][at]);
        eprintln!(
            "{command}: {growth} bytes more, {:.0} a contratação",
            growth as f64 / more as f64
        );
    }
    for (at, (command, ids)) in commands.into_iter().enumerate() {
        let growth = peaks[1][at].saturating_sub(peaks[0][at]);
        let allowed = more * ids * BYTES_PER_ID + NOISE;
        assert!(
            growth <= allowed,
            "{command}: {growth} bytes, {allowed} allowed"
        );
    }
}
