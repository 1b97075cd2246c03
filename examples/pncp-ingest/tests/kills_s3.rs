//! The real command on a real S3 server, killed with SIGKILL before, within and after store operations, and resumed
//! until the day is done.
//!
//! `KILLS=200` (in CI) makes 200 random kills, and one or three at every store operation in turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use bronze_storage::BronzeStore;
use bronze_storage::testing::S3Server;
use pncp_sim::{Route, Sim};
use support::gate::{Aim, Gate, Operation};
use support::kills::{ALL, Dice, Falls, Moment, Step, Write, kills, setting};
use support::probe::{Seen, download, look};
use support::victim::Victim;
use support::{Ended, Lakehouse, compare_many};
use tempfile::TempDir;

const PURCHASES: u32 = 20;
const EVERY: u64 = 5;
const CONCURRENCY: u64 = 2;
/// Contratações that are fetched and not yet safe, at most.
const UNSAFE: u64 = EVERY + CONCURRENCY;

/// The job against an S3 server, behind a gate.
struct Place {
    // Dropped first: the server is killed before its folder goes.
    server: S3Server,
    gate: Gate,
    /// Past the gate.
    store: BronzeStore,
    lakehouse: Lakehouse,
    details_kills: u64,
}

/// An attempt at a step.
struct Attempt {
    /// None if it was killed.
    ended: Option<Ended>,
    passed: Vec<Operation>,
    struck: Option<Operation>,
}

/// Every object of the store.
type Objects = Vec<(String, Vec<u8>)>;

impl Place {
    /// None where there is no S3 server to be had.
    async fn start(seed: u64) -> Option<Self> {
        let server = S3Server::start().await?;
        let sim = Sim::builder().synthetic(PURCHASES).seed(seed).max_itens(40);
        Some(Self {
            gate: Gate::start(server.endpoint()),
            store: server.store("").unwrap(),
            server,
            lakehouse: Lakehouse::new(sim.start().await.unwrap()),
            details_kills: 0,
        })
    }

    async fn run(&mut self, step: Step, aim: Option<Aim>) -> Attempt {
        let args = step.args(EVERY, CONCURRENCY);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let config = self.server.config();
        let mut command = self.lakehouse.command(&args);
        command
            .env("STORAGE_TYPE", "minio")
            .env("MINIO_ENDPOINT_URL", self.gate.endpoint())
            .env("MINIO_ACCESS_KEY", config.access_key.unwrap().expose())
            .env("MINIO_SECRET_KEY", config.secret_key.unwrap().expose())
            .env("BUCKET_BRONZE", &config.bucket);
        self.gate.arm(aim);
        let victim = Victim::start(command, self.lakehouse.folder.path(), "attempt");
        self.gate.give(&victim);
        let ended = tokio::task::spawn_blocking(move || victim.wait()).await;
        let ended = ended.unwrap().map(|ended| ended.expect_code(0));
        self.details_kills += u64::from(ended.is_none() && step.fetches());
        let (passed, struck) = tokio::task::block_in_place(|| self.gate.settle());
        Attempt {
            ended,
            passed,
            struck,
        }
    }

    /// Runs the job undisturbed from `first` on, and asserts that all is there.
    async fn complete(&mut self, first: Step) -> Seen {
        let steps = [Step::Daily, Step::Details, Step::Merge];
        for step in steps.into_iter().skip_while(|step| *step != first) {
            let attempt = self.run(step, None).await;
            let last = attempt.ended.unwrap().last;
            assert!(step != Step::Details || last["complete"] == true, "{last}");
        }
        let seen = look(&self.store).await;
        assert_eq!(seen.bronze.ids, u64::from(PURCHASES));
        assert_eq!(seen.details.ids, 2 * u64::from(PURCHASES));
        assert_eq!(seen.merged, seen.details.entries);
        seen
    }

    /// Calls beyond those that ended in the log; asserts the bound.
    fn wasted(&self, seen: &Seen) -> u64 {
        let stats = self.lakehouse.sim.stats();
        let calls = stats.requests(Route::Itens) + stats.requests(Route::Arquivos);
        let bound = seen.details.ids + self.details_kills * 2 * UNSAFE;
        assert!(
            calls <= bound,
            "{calls} calls, {seen:?}, {} kills",
            self.details_kills
        );
        calls.saturating_sub(seen.details.ids)
    }

