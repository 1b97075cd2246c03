//! A model of a server with a limit of its own, and how the pace of a family copes with it, under
//! paused time: an hour costs milliseconds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::aimd::Objection;
use crate::endpoint::Family;
use crate::limits::RateLimits;
use crate::settings::{ClientSettings, FamilySettings};

/// An answer takes half to three halves of this.
const LATENCY: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(1);

/// How the server behaves.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    /// Requests a second, from when on; a token bucket.
    limits: [(f64, f64); 2],
    burst: f64,
    /// Share of answers that are 429 whatever the pace.
    refused_at_random: f64,
    /// Share of answers that are 503 whatever the pace.
    strained_at_random: f64,
    /// What a 429 says about coming back.
    retry_after: Duration,
}

const UNLIMITED: Behaviour = Behaviour {
    limits: [(0.0, f64::INFINITY); 2],
    burst: 1e9,
    refused_at_random: 0.0,
    strained_at_random: 0.0,
    retry_after: Duration::ZERO,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Ok,
    Refused,
    Strained,
}

/// What happened, a request a row: seconds since the start, and the answer.
#[derive(Debug)]
struct Server {
    behaviour: Behaviour,
    begun: Instant,
    tokens: f64,
    filled: Instant,
    random: u64,
    paused: Option<Instant>,
    inside_pause: u32,
    log: Vec<(f64, Said)>,
}

impl Server {
    fn new(behaviour: Behaviour, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            behaviour,
            begun: now,
            tokens: behaviour.burst,
            filled: now,
            random: seed,
            paused: None,
            inside_pause: 0,
            log: Vec::new(),
        }
    }

    fn asked(&mut self) -> (Said, Duration) {
        let now = Instant::now();
        let t = (now - self.begun).as_secs_f64();
        if self.paused.is_some_and(|until| now < until) {
            self.inside_pause += 1;
        }
        let of = self.behaviour;
        let limit = of.limits.iter().rev().find(|(from, _)| t >= *from);
        let limit = limit.map_or(f64::INFINITY, |(_, limit)| *limit);
        let fresh = (now - self.filled).as_secs_f64() * limit;
        self.filled = now;
        self.tokens = if fresh.is_nan() {
            of.burst
        } else {
            (self.tokens + fresh).min(of.burst)
        };
        let said = if self.draw() < of.refused_at_random || self.tokens < 1.0 {
            Said::Refused
        } else if self.draw() < of.strained_at_random {
            Said::Strained
        } else {
            self.tokens -= 1.0;
            Said::Ok
        };
        self.log.push((t, said));
        (said, LATENCY.mul_f64(0.5 + self.draw()))
    }

    /// A 429 has arrived at the client.
    fn told(&mut self) {
        let until = Instant::now() + self.behaviour.retry_after;
        self.paused = Some(self.paused.map_or(until, |old| old.max(until)));
    }

    fn draw(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// Answers of each kind a second, in a stretch of time.
    fn seen(&self, from: f64, to: f64) -> (f64, f64) {
        let within = |said| {
            let rows = self.log.iter();
            rows.filter(|(t, s)| (from..to).contains(t) && *s == said)
                .count() as f64
        };
        (
            within(Said::Ok) / (to - from),
            within(Said::Refused) / (to - from),
        )
    }
}

/// Sixteen callers that always have something to ask, for so many seconds.
async fn run(behaviour: Behaviour, family: FamilySettings, seconds: u64) -> Server {
    run_by(42, behaviour, family, seconds).await
}

