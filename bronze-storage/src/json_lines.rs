//! Objects of JSON records written: NDJSON under zstd, and JSON arrays.

use std::io::Write;

use bytes::Bytes;
use futures::StreamExt;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::json::write_record;
use crate::store::BronzeStore;
use crate::upload::{Publish, Upload};
use crate::writer::Written;

const ZSTD_LEVEL: i32 = 3;

/// Bytes that are gathered before they are compressed and sent on.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes a dataset as records, streamed.
pub(crate) async fn write(
    store: &BronzeStore,
    data: Dataset,
    key: &str,
    publish: Publish,
    format: Format,
) -> Result<Written> {
    let mut upload = Upload::new(store, key, publish, store.write_options().part_bytes)?;
    match fill(&mut upload, data, format).await {
        Ok(rows) => Ok(Written::of(upload.finish().await?, rows)),
        Err(error) => {
            upload.abort().await;
            Err(error.naming(key))
        }
    }
}

async fn fill(upload: &mut Upload, data: Dataset, format: Format) -> Result<u64> {
    let mut sink = Sink::new(format)?;
    let (mut rows, mut text) = (0_u64, String::new());
    let array = format == Format::Json;
    let mut batches = data.into_stream();
    if array {
        text.push('[');
    }
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            if array {
                text.push_str(if rows > 0 { ",\n" } else { "\n" });
            }
            write_record(&mut text, &batch, row)?;
            if !array {
                text.push('\n');
            }
            rows += 1;
            if text.len() >= CHUNK_BYTES {
                upload.write(sink.take(&text)?).await?;
                text.clear();
            }
        }
    }
    if array {
        text.push_str("\n]\n");
    }
    upload.write(sink.take(&text)?).await?;
    upload.write(sink.finish()?).await?;
    Ok(rows)
}

enum Sink {
    Plain,
    Zstd(Box<zstd::Encoder<'static, Vec<u8>>>),
}

impl Sink {
    fn new(format: Format) -> Result<Self> {
        if format == Format::Json {
            return Ok(Self::Plain);
        }
        let encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL);
        encoder
            .map(|encoder| Self::Zstd(Box::new(encoder)))
            .map_err(failed)
    }

    fn take(&mut self, text: &str) -> Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::Zstd(encoder) => {
                encoder.write_all(text.as_bytes()).map_err(failed)?;
                Ok(std::mem::take(encoder.get_mut()).into())
            }
        }
    }

    fn finish(self) -> Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Zstd(encoder) => encoder.finish().map(Bytes::from).map_err(failed),
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::Format {
        key: "-".to_owned(),
        format: "zstd",
        source: Box::new(error),
    }
}
