//! Purchases that never were: any number a day, each a function of (seed, day, number).

mod arquivo;
mod compra;
mod item;
mod org;
mod texts;

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime};

use crate::rng::{Dice, hash};
use crate::source::{Key, Meta, RecId, Source};
use org::{ORGS, Orgs};

pub(crate) use arquivo::write_derived as write_derived_arquivo;
pub(crate) use item::{ItemShape, write_derived as write_derived_item};

/// Purchases of one weekday by modalidade, 2025-07-10, as counted by the API (6,499 in all).
const WEIGHTS: &[(u32, u64)] = &[
    (1, 8),
    (4, 223),
    (5, 17),
    (6, 1_802),
    (7, 63),
    (8, 3_030),
    (9, 1_244),
    (10, 1),
    (11, 5),
    (12, 105),
    (13, 1),
];
const WEIGHT_TOTAL: u64 = 6_499;

/// After how many days a purchase changes for the last time, and how many in a thousand do.
const LAGS: &[(u64, u64)] = &[(0, 700), (1, 140), (3, 80), (7, 50), (30, 30)];

const DAY_SECONDS: u64 = 86_400;
/// Slots of a sequencial: one for each day of the year and year of origin.
const SLOT: u64 = 732;
/// A purchase is open for at most this long.
const OPEN_DAYS: u64 = 25;

/// What a draw is about; keeps the draws apart.
mod about {
    pub(super) const LAG: u64 = 1;
    pub(super) const YEAR: u64 = 2;
    pub(super) const TIE: u64 = 3;
    pub(super) const TIME: u64 = 4;
    pub(super) const DATES: u64 = 5;
    pub(super) const RECORD: u64 = 6;
    pub(super) const SPREAD: u64 = 7;
    pub(super) const DETAILS: u64 = 8;
    pub(super) const ITEM: u64 = 9;
    pub(super) const ARQUIVO: u64 = 10;
}

/// The synthetic source.
#[derive(Debug)]
pub(crate) struct Synth {
    seed: u64,
    per_day: u32,
    max_itens: u32,
    orgs: Orgs,
}

impl Synth {
    pub(crate) fn new(seed: u64, per_day: u32, max_itens: u32) -> Self {
        Self {
            seed,
            per_day,
            max_itens,
            orgs: Orgs::new(seed),
        }
    }

    fn dice(&self, about: u64, id: RecId) -> Dice {
        Dice::of(&[
            self.seed,
            about,
            u64::from(id.day.unsigned_abs()),
            u64::from(id.n),
        ])
    }

    /// First number of the modalidade at `place` of the weights; `WEIGHTS.len()` gives the total.
    fn first(&self, place: usize) -> u32 {
        let before: u64 = WEIGHTS[..place].iter().map(|(_, w)| w).sum();
        u32::try_from(u64::from(self.per_day) * before / WEIGHT_TOTAL).unwrap_or(u32::MAX)
    }

    fn place_of(&self, n: u32) -> usize {
        (0..WEIGHTS.len())
            .rfind(|&p| self.first(p) <= n)
            .unwrap_or(0)
    }

    fn place(modalidade: u32) -> Option<usize> {
        WEIGHTS.iter().position(|(m, _)| *m == modalidade)
    }

    /// Modalidade, position in it, and how many it has.
    fn position(&self, n: u32) -> (u32, u32, u32) {
        let place = self.place_of(n);
        let first = self.first(place);
        (WEIGHTS[place].0, n - first, self.first(place + 1) - first)
    }

    fn org_of(&self, id: RecId) -> (usize, u64) {
        let low = u64::from(id.n) % ORGS;
        let shift = hash(&[self.seed, about::SPREAD, u64::from(id.day.unsigned_abs())]) % ORGS;
        let org = (low * SPREAD + shift) % ORGS;
        (usize::try_from(org).unwrap_or(0), u64::from(id.n) / ORGS)
    }

