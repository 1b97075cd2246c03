//! Items and their results: 36 and 37 fields.

use chrono::NaiveDateTime;

use super::{org, texts};
use crate::json::Fields;
use crate::money::{four_places, two_places};
use crate::rng::{Dice, hash};
use crate::source::Key;
use crate::tables::{self, BENEFICIOS, CRITERIOS, SITUACOES_ITEM};

/// Unit price, quantity and total that an audit copied from real lists; most totals do not survive
/// a float.
const EXTREME: &[(&str, &str, &str)] = &[
    ("1226.7000", "12.0000", "1472040000000.0001"),
    ("476.8800", "6.0000", "2861279999999.9997"),
    ("433.6200", "20.0000", "5203440000000.0005"),
    ("9999999999999.9900", "1.0000", "9999999999999.9900"),
    ("91100.0000", "91100000.0000", "8299210000000.0000"),
    ("0.0001", "1.0000", "0.0001"),
];

/// How many items a purchase has: two thirds one, the rest a long tail, one in two hundred more
/// than 500, and lists that end exactly on a page.
pub(super) fn count(seed: u64, max: u32) -> u32 {
    let mut dice = Dice::of(&[seed, 0x17e5]);
    let count = match dice.below(1_000) {
        0..5 => {
            let span = u64::from(max).saturating_sub(501);
            501 + dice.below(span + 1).min(dice.below(span + 1))
        }
        5..8 => 0,
        8..18 => 10,
        18..24 => 50,
        24..26 => 100,
        26..27 => 500,
        27..630 => 1,
        630..870 => dice.between(2, 8),
        870..975 => dice.between(9, 40),
        _ => dice.between(41, 200),
    };
    u32::try_from(count).unwrap_or(max).min(max)
}

/// What a derived item takes from records instead of from draws.
#[derive(Debug, Default)]
pub(crate) struct ItemShape {
    pub(crate) descricao: Option<String>,
    /// Unit price in ten-thousandths.
    pub(crate) valor_unitario: Option<u64>,
    pub(crate) quantidade: Option<u64>,
}

pub(super) fn write(seed: u64, inclusao: NaiveDateTime, index: u32, order: u64, out: &mut Vec<u8>) {
    write_derived(seed, inclusao, index, &ItemShape::default(), order, out);
}

/// Whether the item was awarded, and whether it says so (some awarded ones deny it).
fn outcome(dice: &mut Dice) -> (u32, bool) {
    match dice.below(100) {
        0..45 => (1, false),
        45..85 => (2, true),
        85..90 => (2, false),
        90..93 => (3, false),
        93..97 => (4, false),
        _ => (5, false),
    }
}

