//! The client against the simulator, over HTTP.
//!
//! `cargo bench -p benches --bench client`: 2,000 detail calls of 100 ms each, 16 in flight,
//! against the ideal wall time. `-- limit`: a hidden limit of 20 requests a second that halves
//! after two minutes (five minutes in all). `-- random`: 2.5 % of answers 429 and 2 % 503,
//! whatever the pace, under a ceiling of 50 a second.
//!
//! Each starts a `pncp-sim` inside this process, on a thread of its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measuring program: it prints, and stops at the first surprise"
)]

use std::time::{Duration, Instant};

use chrono::NaiveDate;
use futures::StreamExt as _;
use pncp_client::{ClientSettings, ContratacaoKey, Details, FamilySettings, PncpClient};
use pncp_sim::{
    Fault, FaultKind, Latency, RateLimit, RetryAfter, Sim, SimBuilder, SimHandle, Stats,
};

fn main() {
    let what = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match what.as_deref() {
        None => runtime.block_on(ideal()),
        Some("limit") => runtime.block_on(limit()),
        Some("random") => runtime.block_on(random()),
        Some(other) => println!("no such part: {other}; there are `limit` and `random`"),
    }
}

/// A simulator on a thread of its own.
fn start(sim: SimBuilder) -> SimHandle {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tell.send(sim.start().await.unwrap()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

fn client(sim: &SimHandle, start: f64, max: f64) -> PncpClient {
    let settings = ClientSettings {
        consulta_url: sim.consulta_url().to_owned(),
        api_url: sim.api_url().to_owned(),
        detail: FamilySettings {
            requests_per_second_max: max,
            requests_per_second_start: start,
            ..ClientSettings::default().detail
        },
        ..ClientSettings::default()
    };
    PncpClient::builder()
        .with_settings(settings)
        .with_seed(1)
        .build()
        .unwrap()
}

fn keys(sim: &SimHandle) -> Vec<ContratacaoKey> {
    let day = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let keys = sim.truth(day).map(|record| {
        ContratacaoKey::new(
            &record.cnpj,
            u16::try_from(record.ano).unwrap(),
            record.sequencial,
        )
    });
    keys.map(Result::unwrap).collect()
}

async fn ideal() {
    const CALLS: u32 = 2_000;
    const LATENCY: Duration = Duration::from_millis(100);
    let sim = start(
        Sim::builder()
            .synthetic(1_000)
            .latency(Latency::Fixed(LATENCY)),
    );
    let keys = keys(&sim);
    let client = client(&sim, 5_000.0, 10_000.0);
    let flight = 16;
    let begun = Instant::now();
    let calls = futures::stream::iter(keys.iter().flat_map(|key| [(key, true), (key, false)]));
    let requests: u32 = calls
        .map(|(key, itens)| {
            let client = client.clone();
            async move {
                let found = if itens {
                    client.itens(key).await
                } else {
                    client.arquivos(key).await
                };
                match found.unwrap() {
                    Details::Found(found) => found.calls,
                    Details::Gone { calls, .. } => calls,
                }
            }
        })
        .buffer_unordered(flight)
        .fold(0, |sum, calls| async move { sum + calls })
        .await;
    let wall = begun.elapsed();
    assert_eq!(u64::from(requests), sim.stats().detail_calls());
    assert!(requests >= CALLS);
    // A list of a round number of tens is checked against its count: a request more.
    let ideal = LATENCY * requests.div_ceil(u32::try_from(flight).unwrap());
    let share = ideal.as_secs_f64() / wall.as_secs_f64();
    println!(
        "{requests} requests for {CALLS} lists, {flight} in flight: {:.2} s, ideal {:.2} s, {:.1} % of it",
        wall.as_secs_f64(),
        ideal.as_secs_f64(),
        100.0 * share
    );
    assert!(share >= 0.95, "{share}");
}

/// Calls of one request each, sixteen at a time, for so long.
async fn call_for(client: &PncpClient, keys: &[ContratacaoKey], time: Duration) {
    let end = Instant::now() + time;
    futures::stream::iter(keys.iter().cycle())
        .take_while(|_| std::future::ready(Instant::now() < end))
        .map(|key| {
            let client = client.clone();
            async move { client.itens_quantidade(key).await.unwrap() }
        })
        .buffer_unordered(16)
        .for_each(|_| async {})
        .await;
}

fn report(what: &str, before: &Stats, after: &Stats) {
    let sent = after.total - before.total;
    let refused = after.rate_limited - before.rate_limited;
    let allowed = after.rate_limit_allowed - before.rate_limit_allowed;
    println!(
        "{what}: {sent} requests, {allowed} allowed, {:.1} % of the limit used, {:.2} % of answers 429, {} requests inside a pause",
        100.0 * (sent - refused) as f64 / allowed as f64,
        100.0 * refused as f64 / sent as f64,
        after.in_retry_after_pause - before.in_retry_after_pause
    );
}

async fn limit() {
    let hidden = RateLimit {
        per_second: 20.0,
        burst: 10,
        halve_after: Some(2_500),
        retry_after: RetryAfter::Seconds(1),
        pause_untold: Duration::ZERO,
    };
    let sim = start(
        Sim::builder()
            .synthetic(200)
            .latency(Latency::Fixed(Duration::from_millis(100)))
            .rate_limit(hidden),
    );
    let keys = keys(&sim);
    let client = client(&sim, 10.0, 50.0);
    let settle = Duration::from_secs(20);
    let mut before = sim.stats();
    call_for(&client, &keys, settle).await;
    let mut after = sim.stats();
    report("the first 20 s", &before, &after);
    before = after;
    while sim.stats().total < 2_400 {
        call_for(&client, &keys, Duration::from_secs(1)).await;
    }
    after = sim.stats();
    report("limit 20/s, settled", &before, &after);
    while sim.stats().total < 2_500 {
        call_for(&client, &keys, Duration::from_secs(1)).await;
    }
    before = sim.stats();
    call_for(&client, &keys, settle).await;
    after = sim.stats();
    report("20 s after it halved", &before, &after);
    before = after;
    call_for(&client, &keys, Duration::from_secs(150)).await;
    report("limit 10/s, settled", &before, &sim.stats());
}

async fn random() {
    let sim = start(
        Sim::builder()
            .synthetic(200)
            .latency(Latency::Fixed(Duration::from_millis(100)))
            .fault(
                Fault::new(FaultKind::TooMany)
                    .rate(0.025)
                    .retry_after(RetryAfter::Seconds(0)),
            )
            .fault(Fault::new(FaultKind::ServerError).status(503).rate(0.02)),
    );
    let keys = keys(&sim);
    let client = client(&sim, 10.0, 50.0);
    let begun = Instant::now();
    call_for(&client, &keys, Duration::from_secs(120)).await;
    let pace = sim.stats().total as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{:.1} requests a second under a ceiling of 50, {:?} struck",
        pace,
        sim.stats().injected
    );
}