    /// Whether the purchase carries the year before its publication (one in eight do).
    fn earlier_year(&self, id: RecId) -> bool {
        self.dice(about::YEAR, id).below(8) == 0
    }

    fn key(&self, id: RecId) -> Key {
        let date = date_of(id.day);
        let (org, slot) = self.org_of(id);
        let org = self.orgs.get(org);
        let earlier = self.earlier_year(id);
        let sequencial = org.first_sequencial
            + slot * SLOT
            + u64::from(date.ordinal0()) * 2
            + u64::from(earlier)
            + 1;
        Key {
            cnpj: org.cnpj.clone(),
            ano: date.year() - i32::from(earlier),
            sequencial: u32::try_from(sequencial).unwrap_or(u32::MAX),
        }
    }

    /// Second of the day: ascending with the index, a third of the pairs tie, busiest in office
    /// hours, the first at 00:00:00 and the last at 23:59:59.
    fn second(&self, day: i32, n: u32) -> u64 {
        let (modalidade, index, count) = self.position(n);
        let (mut i, count) = (u64::from(index), u64::from(count));
        let salt = [
            self.seed,
            about::TIE,
            u64::from(day.unsigned_abs()),
            u64::from(modalidade),
        ];
        if hash(&[hash(&salt), i / 2]).is_multiple_of(3) {
            i -= i % 2;
        }
        if i == 0 {
            return 0;
        }
        if index + 1 == u32::try_from(count).unwrap_or(u32::MAX) {
            return DAY_SECONDS - 1;
        }
        let jitter = hash(&[hash(&salt), about::TIME, i]) % 1_024;
        let at = (i * 1_024 + jitter) * 1_000 / count / 1_024;
        let fine = (i * 1_024 + jitter) * 100_000_000 / count / 1_024;
        match at {
            0..100 => fine * 28_800 / 10_000_000,
            100..900 => 28_800 + (fine - 10_000_000) * 39_600 / 80_000_000,
            _ => 68_400 + (fine - 90_000_000) * 17_999 / 10_000_000,
        }
    }

    fn publicacao(&self, id: RecId) -> NaiveDateTime {
        at_second(date_of(id.day), self.second(id.day, id.n))
    }

    fn lag(&self, id: RecId) -> u64 {
        let mut draw = self.dice(about::LAG, id).below(1_000);
        for (days, share) in LAGS {
            if draw < *share {
                return *days;
            }
            draw -= share;
        }
        0
    }

    /// dataAtualizacaoGlobal: never before the publication.
    fn global(&self, id: RecId) -> NaiveDateTime {
        let mut dice = self.dice(about::DATES, id);
        let lag = self.lag(id);
        let date = date_of(id.day);
        if lag == 0 {
            let second = self.second(id.day, id.n) + dice.below(120);
            at_second(date, second.min(DAY_SECONDS - 1))
        } else {
            at_second(date + Days::new(lag), dice.between(25_200, 79_199))
        }
    }

    /// Opening and closing of the proposals; none for direct contracting (8, 9).
    fn proposal(&self, id: RecId, modalidade: u32) -> Option<(NaiveDateTime, NaiveDateTime)> {
        if matches!(modalidade, 8 | 9) {
            return None;
        }
        let mut dice = self.dice(about::DATES, id);
        dice.next();
        let date = date_of(id.day);
        // One in twenty opens before it is published.
        let opening = if dice.permille(50) {
            date - Days::new(dice.between(1, 9))
        } else {
            date + Days::new(dice.below(6))
        };
        let closing = opening.max(date) + Days::new(dice.between(1, OPEN_DAYS - 6));
        Some((
            at_second(opening, dice.between(28_800, 64_800) / 60 * 60),
            at_second(closing, dice.between(28_800, 64_800) / 60 * 60),
        ))
    }