/// Appends item `index` of a purchase (`numeroItem` = index + 1).
pub(crate) fn write_derived(
    seed: u64,
    inclusao: NaiveDateTime,
    index: u32,
    shape: &ItemShape,
    order: u64,
    out: &mut Vec<u8>,
) {
    let mut dice = Dice::of(&[seed, u64::from(index) + 1]);
    let (situacao, resultado) = outcome(&mut dice);
    let mut f = Fields::new();
    f.int("numeroItem", index + 1);
    let descricao = texts::descricao(&mut dice);
    f.str(
        "descricao",
        shape.descricao.as_deref().unwrap_or(&descricao),
    );
    let material = dice.permille(700);
    f.str("materialOuServico", if material { "M" } else { "S" });
    f.str(
        "materialOuServicoNome",
        if material { "Material" } else { "Serviço" },
    );
    let secret = shape.valor_unitario.is_none() && dice.permille(60);
    let (unitario, quantidade, total) = values(&mut dice, shape, secret);
    f.raw("valorUnitarioEstimado", &unitario);
    f.raw("valorTotal", &total);
    f.raw("quantidade", &quantidade);
    f.str("unidadeMedida", texts::unidade(&mut dice));
    f.bool("orcamentoSigiloso", secret);
    f.int("itemCategoriaId", 3);
    f.str("itemCategoriaNome", "Não se aplica");
    f.raw("patrimonio", "null");
    f.raw("codigoRegistroImobiliario", "null");
    let criterio = dice.pick(&[1, 1, 1, 2, 7]);
    f.int("criterioJulgamentoId", criterio);
    f.str("criterioJulgamentoNome", tables::name(CRITERIOS, criterio));
    f.int("situacaoCompraItem", situacao);
    f.str(
        "situacaoCompraItemNome",
        tables::name(SITUACOES_ITEM, situacao),
    );
    let beneficio = u32::try_from(dice.between(1, 5)).unwrap_or(5);
    f.int("tipoBeneficio", beneficio);
    f.str("tipoBeneficioNome", tables::name(BENEFICIOS, beneficio));
    f.bool("incentivoProdutivoBasico", dice.permille(20));
    let included = inclusao.format("%Y-%m-%dT%H:%M:%S").to_string();
    let updated =
        inclusao + chrono::TimeDelta::seconds(i64::try_from(dice.below(4_000_000)).unwrap_or(0));
    f.str("dataInclusao", &included);
    f.str(
        "dataAtualizacao",
        &updated.format("%Y-%m-%dT%H:%M:%S").to_string(),
    );
    f.bool("temResultado", resultado);
    f.int("imagem", if dice.permille(10) { 1 } else { 0 });
    let margin = dice.permille(15);
    f.bool("aplicabilidadeMargemPreferenciaNormal", margin);
    f.bool("aplicabilidadeMargemPreferenciaAdicional", false);
    f.raw(
        "percentualMargemPreferenciaNormal",
        if margin { "10.0000" } else { "null" },
    );
    f.raw("percentualMargemPreferenciaAdicional", "null");
    let ncm = dice.permille(60);
    f.opt("ncmNbsCodigo", ncm.then_some("30049099"));
    f.opt("ncmNbsDescricao", ncm.then_some("Outros medicamentos "));
    let catalogued = dice.permille(40);
    let catalogo = r#"{"id":1,"nome":"CNBS","descricao":"Catálogo Nacional de Bens e Serviços (Compras.gov.br)","dataInclusao":"2023-01-02T08:00:00","dataAtualizacao":"2023-01-02T08:00:00","statusAtivo":true,"url":"https://www.gov.br/compras"}"#;
    f.raw("catalogo", if catalogued { catalogo } else { "null" });
    let categoria = r#"{"id":1,"nome":"Material","descricao":"Material","dataInclusao":"2023-01-02T08:00:00","dataAtualizacao":"2023-01-02T08:00:00","statusAtivo":true}"#;
    f.raw(
        "categoriaItemCatalogo",
        if catalogued { categoria } else { "null" },
    );
    f.opt("catalogoCodigoItem", catalogued.then_some("0472819"));
    f.opt(
        "informacaoComplementar",
        dice.pick(&[None, None, None, Some(""), Some(" ver anexo ")]),
    );
    f.raw(
        "tipoMargemPreferencia",
        if margin {
            r#"{"codigo":1,"nome":"Resolução CICS nº 1/2024"}"#
        } else {
            "null"
        },
    );
    f.bool("exigenciaConteudoNacional", dice.permille(5));
    f.write(order, out);
}

/// Unit price, quantity and total, all with four places.
fn values(dice: &mut Dice, shape: &ItemShape, secret: bool) -> (String, String, String) {
    let quantity = shape.quantidade.unwrap_or_else(|| match dice.below(20) {
        0 => dice.between(1, 9_999_999),
        1..12 => dice.between(1, 100) * 10_000,
        _ => dice.between(1, 5_000_000) * 10_000,
    });
    if secret {
        return (
            "0.0000".to_owned(),
            four_places(quantity),
            "0.0000".to_owned(),
        );
    }
    if shape.valor_unitario.is_none() && dice.permille(3) {
        let (unit, quantity, total) = dice.pick(EXTREME);
        return (
            (*unit).to_owned(),
            (*quantity).to_owned(),
            (*total).to_owned(),
        );
    }
    let unit = shape.valor_unitario.unwrap_or_else(|| match dice.below(4) {
        0 => dice.between(1, 9_999),
        1..3 => dice.between(100, 500_000) * 100,
        _ => dice.between(10_000, 90_000_000),
    });
    let product = u128::from(unit) * u128::from(quantity) / 10_000;
    // One in thirty totals is not the product.
    let off = if shape.valor_unitario.is_none() && dice.permille(33) {
        dice.below(50_000)
    } else {
        0
    };
    let total = u64::try_from(product)
        .unwrap_or(u64::MAX)
        .saturating_add(off);
    (four_places(unit), four_places(quantity), four_places(total))
}

/// The results of item `numero`; mostly one, none unless the item was awarded.
pub(crate) fn resultados(
    seed: u64,
    key: &Key,
    inclusao: NaiveDateTime,
    numero: u32,
) -> Vec<Vec<u8>> {
    let mut dice = Dice::of(&[seed, u64::from(numero)]);
    let (situacao, _) = outcome(&mut dice);
    if situacao != 2 {
        return Vec::new();
    }
    let mut dice = Dice::of(&[hash(&[seed, 0x4e5]), u64::from(numero)]);
    let count = if dice.permille(60) { 2 } else { 1 };
    (1..=count)
        .map(|n| resultado(&mut dice, key, inclusao, numero, n))
        .collect()
}

