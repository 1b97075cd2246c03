//! Recorded purchases, byte for byte as far as the records go; see `data/README.md`.

use std::collections::{BTreeMap, HashMap};

use chrono::{Datelike, NaiveDate, NaiveDateTime};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::money;
use crate::rng::{Dice, hash};
use crate::source::{Key, Meta, RecId, Source};
use crate::synth::{ItemShape, at_second, write_derived_arquivo, write_derived_item};

const CONTRATACOES: &str = include_str!("../data/contratacoes.ndjson");
const ARQUIVOS: &str = include_str!("../data/arquivos.ndjson");
const ITENS: &str = include_str!("../data/itens.ndjson");
const RESULTADOS: &str = include_str!("../data/resultados.ndjson");

/// Seeds what is derived where nothing is recorded. Fixed: replay is the same under every seed.
const DERIVED: u64 = 0x2025_1022;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    #[serde(rename = "numeroControlePNCP")]
    numero_controle: &'a str,
    ano_compra: i32,
    sequencial_compra: u32,
    modalidade_id: u32,
    modo_disputa_id: u32,
    data_publicacao_pncp: NaiveDateTime,
    data_atualizacao_global: NaiveDateTime,
    data_encerramento_proposta: Option<NaiveDateTime>,
    #[serde(borrow)]
    valor_total_estimado: &'a RawValue,
    orgao_entidade: Orgao<'a>,
    unidade_orgao: Unidade,
}

#[derive(Deserialize)]
struct Orgao<'a> {
    cnpj: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unidade {
    codigo_unidade: String,
    codigo_ibge: String,
    uf_sigla: String,
}

#[derive(Deserialize)]
struct RecordedArquivos<'a> {
    #[serde(rename = "numeroControlePNCP")]
    numero: &'a str,
    #[serde(borrow)]
    arquivos: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RecordedItens<'a> {
    #[serde(rename = "numeroControlePNCP")]
    numero: &'a str,
    #[serde(borrow)]
    itens: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedResultado<'a> {
    #[serde(rename = "numeroControlePNCPCompra")]
    numero: &'a str,
    numero_item: u32,
}

#[derive(Debug)]
struct Recorded {
    json: &'static str,
    meta: Meta,
    /// In ten-thousandths.
    estimado: u64,
}

/// The bundled records.
#[derive(Debug)]
pub(crate) struct Replay {
    records: Vec<Recorded>,
    by_day: BTreeMap<(NaiveDate, u32), Vec<u32>>,
    by_key: HashMap<Key, u32>,
    arquivos: HashMap<String, Vec<&'static str>>,
    itens: HashMap<String, Vec<&'static str>>,
    resultados: HashMap<(String, u32), Vec<&'static str>>,
    descriptions: Vec<String>,
}

fn lines<'a, T: Deserialize<'a>>(
    file: &'static str,
    text: &'a str,
) -> impl Iterator<Item = Result<(&'a str, T), Error>> {
    text.lines().enumerate().map(move |(n, line)| {
        serde_json::from_str(line)
            .map(|parsed| (line, parsed))
            .map_err(|source| Error::Data {
                file,
                line: n + 1,
                source,
            })
    })
}

