//! Free text with the blemishes that the recorded texts have.

use crate::rng::Dice;

const ACTS: &[&str] = &[
    "Aquisição de",
    "Contratação de empresa especializada para fornecimento de",
    "REGISTRO DE PREÇOS para eventual aquisição de",
    "Prestação de serviços de",
    "Locação de",
];

const THINGS: &[&str] = &[
    "gêneros alimentícios para a merenda escolar",
    "MEDICAMENTOS DA FARMÁCIA BÁSICA",
    "material de expediente",
    "veículo zero quilômetro, tipo sedan",
    "pneus e câmaras de ar",
    "refeições tipo \"marmitex\"",
    "serviços de engenharia para recuperação rodoviária",
    "licenças de software – suporte de 12 meses",
    "combustíveis (gasolina comum, etanol e óleo diesel S-10)",
    "material médico-hospitalar\\ambulatorial",
];

const UNITS: &[&str] = &[
    "UNIDADE",
    "UN",
    "CAIXA",
    "SERVIÇO",
    "UNIDADE 1.0 MILILITRO ",
    "Kg",
    "MÊS",
];

/// objetoCompra: mostly short, seldom thousands of characters, sometimes with CRLF, control
/// characters, spaces at either end, or characters outside the basic plane.
pub(crate) fn objeto(dice: &mut Dice) -> String {
    let mut text = format!("{} {}", dice.pick(ACTS), dice.pick(THINGS));
    match dice.below(200) {
        0 => text = format!(" {text}  "),
        1 => text = text.replacen(' ', "\r\n", 2),
        2 => text.push('\u{1f}'),
        3 => text.push_str("\u{a0}\u{0007}–\u{2028}"),
        4 => text.push_str(" 🚑 𝔸"),
        5..15 => {
            while text.chars().count() < 1_235 {
                text.push_str("; ");
                text.push_str(dice.pick(THINGS));
            }
        }
        15 => {
            while text.chars().count() < 5_000 {
                text.push_str(", conforme termo de referência, ");
                text.push_str(dice.pick(THINGS));
            }
        }
        _ => {}
    }
    text
}

pub(crate) fn descricao(dice: &mut Dice) -> String {
    let mut text = format!("{} - item {}", dice.pick(THINGS), dice.between(1, 99_999));
    match dice.below(100) {
        0 => text.push(' '),
        1 => text.push_str("\r\nMARCA DE REFERÊNCIA: N/A\t\"ou similar\""),
        2..8 => text = format!("{text}. {}", dice.pick(THINGS)).repeat(8),
        _ => {}
    }
    text
}

pub(crate) fn unidade(dice: &mut Dice) -> &'static str {
    dice.pick(UNITS)
}