    fn ids(&self, date: NaiveDate, modalidade: u32) -> impl Iterator<Item = RecId> + '_ {
        (0..self.count(date, modalidade)).map(move |i| self.id(date, modalidade, i))
    }

    /// Seeds what is derived from a purchase.
    fn detail_seed(&self, key: &Key) -> u64 {
        hash(&[self.seed, about::DETAILS, key.hash()])
    }
}

/// Odd, so that multiplying by it is one to one below a power of two.
const SPREAD: u64 = 1_597;

/// The inverse of [`SPREAD`] modulo [`ORGS`].
fn unspread(value: u64) -> u64 {
    // Newton's iteration doubles the right bits each time: 3, 6, 12, 24.
    let mut inverse = SPREAD;
    for _ in 0..4 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(SPREAD.wrapping_mul(inverse)));
    }
    value.wrapping_mul(inverse) % ORGS
}

fn date_of(day: i32) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(day).unwrap_or_default()
}

pub(crate) fn at_second(date: NaiveDate, second: u64) -> NaiveDateTime {
    let second = u32::try_from(second.min(DAY_SECONDS - 1)).unwrap_or(0);
    let time = NaiveTime::from_num_seconds_from_midnight_opt(second, 0).unwrap_or_default();
    date.and_time(time)
}

impl Source for Synth {
    fn count(&self, _date: NaiveDate, modalidade: u32) -> u32 {
        Self::place(modalidade).map_or(0, |place| self.first(place + 1) - self.first(place))
    }

    fn id(&self, date: NaiveDate, modalidade: u32, index: u32) -> RecId {
        let first = Self::place(modalidade).map_or(0, |place| self.first(place));
        RecId {
            day: date.num_days_from_ce(),
            n: first + index,
        }
    }

    fn find(&self, key: &Key) -> Option<RecId> {
        let org = self.orgs.find(&key.cnpj)?;
        let first = self.orgs.get(org).first_sequencial;
        let x = u64::from(key.sequencial).checked_sub(first + 1)?;
        let earlier = x % 2 == 1;
        let ordinal = u32::try_from(x / 2 % (SLOT / 2)).ok()?;
        let date = NaiveDate::from_yo_opt(key.ano + i32::from(earlier), ordinal + 1)?;
        let day = date.num_days_from_ce();
        let shift = hash(&[self.seed, about::SPREAD, u64::from(day.unsigned_abs())]) % ORGS;
        let low = unspread(org as u64 + ORGS - shift);
        let n = u32::try_from(x / SLOT * ORGS + low).ok()?;
        let id = RecId { day, n };
        (n < self.per_day && self.earlier_year(id) == earlier).then_some(id)
    }

    fn meta(&self, id: RecId) -> Meta {
        let (modalidade, index, _) = self.position(id.n);
        let org = self.orgs.get(self.org_of(id).0);
        let place = org.place();
        Meta {
            key: self.key(id),
            modalidade,
            modo_disputa: compra::modo_disputa(modalidade, &mut self.dice(about::RECORD, id)),
            publicacao: self.publicacao(id),
            global: self.global(id),
            encerramento: self.proposal(id, modalidade).map(|(_, closing)| closing),
            uf: place.uf.to_owned(),
            ibge: place.ibge.to_owned(),
            unidade: org.unidade.clone(),
            index,
        }
    }

