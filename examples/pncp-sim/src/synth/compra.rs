//! One contratação as a list shows it: 34 keys, 35 since 2026.

use chrono::{Datelike, Days};

use super::{Synth, about, at_second, date_of, texts};
use crate::json::Fields;
use crate::money::two_places;
use crate::rng::Dice;
use crate::source::RecId;
use crate::tables::{self, INSTRUMENTOS, MODALIDADES, MODOS_DISPUTA, SITUACOES_COMPRA};

/// Totals that were really seen, or reported by an audit: trillions on a small purchase.
const EXTREME: &[&str] = &[
    "29800000000000.00",
    "9999999999999.99",
    "0.01",
    "1472040000000.00",
];

/// First draw of a record, so that lists can filter by it without making the record.
pub(super) fn modo_disputa(modalidade: u32, dice: &mut Dice) -> u32 {
    match modalidade {
        8 => dice.pick(&[4, 5]),
        9..=12 => 5,
        _ => dice.pick(&[1, 1, 3, 2, 6]),
    }
}

pub(super) fn write(synth: &Synth, id: RecId, order: u64, out: &mut Vec<u8>) {
    let mut dice = synth.dice(about::RECORD, id);
    let (modalidade, _, _) = synth.position(id.n);
    let modo = modo_disputa(modalidade, &mut dice);
    let key = synth.key(id);
    let org = synth.orgs.get(synth.org_of(id).0);
    let place = org.place();
    let publicacao = synth.publicacao(id);
    let global = synth.global(id);
    let date = date_of(id.day);
    let text = |t: chrono::NaiveDateTime| t.format("%Y-%m-%dT%H:%M:%S").to_string();

    let mut orgao = Fields::default();
    orgao.str("cnpj", &key.cnpj);
    orgao.str("razaoSocial", &org.razao_social);
    orgao.str("poderId", org.poder);
    orgao.str("esferaId", org.esfera);
    let mut unidade = Fields::default();
    unidade.str("ufNome", place.uf_nome);
    unidade.str("codigoUnidade", &org.unidade);
    unidade.str("nomeUnidade", &org.nome_unidade);
    unidade.str("ufSigla", place.uf);
    unidade.str("municipioNome", place.municipio);
    unidade.str("codigoIbge", place.ibge);

    let mut f = Fields::new();
    f.bool("srp", dice.permille(300));
    f.object("orgaoEntidade", &orgao, order);
    f.int("anoCompra", key.ano);
    f.int("sequencialCompra", key.sequencial);
    f.str("dataInclusao", &text(publicacao));
    f.str("dataPublicacaoPncp", &text(publicacao));
    // dataAtualizacao often stays behind when dataAtualizacaoGlobal moves.
    let own_update = if dice.permille(700) {
        publicacao
    } else {
        global
    };
    f.str("dataAtualizacao", &text(own_update));
    f.str("dataAtualizacaoGlobal", &text(global));
    f.str(
        "numeroCompra",
        &format!(
            "{}{}",
            dice.pick(&["", "PR", "90", "DL "]),
            dice.between(1, 999)
        ),
    );
    f.object("unidadeOrgao", &unidade, order);
    f.object("amparoLegal", &amparo(modalidade, &mut dice), order);
    let proposal = synth.proposal(id, modalidade);
    f.opt(
        "dataAberturaProposta",
        proposal.map(|(open, _)| text(open)).as_deref(),
    );
    f.opt(
        "dataEncerramentoProposta",
        proposal.map(|(_, close)| text(close)).as_deref(),
    );
    let complement = match dice.below(10) {
        0..5 => None,
        5..7 => Some(String::new()),
        _ => Some(format!(
            "Edital e anexos no portal do órgão.\r\n{}",
            texts::objeto(&mut dice)
        )),
    };
    f.opt("informacaoComplementar", complement.as_deref());
    f.str(
        "processo",
        &format!("{}/{}", dice.between(1, 99_999), key.ano),
    );
    f.str("objetoCompra", &texts::objeto(&mut dice));
    let link = dice.pick(&[
        None,
        None,
        Some(""),
        Some("string"),
        Some("https:pncp.gov.br/app/editais"),
        Some("https://www.gov.br/compras/pt-br"),
    ]);
    f.opt("linkSistemaOrigem", link);
    f.opt(
        "linkProcessoEletronico",
        dice.pick(&[None, None, None, Some("")]),
    );
    let reason = dice.pick(&[None, None, None, Some(""), Some(" "), Some("string")]);
    f.opt("justificativaPresencial", reason);
    if dice.permille(8) {
        f.object("unidadeSubRogada", &unidade, order);
        f.object("orgaoSubRogado", &orgao, order);
    } else {
        f.raw("unidadeSubRogada", "null");
        f.raw("orgaoSubRogado", "null");
    }
    let (estimado, homologado) = totals(&mut dice);
    f.raw("valorTotalEstimado", &estimado);
    f.raw(
        "valorTotalHomologado",
        homologado.as_deref().unwrap_or("null"),
    );
    f.int("modalidadeId", modalidade);
    f.str("modalidadeNome", tables::name(MODALIDADES, modalidade));
    f.int("modoDisputaId", modo);
    f.str("modoDisputaNome", tables::name(MODOS_DISPUTA, modo));
    let instrumento = match modalidade {
        8 => 2,
        9 => 3,
        _ => 1,
    };
    f.int("tipoInstrumentoConvocatorioCodigo", instrumento);
    f.str(
        "tipoInstrumentoConvocatorioNome",
        tables::name(INSTRUMENTOS, instrumento),
    );
    f.raw("fontesOrcamentarias", &fontes(date, &mut dice));
    let situacao = match dice.below(40) {
        0 => dice.pick(&[2, 3, 4]),
        _ => 1,
    };
    f.int("situacaoCompraId", situacao);
    f.str(
        "situacaoCompraNome",
        tables::name(SITUACOES_COMPRA, situacao),
    );
    f.str("usuarioNome", org.usuario);
    f.str("numeroControlePNCP", &key.control());
    // The 35th key came in 2026; null nearly always.
    if date.year() >= 2026 {
        f.raw(
            "emendaParlamentar",
            dice.pick(&["null", "null", "null", "null", "true", "false"]),
        );
    }
    f.write(order, out);
}

