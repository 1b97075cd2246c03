//! Texts of a small alphabet, two characters a byte.
//!
//! Keys of contratações and their versions are digits and a few signs: packed they take half their bytes, and packed
//! texts compare as the texts do.

/// In the order of ASCII; the digit 0 of a packed byte stands for the end of the text.
const ALPHABET: &[u8; 15] = b"-0123456789:TZ|";

/// Appends `text` packed to `bytes`, and says whether it could: what holds other characters is left alone.
pub(crate) fn pack(text: &str, bytes: &mut Vec<u8>) -> bool {
    if !text.bytes().all(|byte| nibble(byte).is_some()) {
        return false;
    }
    let code = |byte: u8| nibble(byte).unwrap_or(0);
    let pairs = text.as_bytes().chunks(2);
    bytes.extend(pairs.map(|pair| code(pair[0]) << 4 | pair.get(1).map_or(0, |byte| code(*byte))));
    true
}

/// The text of `chars` characters that was packed into `bytes`.
pub(crate) fn unpack(bytes: &[u8], chars: usize) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .take(chars)
        .filter_map(|nibble| ALPHABET.get(usize::from(nibble).checked_sub(1)?))
        .map(|byte| char::from(*byte))
        .collect()
}

/// The bytes that a packed text of `chars` characters takes.
pub(crate) fn packed_len(chars: usize) -> usize {
    chars.div_ceil(2)
}

fn nibble(byte: u8) -> Option<u8> {
    let at = match byte {
        b'-' => 0,
        b'0'..=b'9' => byte - b'0' + 1,
        b':' => 11,
        b'T' => 12,
        b'Z' => 13,
        b'|' => 14,
        _ => return None,
    };
    Some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        pack(text, &mut bytes).then_some(bytes)
    }

    #[test]
    fn texts_come_back_and_take_half() {
        for text in [
            "",
            "1",
            "83102277000152|2025|423",
            "2025-10-22T10:00:00",
            "-|ZT:0-",
        ] {
            let bytes = packed(text).unwrap();
            assert_eq!(bytes.len(), packed_len(text.len()));
            assert_eq!(unpack(&bytes, text.len()), text);
        }
        assert_eq!(packed("12ABC345000190|2026|1"), None);
        assert_eq!(packed("ação"), None);
    }

    #[test]
    fn packed_texts_compare_as_texts_do() {
        let texts = [
            "",
            "-",
            "0",
            "1",
            "10",
            "1|",
            "2|2025|9",
            "2|2025|90",
            "2|2025|91",
            "9",
            "T",
            "|",
        ];
        for a in texts {
            for b in texts {
                assert_eq!(packed(a).cmp(&packed(b)), a.cmp(b), "{a} {b}");
            }
        }
    }
}
