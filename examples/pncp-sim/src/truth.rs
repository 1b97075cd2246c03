//! What a day really holds, to compare a copy with.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};

use crate::json;
use crate::source::Key;
use crate::tables::MODALIDADES;
use crate::world::World;

/// One purchase with everything below it, as JSON texts that spell numbers as they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthRecord {
    /// numeroControlePNCP.
    pub numero_controle: String,
    /// 14 characters, some of them letters in some.
    pub cnpj: String,
    /// anoCompra; not always the year of publication.
    pub ano: i32,
    /// sequencialCompra.
    pub sequencial: u32,
    /// modalidadeId.
    pub modalidade: u32,
    /// Deleted while lists were read ([`crate::FaultKind::Vanish`]): no list shows it any more.
    pub vanished: bool,
    /// The record of the lists.
    pub contratacao: String,
    /// Its items, by numeroItem.
    pub itens: Vec<String>,
    /// Its documents, by sequencialDocumento.
    pub arquivos: Vec<String>,
}

impl TruthRecord {
    /// One line of NDJSON, without the line end. With `numbers_as_text` every number becomes a
    /// string that spells it as sent (`"0.00"`), for readers that would round it.
    pub fn to_ndjson(&self, numbers_as_text: bool) -> String {
        let mut control = Vec::new();
        json::push_string(&mut control, &self.numero_controle);
        let line = format!(
            "{{\"numeroControlePNCP\":{},\"cnpj\":\"{}\",\"anoCompra\":{},\"sequencialCompra\":{},\"modalidadeId\":{},\"vanished\":{},\"contratacao\":{},\"itens\":[{}],\"arquivos\":[{}]}}",
            String::from_utf8_lossy(&control),
            self.cnpj,
            self.ano,
            self.sequencial,
            self.modalidade,
            self.vanished,
            self.contratacao,
            self.itens.join(","),
            self.arquivos.join(","),
        );
        if numbers_as_text {
            json::numbers_as_text(&line)
        } else {
            line
        }
    }
}

/// The purchases published on a day, made one at a time, by modalidade and then by publication.
#[derive(Debug)]
pub struct Truth {
    world: Arc<World>,
    date: NaiveDate,
    now: Option<NaiveDateTime>,
    modalidade: usize,
    index: u32,
}

impl Truth {
    pub(crate) fn new(world: Arc<World>, date: NaiveDate) -> Self {
        let now = world.now();
        Self {
            world,
            date,
            now,
            modalidade: 0,
            index: 0,
        }
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

impl Iterator for Truth {
    type Item = TruthRecord;

    fn next(&mut self) -> Option<TruthRecord> {
        let (modalidade, _) = loop {
            let row = MODALIDADES.get(self.modalidade)?;
            if self.index < self.world.count_until(self.date, row.0, self.now) {
                break row;
            }
            self.modalidade += 1;
            self.index = 0;
        };
        let source = self.world.source();
        let id = source.id(self.date, *modalidade, self.index);
        self.index += 1;
        let key: Key = source.meta(id).key;
        Some(TruthRecord {
            numero_controle: key.control(),
            modalidade: *modalidade,
            vanished: self.world.is_vanished(id),
            contratacao: text(|out| self.world.write_record(id, 0, out)),
            itens: (0..source.itens(&key))
                .map(|n| text(|out| self.world.write_item(&key, n, 0, out)))
                .collect(),
            arquivos: (0..source.arquivos(&key))
                .map(|n| text(|out| self.world.write_arquivo(&key, n, 0, out)))
                .collect(),
            cnpj: key.cnpj,
            ano: key.ano,
            sequencial: key.sequencial,
        })
    }
}
