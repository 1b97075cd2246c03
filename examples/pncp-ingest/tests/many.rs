//! Several processes on one day, with and without shards, some of them killed and started again.
//!
//! `KILLS=200` (in CI) tries every number of processes from two to eight.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::time::Duration;

use bronze_storage::testing::S3Server;
use bronze_storage::{BronzeConfig, BronzeStore};
use pncp_sim::{Latency, Route, Sim};
use support::kills::{ALL, Dice, kills, setting};
use support::probe::{download, look};
use support::victim::Victim;
use support::{DAY, Ended, Lakehouse, compare_many};
use tempfile::TempDir;

const PURCHASES: u32 = 60;
const EVERY: u64 = 5;
const CONCURRENCY: u64 = 2;
/// Contratações that are fetched and not yet safe, at most, when a process is killed.
const UNSAFE: u64 = EVERY + CONCURRENCY;
/// Detail calls of the whole day.
const IDEAL: u64 = 2 * PURCHASES as u64;

/// A day, and a store that any number of processes work on.
struct Place {
    lakehouse: Lakehouse,
    store: BronzeStore,
    server: Option<S3Server>,
}

/// How a crowd of processes ended.
struct Crowd {
    ended: Vec<Ended>,
    kills: u64,
}

impl Place {
    async fn of(seed: u64, server: Option<S3Server>) -> Self {
        let latency = Latency::Fixed(Duration::from_millis(2));
        let sim = Sim::builder().synthetic(PURCHASES).seed(seed);
        let sim = sim.max_itens(40).latency(latency).start().await.unwrap();
        let lakehouse = Lakehouse::new(sim);
        let local = BronzeConfig::local(lakehouse.folder.path().join("lakehouse"));
        let config = server.as_ref().map_or(local, S3Server::config);
        Self {
            store: BronzeStore::open(&config).unwrap(),
            lakehouse,
            server,
        }
    }

    fn start(&self, args: &str, name: &str) -> Victim {
        let args: Vec<&str> = args.split(' ').collect();
        let mut command = self.lakehouse.command(&args);
        if let Some(server) = &self.server {
            let config = server.config();
            command
                .env("STORAGE_TYPE", "minio")
                .env("MINIO_ENDPOINT_URL", server.endpoint())
                .env("MINIO_ACCESS_KEY", config.access_key.unwrap().expose())
                .env("MINIO_SECRET_KEY", config.secret_key.unwrap().expose())
                .env("BUCKET_BRONZE", &config.bucket);
        }
        Victim::start(command, self.lakehouse.folder.path(), name)
    }

