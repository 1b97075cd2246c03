use std::borrow::Cow;

use super::fault::Fault;
use super::number::integer;
use super::scan::{Kind, Scanner};
#[cfg(feature = "arrow")]
use super::tape::{Doc, Node};
use crate::domain::ContratacaoKey;
use crate::error::Result;

/// The few fields that decide what happens to a contratação, read without decoding the rest.
/// A field that is absent, null or of another type is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFields<'a> {
    /// `numeroControlePNCP`
    pub numero_controle: Option<Cow<'a, str>>,
    /// `orgaoEntidade.cnpj`
    pub cnpj: Option<Cow<'a, str>>,
    /// `anoCompra`
    pub ano: Option<i64>,
    /// `sequencialCompra`
    pub sequencial: Option<i64>,
    /// `modalidadeId`
    pub modalidade: Option<i64>,
    /// `dataPublicacaoPncp`, as sent
    pub data_publicacao: Option<Cow<'a, str>>,
    /// `dataAtualizacaoGlobal`, as sent
    pub data_atualizacao_global: Option<Cow<'a, str>>,
}

impl KeyFields<'_> {
    /// The details key, if buyer, year and number are all there and well formed.
    pub fn key(&self) -> Option<ContratacaoKey> {
        ContratacaoKey::new(
            self.cnpj.as_deref()?,
            u16::try_from(self.ano?).ok()?,
            u32::try_from(self.sequencial?).ok()?,
        )
        .ok()
    }
}

/// Reads the [`KeyFields`] of one record.
///
/// # Errors
/// [`Error::Json`](crate::Error::Json) if `record` is not one JSON object.
pub fn key_fields(record: &[u8]) -> Result<KeyFields<'_>> {
    read(record).map_err(|fault| fault.of(record))
}

/// As [`key_fields`], of a record that was walked.
#[cfg(feature = "arrow")]
pub(crate) fn key_fields_at<'a>(doc: Doc<'a>, index: usize) -> KeyFields<'a> {
    use crate::shape::{CONTRATACAO, ORGAO, index_of};
    const NUMERO: usize = index_of(CONTRATACAO, "numeroControlePNCP");
    const ANO: usize = index_of(CONTRATACAO, "anoCompra");
    const SEQUENCIAL: usize = index_of(CONTRATACAO, "sequencialCompra");
    const MODALIDADE: usize = index_of(CONTRATACAO, "modalidadeId");
    const PUBLICACAO: usize = index_of(CONTRATACAO, "dataPublicacaoPncp");
    const ATUALIZACAO: usize = index_of(CONTRATACAO, "dataAtualizacaoGlobal");
    const ORGAO_ENTIDADE: usize = index_of(CONTRATACAO, "orgaoEntidade");
    const CNPJ: usize = index_of(ORGAO, "cnpj");

    let text = |node: &Node| match node.kind() {
        Kind::String => doc.string(node).decode(),
        _ => None,
    };
    let whole = |node: &Node| match node.kind() {
        Kind::Number => integer(doc.inner(node)),
        _ => None,
    };
    let mut fields = KeyFields::default();
    let mut repeated = doc.node(index).has_repeated();
    for (child, node) in doc.children(index) {
        match node.field() {
            Some(NUMERO) => fields.numero_controle = text(node),
            Some(ANO) => fields.ano = whole(node),
            Some(SEQUENCIAL) => fields.sequencial = whole(node),
            Some(MODALIDADE) => fields.modalidade = whole(node),
            Some(PUBLICACAO) => fields.data_publicacao = text(node),
            Some(ATUALIZACAO) => fields.data_atualizacao_global = text(node),
            Some(ORGAO_ENTIDADE) if node.is_opened() => {
                repeated |= node.has_repeated();
                let cnpj = doc
                    .children(child)
                    .find(|(_, node)| node.field() == Some(CNPJ));
                fields.cnpj = cnpj.and_then(|(_, node)| text(node));
            }
            _ => {}
        }
    }
    if repeated {
        // Which of two occurrences counts is decided in one place.
        return key_fields(doc.raw(doc.node(index)).as_bytes()).unwrap_or(fields);
    }
    fields
}

fn read(record: &[u8]) -> Result<KeyFields<'_>, Fault> {
    let mut scanner = Scanner::new(record)?;
    let mut fields = KeyFields::default();
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        match &*key.decode_lossy() {
            "numeroControlePNCP" => set(&mut fields.numero_controle, text(&mut scanner)?),
            "anoCompra" => set(&mut fields.ano, whole(&mut scanner)?),
            "sequencialCompra" => set(&mut fields.sequencial, whole(&mut scanner)?),
            "modalidadeId" => set(&mut fields.modalidade, whole(&mut scanner)?),
            "dataPublicacaoPncp" => set(&mut fields.data_publicacao, text(&mut scanner)?),
            "dataAtualizacaoGlobal" => {
                set(&mut fields.data_atualizacao_global, text(&mut scanner)?);
            }
            "orgaoEntidade" if scanner.peek()? == Kind::Object => {
                set(&mut fields.cnpj, cnpj(&mut scanner)?);
            }
            _ => {
                scanner.skip_value()?;
            }
        }
    }
    scanner.end()?;
    Ok(fields)
}

/// The first of two occurrences wins, as in the columns.
fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn text<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, str>>, Fault> {
    if scanner.peek()? == Kind::String {
        return Ok(scanner.string()?.decode());
    }
    scanner.skip_value().map(|_| None)
}

fn whole(scanner: &mut Scanner<'_>) -> Result<Option<i64>, Fault> {
    if scanner.peek()? == Kind::Number {
        return Ok(integer(scanner.number()?));
    }
    scanner.skip_value().map(|_| None)
}

fn cnpj<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, str>>, Fault> {
    let mut found = None;
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        if key.decode_lossy() == "cnpj" {
            set(&mut found, text(scanner)?);
        } else {
            scanner.skip_value()?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_forgives() {
        let record = br#"{"anoCompra":2026,"orgaoEntidade":{"x":[1],"cnpj":"27142058000126"},"sequencialCompra":163.0,
            "numeroControlePNCP":"27142058000126-1-000163/2026","dataPublicacaoPncp":null,"modalidadeId":"6"}"#;
        let fields = key_fields(record).unwrap();
        assert_eq!(fields.key().unwrap().to_string(), "27142058000126|2026|163");
        assert_eq!(
            fields.numero_controle.as_deref(),
            Some("27142058000126-1-000163/2026")
        );
        assert_eq!((fields.modalidade, fields.data_publicacao), (None, None));
        assert!(key_fields(b"[]").is_err());
    }
}
