//! Objects of JSON records, cut into records as their bytes come: NDJSON under zstd, JSON arrays.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use zstd::stream::raw::{Decoder, Operation};

use crate::format::Format;

/// The longest record that is taken. A foreign file without a line break ends here, and not at the
/// end of the memory.
pub(crate) const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// How much text is decoded at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Text out of an object's bytes, a piece at a time.
pub(crate) struct Text {
    zstd: Option<Decoder<'static>>,
    piece: Vec<u8>,
    /// The last piece was full: the decoder may hold more without new bytes.
    pending: bool,
    /// A frame has begun and not ended.
    open: bool,
}

impl Text {
    pub(crate) fn new(format: Format) -> std::io::Result<Self> {
        let zstd = match format {
            Format::Json => None,
            _ => Some(Decoder::new()?),
        };
        Ok(Self {
            open: zstd.is_some(),
            zstd,
            piece: vec![0; PIECE_BYTES],
            pending: false,
        })
    }

    /// Whether the next piece needs no new bytes.
    pub(crate) fn pending(&self) -> bool {
        self.pending
    }

    /// The next piece; takes from `bytes` what it was made of.
    pub(crate) fn next(&mut self, bytes: &mut Bytes) -> std::io::Result<&[u8]> {
        let filled = match &mut self.zstd {
            None => {
                let now = bytes.len().min(PIECE_BYTES);
                bytes.copy_to_slice(&mut self.piece[..now]);
                now
            }
            Some(decoder) => {
                let status = decoder.run_on_buffers(bytes, &mut self.piece)?;
                bytes.advance(status.bytes_read);
                // Nothing of either: the call changed nothing, and its answer is no news.
                if status.bytes_read + status.bytes_written > 0 {
                    self.open = status.remaining != 0;
                }
                self.pending = status.bytes_written == PIECE_BYTES;
                status.bytes_written
            }
        };
        Ok(&self.piece[..filled])
    }

    /// Refuses an end in the middle.
    pub(crate) fn finish(&self) -> Result<(), String> {
        if self.open {
            return Err("the zstd frame is cut short".to_owned());
        }
        Ok(())
    }
}

/// Records out of text.
pub(crate) struct Cutter {
    cut: Cut,
    begun: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

enum Cut {
    Lines,
    Array(Array),
}

/// Where in a JSON array the next byte lies.
#[derive(Default)]
struct Array {
    place: Place,
    /// Brackets that are open inside the record.
    depth: usize,
    in_text: bool,
    escaped: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `[`.
    #[default]
    Before,
    /// After `[`: a record, or `]`.
    First,
    /// After `,`: a record.
    Next,
    /// After `]`.
    After,
}

impl Cutter {
    pub(crate) fn new(format: Format) -> Self {
        let cut = match format {
            Format::Json => Cut::Array(Array::default()),
            _ => Cut::Lines,
        };
        Self {
            cut,
            begun: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next whole record; none is empty.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// Takes text.
    pub(crate) fn feed(&mut self, text: &[u8]) -> Result<(), String> {
        match &mut self.cut {
            Cut::Lines => {
                let mut lines = text.split(|byte| *byte == b'\n');
                let last = lines.next_back().unwrap_or_default();
                for line in lines {
                    self.begun.extend_from_slice(line);
                    end(&mut self.begun, &mut self.ready);
                }
                self.begun.extend_from_slice(last);
            }
            Cut::Array(_) => self.feed_array(text)?,
        }
        if self.begun.len() > MAX_RECORD_BYTES {
            return Err(format!("a record is longer than {MAX_RECORD_BYTES} bytes"));
        }
        Ok(())
    }

    /// The end of the text.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        match &self.cut {
            Cut::Lines => {
                end(&mut self.begun, &mut self.ready);
                Ok(())
            }
            Cut::Array(array) if array.place == Place::After => Ok(()),
            Cut::Array(_) => Err("the array is cut short".to_owned()),
        }
    }

