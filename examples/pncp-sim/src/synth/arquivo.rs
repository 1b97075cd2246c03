//! Documents: 12 fields, numbers with gaps.

use chrono::NaiveDateTime;

use crate::json::Fields;
use crate::rng::Dice;
use crate::source::Key;
use crate::tables::{self, TIPOS_DOCUMENTO};

/// How many a purchase has: three quarters one, twelve at most, one in a hundred none.
pub(super) fn count(seed: u64) -> u32 {
    let mut dice = Dice::of(&[seed, 0xa4c]);
    let count = match dice.below(1_000) {
        0..10 => 0,
        10..755 => 1,
        755..900 => dice.between(2, 4),
        _ => dice.between(5, 12),
    };
    u32::try_from(count).unwrap_or(1)
}

/// Appends document `index`. One in eight numbers is skipped, so number and position part ways.
pub(crate) fn write_derived(
    seed: u64,
    key: &Key,
    inclusao: NaiveDateTime,
    index: u32,
    order: u64,
    out: &mut Vec<u8>,
) {
    let gaps = (0..=index)
        .filter(|n| Dice::of(&[seed, 1, u64::from(*n)]).below(8) == 0)
        .count();
    let number = index + 1 + u32::try_from(gaps).unwrap_or(0);
    let mut dice = Dice::of(&[seed, 2, u64::from(index)]);
    let kind: u32 = dice.pick(&[2, 2, 2, 16, 16, 4, 7, 1, 9, 10]);
    let name = tables::name(TIPOS_DOCUMENTO, kind);
    let url = format!(
        "https://pncp.gov.br/pncp-api/v1/orgaos/{}/compras/{}/{}/arquivos/{number}",
        key.cnpj, key.ano, key.sequencial
    );
    let mut f = Fields::default();
    f.str("uri", &url);
    f.str("url", &url);
    f.str("cnpj", &key.cnpj);
    f.int("anoCompra", key.ano);
    f.int("sequencialCompra", key.sequencial);
    f.int("sequencialDocumento", number);
    let title = match dice.below(4) {
        0 => "EDITAL".to_owned(),
        1 => format!("{}{:05}{}000", key.cnpj, key.sequencial, key.ano),
        2 => "Termo de Referência – retificado ".to_owned(),
        _ => format!("anexo {number} (final) \"v2\""),
    };
    f.str("titulo", &title);
    f.int("tipoDocumentoId", kind);
    f.str("tipoDocumentoNome", name);
    f.str("tipoDocumentoDescricao", name);
    let seconds = i64::try_from(dice.below(300)).unwrap_or(0);
    let published = inclusao + chrono::TimeDelta::seconds(seconds);
    f.str(
        "dataPublicacaoPncp",
        &published.format("%Y-%m-%dT%H:%M:%S").to_string(),
    );
    f.bool("statusAtivo", !dice.permille(10));
    f.write(order, out);
}