fn resultado(
    dice: &mut Dice,
    key: &Key,
    inclusao: NaiveDateTime,
    numero: u32,
    sequencial: u32,
) -> Vec<u8> {
    let when = inclusao
        + chrono::TimeDelta::seconds(i64::try_from(dice.between(86_400, 4_000_000)).unwrap_or(0));
    let stamp = when.format("%Y-%m-%dT%H:%M:%S").to_string();
    let person = dice.permille(50);
    // Eleven digits whose check digits are wrong on purpose: nobody's CPF.
    let supplier = if person {
        format!("{:09}00", dice.between(100_000_001, 999_999_998))
    } else {
        org::cnpj(dice)
    };
    let (unit, quantity) = (dice.between(1, 9_000_000), dice.between(1, 1_000));
    let mut f = Fields::new();
    f.int("numeroItem", numero);
    f.int("sequencialResultado", sequencial);
    f.str("numeroControlePNCPCompra", &key.control());
    f.str("tipoPessoa", if person { "PF" } else { "PJ" });
    f.str("niFornecedor", &supplier);
    f.str(
        "nomeRazaoSocialFornecedor",
        if person {
            "FORNECEDOR SIMULADO"
        } else {
            "EMPRESA SIMULADA LTDA"
        },
    );
    f.raw("quantidadeHomologada", &four_places(quantity * 10_000));
    f.raw("valorUnitarioHomologado", &four_places(unit));
    f.raw(
        "valorTotalHomologado",
        &two_places(unit * quantity / 100 * 100),
    );
    f.raw("percentualDesconto", "0.0000");
    let porte: u32 = dice.pick(&[1, 2, 3, 5]);
    f.int("porteFornecedorId", porte);
    f.str("porteFornecedorNome", dice.pick(&["ME", "EPP", "Demais"]));
    f.opt("naturezaJuridicaId", (!person).then_some("2062"));
    f.opt(
        "naturezaJuridicaNome",
        (!person).then_some("Sociedade Empresária Limitada"),
    );
    f.int("situacaoCompraItemResultadoId", 1);
    f.str("situacaoCompraItemResultadoNome", "Informado");
    f.str("codigoPais", "BRA");
    f.str("dataResultado", &stamp[..10]);
    f.str("dataInclusao", &stamp);
    f.str("dataAtualizacao", &stamp);
    for key in [
        "indicadorSubcontratacao",
        "aplicacaoMargemPreferencia",
        "aplicacaoBeneficioMeEpp",
        "aplicacaoCriterioDesempate",
    ] {
        f.bool(key, dice.permille(50));
    }
    for key in [
        "dataCancelamento",
        "motivoCancelamento",
        "timezoneCotacaoMoedaEstrangeira",
        "moedaEstrangeira",
        "valorNominalMoedaEstrangeira",
        "dataCotacaoMoedaEstrangeira",
        "amparoLegalMargemPreferencia",
        "amparoLegalCriterioDesempate",
        "paisOrigemProdutoServico",
        "localidadeExterior",
        "ordemClassificacaoSrp",
    ] {
        f.raw(key, "null");
    }
    f.raw(
        "reservaRemanescente",
        r#"{"codigo":1,"nome":"Não se aplica"}"#,
    );
    let place = r#"{"municipioNome":"Curitiba","codigoIbge":"4106902","ufSigla":"PR"}"#;
    f.raw(
        "localidadeFornecedor",
        if dice.permille(300) { place } else { "null" },
    );
    let mut out = Vec::new();
    f.write(0, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_long() {
        let counts: Vec<u32> = (0..40_000).map(|n| count(hash(&[n]), 2_000)).collect();
        let above = counts.iter().filter(|c| **c > 500).count();
        assert!((140..=260).contains(&above), "{above}");
        assert!(counts.iter().all(|c| *c <= 2_000));
        assert!(counts.contains(&0) && counts.contains(&10) && counts.contains(&50));
        assert!(counts.iter().any(|c| *c > 1_500));
    }

    #[test]
    fn a_result_has_37_fields_and_an_item_36() {
        let key = Key {
            cnpj: "00000000000191".into(),
            ano: 2026,
            sequencial: 7,
        };
        let found = (1..50)
            .flat_map(|n| resultados(5, &key, NaiveDateTime::default(), n))
            .next()
            .unwrap();
        let value: serde_json::Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 37);
        let mut item = Vec::new();
        write(5, NaiveDateTime::default(), 0, 3, &mut item);
        let value: serde_json::Value = serde_json::from_slice(&item).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 36);
    }
}
