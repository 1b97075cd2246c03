//! What is still to do. Pure.

use chrono::{DateTime, Utc};

use crate::{Candidate, Done, KeyList, Options, Standing};

/// The work of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is to be fetched, in the list's order.
    pub work: Vec<Work>,
    /// Different keys in the list.
    pub listed: u64,
    /// Keys within the run's limits that have all their facets.
    pub already_done: u64,
    /// Keys that are pending and outside of the run's limits: another run's.
    pub outside: u64,
    /// Keys with a facet that waits in the quarantine; it is not asked for in this run.
    pub set_aside: u64,
}

/// One key's share of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Where the key stands in the list.
    pub index: u32,
    /// The facets to fetch: bit n for the source's n-th facet.
    pub facets: u32,
    /// Those of them that are done and take the place of what is there.
    pub replaces: u32,
}

/// The candidates still to do, in their given order.
///
/// `max_contratacoes` cuts the list first; then shard, `since` and what is done are taken away; `batch_size` cuts what
/// remains. A candidate without an instant passes `since`: nothing is left out for want of knowledge. A key that is
/// repeated in the list counts once.
pub fn pending(
    keys: &KeyList,
    done: &dyn Done,
    facets: &[&'static str],
    options: &Options,
    now: DateTime<Utc>,
) -> Plan {
    let wanted = wanted_facets(facets, options);
    let within_list = options.max_contratacoes.unwrap_or(u64::MAX);
    let batch = options.batch_size.unwrap_or(u64::MAX);
    let mut refresh_calls = options
        .refresh
        .as_ref()
        .and_then(|refresh| refresh.max_calls)
        .unwrap_or(u64::MAX);
    let mut plan = Plan::default();
    let repeated = repeated(keys);
    for (index, candidate) in keys.iter().enumerate() {
        if repeated.as_ref().is_some_and(|repeated| repeated[index]) {
            continue;
        }
        plan.listed += 1;
        let mut missing = 0;
        let mut stale = 0;
        let mut tried_before = 0;
        let mut set_aside = false;
        for (bit, facet) in facets.iter().enumerate() {
            match done.standing(&candidate.key, facet, candidate.version.as_deref()) {
                Standing::Pending => missing |= 1 << bit,
                Standing::SetAside { until } if until <= now || options.retry_set_aside => {
                    missing |= 1 << bit;
                    tried_before |= 1 << bit;
                }
                Standing::SetAside { .. } => set_aside = true,
                standing
                    if !options.auto_resume || is_stale(&candidate, standing, options, now) =>
                {
                    stale |= 1 << bit
                }
                Standing::Done { .. } | Standing::Moved => {}
            }
        }
        plan.set_aside += u64::from(set_aside);
        let inside = plan.listed <= within_list
            && options
                .shard
                .is_none_or(|shard| shard.contains(&candidate.key))
            && options
                .since
                .is_none_or(|since| candidate.arrived.is_none_or(|arrived| arrived >= since));
        let mut fetch_missing = missing & wanted;
        let mut replaces = stale & wanted;
        if options.only_set_aside {
            fetch_missing &= tried_before;
            replaces = 0;
        }
        if options.auto_resume && u64::from(replaces.count_ones()) > refresh_calls {
            replaces = 0;
        }
        let fetch = fetch_missing | replaces;
        if inside && fetch != 0 && (plan.work.len() as u64) < batch {
            if options.auto_resume {
                refresh_calls -= u64::from(replaces.count_ones());
            }
            plan.work.push(Work {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                facets: fetch,
                replaces,
            });
            if missing & !fetch_missing != 0 {
                plan.outside += 1;
            }
        } else if missing != 0 {
            plan.outside += 1;
        } else if inside && !set_aside {
            plan.already_done += 1;
        }
    }
    plan
}

/// Which candidates have the key of an earlier one; [`None`] if none has, as in every sorted list without repetitions.
fn repeated(keys: &KeyList) -> Option<Vec<bool>> {
    if keys.is_strictly_sorted() {
        return None;
    }
    let mut repeated = vec![false; keys.len()];
    for pair in keys.order().windows(2) {
        let (before, here) = (pair[0] as usize, pair[1] as usize);
        repeated[here] = keys.compare_keys(before, here).is_eq();
    }
    Some(repeated)
}

fn wanted_facets(facets: &[&'static str], options: &Options) -> u32 {
    facets
        .iter()
        .enumerate()
        .filter(|(_, facet)| {
            options.only.is_empty() || options.only.iter().any(|only| only == *facet)
        })
        .fold(0, |mask, (bit, _)| mask | 1 << bit)
}

fn is_stale(
    candidate: &Candidate<'_>,
    standing: Standing,
    options: &Options,
    now: DateTime<Utc>,
) -> bool {
    let Some(refresh) = &options.refresh else {
        return false;
    };
    match standing {
        Standing::Pending | Standing::SetAside { .. } => false,
        Standing::Moved => refresh.moved,
        Standing::Done { fetched_at } => {
            let passed = fetched_at.and_then(|then| (now - then).to_std().ok());
            let aged = refresh
                .older_than
                .is_some_and(|age| passed.is_some_and(|passed| passed >= age));
            let before = refresh
                .fetched_before
                .is_some_and(|instant| fetched_at.is_some_and(|then| then < instant));
            !candidate.is_final && (aged || before)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::{Refresh, Shard};

    const FACETS: [&str; 2] = ["itens", "arquivos"];

    #[derive(Debug, Default)]
    struct Marks(BTreeMap<(&'static str, &'static str), (&'static str, i64)>);

    impl Done for Marks {
        fn standing(&self, key: &str, facet: &str, version: Option<&str>) -> Standing {
            let mark = self.0.iter().find(|((k, f), _)| *k == key && *f == facet);
            match mark {
                None => Standing::Pending,
                Some((_, (then, _))) if version.is_some_and(|version| version > *then) => {
                    Standing::Moved
                }
                Some((_, (_, at))) => Standing::Done {
                    fetched_at: DateTime::from_timestamp(*at, 0),
                },
            }
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000, 0).unwrap()
    }

    fn keys(names: &[&str]) -> KeyList {
        KeyList::from_keys(names).unwrap()
    }

    fn planned(plan: &Plan, keys: &KeyList) -> Vec<(String, u32)> {
        plan.work
            .iter()
            .map(|w| {
                let candidate = keys.get(w.index as usize).unwrap();
                (candidate.key.into_owned(), w.facets)
            })
            .collect()
    }

    #[test]
    fn done_facets_are_left_out_one_by_one() {
        let done = Marks(BTreeMap::from([
            (("a", "itens"), ("", 0)),
            (("a", "arquivos"), ("", 0)),
            (("b", "itens"), ("", 0)),
        ]));
        let keys = keys(&["a", "b", "c", "b"]);
        let plan = pending(&keys, &done, &FACETS, &Options::default(), now());
        assert_eq!(
            planned(&plan, &keys),
            [("b".into(), 0b10), ("c".into(), 0b11)]
        );
        assert_eq!((plan.listed, plan.already_done, plan.outside), (3, 1, 0));
    }

    #[test]
    fn max_contratacoes_cuts_the_list_and_batch_size_what_is_pending() {
        let done = Marks(BTreeMap::from([
            (("a", "itens"), ("", 0)),
            (("a", "arquivos"), ("", 0)),
        ]));
        let keys = keys(&["a", "b", "c", "d"]);
        let cut = |max, batch| {
            let options = Options {
                max_contratacoes: max,
                batch_size: batch,
                ..Options::default()
            };
            let plan = pending(&keys, &done, &FACETS, &options, now());
            (
                planned(&plan, &keys)
                    .into_iter()
                    .map(|(key, _)| key)
                    .collect::<Vec<_>>(),
                plan.outside,
            )
        };
        assert_eq!(cut(Some(2), None), (vec!["b".into()], 2));
        assert_eq!(cut(None, Some(2)), (vec!["b".into(), "c".into()], 1));
        assert_eq!(cut(Some(3), Some(1)), (vec!["b".into()], 2));
    }

    #[test]
    fn only_a_facet_leaves_the_others_to_another_run() {
        let keys = keys(&["a"]);
        let options = Options {
            only: vec!["arquivos".into()],
            ..Options::default()
        };
        let plan = pending(&keys, &Marks::default(), &FACETS, &options, now());
        assert_eq!(planned(&plan, &keys), [("a".into(), 0b10)]);
        assert_eq!(plan.outside, 1);
    }

    #[test]
    fn since_keeps_what_came_in_later_and_what_has_no_instant() {
        let mut keys = KeyList::new();
        keys.push(Candidate::new("none")).unwrap();
        for (name, at) in [("before", 99), ("at", 100), ("after", 101)] {
            keys.push(Candidate::new(name).with_arrived(DateTime::from_timestamp(at, 0).unwrap()))
                .unwrap();
        }
        let options = Options {
            since: DateTime::from_timestamp(100, 0),
            ..Options::default()
        };
        let plan = pending(&keys, &Marks::default(), &FACETS, &options, now());
        let names: Vec<String> = planned(&plan, &keys)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(names, ["none", "at", "after"]);
        assert_eq!(plan.outside, 1);
    }

    #[test]
    fn what_waits_in_the_quarantine_is_left_alone_until_its_time() {
        #[derive(Debug)]
        struct Waiting;
        impl Done for Waiting {
            fn standing(&self, _key: &str, facet: &str, _version: Option<&str>) -> Standing {
                let until = now() + chrono::Duration::seconds(1);
                if facet == "itens" {
                    Standing::SetAside { until }
                } else {
                    Standing::Pending
                }
            }
        }
        let keys = keys(&["a"]);
        let at = |options: &Options, now| {
            let plan = pending(&keys, &Waiting, &FACETS, options, now);
            (plan.work[0].facets, plan.set_aside)
        };
        assert_eq!(at(&Options::default(), now()), (0b10, 1));
        assert_eq!(
            at(&Options::default(), now() + chrono::Duration::seconds(1)),
            (0b11, 0)
        );
        assert_eq!(
            at(
                &Options {
                    retry_set_aside: true,
                    ..Options::default()
                },
                now()
            ),
            (0b11, 0)
        );
    }

    #[test]
    fn shards_share_the_list_without_overlap() {
        let names: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        let keys = KeyList::from_keys(&names).unwrap();
        let mut all: Vec<u32> = (1..=3)
            .flat_map(|i| {
                let options = Options {
                    shard: Some(Shard::new(i, 3).unwrap()),
                    ..Options::default()
                };
                pending(&keys, &Marks::default(), &FACETS, &options, now()).work
            })
            .map(|work| work.index)
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn without_auto_resume_everything_is_fetched_and_replaced() {
        let done = Marks(BTreeMap::from([(("a", "itens"), ("", 0))]));
        let keys = keys(&["a"]);
        let options = Options {
            auto_resume: false,
            ..Options::default()
        };
        let plan = pending(&keys, &done, &FACETS, &options, now());
        assert_eq!(
            plan.work,
            [Work {
                index: 0,
                facets: 0b11,
                replaces: 0b01
            }]
        );
    }

    #[test]
    fn refresh_takes_what_moved_or_aged_within_its_allowance() {
        let mut keys = KeyList::new();
        for (name, version, is_final) in [
            ("moved", "2", true),
            ("same", "1", true),
            ("aged", "1", false),
            ("late", "2", true),
        ] {
            keys.push(
                Candidate::new(name)
                    .with_version(version)
                    .with_final(is_final),
            )
            .unwrap();
        }
        let done = Marks(
            ["moved", "same", "aged", "late"]
                .into_iter()
                .flat_map(|key| [((key, "itens"), ("1", 0)), ((key, "arquivos"), ("1", 0))])
                .collect(),
        );
        let refresh = Refresh {
            moved: true,
            older_than: Some(Duration::from_secs(86_400)),
            max_calls: Some(4),
            ..Refresh::default()
        };
        let options = Options {
            refresh: Some(refresh),
            ..Options::default()
        };
        let plan = pending(&keys, &done, &FACETS, &options, now());
        assert_eq!(
            planned(&plan, &keys),
            [("moved".into(), 0b11), ("aged".into(), 0b11)]
        );
        assert!(plan.work.iter().all(|work| work.replaces == work.facets));
        assert_eq!((plan.already_done, plan.outside), (2, 0));
    }

    #[test]
    fn what_was_fetched_before_an_instant_is_refreshed_until_it_is_final() {
        let done = Marks(BTreeMap::from([
            (("early", "itens"), ("1", 99)),
            (("early", "arquivos"), ("1", 100)),
            (("final", "itens"), ("1", 99)),
            (("final", "arquivos"), ("1", 99)),
        ]));
        let mut keys = KeyList::new();
        keys.push(Candidate::new("early").with_version("1"))
            .unwrap();
        keys.push(Candidate::new("final").with_version("1").with_final(true))
            .unwrap();
        let refresh = Refresh {
            fetched_before: DateTime::from_timestamp(100, 0),
            ..Refresh::default()
        };
        let options = Options {
            refresh: Some(refresh),
            ..Options::default()
        };
        let plan = pending(&keys, &done, &FACETS, &options, now());
        assert_eq!(planned(&plan, &keys), [("early".into(), 0b01)]);
    }

    #[derive(Debug)]
    struct Aside;

    impl Done for Aside {
        fn standing(&self, key: &str, facet: &str, _version: Option<&str>) -> Standing {
            match (key, facet) {
                ("a", "itens") => Standing::SetAside {
                    until: DateTime::<Utc>::MAX_UTC,
                },
                ("a", _) => Standing::Done { fetched_at: None },
                _ => Standing::Pending,
            }
        }
    }

    #[test]
    fn a_replay_asks_for_what_was_set_aside_and_leaves_the_rest() {
        let options = Options {
            retry_set_aside: true,
            only_set_aside: true,
            ..Options::default()
        };
        let keys = keys(&["a", "b"]);
        let plan = pending(&keys, &Aside, &FACETS, &options, now());
        assert_eq!(planned(&plan, &keys), [("a".into(), 0b01)]);
        assert_eq!((plan.outside, plan.set_aside), (1, 0));
        let patient = pending(&keys, &Aside, &FACETS, &Options::default(), now());
        assert_eq!(planned(&patient, &keys), [("b".into(), 0b11)]);
        assert_eq!((patient.outside, patient.set_aside), (0, 1));
    }
}
