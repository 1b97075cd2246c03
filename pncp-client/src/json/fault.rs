//! What is wrong with a text, and where, told in a way that a person finds it.

use crate::error::Error;

/// Text shown of what stands at a fault, in bytes.
const NEAR_MAX: usize = 48;
/// Longer paths are cut at their start.
const PATH_MAX: usize = 200;

/// A text that is not the JSON expected. Small, because every step of a walk may answer it; the
/// path is looked for only when one becomes an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte offset into the text that was walked.
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

impl Fault {
    /// The error, with path and first bytes; `body` is the text that was walked.
    pub(crate) fn of(self, body: &[u8]) -> Error {
        let offset = self.offset.min(body.len());
        let near = &body[offset..body.len().min(offset + NEAR_MAX)];
        Error::Json {
            offset: self.offset,
            reason: self.reason,
            path: path_at(body, self.offset),
            near: String::from_utf8_lossy(near).into_owned(),
        }
    }
}

/// The path of what a typed reader refused.
pub(crate) fn path_of(body: &[u8], error: &serde_json::Error) -> String {
    let before = body
        .split(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1));
    let lines: usize = before.map(|line| line.len() + 1).sum();
    path_at(body, lines + error.column())
}

/// A container that is open at the offset.
enum Open<'a> {
    Object { key: Option<&'a [u8]> },
    Array { index: usize },
}

/// The path of the value at `offset`, as `$.data[17].orgaoEntidade.cnpj`; that of its object
/// where no key comes before. The text up to there is taken as it is, right or wrong.
pub(crate) fn path_at(body: &[u8], offset: usize) -> String {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while at < offset.min(body.len()) {
        match body[at] {
            b'{' => open.push(Open::Object { key: None }),
            b'[' => open.push(Open::Array { index: 0 }),
            b'}' | b']' => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Array { index }) => *index += 1,
                Some(Open::Object { key }) => *key = None,
                None => {}
            },
            b'"' => {
                let end = string_end(body, at + 1);
                if end >= offset {
                    break;
                }
                if let Some(Open::Object { key }) = open.last_mut()
                    && key.is_none()
                {
                    *key = Some(&body[at + 1..end]);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    spell(&open)
}

/// The offset of the quote that ends the string whose text begins at `at`.
fn string_end(body: &[u8], mut at: usize) -> usize {
    while at < body.len() {
        match body[at] {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    body.len()
}

fn spell(open: &[Open<'_>]) -> String {
    let mut path = String::from("$");
    for step in open {
        match step {
            Open::Array { index } => path.push_str(&format!("[{index}]")),
            Open::Object { key: None } => {}
            Open::Object { key: Some(key) } => {
                let plain = key
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
                let key = String::from_utf8_lossy(key);
                if plain && !key.is_empty() {
                    path.push('.');
                    path.push_str(&key);
                } else {
                    path.push_str(&format!("[\"{key}\"]"));
                }
            }
        }
    }
    if path.len() <= PATH_MAX {
        return path;
    }
    let mut cut = path.len() - PATH_MAX;
    while !path.is_char_boundary(cut) {
        cut += 1;
    }
    format!("$…{}", &path[cut..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        let body = br#"{"data":[{"a":1},{"orgaoEntidade":{"cnpj":"27","b c":[1,{}, x]}}],"n":"#;
        let path = |needle: &str| {
            let text = std::str::from_utf8(body).unwrap();
            path_at(body, text.find(needle).unwrap())
        };
        assert_eq!(path("{\"data"), "$");
        assert_eq!(path("[{"), "$.data");
        assert_eq!(path("1}"), "$.data[0].a");
        assert_eq!(path("\"orgao"), "$.data[1]");
        assert_eq!(path("\"27"), "$.data[1].orgaoEntidade.cnpj");
        assert_eq!(path("7\""), "$.data[1].orgaoEntidade.cnpj");
        assert_eq!(path("x]"), r#"$.data[1].orgaoEntidade["b c"][2]"#);
        assert_eq!(path_at(body, body.len()), "$.n");
        assert_eq!(path_at(body, usize::MAX), "$.n");
    }

    #[test]
    fn paths_of_a_typed_reader() {
        #[derive(Debug, serde::Deserialize)]
        struct Row {
            _id: u16,
        }
        let body = b"[{\"_id\":1},\n {\"_id\":\"two\"}]";
        let error = serde_json::from_slice::<Vec<Row>>(body).unwrap_err();
        assert_eq!(path_of(body, &error), "$[1]._id");
        let error = serde_json::from_slice::<Vec<Row>>(b"{}").unwrap_err();
        assert_eq!(path_of(b"{}", &error), "$");
    }

    #[test]
    fn bounded_and_readable() {
        let deep = path_at("[".repeat(5_000).as_bytes(), 5_000);
        assert!(deep.starts_with("$…") && deep.len() < 210, "{deep}");
        let fault = Fault {
            offset: 8,
            reason: "expected a value",
        };
        let error = fault.of("{\"data\":é".as_bytes());
        assert_eq!(
            error.to_string(),
            "malformed json: expected a value. at=`$.data`, offset=8, near=`é`"
        );
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\a".to_vec())], 0..60), offset in 0_usize..70) {
            let path = path_at(&body, offset);
            prop_assert!(path.starts_with('$'));
            let _ = Fault { offset, reason: "" }.of(&body);
        }
    }
}
