//! What the server shows at this moment: a source, less what vanished, plus what changed since.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{Days, NaiveDate, NaiveDateTime};

use crate::json;
use crate::rng::{hash, hash_text, under};
use crate::source::{Key, Meta, RecId, Source};

/// How many worked-out listings are kept.
const CACHED_LISTINGS: usize = 8;

/// Which list was asked, without its page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Listing {
    pub(crate) kind: Kind,
    pub(crate) from: NaiveDate,
    pub(crate) to: NaiveDate,
    pub(crate) modalidade: Option<u32>,
    pub(crate) filter: Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Publicacao,
    Atualizacao,
    Proposta,
}

/// The optional parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    pub(crate) uf: Option<String>,
    pub(crate) ibge: Option<String>,
    pub(crate) cnpj: Option<String>,
    pub(crate) unidade: Option<String>,
    pub(crate) modo_disputa: Option<u32>,
}

impl Filter {
    fn keeps(&self, meta: &Meta) -> bool {
        let same = |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|a| a == is);
        same(&self.uf, &meta.uf)
            && same(&self.ibge, &meta.ibge)
            && same(&self.cnpj, &meta.key.cnpj)
            && same(&self.unidade, &meta.unidade)
            && self.modo_disputa.is_none_or(|m| m == meta.modo_disputa)
    }
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) total: u64,
    pub(crate) ids: Vec<RecId>,
}

#[derive(Debug, Default)]
struct Present {
    vanished: HashSet<RecId>,
    moved: HashMap<RecId, NaiveDateTime>,
    /// What is published later is not there yet.
    now: Option<NaiveDateTime>,
    /// Changes with each of the above; a worked-out listing is of one generation.
    generation: u64,
    cache: VecDeque<(u64, Listing, Arc<Vec<RecId>>)>,
}

/// The purchases as they are now.
#[derive(Debug)]
pub(crate) struct World {
    source: Box<dyn Source>,
    seed: u64,
    /// How many records in one carry a field that no specification names.
    unknown_fields: f64,
    /// How many records in one carry a field of another type than documented.
    ill_typed: f64,
    present: Mutex<Present>,
}

/// `Vanish` or `Move`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drift {
    Vanish,
    Move,
}

impl World {
    pub(crate) fn new(
        source: Box<dyn Source>,
        seed: u64,
        unknown_fields: f64,
        ill_typed: f64,
    ) -> Self {
        Self {
            source,
            seed,
            unknown_fields,
            ill_typed,
            present: Mutex::default(),
        }
    }

    pub(crate) fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reset(&self) {
        let mut present = self.present();
        let (now, generation) = (present.now, present.generation + 1);
        *present = Present {
            now,
            generation,
            ..Present::default()
        };
    }

    pub(crate) fn set_now(&self, now: Option<NaiveDateTime>) {
        let mut present = self.present();
        present.now = now;
        present.generation += 1;
    }

    pub(crate) fn today(&self) -> NaiveDate {
        self.present()
            .now
            .map_or_else(|| self.source.today(), |now| now.date())
    }

    /// The purchase behind a key, unless it vanished or is not published yet.
    pub(crate) fn find(&self, key: &Key) -> Option<RecId> {
        let id = self.source.find(key)?;
        self.is_there(id).then_some(id)
    }

    pub(crate) fn is_vanished(&self, id: RecId) -> bool {
        self.present().vanished.contains(&id)
    }

    fn is_there(&self, id: RecId) -> bool {
        let present = self.present();
        if present.vanished.contains(&id) {
            return false;
        }
        match present.now {
            Some(now) => {
                drop(present);
                self.source.meta(id).publicacao <= now
            }
            None => true,
        }
    }

    /// Whether details of `key` are served.
    pub(crate) fn has_details(&self, key: &Key) -> bool {
        self.find(key).is_some()
            || (self.source.find(key).is_none() && self.source.only_details(key))
    }

    /// The records from `offset`, at most `limit`, and how many there are in all.
    pub(crate) fn page(&self, listing: &Listing, offset: u64, limit: u64) -> Page {
        if listing.kind == Kind::Publicacao
            && listing.filter == Filter::default()
            && let Some(modalidade) = listing.modalidade
        {
            return self.published(listing, modalidade, offset, limit);
        }
        let ids = self.worked_out(listing);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(ids.len());
        let end = usize::try_from(offset.saturating_add(limit))
            .unwrap_or(usize::MAX)
            .min(ids.len());
        Page {
            total: ids.len() as u64,
            ids: ids[start..end].to_vec(),
        }
    }