async fn run_by(seed: u64, behaviour: Behaviour, family: FamilySettings, seconds: u64) -> Server {
    let settings = ClientSettings {
        detail: family,
        ..ClientSettings::default()
    };
    let limits = RateLimits::new(&settings).unwrap();
    let server = Arc::new(Mutex::new(Server::new(behaviour, seed)));
    let end = Instant::now() + Duration::from_secs(seconds);
    let callers: Vec<_> = (0..family.concurrency_max)
        .map(|_| {
            let (limits, server) = (limits.clone(), Arc::clone(&server));
            tokio::spawn(async move {
                while Instant::now() < end {
                    let far = end + Duration::from_secs(1_000);
                    let permit = limits.acquire(Family::Detail, far).await.unwrap();
                    let (said, latency) = server.lock().unwrap().asked();
                    tokio::time::sleep(latency).await;
                    match said {
                        Said::Ok => permit.succeeded(),
                        Said::Strained => {
                            permit.objected(Objection::Strained);
                        }
                        Said::Refused => {
                            permit.objected(Objection::Refused);
                            server.lock().unwrap().told();
                            limits.pause(Family::Detail, behaviour.retry_after);
                        }
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let server = Arc::try_unwrap(server).unwrap().into_inner().unwrap();
    assert_eq!(server.inside_pause, 0, "requests inside a pause");
    server
}

fn family(start: f64, max: f64) -> FamilySettings {
    FamilySettings {
        requests_per_second_max: max,
        requests_per_second_min: 0.5,
        requests_per_second_start: start,
        concurrency_max: 16,
        default_pause_ms: 1_000,
    }
}

#[tokio::test(start_paused = true)]
async fn a_hidden_limit_that_halves_is_used_and_kept() {
    for (limit, burst, start, max) in [
        (20.0, 10.0, 10.0, 200.0),
        (20.0, 5.0, 10.0, 50.0),
        (20.0, 1.0, 2.0, 50.0),
        (40.0, 40.0, 10.0, 50.0),
    ] {
        let behaviour = Behaviour {
            limits: [(0.0, limit), (300.0, limit / 2.0)],
            burst,
            retry_after: PAUSE,
            ..UNLIMITED
        };
        for seed in 1..=4 {
            let server = run_by(seed, behaviour, family(start, max), 600).await;
            for (from, limit) in [(30.0, limit), (330.0, limit / 2.0)] {
                let (good, refused) = server.seen(from, from + 270.0);
                let (used, share) = (good / limit, refused / (good + refused));
                // Without any burst, every refusal costs the whole pause.
                let least = if burst > 1.0 { 0.8 } else { 0.7 };
                assert!(
                    used >= least,
                    "{seed} limit={limit} burst={burst} used={used}"
                );
                assert!(
                    share < 0.02,
                    "{seed} limit={limit} burst={burst} refused={share}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn random_refusals_do_not_slow_the_family_down() {
    for (refused_at_random, strained_at_random) in [
        (0.01, 0.0),
        (0.02, 0.0),
        (0.03, 0.0),
        (0.0, 0.03),
        (0.025, 0.025),
    ] {
        let behaviour = Behaviour {
            refused_at_random,
            strained_at_random,
            ..UNLIMITED
        };
        let mut goods = Vec::new();
        for seed in 1..=8 {
            let server = run_by(seed * 7_919, behaviour, family(10.0, 50.0), 300).await;
            goods.push(server.seen(0.0, 300.0).0);
        }
        let mean = goods.iter().sum::<f64>() / goods.len() as f64;
        let least = goods.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(
            mean >= 0.7 * 50.0,
            "{refused_at_random} {strained_at_random} {goods:?}"
        );
        // Rarer ones may take longer than this to be told from a limit.
        if refused_at_random >= 0.02 || strained_at_random > 0.0 {
            assert!(
                least >= 0.6 * 50.0,
                "{refused_at_random} {strained_at_random} {goods:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn random_refusals_cost_their_pauses_only() {
    // Each stops the family for a second, as told; between them it goes at full speed.
    let behaviour = Behaviour {
        refused_at_random: 0.02,
        retry_after: PAUSE,
        ..UNLIMITED
    };
    let server = run(behaviour, family(10.0, 50.0), 600).await;
    let (good, refused) = server.seen(0.0, 600.0);
    let open = 1.0 - refused.min(1.0) * PAUSE.as_secs_f64();
    assert!(good >= 0.7 * 50.0 * open, "{good} in {open}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_found_among_random_refusals() {
    let behaviour = Behaviour {
        limits: [(0.0, f64::INFINITY), (200.0, 20.0)],
        burst: 10.0,
        refused_at_random: 0.02,
        ..UNLIMITED
    };
    let server = run(behaviour, family(10.0, 50.0), 600).await;
    let (before, _) = server.seen(60.0, 200.0);
    let (good, refused) = server.seen(260.0, 600.0);
    let share = refused / (good + refused);
    assert!(before >= 40.0, "{before}");
    assert!(good >= 0.8 * 20.0 && share < 0.08, "{good} {share}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_slows_to_the_floor_and_is_forgotten() {
    let outage = Behaviour {
        strained_at_random: 1.0,
        ..UNLIMITED
    };
    let server = run(outage, family(10.0, 50.0), 120).await;
    let last = server
        .log
        .iter()
        .filter(|(t, _)| (60.0..120.0).contains(t))
        .count();
    assert!(last <= 31, "{last}");
    // A server whose limit was all but closed for two minutes, then is gone.
    let closed = Behaviour {
        limits: [(0.0, 0.5), (120.0, f64::INFINITY)],
        burst: 1.0,
        retry_after: PAUSE,
        ..UNLIMITED
    };
    let server = run(closed, family(10.0, 50.0), 240).await;
    let (good, _) = server.seen(180.0, 240.0);
    assert!(good >= 35.0, "{good}");
}
