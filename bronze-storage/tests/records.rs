//! Objects of JSON records larger than what may be held of them. A process of its own: the kernel
//! counts its memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;

use bronze_storage::{BronzeConfig, BronzeStore, Error, TempRef};
use bytes::Bytes;
use futures::StreamExt;

const MIB: usize = 1024 * 1024;

/// The peak resident set of this process, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches("kB").trim();
    kib.parse::<usize>().unwrap() * 1024
}

/// Records of 8 KiB, a piece of them.
fn records() -> String {
    let mut state = 7_u64;
    let mut text = String::new();
    for n in 0..128 {
        write!(text, "{{\"n\":{n},\"valor\":{n}.5,\"texto\":\"").unwrap();
        for _ in 0..512 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            write!(text, "{state:016x}").unwrap();
        }
        text.push_str("\"}\n");
    }
    text
}

#[tokio::test]
async fn records_are_read_in_less_memory_than_they_take() {
    const PIECES: usize = 32;
    let folder = tempfile::tempdir().unwrap();
    let store = BronzeStore::open(&BronzeConfig::local(folder.path())).unwrap();
    let temp = store.folder().unwrap().join("_temp/e");
    std::fs::create_dir_all(&temp).unwrap();
    let (lines, rows) = (records(), PIECES * 128);
    {
        let frame = zstd::encode_all(lines.as_bytes(), 1).unwrap();
        let objects = [
            ("raw.ndjson.zst", Bytes::from(frame)),
            ("raw.json", {
                Bytes::from(lines.trim_end().replace('\n', ","))
            }),
        ];
        for (name, piece) in objects {
            // Frames one after another are a zstd stream; arrays want brackets and commas.
            let mut file = std::fs::File::create(temp.join(name)).unwrap();
            let json = name == "raw.json";
            for n in 0..PIECES {
                let before: &[u8] = match (json, n) {
                    (false, _) => b"",
                    (true, 0) => b"[",
                    (true, _) => b",",
                };
                std::io::Write::write_all(&mut file, before).unwrap();
                std::io::Write::write_all(&mut file, &piece).unwrap();
            }
            if json {
                std::io::Write::write_all(&mut file, b"]").unwrap();
            }
        }
    }
    let before = peak();
    for name in ["raw.ndjson.zst", "raw.json"] {
        let size = std::fs::metadata(temp.join(name)).unwrap().len();
        assert!(size as usize > 12 * MIB, "{name}: {size} bytes");
        let reference: TempRef = format!("_temp/e/{name}").parse().unwrap();
        let data = store.read_temp(&reference).await.unwrap();
        assert_eq!(
            data.schema().field(1).data_type().to_string(),
            "Decimal128(38, 1)"
        );
        let mut stream = data.into_stream();
        let mut back = 0;
        while let Some(batch) = stream.next().await {
            back += batch.unwrap().num_rows();
        }
        assert_eq!(back, rows);
    }
    let more = peak() - before;
    assert!(more < 10 * MIB, "{more} bytes more than before");

    // A second reader never mixes versions, and a cut object gives no row at all.
    let path = temp.join("raw.ndjson.zst");
    let reference: TempRef = "_temp/e/raw.ndjson.zst".parse().unwrap();
    let mut stream = store.read_temp(&reference).await.unwrap().into_stream();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let changed = stream.next().await.unwrap();
    assert!(matches!(changed, Err(Error::Changed { .. })), "{changed:?}");
    let cut = store.read_temp(&reference).await;
    assert!(
        matches!(&cut, Err(Error::Format { key, .. }) if key == "_temp/e/raw.ndjson.zst"),
        "{cut:?}"
    );
}
