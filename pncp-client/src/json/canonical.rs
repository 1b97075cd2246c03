use sha2::{Digest, Sha256};

use super::fault::Fault;
use super::number::push_canonical;
use super::scan::{Kind, Scanner};
#[cfg(feature = "arrow")]
use super::text::push_escaped;
use super::text::{RawStr, push_respelled};
use crate::error::Result;
use crate::shape::{Field, Shape, Type};

/// The one spelling of a record: no white space, keys sorted by their bytes, numbers without
/// exponent or trailing zeros, strings with the least escaping, and fields of the shape that are
/// null left out (the API writes absence as null, as `""` or not at all; only null and absent
/// are the same here). Unknown fields keep their nulls.
///
/// # Errors
/// [`Error::Json`](crate::Error::Json) if `record` is not one JSON value.
pub fn canonical_json(record: &[u8], shape: Shape) -> Result<String> {
    let spell = || {
        let mut scanner = Scanner::new(record)?;
        let mut out = String::with_capacity(record.len());
        canonical(&mut scanner, shape.fields(), &mut out, &mut Vec::new(), 0)?;
        scanner.end()?;
        Ok(out)
    };
    spell().map_err(|fault: Fault| fault.of(record))
}

/// SHA-256 of [`canonical_json`], in 64 hexadecimal digits.
///
/// # Errors
/// As [`canonical_json`].
pub fn canonical_hash(record: &[u8], shape: Shape) -> Result<String> {
    let canonical = canonical_json(record, shape)?;
    let mut out = String::with_capacity(64);
    push_hash(&mut out, &canonical);
    Ok(out)
}

/// Appends the hash of a text that is canonical already.
pub(super) fn push_hash(out: &mut String, canonical: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in Sha256::digest(canonical.as_bytes()) {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

pub(super) type Entry<'a> = (RawStr<'a>, &'static [Field], Kind, &'a str);

/// Writes the value at the scanner. `entries` is scratch space, used as a stack.
pub(super) fn canonical<'a>(
    scanner: &mut Scanner<'a>,
    fields: &'static [Field],
    out: &mut String,
    entries: &mut Vec<Entry<'a>>,
    depth: usize,
) -> Result<(), Fault> {
    if depth > 100 {
        return scanner.error("nested too deep");
    }
    match scanner.peek()? {
        Kind::Null => {
            scanner.null()?;
            out.push_str("null");
        }
        Kind::Bool => out.push_str(if scanner.boolean()? { "true" } else { "false" }),
        Kind::Number => push_canonical(out, scanner.number()?),
        Kind::String => {
            out.push('"');
            push_respelled(out, scanner.string()?);
            out.push('"');
        }
        Kind::Array => {
            scanner.begin_array()?;
            out.push('[');
            let mut first = true;
            let mut started = false;
            while scanner.next_element(&mut first)? {
                if started {
                    out.push(',');
                }
                started = true;
                canonical(scanner, fields, out, entries, depth + 1)?;
            }
            out.push(']');
        }
        Kind::Object => object(scanner, fields, out, entries, depth)?,
    }
    Ok(())
}

fn object<'a>(
    scanner: &mut Scanner<'a>,
    fields: &'static [Field],
    out: &mut String,
    entries: &mut Vec<Entry<'a>>,
    depth: usize,
) -> Result<(), Fault> {
    scanner.begin_object()?;
    let base = entries.len();
    let mut first = true;
    let mut hint = 0;
    while let Some(key) = scanner.next_key(&mut first)? {
        let field = find(fields, key, &mut hint);
        let kind = scanner.peek()?;
        let raw = scanner.skip_value()?;
        if field.is_some() && kind == Kind::Null {
            continue;
        }
        let inner: &'static [Field] = match field.map(|field| &field.ty) {
            Some(Type::Object(inner) | Type::List(inner)) => inner,
            _ => &[],
        };
        entries.push((key, inner, kind, raw));
    }
    // Stable, so that a key that occurs twice keeps its order.
    entries[base..].sort_by(|a, b| by_name(a.0, b.0));
    out.push('{');
    for index in base..entries.len() {
        let (key, inner, kind, raw) = entries[index];
        if index > base {
            out.push(',');
        }
        out.push('"');
        push_respelled(out, key);
        out.push_str("\":");
        match kind {
            Kind::Number => push_canonical(out, raw),
            Kind::Null | Kind::Bool => out.push_str(raw),
            Kind::String => {
                let inner = &raw[1..raw.len() - 1];
                out.push('"');
                push_respelled(
                    out,
                    RawStr {
                        inner,
                        escaped: inner.contains('\\'),
                    },
                );
                out.push('"');
            }
            Kind::Array | Kind::Object => {
                canonical(&mut Scanner::over(raw), inner, out, entries, depth + 1)?;
            }
        }
    }
    out.push('}');
    entries.truncate(base);
    Ok(())
}

pub(super) fn by_name(a: RawStr<'_>, b: RawStr<'_>) -> std::cmp::Ordering {
    if a.escaped || b.escaped {
        let halved = |raw: RawStr<'_>| raw.decode().is_none();
        let texts = a.decode_lossy().cmp(&b.decode_lossy());
        // Half a surrogate pair is no backslash with its digits, though it reads like that.
        return texts.then_with(|| halved(a).cmp(&halved(b)));
    }
    a.inner.cmp(b.inner)
}

fn find(fields: &'static [Field], key: RawStr<'_>, hint: &mut usize) -> Option<&'static Field> {
    let name = key.decode_lossy();
    let index = crate::shape::position(fields, &name, *hint)?;
    *hint = index + 1;
    fields.get(index)
}

/// Appends a value as it is spelled, without white space between tokens, and with control
/// characters inside strings escaped, so that it is standard JSON.
#[cfg(feature = "arrow")]
pub(crate) fn push_minified(out: &mut String, raw: &str) {
    let mut rest = raw;
    while !rest.is_empty() {
        if rest.starts_with('"') {
            let mut scanner = Scanner::over(rest);
            let Ok(text) = scanner.string() else {
                out.push_str(rest);
                return;
            };
            out.push('"');
            if text.inner.bytes().any(|byte| byte < 0x20) {
                for character in text.inner.chars() {
                    match character {
                        '\0'..='\x1f' => push_escaped(out, character.encode_utf8(&mut [0; 4])),
                        other => out.push(other),
                    }
                }
            } else {
                out.push_str(text.inner);
            }
            out.push('"');
            rest = &rest[scanner.position()..];
            continue;
        }
        let run = rest
            .find(['"', ' ', '\n', '\r', '\t'])
            .unwrap_or(rest.len());
        out.push_str(&rest[..run]);
        rest = rest[run..].trim_start_matches([' ', '\n', '\r', '\t']);
    }
}
