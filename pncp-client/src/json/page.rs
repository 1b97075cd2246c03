use std::ops::Range;

use super::fault::Fault;
use super::number::integer;
use super::scan::{Kind, Scanner};
use crate::error::{Error, Result};

/// The outer shape of a list page, with where its records lie in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) total_registros: u64,
    pub(crate) total_paginas: u64,
    pub(crate) numero_pagina: u64,
    pub(crate) paginas_restantes: u64,
    pub(crate) records: Vec<Range<usize>>,
}

impl Envelope {
    /// Reads a whole page; every byte of it has been checked to be JSON.
    pub(crate) fn read(body: &[u8]) -> Result<Self> {
        Self::scan(body).map_err(|fault| fault.of(body))
    }

    fn scan(body: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(body)?;
        let mut reader = EnvelopeReader::default();
        while reader.next_data(&mut scanner)? {
            reader.envelope.records = elements(&mut scanner)?;
        }
        reader.finish(&mut scanner)
    }
}

/// Reads a page but for its records.
#[derive(Debug, Default)]
pub(super) struct EnvelopeReader {
    envelope: Envelope,
    begun: bool,
    data: bool,
    total: bool,
    pages: bool,
}

impl EnvelopeReader {
    /// Reads on to the value of `data`, which the caller then has to read; false at the end.
    pub(super) fn next_data(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Fault> {
        let mut first = !self.begun;
        if first {
            scanner.begin_object()?;
            self.begun = true;
        }
        while let Some(key) = scanner.next_key(&mut first)? {
            match &*key.decode_lossy() {
                "data" => {
                    self.data = true;
                    return Ok(true);
                }
                "totalRegistros" => {
                    self.total = true;
                    self.envelope.total_registros = count(scanner)?;
                }
                "totalPaginas" => {
                    self.pages = true;
                    self.envelope.total_paginas = count(scanner)?;
                }
                "numeroPagina" => self.envelope.numero_pagina = count(scanner)?,
                "paginasRestantes" => self.envelope.paginas_restantes = count(scanner)?,
                _ => {
                    scanner.skip_value()?;
                }
            }
        }
        Ok(false)
    }

    /// The page, if it is one and nothing follows it.
    pub(super) fn finish(self, scanner: &mut Scanner<'_>) -> Result<Envelope, Fault> {
        scanner.end()?;
        if self.data && self.total && self.pages {
            return Ok(self.envelope);
        }
        Err(Fault {
            offset: 0,
            reason: "not a page: data, totalRegistros or totalPaginas is missing",
        })
    }
}

fn count(scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
    if scanner.peek()? != Kind::Number {
        return scanner.error("expected a count");
    }
    let start = scanner.position();
    match integer(scanner.number()?).and_then(|value| u64::try_from(value).ok()) {
        Some(value) => Ok(value),
        None => Err(Fault {
            offset: start,
            reason: "expected a count",
        }),
    }
}

fn elements(scanner: &mut Scanner<'_>) -> Result<Vec<Range<usize>>, Fault> {
    let mut found = Vec::new();
    scanner.begin_array()?;
    let mut first = true;
    while scanner.next_element(&mut first)? {
        let length = scanner.skip_value()?.len();
        found.push(scanner.position() - length..scanner.position());
    }
    Ok(found)
}

/// Where the elements of a bare array lie.
fn list_ranges(body: &[u8]) -> Result<Vec<Range<usize>>, Fault> {
    let mut scanner = Scanner::new(body)?;
    let found = elements(&mut scanner)?;
    scanner.end()?;
    Ok(found)
}

/// The field `name` of every element, where it is a whole number. A list that is not JSON has
/// none.
pub(crate) fn element_numbers(body: &[u8], name: &str) -> Vec<Option<i64>> {
    let Ok(ranges) = list_ranges(body) else {
        return Vec::new();
    };
    ranges
        .into_iter()
        .map(|range| number_field(&body[range], name))
        .collect()
}

fn number_field(record: &[u8], name: &str) -> Option<i64> {
    let mut scanner = Scanner::new(record).ok()?;
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        if key.decode_lossy() == name && scanner.peek().ok()? == Kind::Number {
            return integer(scanner.number().ok()?);
        }
        scanner.skip_value().ok()?;
    }
    None
}