    async fn objects(&self) -> Objects {
        let mut objects = Objects::new();
        for object in self.store.list("").await.unwrap() {
            let (bytes, _) = self.store.get(&object.key).await.unwrap();
            objects.push((object.key, bytes.to_vec()));
        }
        objects
    }

    /// Puts the store into an earlier state, and forgets every call.
    async fn restore(&mut self, objects: &Objects) {
        for object in self.store.list("").await.unwrap() {
            self.store.delete(&object.key).await.unwrap();
        }
        for (key, bytes) in objects {
            self.store.put(key, bytes.clone().into()).await.unwrap();
        }
        self.lakehouse.sim.reset();
        self.details_kills = 0;
    }

    /// The ETag of what a write writes; none for what is absent, and for other operations.
    async fn e_tag(&self, operation: &Operation) -> Option<String> {
        operation.write()?;
        let head = self.store.head(&key(operation)).await.unwrap();
        head.and_then(|version| version.e_tag)
    }
}

/// The key of an operation's object, without the bucket.
fn key(operation: &Operation) -> String {
    let path = operation.target.split('?').next().unwrap_or_default();
    let key = path.trim_start_matches('/').split_once('/');
    key.map_or(String::new(), |(_, key)| key.replace("%3D", "="))
}

/// Copies of finished stores, compared with the truth by the independent reader in one go.
struct Finished {
    folder: TempDir,
    pairs: Vec<(PathBuf, PathBuf)>,
}

