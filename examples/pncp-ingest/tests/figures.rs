//! The calls that the command reports are those that the server counted, repeated ones included.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use pncp_sim::{Fault, Sim};
use support::{DAY, Lakehouse};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reported_calls_are_the_calls_that_the_server_counted() {
    let faults = [
        "5xx:status=500,route=itens,rate=0.05",
        "cut:route=arquivos,rate=0.05",
        "cut-clean:route=itens,rate=0.03",
        "404:route=itens,rate=0.03",
        "400:route=itens,count=3,after=40",
        "429:route=arquivos,count=1,after=60",
    ];
    let mut builder = Sim::builder().synthetic(250).seed(2);
    for fault in faults {
        builder = builder.fault(fault.parse::<Fault>().unwrap());
    }
    let lakehouse = Lakehouse::new(builder.start().await.unwrap());
    lakehouse
        .run(&["daily", "--date", DAY])
        .await
        .expect_code(0);
    let mut counted = lakehouse.sim.stats().detail_calls();
    let mut retried = 0;
    for code in [3, 0] {
        let ended = lakehouse
            .run(&["details", "--date", DAY])
            .await
            .expect_code(code);
        let now = lakehouse.sim.stats().detail_calls();
        assert_eq!(
            ended.number("detail_calls"),
            now - counted,
            "{}",
            ended.last
        );
        let line = format!("🌐 API calls: {}\n", now - counted);
        assert!(ended.stdout.contains(&line), "no `{line}`");
        counted = now;
        retried += ended.number("retries");
    }
    let stats = lakehouse.sim.stats();
    let struck: u64 = stats.injected.values().sum();
    assert!(stats.injected.len() == 6, "{:?}", stats.injected);
    // Three 400s are final; every other fault is followed by another try.
    assert!(
        retried >= struck - 3,
        "{retried} retries, {:?}",
        stats.injected
    );
}