    /// Plain arithmetic: no list of the day is made.
    fn published(&self, listing: &Listing, modalidade: u32, offset: u64, limit: u64) -> Page {
        let (vanished, now) = {
            let present = self.present();
            (present.vanished.clone(), present.now)
        };
        let mut total = 0_u64;
        let mut ids = Vec::new();
        for date in listing.from.iter_days().take_while(|d| *d <= listing.to) {
            let count = self.count_until(date, modalidade, now);
            let mut gone: Vec<u32> = vanished
                .iter()
                .map(|id| self.source.meta(*id))
                .filter(|m| m.publicacao.date() == date && m.modalidade == modalidade)
                .map(|m| m.index)
                .filter(|index| *index < count)
                .collect();
            gone.sort_unstable();
            let visible = u64::from(count) - gone.len() as u64;
            let first = offset.saturating_sub(total);
            let wanted = limit - ids.len() as u64;
            for position in first..visible.min(first.saturating_add(wanted)) {
                let mut index = u32::try_from(position).unwrap_or(u32::MAX);
                for skipped in &gone {
                    if *skipped <= index {
                        index += 1;
                    }
                }
                ids.push(self.source.id(date, modalidade, index));
            }
            total += visible;
        }
        Page { total, ids }
    }

    pub(crate) fn now(&self) -> Option<NaiveDateTime> {
        self.present().now
    }

