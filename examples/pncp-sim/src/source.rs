//! What a body of purchases owes the server, recorded or made up.

use chrono::{NaiveDate, NaiveDateTime};

/// One purchase of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecId {
    /// Days from the common era, of the publication.
    pub(crate) day: i32,
    /// Number within the source (replay) or within the day (synthetic).
    pub(crate) n: u32,
}

/// How a purchase is addressed in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) cnpj: String,
    pub(crate) ano: i32,
    pub(crate) sequencial: u32,
}

impl Key {
    pub(crate) fn control(&self) -> String {
        format!("{}-1-{:06}/{}", self.cnpj, self.sequencial, self.ano)
    }

    /// Stable hash, the seed of everything derived from this purchase.
    pub(crate) fn hash(&self) -> u64 {
        crate::rng::hash_text(&self.control())
    }
}

/// What lists filter and sort by.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) key: Key,
    pub(crate) modalidade: u32,
    pub(crate) modo_disputa: u32,
    pub(crate) publicacao: NaiveDateTime,
    pub(crate) global: NaiveDateTime,
    pub(crate) encerramento: Option<NaiveDateTime>,
    pub(crate) uf: String,
    pub(crate) ibge: String,
    pub(crate) unidade: String,
    /// Position among the purchases of its day and modalidade.
    pub(crate) index: u32,
}

/// Purchases and their details. Everything is a function of the seed: asked twice, answered alike.
pub(crate) trait Source: std::fmt::Debug + Send + Sync {
    /// How many were published on `date` under `modalidade`.
    fn count(&self, date: NaiveDate, modalidade: u32) -> u32;
    /// The `index`-th of them, ascending by publication.
    fn id(&self, date: NaiveDate, modalidade: u32, index: u32) -> RecId;
    fn find(&self, key: &Key) -> Option<RecId>;
    fn meta(&self, id: RecId) -> Meta;
    /// Those whose last change lies in the window, ascending by it.
    fn updated(&self, from: NaiveDate, to: NaiveDate, modalidade: u32) -> Vec<RecId>;
    /// Those open on `today` that close by `until`, ascending by publication.
    fn open(&self, today: NaiveDate, until: NaiveDate, modalidade: Option<u32>) -> Vec<RecId>;
    /// Appends the record of a list, compact JSON; `order` chooses the order of its keys.
    fn write_record(&self, id: RecId, order: u64, out: &mut Vec<u8>);
    /// Whether `key` has details though no list names it (recorded details without a header).
    fn only_details(&self, key: &Key) -> bool;
    fn itens(&self, key: &Key) -> u32;
    /// Appends item `index` (from 0).
    fn write_item(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>);
    fn arquivos(&self, key: &Key) -> u32;
    fn write_arquivo(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>);
    /// The results of the item `numero`, each compact JSON; empty if it has none.
    fn resultados(&self, key: &Key, numero: u32) -> Vec<Vec<u8>>;
    /// The day the server takes for today, unless set.
    fn today(&self) -> NaiveDate;
}