    /// Starts all of `commands` together and waits until each has ended by itself. So many kills fall on any of them at
    /// random instants; who is killed is started again with the same arguments.
    async fn crowd(&self, commands: &[String], kills: u64, dice: &mut Dice) -> Crowd {
        let start = |index: usize| self.start(&commands[index], &format!("process-{index}"));
        let mut running: Vec<Option<Victim>> = (0..commands.len())
            .map(|index| Some(start(index)))
            .collect();
        let mut crowd = Crowd {
            ended: Vec::new(),
            kills: 0,
        };
        let mut calls_at_kill = 0;
        while running.iter().any(Option::is_some) {
            // A kill is due after some more calls of the simulator, whoever made them.
            let calls = self.lakehouse.sim.stats().total;
            let due = crowd.kills < kills && calls >= calls_at_kill;
            let target = usize::try_from(dice.below(commands.len() as u64)).unwrap();
            for (index, process) in running.iter_mut().enumerate() {
                let Some(victim) = process else { continue };
                if due && index == target {
                    victim.kill();
                    calls_at_kill = calls + 1 + dice.below(IDEAL / (kills + 1));
                } else if victim.ended().is_none() {
                    continue;
                }
                match victim.wait() {
                    Some(ended) => {
                        crowd.ended.push(ended);
                        *process = None;
                    }
                    None => {
                        crowd.kills += 1;
                        *process = Some(start(index));
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        crowd
    }

    /// Calls for itens and arquivos.
    fn calls(&self) -> u64 {
        let stats = self.lakehouse.sim.stats();
        stats.requests(Route::Itens) + stats.requests(Route::Arquivos)
    }

    /// One more run of each command: it finds nothing to do, asks for nothing, and the day is whole, record by record.
    async fn assert_whole(&self) {
        let calls = self.calls();
        let seen = look(&self.store).await;
        assert_eq!(seen.bronze.ids, u64::from(PURCHASES));
        assert_eq!(seen.details.ids, IDEAL);
        for command in ["daily", "details", "merge"] {
            let victim = self.start(&format!("{command} --date {DAY}"), "last");
            let ended = tokio::task::spawn_blocking(move || victim.wait()).await;
            let last = ended.unwrap().unwrap().expect_code(0).last;
            assert_eq!(last["no_data"], true, "{command}: {last}");
        }
        assert_eq!(self.calls(), calls);
        assert_eq!(look(&self.store).await.merged, seen.details.entries);
        let copy = TempDir::new().unwrap();
        let folder = if self.server.is_some() {
            download(&self.store, copy.path()).await;
            copy.path().to_owned()
        } else {
            self.lakehouse.store()
        };
        let pairs = [(folder, self.lakehouse.write_truth())];
        let reports = tokio::task::spawn_blocking(move || compare_many(&pairs)).await;
        for report in reports.unwrap().unwrap_or_default() {
            assert_eq!(report["contratacoes"], PURCHASES);
            assert_eq!(report["details"], PURCHASES);
        }
    }
}

/// The same command several times.
fn same(command: &str, processes: u64) -> Vec<String> {
    (0..processes)
        .map(|_| format!("{command} --date {DAY}"))
        .collect()
}

fn details(processes: u64, sharded: bool) -> Vec<String> {
    let command =
        format!("details --date {DAY} --checkpoint-every {EVERY} --concurrency {CONCURRENCY}");
    let shard = |index| match sharded {
        true => format!("{command} --shard {}/{processes}", index + 1),
        false => command.clone(),
    };
    (0..processes).map(shard).collect()
}

/// Sum of a field over the ends.
fn sum(crowd: &Crowd, field: &str) -> u64 {
    crowd.ended.iter().map(|ended| ended.number(field)).sum()
}

/// Asserts that every process ended well: complete, or (code 5) told that another merger's file is as good as its own.
fn assert_codes(crowd: &Crowd) {
    for ended in &crowd.ended {
        assert!(
            matches!(ended.code, 0 | 5),
            "exit {}: {}\n{}",
            ended.code,
            ended.last,
            ended.stderr
        );
    }
}

/// Runs the job with so many processes at once, and kills some of each crowd.
async fn job(place: &Place, processes: u64, sharded: bool, kills: u64, dice: &mut Dice) {
    let daily = place.crowd(&same("daily", processes), kills, dice).await;
    assert_codes(&daily);
    if daily.kills == 0 {
        // Each record was new to one of them only.
        assert_eq!(sum(&daily, "new_records"), u64::from(PURCHASES));
    }
    let crowd = place.crowd(&details(processes, sharded), kills, dice).await;
    assert_codes(&crowd);
    let calls = place.calls();
    let repeated = crowd.kills * 2 * UNSAFE;
    let bound = if sharded { IDEAL } else { processes * IDEAL };
    eprintln!(
        "{processes} processes, sharded: {sharded}, {} and {} kills: {calls} calls of {IDEAL}, codes {:?}",
        daily.kills,
        crowd.kills,
        crowd
            .ended
            .iter()
            .map(|ended| ended.code)
            .collect::<Vec<_>>()
    );
    assert!(
        calls <= bound + repeated,
        "{calls} calls, {} kills",
        crowd.kills
    );
    place.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_on_one_folder_double_nothing() {
    let mut dice = Dice::new(setting("KILLS_SEED", 1));
    let mut all = Vec::new();
    for processes in 2..=8 {
        for kills in [0, processes] {
            all.extend([false, true].map(|sharded| (processes, sharded, kills)));
        }
    }
    if kills(0) < ALL {
        all = vec![(2, false, 2), (2, true, 0), (8, false, 0), (8, true, 8)];
    }
    for (processes, sharded, kills) in all {
        let place = Place::of(processes * 10 + kills, None).await;
        job(&place, processes, sharded, kills, &mut dice).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_on_one_bucket_double_nothing() {
    let mut dice = Dice::new(setting("KILLS_SEED", 1));
    // The server is slow where more than four writers create one key.
    let all = if kills(0) < ALL {
        vec![(3, false, 2), (3, true, 2)]
    } else {
        vec![
            (2, false, 0),
            (4, false, 0),
            (4, false, 4),
            (2, true, 2),
            (4, true, 0),
            (4, true, 4),
        ]
    };
    for (processes, sharded, kills) in all {
        let Some(server) = S3Server::start().await else {
            return;
        };
        let place = Place::of(40 + processes, Some(server)).await;
        job(&place, processes, sharded, kills, &mut dice).await;
    }
}