    pub(crate) fn count_until(
        &self,
        date: NaiveDate,
        modalidade: u32,
        now: Option<NaiveDateTime>,
    ) -> u32 {
        let count = self.source.count(date, modalidade);
        let Some(now) = now else { return count };
        if date > now.date() {
            return 0;
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if self
                .source
                .meta(self.source.id(date, modalidade, middle))
                .publicacao
                <= now
            {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// A filtered list, or one ordered by change: made once, kept while nothing changes.
    fn worked_out(&self, listing: &Listing) -> Arc<Vec<RecId>> {
        let generation = {
            let present = self.present();
            let same = |(g, l, _): &&(u64, Listing, _)| *g == present.generation && l == listing;
            if let Some((_, _, ids)) = present.cache.iter().find(same) {
                return Arc::clone(ids);
            }
            present.generation
        };
        let ids = Arc::new(self.work_out(listing));
        let mut present = self.present();
        if present.generation == generation {
            if present.cache.len() >= CACHED_LISTINGS {
                present.cache.pop_front();
            }
            present
                .cache
                .push_back((generation, listing.clone(), Arc::clone(&ids)));
        }
        ids
    }

    fn work_out(&self, listing: &Listing) -> Vec<RecId> {
        let mut ids = match listing.kind {
            Kind::Publicacao => {
                let modalidade = listing.modalidade.unwrap_or(0);
                self.published(listing, modalidade, 0, u64::MAX).ids
            }
            Kind::Atualizacao => {
                self.source
                    .updated(listing.from, listing.to, listing.modalidade.unwrap_or(0))
            }
            Kind::Proposta => self
                .source
                .open(listing.from, listing.to, listing.modalidade),
        };
        ids.retain(|id| self.is_there(*id));
        if listing.filter != Filter::default() {
            ids.retain(|id| listing.filter.keeps(&self.source.meta(*id)));
        }
        if listing.kind == Kind::Atualizacao {
            self.apply_moves(listing, &mut ids);
        }
        ids
    }

    /// A record that changed again leaves its old place, and the window unless it still falls in it.
    fn apply_moves(&self, listing: &Listing, ids: &mut Vec<RecId>) {
        let moved = self.present().moved.clone();
        ids.retain(|id| !moved.contains_key(id));
        let mut late: Vec<(NaiveDateTime, RecId)> = moved
            .into_iter()
            .filter(|(id, at)| {
                let meta = self.source.meta(*id);
                (listing.from..=listing.to).contains(&at.date())
                    && listing.modalidade.is_none_or(|m| m == meta.modalidade)
                    && listing.filter.keeps(&meta)
                    && self.is_there(*id)
            })
            .map(|(id, at)| (at, id))
            .collect();
        late.sort_unstable();
        ids.extend(late.into_iter().map(|(_, id)| id));
    }

    /// Deletes or changes a record that an earlier page has shown already. Half of the changed ones
    /// end up last in the window, the others leave it.
    pub(crate) fn drift(&self, drift: Drift, listing: &Listing, shown: u64, draw: u64) -> bool {
        if shown == 0 {
            return false;
        }
        let Some(id) = self.page(listing, draw % shown, 1).ids.first().copied() else {
            return false;
        };
        let mut present = self.present();
        present.generation += 1;
        match drift {
            Drift::Vanish => present.vanished.insert(id),
            Drift::Move => {
                let date = listing.to + Days::new((draw >> 32) % 2);
                let at = crate::synth::at_second(date, 86_399);
                present.moved.insert(id, at).is_none()
            }
        }
    }

    /// Appends the record as it is now.
    pub(crate) fn write_record(&self, id: RecId, order: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.source.write_record(id, order, out);
        let moved = self.present().moved.get(&id).copied();
        if moved.is_none() && self.unknown_fields <= 0.0 && self.ill_typed <= 0.0 {
            return;
        }
        let mut record = out.split_off(start);
        if let Some(at) = moved {
            let text = format!("\"{}\"", at.format("%Y-%m-%dT%H:%M:%S"));
            json::replace_value(&mut record, "dataAtualizacaoGlobal", &text);
        }
        let draw = hash(&[
            self.seed,
            0xd7,
            hash_text(&self.source.meta(id).key.control()),
        ]);
        self.deform(draw, COMPRA_QUIRKS, &mut record);
        out.append(&mut record);
    }

    pub(crate) fn write_item(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>) {
        self.write_detail(out, key, u64::from(index), ITEM_QUIRKS, |out| {
            self.source.write_item(key, index, order, out);
        });
    }

    pub(crate) fn write_arquivo(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>) {
        self.write_detail(
            out,
            key,
            u64::from(index) | 1 << 32,
            ARQUIVO_QUIRKS,
            |out| {
                self.source.write_arquivo(key, index, order, out);
            },
        );
    }

    fn write_detail(
        &self,
        out: &mut Vec<u8>,
        key: &Key,
        which: u64,
        quirks: &[(&str, &str)],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.unknown_fields <= 0.0 && self.ill_typed <= 0.0 {
            return write(out);
        }
        let mut record = Vec::new();
        write(&mut record);
        self.deform(
            hash(&[self.seed, 0xd8, key.hash(), which]),
            quirks,
            &mut record,
        );
        out.append(&mut record);
    }

    /// Adds unknown and ill-typed fields, the same ones whenever the record is asked.
    fn deform(&self, draw: u64, quirks: &[(&str, &str)], record: &mut Vec<u8>) {
        if under(hash(&[draw, 1]), self.unknown_fields) {
            let (key, value) = UNKNOWN[usize::try_from(draw % 4).unwrap_or(0)];
            json::append_member(record, key, value);
        }
        if under(hash(&[draw, 2]), self.ill_typed) {
            let at = usize::try_from((draw >> 8) % quirks.len() as u64).unwrap_or(0);
            let (key, value) = quirks[at];
            json::replace_value(record, key, value);
        }
    }
}

const UNKNOWN: [(&str, &str); 4] = [
    ("campoNovo2027", "\"texto\""),
    (
        "indicadorSustentabilidade",
        "{\"nivel\":3,\"peso\":0.250,\"selo\":null}",
    ),
    ("percentualEmenda", "12.3400"),
    ("marcadores", "[\"a\",1,null,[true]]"),
];

/// Types that the server has changed before, or that a careless one would; identifiers stay.
const COMPRA_QUIRKS: &[(&str, &str)] = &[
    ("situacaoCompraId", "\"1\""),
    ("valorTotalEstimado", "\"100720.00\""),
    ("valorTotalEstimado", "10.123456"),
    ("valorTotalHomologado", "1.5E+3"),
    ("srp", "\"true\""),
    ("modoDisputaId", "null"),
    ("amparoLegal", "\"Lei 14.133/2021\""),
    ("fontesOrcamentarias", "null"),
    ("dataAberturaProposta", "1761130800000"),
    ("unidadeOrgao", "[]"),
    ("processo", "12345"),
];

/// Fields whose names no nested object shares: a quirk goes to the first of its name, and the
/// order of keys varies between fetches.
const ITEM_QUIRKS: &[(&str, &str)] = &[
    ("quantidade", "\"1.0000\""),
    ("situacaoCompraItem", "\"2\""),
    ("valorUnitarioEstimado", "0.123456789"),
    ("catalogo", "\"CNBS\""),
    ("temResultado", "0"),
    ("orcamentoSigiloso", "\"S\""),
    ("imagem", "{}"),
];

const ARQUIVO_QUIRKS: &[(&str, &str)] = &[
    ("statusAtivo", "1"),
    ("tipoDocumentoId", "\"2\""),
    ("titulo", "null"),
    ("dataPublicacaoPncp", "\"22/10/2025\""),
];
