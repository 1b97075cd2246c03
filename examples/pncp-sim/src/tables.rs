//! The small domain tables of `/api/pncp/v1`, ids and names as in the manual and the recorded data.

/// A row of a domain table.
pub(crate) type Row = (u32, &'static str);

/// Modalidades known in 2026; any other code is answered with 422.
pub(crate) const MODALIDADES: &[Row] = &[
    (1, "Leilão - Eletrônico"),
    (2, "Diálogo Competitivo"),
    (3, "Concurso"),
    (4, "Concorrência - Eletrônica"),
    (5, "Concorrência - Presencial"),
    (6, "Pregão - Eletrônico"),
    (7, "Pregão - Presencial"),
    (8, "Dispensa"),
    (9, "Inexigibilidade"),
    (10, "Manifestação de Interesse"),
    (11, "Pré-qualificação"),
    (12, "Credenciamento"),
    (13, "Leilão - Presencial"),
    (14, "Inaplicabilidade da Licitação"),
    (15, "Chamada pública"),
    (16, "Concorrência - Eletrônica Internacional"),
    (17, "Concorrência - Presencial Internacional"),
    (18, "Pregão - Eletrônico Internacional"),
    (19, "Pregão - Presencial Internacional"),
];

pub(crate) const MODOS_DISPUTA: &[Row] = &[
    (1, "Aberto"),
    (2, "Fechado"),
    (3, "Aberto-Fechado"),
    (4, "Dispensa Com Disputa"),
    (5, "Não se aplica"),
    (6, "Fechado-Aberto"),
];

pub(crate) const INSTRUMENTOS: &[Row] = &[
    (1, "Edital"),
    (2, "Aviso de Contratação Direta"),
    (3, "Ato que autoriza a Contratação Direta"),
];

pub(crate) const SITUACOES_COMPRA: &[Row] = &[
    (1, "Divulgada no PNCP"),
    (2, "Revogada"),
    (3, "Anulada"),
    (4, "Suspensa"),
];

pub(crate) const SITUACOES_ITEM: &[Row] = &[
    (1, "Em andamento"),
    (2, "Homologado"),
    (3, "Anulado/Revogado/Cancelado"),
    (4, "Deserto"),
    (5, "Fracassado"),
];

pub(crate) const BENEFICIOS: &[Row] = &[
    (1, "Participação exclusiva para ME/EPP"),
    (2, "Subcontratação para ME/EPP"),
    (3, "Cota reservada para ME/EPP"),
    (4, "Sem benefício"),
    (5, "Não se aplica"),
];

pub(crate) const CRITERIOS: &[Row] = &[
    (1, "Menor preço"),
    (2, "Maior desconto"),
    (4, "Técnica e preço"),
    (5, "Maior lance"),
    (6, "Maior retorno econômico"),
    (7, "Não se aplica"),
    (8, "Melhor técnica"),
    (9, "Conteúdo artístico"),
];

pub(crate) const TIPOS_DOCUMENTO: &[Row] = &[
    (1, "Aviso de Contratação Direta"),
    (2, "Edital"),
    (3, "Minuta do Contrato"),
    (4, "Termo de Referência"),
    (5, "Anteprojeto"),
    (6, "Projeto Básico"),
    (7, "Estudo Técnico Preliminar"),
    (8, "Projeto Executivo"),
    (9, "Mapa de Riscos"),
    (10, "DFD"),
    (11, "Ata de Registro de Preço"),
    (12, "Contrato"),
    (13, "Termo de Rescisão"),
    (14, "Termo Aditivo"),
    (15, "Termo de Apostilamento"),
    (16, "Outros Documentos"),
    (17, "Nota de Empenho"),
    (18, "Relatório Final de Contrato"),
    (19, "Minuta de Ata de Registro de Preços"),
    (20, "Ato que autoriza a Contratação Direta"),
];

/// The table behind a path segment of `/api/pncp/v1`.
pub(crate) fn table(segment: &str) -> Option<&'static [Row]> {
    Some(match segment {
        "modalidades" => MODALIDADES,
        "modos-disputas" => MODOS_DISPUTA,
        "tipos-instrumentos-convocatorios" => INSTRUMENTOS,
        "tipos-documentos" => TIPOS_DOCUMENTO,
        "criterios-julgamentos" => CRITERIOS,
        _ => return None,
    })
}

/// The name of `id`, empty if the table lacks it.
pub(crate) fn name(table: &'static [Row], id: u32) -> &'static str {
    table
        .iter()
        .find(|(row, _)| *row == id)
        .map_or("", |(_, name)| name)
}

/// A whole table as the API sends it.
pub(crate) fn body(rows: &[Row]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (n, (id, name)) in rows.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let mut row = crate::json::Fields::default();
        row.int("id", id);
        row.str("nome", name);
        row.str("descricao", name);
        row.str("dataInclusao", "2021-08-01T00:00:00");
        row.str("dataAtualizacao", "2024-03-14T10:21:07");
        row.bool("statusAtivo", true);
        row.write(0, &mut out);
    }
    out.push(b']');
    out
}