impl Replay {
    pub(crate) fn load() -> Result<Self, Error> {
        let mut replay = Self {
            records: Vec::new(),
            by_day: BTreeMap::new(),
            by_key: HashMap::new(),
            arquivos: HashMap::new(),
            itens: HashMap::new(),
            resultados: HashMap::new(),
            descriptions: Vec::new(),
        };
        replay.load_records()?;
        for line in lines::<RecordedArquivos<'_>>("arquivos.ndjson", ARQUIVOS) {
            let (_, row) = line?;
            let list = row.arquivos.into_iter().map(RawValue::get).collect();
            replay.arquivos.insert(row.numero.to_owned(), list);
        }
        for line in lines::<RecordedItens<'_>>("itens.ndjson", ITENS) {
            let (_, row) = line?;
            let list: Vec<&str> = row.itens.into_iter().map(RawValue::get).collect();
            replay
                .descriptions
                .extend(list.iter().filter_map(|item| description(item)));
            replay.itens.insert(row.numero.to_owned(), list);
        }
        for line in lines::<RecordedResultado<'_>>("resultados.ndjson", RESULTADOS) {
            let (text, row) = line?;
            let key = (row.numero.to_owned(), row.numero_item);
            replay.resultados.entry(key).or_default().push(text);
        }
        Ok(replay)
    }

    /// The file is in ascending order of publication, so positions are too.
    fn load_records(&mut self) -> Result<(), Error> {
        for line in lines::<Header<'_>>("contratacoes.ndjson", CONTRATACOES) {
            let (json, header) = line?;
            let key = Key {
                cnpj: header.orgao_entidade.cnpj.to_owned(),
                ano: header.ano_compra,
                sequencial: header.sequencial_compra,
            };
            debug_assert_eq!(key.control(), header.numero_controle);
            let n = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
            let of_day = self
                .by_day
                .entry((header.data_publicacao_pncp.date(), header.modalidade_id))
                .or_default();
            let meta = Meta {
                key: key.clone(),
                modalidade: header.modalidade_id,
                modo_disputa: header.modo_disputa_id,
                publicacao: header.data_publicacao_pncp,
                global: header.data_atualizacao_global,
                encerramento: header.data_encerramento_proposta,
                uf: header.unidade_orgao.uf_sigla,
                ibge: header.unidade_orgao.codigo_ibge,
                unidade: header.unidade_orgao.codigo_unidade,
                index: u32::try_from(of_day.len()).unwrap_or(u32::MAX),
            };
            of_day.push(n);
            let estimado = money::parse(header.valor_total_estimado.get()).unwrap_or(0);
            self.by_key.insert(key, n);
            self.records.push(Recorded {
                json,
                meta,
                estimado,
            });
        }
        Ok(())
    }

    fn record(&self, id: RecId) -> &Recorded {
        &self.records[id.n as usize]
    }

    fn rec_id(&self, n: u32) -> RecId {
        RecId {
            day: self.records[n as usize].meta.publicacao.num_days_from_ce(),
            n,
        }
    }

    fn inclusao(&self, key: &Key) -> NaiveDateTime {
        let first = NaiveDate::from_ymd_opt(key.ano, 1, 2).unwrap_or_default();
        self.find(key).map_or_else(
            || at_second(first, 36_000),
            |id| self.record(id).meta.publicacao,
        )
    }

    fn select(&self, keep: impl Fn(&Meta) -> bool) -> Vec<RecId> {
        let chosen = self
            .records
            .iter()
            .enumerate()
            .filter(|(_, r)| keep(&r.meta));
        chosen
            .map(|(n, _)| self.rec_id(u32::try_from(n).unwrap_or(u32::MAX)))
            .collect()
    }

    fn seed(key: &Key) -> u64 {
        hash(&[DERIVED, key.hash()])
    }
}

fn description(item: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(item).ok()?;
    Some(value.get("descricao")?.as_str()?.to_owned())
}

/// How many items a purchase of which none is recorded gets: few, as most purchases have.
fn derived_count(key: &Key) -> u32 {
    let mut dice = Dice::of(&[Replay::seed(key), 1]);
    let count = match dice.below(10) {
        0..6 => 1,
        6..9 => dice.between(2, 9),
        _ => dice.between(10, 60),
    };
    u32::try_from(count).unwrap_or(1)
}

impl Source for Replay {
    fn count(&self, date: NaiveDate, modalidade: u32) -> u32 {
        let found = self.by_day.get(&(date, modalidade));
        found.map_or(0, |v| u32::try_from(v.len()).unwrap_or(u32::MAX))
    }

    fn id(&self, date: NaiveDate, modalidade: u32, index: u32) -> RecId {
        let found = self
            .by_day
            .get(&(date, modalidade))
            .and_then(|v| v.get(index as usize));
        self.rec_id(found.copied().unwrap_or(0))
    }

    fn find(&self, key: &Key) -> Option<RecId> {
        self.by_key.get(key).map(|n| self.rec_id(*n))
    }

    fn meta(&self, id: RecId) -> Meta {
        self.record(id).meta.clone()
    }

    fn updated(&self, from: NaiveDate, to: NaiveDate, modalidade: u32) -> Vec<RecId> {
        let mut found =
            self.select(|m| m.modalidade == modalidade && (from..=to).contains(&m.global.date()));
        found.sort_by_key(|id| self.record(*id).meta.global);
        found
    }