    /// The records themselves are parsed later; here only their ends are found.
    fn feed_array(&mut self, text: &[u8]) -> Result<(), String> {
        let Cut::Array(array) = &mut self.cut else {
            return Ok(());
        };
        let mut from = 0;
        for (at, byte) in text.iter().copied().enumerate() {
            if array.in_text {
                match byte {
                    _ if array.escaped => array.escaped = false,
                    b'\\' => array.escaped = true,
                    b'"' => array.in_text = false,
                    _ => {}
                }
                continue;
            }
            match (array.place, byte) {
                (Place::Before, b'[') => (array.place, from) = (Place::First, at + 1),
                (Place::Before | Place::After, byte) if byte.is_ascii_whitespace() => from = at + 1,
                (Place::Before, _) => return Err("it is no array".to_owned()),
                (Place::After, _) => return Err("something follows the array".to_owned()),
                (_, b'"') => array.in_text = true,
                (_, b'{' | b'[') => array.depth += 1,
                (_, b'}' | b']') if array.depth > 0 => array.depth -= 1,
                (place, b',' | b']') if array.depth == 0 => {
                    self.begun.extend_from_slice(&text[from..at]);
                    from = at + 1;
                    let any = end(&mut self.begun, &mut self.ready);
                    if !any && (byte == b',' || place == Place::Next) {
                        return Err("a record is missing between commas".to_owned());
                    }
                    array.place = if byte == b',' {
                        Place::Next
                    } else {
                        Place::After
                    };
                }
                _ => {}
            }
        }
        self.begun.extend_from_slice(&text[from..]);
        Ok(())
    }
}

/// Ends the record that has begun; whether there was any.
fn end(begun: &mut Vec<u8>, ready: &mut VecDeque<Vec<u8>>) -> bool {
    let any = !begun.trim_ascii().is_empty();
    if any {
        ready.push_back(std::mem::take(begun));
    }
    begun.clear();
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(format: Format, text: &[u8], piece: usize) -> Result<Vec<String>, String> {
        let mut cutter = Cutter::new(format);
        let mut records = Vec::new();
        for piece in text.chunks(piece) {
            cutter.feed(piece)?;
            while let Some(record) = cutter.next() {
                records.push(String::from_utf8(record).unwrap().trim().to_owned());
            }
        }
        cutter.finish()?;
        while let Some(record) = cutter.next() {
            records.push(String::from_utf8(record).unwrap().trim().to_owned());
        }
        Ok(records)
    }

    #[test]
    fn arrays_are_cut_at_their_own_commas() {
        let text = br#" [ {"a":"],}\"[","b":[1,{"c":2}]} ,
            {"a":null}, {}
        ] "#;
        let expected = [r#"{"a":"],}\"[","b":[1,{"c":2}]}"#, r#"{"a":null}"#, "{}"];
        for piece in 1..text.len() {
            assert_eq!(cut(Format::Json, text, piece).unwrap(), expected);
        }
        assert!(cut(Format::Json, b"[]", 1).unwrap().is_empty());
        for bad in [
            "",
            "[",
            "[{}",
            "[{},]",
            "[,{}]",
            "[{},,{}]",
            "[]]",
            "[] x",
            "{}",
            "[{\"a\":\"]",
        ] {
            assert!(cut(Format::Json, bad.as_bytes(), 3).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_without_an_end_is_refused_before_it_fills_the_memory() {
        let mut cutter = Cutter::new(Format::Ndjson);
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..100).find_map(|n| cutter.feed(&piece).err().map(|_| n));
        assert_eq!(fed, Some(MAX_RECORD_BYTES >> 20));
    }

    proptest! {
        #[test]
        fn what_is_cut_does_not_depend_on_the_pieces(
            records in prop::collection::vec("\\{\"k\":\"[a-z,\\]\\[{} ]{0,8}\"\\}", 0..6),
            piece in 1..40_usize
        ) {
            let lines = records.join("\r\n\n") + "\n";
            prop_assert_eq!(cut(Format::Ndjson, lines.as_bytes(), piece).unwrap(), records.clone());
            let array = format!("[{}]", records.join(",\n"));
            prop_assert_eq!(cut(Format::Json, array.as_bytes(), piece).unwrap(), records);
        }

        #[test]
        fn decoded_text_is_the_text_however_it_was_cut(
            text in prop::collection::vec(any::<u8>(), 0..3000),
            repeat in 1..300_usize, piece in 1..5000_usize, frames in 1..3_usize
        ) {
            let text: Vec<u8> = text.iter().copied().cycle().take(text.len() * repeat).collect();
            let frame = zstd::encode_all(text.as_slice(), 1).unwrap();
            let all = Bytes::from(frame.repeat(frames));
            let mut decoder = Text::new(Format::Ndjson).unwrap();
            let mut out = Vec::new();
            for at in (0..all.len()).step_by(piece) {
                let mut bytes = all.slice(at..all.len().min(at + piece));
                while !bytes.is_empty() || decoder.pending() {
                    out.extend_from_slice(decoder.next(&mut bytes).unwrap());
                }
            }
            decoder.finish().unwrap();
            prop_assert_eq!(out, text.repeat(frames));
            let mut decoder = Text::new(Format::Ndjson).unwrap();
            let mut bytes = all.slice(..all.len() - 1);
            while !bytes.is_empty() || decoder.pending() {
                decoder.next(&mut bytes).unwrap();
            }
            prop_assert!(decoder.finish().is_err());
        }
    }
}