fn amparo(modalidade: u32, dice: &mut Dice) -> Fields {
    let mut amparo = Fields::default();
    let (codigo, nome, descricao) = match modalidade {
        8 => (
            19,
            "Lei 14.133/2021, Art. 75, II ",
            "dispensa em razão do valor",
        ),
        9 => (
            50,
            "Lei 14.133/2021, Art. 74, caput",
            "inviabilidade de competição",
        ),
        _ => (
            1,
            "Lei 14.133/2021, Art. 28, I",
            "pregão: bens e serviços comuns",
        ),
    };
    let spaced = format!("{nome} ");
    amparo.str("descricao", descricao);
    amparo.str("nome", if dice.permille(50) { &spaced } else { nome });
    amparo.int("codigo", codigo);
    amparo
}

fn totals(dice: &mut Dice) -> (String, Option<String>) {
    // A secret budget or a placeholder: zero, in about a fifth.
    if dice.permille(190) {
        return (
            "0.00".to_owned(),
            dice.permille(200).then(|| "0.00".to_owned()),
        );
    }
    if dice.permille(4) {
        return (dice.pick(EXTREME).to_owned(), None);
    }
    let magnitude = dice.pick(&[
        10_000_u64,
        1_000_000,
        10_000_000,
        100_000_000,
        5_000_000_000,
    ]);
    let cents = dice.between(100, magnitude);
    let homologado = dice
        .permille(350)
        .then(|| two_places(cents * dice.between(50, 105)));
    (two_places(cents * 100), homologado)
}

fn fontes(date: chrono::NaiveDate, dice: &mut Dice) -> String {
    let count = if dice.permille(100) {
        dice.between(1, 3)
    } else {
        0
    };
    let mut out = vec![b'['];
    for n in 0..count {
        if n > 0 {
            out.push(b',');
        }
        let mut fonte = Fields::default();
        fonte.int("codigo", dice.between(1, 8));
        fonte.str("nome", "Organismo Internacional");
        fonte.str("descricao", "Orçamento de fonte externa");
        // Its own clock, days away from the purchase's.
        let included = at_second(date - Days::new(dice.below(400)), dice.below(86_400));
        fonte.str(
            "dataInclusao",
            &included.format("%Y-%m-%dT%H:%M:%S").to_string(),
        );
        fonte.write(0, &mut out);
    }
    out.push(b']');
    String::from_utf8(out).unwrap_or_default()
}