impl Finished {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            pairs: Vec::new(),
        }
    }

    async fn add(&mut self, place: &Place) {
        let folder = self.folder.path().join(self.pairs.len().to_string());
        download(&place.store, &folder).await;
        self.pairs.push((folder, place.lakehouse.write_truth()));
    }

    async fn compare(self) {
        let Self { folder, pairs } = self;
        let reports = tokio::task::spawn_blocking(move || compare_many(&pairs)).await;
        drop(folder);
        for report in reports.unwrap().unwrap_or_default() {
            assert_eq!(report["contratacoes"], PURCHASES);
            assert_eq!(report["details"], PURCHASES);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_store_operations_a_day_on_s3_ends_whole() {
    let (wanted, seed) = (kills(16), setting("KILLS_SEED", 1));
    let Some(mut place) = Place::start(seed).await else {
        return;
    };
    let started = Instant::now();
    let mut dice = Dice::new(seed);
    let (mut falls, mut fallen, mut wasted, mut days) = (Falls::default(), 0, 0, 0);
    let mut finished = Finished::new();
    while fallen < wanted {
        place.restore(&Objects::new()).await;
        let (mut daily_done, mut before) = (false, Seen::default());
        while fallen < wanted {
            let step = match dice.below(6) {
                _ if !daily_done => Step::Daily,
                0 => Step::Merge,
                1 | 2 => Step::SomeDetails,
                _ => Step::Details,
            };
            let aim = Aim {
                request: 1 + dice.below(if step == Step::Daily { 12 } else { 36 }),
                moment: dice.pick(&Moment::ALL),
            };
            let attempt = place.run(step, Some(aim)).await;
            let after = look(&place.store).await;
            assert!(
                after.bronze.ids >= before.bronze.ids,
                "{before:?} {after:?}"
            );
            assert!(
                after.details.ids >= before.details.ids,
                "{before:?} {after:?}"
            );
            before = after;
            place.wasted(&after);
            match attempt.ended {
                None => {
                    fallen += 1;
                    if let Some(write) = attempt.struck.and_then(|operation| operation.write()) {
                        falls.add(write, aim.moment);
                    }
                }
                Some(_) if step == Step::Daily => daily_done = true,
                Some(ended) if ended.last["complete"] == true => break,
                Some(_) => {}
            }
        }
        let rest = if daily_done {
            Step::Details
        } else {
            Step::Daily
        };
        let seen = place.complete(rest).await;
        wasted += place.wasted(&seen);
        days += 1;
        finished.add(&place).await;
    }
    eprintln!(
        "{fallen} kills in {days} days and {:.0} s: {falls}{wasted} calls were made again.",
        started.elapsed().as_secs_f64()
    );
    finished.compare().await;
}

/// A kill: at which operation of which command, started from which state.
struct Case<'a> {
    step: Step,
    start: &'a Objects,
    aim: Aim,
    operation: Operation,
}

/// With fewer kills than cases: the first of each kind of write at each moment, then others evenly over the rest.
fn sample(cases: Vec<Case<'_>>, wanted: usize) -> Vec<Case<'_>> {
    if wanted >= ALL as usize || wanted >= cases.len() {
        return cases;
    }
    let mut kinds = HashSet::new();
    let (mut first, rest): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| {
        let write = case.operation.write();
        write.is_some_and(|write| kinds.insert((case.step, write, case.aim.moment)))
    });
    let every = rest
        .len()
        .div_ceil(wanted.saturating_sub(first.len()).max(1));
    first.extend(rest.into_iter().step_by(every));
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_store_operation_in_turn_a_day_on_s3_ends_whole() {
    let wanted = kills(18);
    let Some(mut place) = Place::start(7).await else {
        return;
    };
    let started = Instant::now();
    // Each command once, undisturbed, from its own start: these are its operations.
    let empty = Objects::new();
    let daily = place.run(Step::Daily, None).await.passed;
    let listed = place.objects().await;
    let details = place.run(Step::Details, None).await.passed;
    // A merge has something to do where the details were killed just before theirs.
    let at = details
        .iter()
        .position(|op| op.write() == Some(Write::Merge));
    place.restore(&listed).await;
    let aim = Aim {
        request: at.unwrap() as u64 + 1,
        moment: Moment::Before,
    };
    assert!(place.run(Step::Details, Some(aim)).await.ended.is_none());
    let unmerged = place.objects().await;
    let merge = place.run(Step::Merge, None).await.passed;

    let commands = [
        (Step::Daily, &empty, daily),
        (Step::Details, &listed, details),
        (Step::Merge, &unmerged, merge),
    ];
    let mut cases = Vec::new();
    for (step, start, operations) in commands {
        eprintln!("{step:?}: {} store operations", operations.len());
        for (request, operation) in (1..).zip(operations) {
            // A write is killed before, within and after; a read at one of these in turn: it changes nothing.
            let in_turn = Moment::ALL[usize::try_from(request % 3).unwrap()];
            let is_write = operation.method != "GET" && operation.method != "HEAD";
            let moments = Moment::ALL.into_iter();
            for moment in moments.filter(|moment| is_write || *moment == in_turn) {
                cases.push(Case {
                    step,
                    start,
                    aim: Aim { request, moment },
                    operation: operation.clone(),
                });
            }
        }
    }
    let (mut falls, mut fallen, mut finished) = (Falls::default(), 0, Finished::new());
    for case in sample(cases, usize::try_from(wanted).unwrap()) {
        place.restore(case.start).await;
        let was = place.e_tag(&case.operation).await;
        let attempt = place.run(case.step, Some(case.aim)).await;
        let seen = look(&place.store).await;
        place.wasted(&seen);
        // Reads that go on at once may come in another order and number: a run may end before its kill.
        if let (None, Some(struck)) = (&attempt.ended, &attempt.struck) {
            fallen += 1;
            if let Some(write) = struck.write() {
                falls.add(write, case.aim.moment);
                if key(struck) == key(&case.operation) {
                    let changed = place.e_tag(struck).await != was;
                    assert_eq!(
                        changed,
                        case.aim.moment == Moment::After,
                        "{:?} {struck:?}",
                        case.aim
                    );
                }
            }
        }
        let seen = place.complete(case.step).await;
        // The baselines' own calls were forgotten: what they had done was not asked again.
        place.wasted(&seen);
        finished.add(&place).await;
    }
    eprintln!(
        "{fallen} kills in {:.0} s: {falls}",
        started.elapsed().as_secs_f64()
    );
    falls.assert_everywhere();
    finished.compare().await;
}