    fn open(&self, today: NaiveDate, until: NaiveDate, modalidade: Option<u32>) -> Vec<RecId> {
        self.select(|m| {
            modalidade.is_none_or(|code| code == m.modalidade)
                && m.publicacao.date() <= today
                && m.encerramento
                    .is_some_and(|e| e.date() > today && e.date() <= until)
        })
    }

    fn write_record(&self, id: RecId, _order: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.record(id).json.as_bytes());
    }

    fn only_details(&self, key: &Key) -> bool {
        let control = key.control();
        self.itens.contains_key(&control) || self.arquivos.contains_key(&control)
    }

    fn itens(&self, key: &Key) -> u32 {
        match self.itens.get(&key.control()) {
            Some(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
            None => derived_count(key),
        }
    }

    fn write_item(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>) {
        if let Some(list) = self.itens.get(&key.control()) {
            out.extend_from_slice(list[index as usize].as_bytes());
            return;
        }
        let seed = Self::seed(key);
        let count = u64::from(self.itens(key));
        let estimado = self.find(key).map_or(0, |id| self.record(id).estimado);
        // The recorded total, shared out; the last item takes what the division leaves.
        let share = estimado / count;
        let rest = if u64::from(index) + 1 == count {
            estimado % count
        } else {
            0
        };
        let mut dice = Dice::of(&[seed, 2, u64::from(index)]);
        let which = dice.below(self.descriptions.len() as u64);
        let which = usize::try_from(which).unwrap_or(0);
        let quantity = dice.between(1, 12);
        let exact = (share + rest).is_multiple_of(quantity);
        let shape = ItemShape {
            descricao: self.descriptions.get(which).cloned(),
            valor_unitario: Some((share + rest) / if exact { quantity } else { 1 }),
            quantidade: Some(if exact { quantity * 10_000 } else { 10_000 }),
        };
        write_derived_item(seed, self.inclusao(key), index, &shape, order, out);
    }

    fn arquivos(&self, key: &Key) -> u32 {
        match self.arquivos.get(&key.control()) {
            Some(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
            None => {
                let mut dice = Dice::of(&[Self::seed(key), 3]);
                let many = dice.permille(250);
                u32::try_from(if many { dice.between(2, 6) } else { 1 }).unwrap_or(1)
            }
        }
    }

    fn write_arquivo(&self, key: &Key, index: u32, order: u64, out: &mut Vec<u8>) {
        match self.arquivos.get(&key.control()) {
            Some(list) => out.extend_from_slice(list[index as usize].as_bytes()),
            None => {
                let inclusao = self.inclusao(key);
                write_derived_arquivo(Self::seed(key), key, inclusao, index, order, out);
            }
        }
    }

    fn resultados(&self, key: &Key, numero: u32) -> Vec<Vec<u8>> {
        let found = self.resultados.get(&(key.control(), numero));
        found
            .map(|list| list.iter().map(|r| r.as_bytes().to_vec()).collect())
            .unwrap_or_default()
    }

    /// The day after the youngest record was fetched.
    fn today(&self) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 6, 17).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_reads_and_ascends() {
        let replay = Replay::load().unwrap();
        assert!(replay.records.len() > 600);
        assert!(replay.records.is_sorted_by_key(|r| r.meta.publicacao));
        let demo = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
        assert_eq!(replay.count(demo, 6), 52);
        assert!(!replay.descriptions.is_empty());
        for n in 0..replay.records.len() {
            let id = replay.rec_id(u32::try_from(n).unwrap());
            let meta = replay.meta(id);
            assert_eq!(replay.find(&meta.key), Some(id));
            assert_eq!(
                replay.id(meta.publicacao.date(), meta.modalidade, meta.index),
                id
            );
        }
    }

    #[test]
    fn derived_items_add_up_to_the_recorded_total() {
        let replay = Replay::load().unwrap();
        for recorded in replay.records.iter().take(100) {
            let key = &recorded.meta.key;
            let total: u64 = (0..replay.itens(key))
                .map(|index| {
                    let mut item = Vec::new();
                    replay.write_item(key, index, 0, &mut item);
                    let range = crate::json::value_range(&item, "valorTotal").unwrap();
                    money::parse(std::str::from_utf8(&item[range]).unwrap()).unwrap()
                })
                .sum();
            assert_eq!(total, recorded.estimado, "{}", key.control());
        }
    }
}