    fn updated(&self, from: NaiveDate, to: NaiveDate, modalidade: u32) -> Vec<RecId> {
        let mut found = Vec::new();
        for changed in from.iter_days().take_while(|d| *d <= to) {
            for (lag, _) in LAGS {
                let published = changed - Days::new(*lag);
                for id in self.ids(published, modalidade) {
                    if self.lag(id) == *lag {
                        found.push((self.global(id), id));
                    }
                }
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn open(&self, today: NaiveDate, until: NaiveDate, modalidade: Option<u32>) -> Vec<RecId> {
        let mut found = Vec::new();
        let start = today - Days::new(OPEN_DAYS);
        for date in start.iter_days().take_while(|d| *d <= today) {
            for (code, _) in WEIGHTS {
                if modalidade.is_some_and(|m| m != *code) {
                    continue;
                }
                for id in self.ids(date, *code) {
                    let closing = self.proposal(id, *code).map(|(_, closing)| closing.date());
                    if closing.is_some_and(|c| c > today && c <= until) {
                        found.push((self.publicacao(id), id));
                    }
                }
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn write_record(&self, id: RecId, order: u64, out: &mut Vec<u8>) {
        compra::write(self, id, order, out);
    }

    fn only_details(&self, _key: &Key) -> bool {
        false
    }

    fn itens(&self, key: &Key) -> u32 {
        item::count(self.detail_seed(key), self.max_itens)
    }

    fn write_item(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>) {
        item::write(
            hash(&[self.detail_seed(key), about::ITEM]),
            self.inclusao(key),
            index,
            order,
            out,
        );
    }

    fn arquivos(&self, key: &Key) -> u32 {
        arquivo::count(self.detail_seed(key))
    }

    fn write_arquivo(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>) {
        let seed = hash(&[self.detail_seed(key), about::ARQUIVO]);
        arquivo::write_derived(seed, key, self.inclusao(key), index, order, out);
    }

    fn resultados(&self, key: &Key, numero: u32) -> Vec<Vec<u8>> {
        let seed = hash(&[self.detail_seed(key), about::ITEM]);
        if numero == 0 || numero > self.itens(key) {
            return Vec::new();
        }
        item::resultados(seed, key, self.inclusao(key), numero)
    }

    fn today(&self) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 6, 17).unwrap_or_default()
    }
}

impl Synth {
    fn inclusao(&self, key: &Key) -> NaiveDateTime {
        self.find(key)
            .map(|id| self.publicacao(id))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_leads_back_to_its_purchase() {
        for per_day in [1, 50, 6_500, 20_000] {
            let synth = Synth::new(9, per_day, 2_000);
            let mut keys = HashSet::new();
            for date in [day("2025-10-22"), day("2024-02-29"), day("2025-12-31")] {
                for n in 0..per_day {
                    let id = RecId {
                        day: date.num_days_from_ce(),
                        n,
                    };
                    let key = synth.key(id);
                    assert_eq!(synth.find(&key), Some(id), "{key:?}");
                    assert!(key.sequencial < 1_000_000);
                    assert!(keys.insert(key.control()));
                }
            }
        }
    }

    #[test]
    fn a_day_adds_up_and_ascends() {
        for per_day in [0, 1, 7, 6_500, 12_345] {
            let synth = Synth::new(3, per_day, 2_000);
            let date = day("2025-10-22");
            let mut total = 0;
            for (modalidade, _) in WEIGHTS {
                let times: Vec<_> = synth
                    .ids(date, *modalidade)
                    .map(|id| synth.publicacao(id))
                    .collect();
                assert!(times.is_sorted(), "{modalidade}");
                assert!(times.iter().all(|t| t.date() == date));
                total += synth.count(date, *modalidade);
            }
            assert_eq!(total, per_day);
        }
    }

    #[test]
    fn updates_never_precede_publication_and_every_purchase_has_one() {
        let synth = Synth::new(5, 800, 2_000);
        let date = day("2025-10-22");
        let until = date + Days::new(30);
        let updated: HashSet<RecId> = synth.updated(date, until, 8).into_iter().collect();
        for id in synth.ids(date, 8) {
            assert!(updated.contains(&id));
            assert!(synth.global(id) >= synth.publicacao(id));
        }
        let ascending: Vec<_> = synth
            .updated(date, date, 6)
            .into_iter()
            .map(|id| synth.global(id))
            .collect();
        assert!(ascending.is_sorted());
        assert!(!ascending.is_empty());
    }
}
