//! What the API is known to send: names and types, in one place for columns and canonical JSON.
//!
//! Source: API.md sections 4 and 7 (recorded data over the published specification).

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A purchase, as listed or alone.
    Contratacao,
    /// An element of `/itens`.
    Item,
    /// An element of `/arquivos`.
    Arquivo,
}

impl Shape {
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Contratacao => CONTRATACAO,
            Self::Item => ITEM,
            Self::Arquivo => ARQUIVO,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// The name as a key is spelled: `"name":`.
    #[cfg(feature = "arrow")]
    pub(crate) quoted: &'static str,
    pub(crate) ty: Type,
}

#[derive(Debug)]
#[cfg_attr(
    not(feature = "arrow"),
    allow(dead_code, reason = "only columns look at the leaves")
)]
pub(crate) enum Type {
    Int32,
    Int64,
    Bool,
    Text,
    /// 38 digits, 4 of them after the point.
    Decimal,
    /// `YYYY-MM-DDTHH:MM:SS`.
    DateTime,
    Object(&'static [Field]),
    /// A list of objects.
    List(&'static [Field]),
}

macro_rules! field {
    ($name:literal, $ty:expr) => {
        Field {
            name: $name,
            #[cfg(feature = "arrow")]
            quoted: concat!("\"", $name, "\":"),
            ty: $ty,
        }
    };
}

/// The position of a name, looked for from `hint` on: records of a page share their key order.
pub(crate) fn position(fields: &[Field], name: &str, hint: usize) -> Option<usize> {
    let (before, after) = fields.split_at(hint.min(fields.len()));
    match after.iter().position(|field| field.name == name) {
        Some(index) => Some(before.len() + index),
        None => before.iter().position(|field| field.name == name),
    }
}

/// The index of a field that is known to be there.
#[cfg(feature = "arrow")]
pub(crate) const fn index_of(fields: &[Field], name: &str) -> usize {
    let mut index = 0;
    while !same(fields[index].name.as_bytes(), name.as_bytes()) {
        index += 1;
    }
    index
}

#[cfg(feature = "arrow")]
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}

pub(crate) const ORGAO: &[Field] = &[
    field!("cnpj", Type::Text),
    field!("razaoSocial", Type::Text),
    field!("poderId", Type::Text),
    field!("esferaId", Type::Text),
];

const UNIDADE: &[Field] = &[
    field!("ufNome", Type::Text),
    field!("codigoUnidade", Type::Text),
    field!("nomeUnidade", Type::Text),
    field!("ufSigla", Type::Text),
    field!("municipioNome", Type::Text),
    field!("codigoIbge", Type::Text),
];

const AMPARO: &[Field] = &[
    field!("codigo", Type::Int64),
    field!("nome", Type::Text),
    field!("descricao", Type::Text),
];

const FONTE: &[Field] = &[
    field!("codigo", Type::Int64),
    field!("nome", Type::Text),
    field!("descricao", Type::Text),
    field!("dataInclusao", Type::DateTime),
];

pub(crate) const CONTRATACAO: &[Field] = &[
    field!("numeroControlePNCP", Type::Text),
    field!("anoCompra", Type::Int32),
    field!("sequencialCompra", Type::Int32),
    field!("orgaoEntidade", Type::Object(ORGAO)),
    field!("unidadeOrgao", Type::Object(UNIDADE)),
    field!("orgaoSubRogado", Type::Object(ORGAO)),
    field!("unidadeSubRogada", Type::Object(UNIDADE)),
    field!("amparoLegal", Type::Object(AMPARO)),
    field!("fontesOrcamentarias", Type::List(FONTE)),
    field!("modalidadeId", Type::Int64),
    field!("modalidadeNome", Type::Text),
    field!("modoDisputaId", Type::Int64),
    field!("modoDisputaNome", Type::Text),
    field!("tipoInstrumentoConvocatorioCodigo", Type::Int64),
    field!("tipoInstrumentoConvocatorioNome", Type::Text),
    field!("situacaoCompraId", Type::Int64),
    field!("situacaoCompraNome", Type::Text),
    field!("srp", Type::Bool),
    field!("valorTotalEstimado", Type::Decimal),
    field!("valorTotalHomologado", Type::Decimal),
    field!("numeroCompra", Type::Text),
    field!("processo", Type::Text),
    field!("objetoCompra", Type::Text),
    field!("informacaoComplementar", Type::Text),
    field!("justificativaPresencial", Type::Text),
    field!("linkSistemaOrigem", Type::Text),
    field!("linkProcessoEletronico", Type::Text),
    field!("dataInclusao", Type::DateTime),
    field!("dataPublicacaoPncp", Type::DateTime),
    field!("dataAtualizacao", Type::DateTime),
    field!("dataAtualizacaoGlobal", Type::DateTime),
    field!("dataAberturaProposta", Type::DateTime),
    field!("dataEncerramentoProposta", Type::DateTime),
    field!("usuarioNome", Type::Text),
    field!("emendaParlamentar", Type::Bool),
    // Only in the answer for one purchase.
    field!("orcamentoSigilosoCodigo", Type::Int64),
    field!("orcamentoSigilosoDescricao", Type::Text),
    field!("existeResultado", Type::Bool),
];

const CATALOGO: &[Field] = &[
    field!("id", Type::Int64),
    field!("nome", Type::Text),
    field!("descricao", Type::Text),
    field!("dataInclusao", Type::DateTime),
    field!("dataAtualizacao", Type::DateTime),
    field!("statusAtivo", Type::Bool),
    field!("url", Type::Text),
];

const CATEGORIA: &[Field] = &[
    field!("id", Type::Int64),
    field!("nome", Type::Text),
    field!("descricao", Type::Text),
    field!("dataInclusao", Type::DateTime),
    field!("dataAtualizacao", Type::DateTime),
    field!("statusAtivo", Type::Bool),
];

const MARGEM: &[Field] = &[field!("codigo", Type::Int64), field!("nome", Type::Text)];

pub(crate) const ITEM: &[Field] = &[
    field!("numeroItem", Type::Int32),
    field!("descricao", Type::Text),
    field!("materialOuServico", Type::Text),
    field!("materialOuServicoNome", Type::Text),
    field!("valorUnitarioEstimado", Type::Decimal),
    field!("valorTotal", Type::Decimal),
    field!("quantidade", Type::Decimal),
    field!("unidadeMedida", Type::Text),
    field!("orcamentoSigiloso", Type::Bool),
    field!("itemCategoriaId", Type::Int64),
    field!("itemCategoriaNome", Type::Text),
    field!("patrimonio", Type::Text),
    field!("codigoRegistroImobiliario", Type::Text),
    field!("criterioJulgamentoId", Type::Int64),
    field!("criterioJulgamentoNome", Type::Text),
    field!("situacaoCompraItem", Type::Int64),
    field!("situacaoCompraItemNome", Type::Text),
    field!("tipoBeneficio", Type::Int64),
    field!("tipoBeneficioNome", Type::Text),
    field!("incentivoProdutivoBasico", Type::Bool),
    field!("dataInclusao", Type::DateTime),
    field!("dataAtualizacao", Type::DateTime),
    field!("temResultado", Type::Bool),
    field!("imagem", Type::Int32),
    field!("aplicabilidadeMargemPreferenciaNormal", Type::Bool),
    field!("aplicabilidadeMargemPreferenciaAdicional", Type::Bool),
    field!("percentualMargemPreferenciaNormal", Type::Decimal),
    field!("percentualMargemPreferenciaAdicional", Type::Decimal),
    field!("ncmNbsCodigo", Type::Text),
    field!("ncmNbsDescricao", Type::Text),
    field!("catalogo", Type::Object(CATALOGO)),
    field!("categoriaItemCatalogo", Type::Object(CATEGORIA)),
    field!("catalogoCodigoItem", Type::Text),
    field!("informacaoComplementar", Type::Text),
    field!("tipoMargemPreferencia", Type::Object(MARGEM)),
    field!("exigenciaConteudoNacional", Type::Bool),
];

pub(crate) const ARQUIVO: &[Field] = &[
    field!("uri", Type::Text),
    field!("url", Type::Text),
    field!("cnpj", Type::Text),
    field!("anoCompra", Type::Int32),
    field!("sequencialCompra", Type::Int32),
    field!("sequencialDocumento", Type::Int32),
    field!("titulo", Type::Text),
    field!("tipoDocumentoId", Type::Int64),
    field!("tipoDocumentoNome", Type::Text),
    field!("tipoDocumentoDescricao", Type::Text),
    field!("dataPublicacaoPncp", Type::DateTime),
    field!("statusAtivo", Type::Bool),
];