/// A body that is one count.
pub(crate) fn whole_number(body: &[u8]) -> Result<u64> {
    let read = || {
        let mut scanner = Scanner::new(body)?;
        let value = count(&mut scanner)?;
        scanner.end()?;
        Ok(value)
    };
    read().map_err(|fault: Fault| fault.of(body))
}

/// How many elements a bare array has.
pub(crate) fn list_len(body: &[u8]) -> Result<usize> {
    match list_ranges(body) {
        Ok(ranges) => Ok(ranges.len()),
        Err(fault) => Err(fault.of(body)),
    }
}

/// Why a body is no JSON value; `None` if it is one.
pub(crate) fn syntax_error(body: &[u8]) -> Option<Error> {
    let read = || {
        let mut scanner = Scanner::new(body)?;
        scanner.skip_value()?;
        scanner.end()
    };
    read().err().map(|fault| fault.of(body))
}

/// What a body turned out to be, whatever it was labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Empty,
    Object,
    Array,
    Number,
    /// JSON of another kind.
    Scalar,
    /// It starts like a page of a browser.
    Html,
    /// It starts like JSON but does not end like it.
    Cut,
    /// Anything else.
    Text,
}

impl Body {
    pub(crate) fn of(body: &[u8]) -> Self {
        let start = body.trim_ascii_start();
        let Some(&first) = start.first() else {
            return Self::Empty;
        };
        if first == b'<' {
            return Self::Html;
        }
        let Ok(mut scanner) = Scanner::new(body) else {
            return if matches!(first, b'{' | b'[') {
                Self::Cut
            } else {
                Self::Text
            };
        };
        let Ok(kind) = scanner.peek() else {
            return Self::Text;
        };
        if scanner.skip_value().is_err() || scanner.end().is_err() {
            return if matches!(first, b'{' | b'[') {
                Self::Cut
            } else {
                Self::Text
            };
        }
        match kind {
            Kind::Object => Self::Object,
            Kind::Array => Self::Array,
            Kind::Number => Self::Number,
            Kind::Null | Kind::Bool | Kind::String => Self::Scalar,
        }
    }
}

/// The `message` of the API's own errors, in any of their shapes.
pub(crate) fn message_of(body: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(body).ok()?;
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        if key.decode_lossy() == "message" && scanner.peek().ok()? == Kind::String {
            return Some(scanner.string().ok()?.decode_lossy().into_owned());
        }
        scanner.skip_value().ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_and_ranges() {
        let body = br#"{"data":[{"a":1}, {"b":"]"}],"totalRegistros":120,"totalPaginas":3,"numeroPagina":1,"paginasRestantes":2,"empty":false}"#;
        let envelope = Envelope::read(body).unwrap();
        assert_eq!((envelope.total_registros, envelope.total_paginas), (120, 3));
        let texts: Vec<_> = envelope.records.iter().map(|r| &body[r.clone()]).collect();
        assert_eq!(texts, [&br#"{"a":1}"#[..], br#"{"b":"]"}"#]);
        assert!(Envelope::read(b"{}").is_err());
        assert!(Envelope::read(&body[..40]).is_err());
    }

    #[test]
    fn kinds() {
        assert_eq!(Body::of(b" \n"), Body::Empty);
        assert_eq!(Body::of(b"[]"), Body::Array);
        assert_eq!(Body::of(b"12"), Body::Number);
        assert_eq!(Body::of(b"{\"a\":"), Body::Cut);
        assert_eq!(
            Body::of("[\"é".as_bytes().split_last().unwrap().1),
            Body::Cut
        );
        assert_eq!(Body::of(b"<html>"), Body::Html);
        assert_eq!(
            Body::of("Erro na comunicação com o banco de dados.".as_bytes()),
            Body::Text
        );
    }
}
