//! Folders for execution ids, whatever a scheduler makes of them.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The longest folder, in bytes; a longer encoding becomes a prefix and a SHA-256.
pub(crate) const MAX_FOLDER_BYTES: usize = 120;

/// A name as a key's segment: `A-Z a-z 0-9 _ -` stand for themselves, every other byte of the
/// UTF-8 is `=XX`. Reversible by [`decode`], and never a `.`, a `/` or a `..`.
pub(crate) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("={byte:02X}"));
        }
    }
    encoded
}

/// The name that [`encode`] was given; `None` for what it never makes.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'=' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &tail[2..];
    }
    let name = String::from_utf8(bytes).ok()?;
    (encode(&name) == encoded).then_some(name)
}

/// The folder of an execution id. Two ids never share one.
///
/// Over [`MAX_FOLDER_BYTES`] the folder is the first bytes of the encoding, `==` (which no encoding
/// holds) and the SHA-256 of the id in full: the id itself is kept inside the objects.
pub(crate) fn folder(execution_id: &str) -> Result<String> {
    if execution_id.is_empty() {
        return Err(Error::Name {
            name: String::new(),
            reason: "an execution id is not empty".to_owned(),
        });
    }
    let encoded = encode(execution_id);
    if encoded.len() <= MAX_FOLDER_BYTES {
        return Ok(encoded);
    }
    let hash = hex(&Sha256::digest(execution_id.as_bytes()));
    let room = MAX_FOLDER_BYTES - hash.len() - 2;
    Ok(format!("{}=={hash}", &encoded[..room]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schedulers_ids_become_safe_folders() {
        let id = "manual__2025-10-23T12:00:00+00:00";
        assert_eq!(
            folder(id).unwrap(),
            "manual__2025-10-23T12=3A00=3A00=2B00=3A00"
        );
        assert_eq!(folder("..").unwrap(), "=2E=2E");
        assert_eq!(folder("a/../b ç").unwrap(), "a=2F=2E=2E=2Fb=20=C3=A7");
        assert!(matches!(folder(""), Err(Error::Name { .. })));
    }

    #[test]
    fn long_ids_that_begin_alike_have_folders_of_their_own() {
        let (a, b) = (
            format!("{}a", "x".repeat(249)),
            format!("{}b", "x".repeat(249)),
        );
        let (a, b) = (folder(&a).unwrap(), folder(&b).unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), MAX_FOLDER_BYTES);
        assert_eq!(decode(&a), None);
    }

    proptest! {
        #[test]
        fn encoding_is_reversible_and_safe(id in "\\PC{1,60}") {
            let encoded = encode(&id);
            prop_assert_eq!(decode(&encoded), Some(id.clone()));
            let folder = folder(&id).unwrap();
            prop_assert!(folder.len() <= MAX_FOLDER_BYTES);
            prop_assert!(folder.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(&b)));
        }

        #[test]
        fn two_ids_never_share_a_folder(a in "[xé:]{1,130}", b in "[xé:]{1,130}") {
            prop_assert_eq!(a == b, folder(&a).unwrap() == folder(&b).unwrap());
        }
    }
}
