//! Objects of JSON records read back, streamed: once for the schema over all of them, once for the
//! rows. Both passes are of one version.

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::GetOptions;
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::error::{Error, Operation, Result};
use crate::format::Format;
use crate::json::{self, BATCH_ROWS, Inference};
use crate::key;
use crate::reader::BatchStream;
use crate::split::{Cutter, Text};
use crate::store::{BronzeStore, Version};
use arrow_schema::SchemaRef;

/// Objects up to this size, or the store's own bound if that is less, are fetched once and held,
/// compressed, between the passes.
const HELD_BYTES: u64 = 4 * 1024 * 1024;

/// A batch ends at this much text, or at [`BATCH_ROWS`] records.
const BATCH_BYTES: usize = 1024 * 1024;

/// An object of records, in one version.
#[derive(Debug)]
pub(crate) struct RecordFile {
    store: BronzeStore,
    key: String,
    version: Version,
    format: Format,
    held: Option<Bytes>,
}

/// What the first pass has seen.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Of all bytes, hexadecimal.
    pub(crate) sha256: String,
    /// The schema and the number of records, if they can be read.
    pub(crate) records: Result<(SchemaRef, u64)>,
}

impl RecordFile {
    pub(crate) async fn open(
        store: &BronzeStore,
        key: &str,
        version: Version,
        format: Format,
    ) -> Result<Self> {
        let mut file = Self {
            store: store.clone(),
            key: key.to_owned(),
            version,
            format,
            held: None,
        };
        if file.version.size <= HELD_BYTES.min(store.held_bytes()) {
            let chunks: Vec<Bytes> = file.chunks().try_collect().await?;
            file.held = Some(chunks.concat().into());
        }
        Ok(file)
    }

    /// The object's bytes, as they come.
    fn chunks(&self) -> BoxStream<'static, Result<Bytes>> {
        if let Some(held) = &self.held {
            return stream::iter([Ok(held.clone())]).boxed();
        }
        let (store, key, version) = (self.store.clone(), self.key.clone(), self.version.clone());
        let opened = async move {
            let path = key::path(&key)?;
            let options = GetOptions {
                if_match: version.e_tag.clone(),
                ..GetOptions::default()
            };
            let failed = move |error| Error::from_store(Operation::Get, &key, error);
            let answer = store.object_store().get_opts(&path, options).await;
            let body = answer.map_err(&failed)?.into_stream();
            Ok::<_, Error>(body.map_err(failed))
        };
        stream::once(opened).try_flatten().boxed()
    }

    /// Reads everything once. The checksum is of all bytes, also where the records are unreadable:
    /// that the object was altered says more than what it looks like now.
    pub(crate) async fn survey(&self) -> Result<Survey> {
        let mut records = self.records()?;
        let mut inference = Inference::default();
        let read = loop {
            match records.next().await {
                Ok(Some(record)) => {
                    if let Err(error) = inference.push(&record) {
                        break Err(self.unreadable(error));
                    }
                }
                Ok(None) => break Ok(()),
                Err(error @ Error::Format { .. }) => break Err(error),
                Err(error) => return Err(error),
            }
        };
        let rows = inference.records() as u64;
        Ok(Survey {
            sha256: records.checksum().await?,
            records: match read {
                Ok(()) => inference.finish(&self.key).map(|schema| (schema, rows)),
                Err(error) => Err(error),
            },
        })
    }

    /// The rows, read once more.
    pub(crate) fn into_dataset(self, schema: SchemaRef) -> Result<Dataset> {
        let records = self.records()?;
        let target = schema.clone();
        let batches = stream::try_unfold((self, records, 0_usize), move |(file, mut from, row)| {
            let schema = target.clone();
            async move {
                let (mut held, mut bytes) = (Vec::new(), 0);
                while held.len() < BATCH_ROWS && bytes < BATCH_BYTES {
                    let Some(record) = from.next().await? else {
                        break;
                    };
                    bytes += record.len();
                    held.push(record);
                }
                if held.is_empty() {
                    return Ok(None);
                }
                let batch = json::batch(&held, &schema, row);
                let batch = batch.map_err(|error| file.unreadable(error))?;
                Ok(Some((batch, (file, from, row + held.len()))))
            }
        });
        Ok(Dataset::from_stream(BatchStream::new(schema, batches)))
    }

    fn records(&self) -> Result<Records> {
        let text = Text::new(self.format);
        Ok(Records {
            chunks: self.chunks(),
            chunk: Bytes::new(),
            text: text.map_err(|error| unreadable(&self.key, self.format, error))?,
            cutter: Cutter::new(self.format),
            ended: false,
            hash: Sha256::new(),
            seen: 0,
            key: self.key.clone(),
            format: self.format,
            size: self.version.size,
        })
    }

    fn unreadable(&self, error: Error) -> Error {
        unreadable(&self.key, self.format, error)
    }
}

fn unreadable(key: &str, format: Format, source: impl Into<crate::BoxError>) -> Error {
    Error::Format {
        key: key.to_owned(),
        format: format.extension(),
        source: source.into(),
    }
}

/// Records as the bytes come.
struct Records {
    chunks: BoxStream<'static, Result<Bytes>>,
    chunk: Bytes,
    text: Text,
    cutter: Cutter,
    ended: bool,
    hash: Sha256,
    seen: usize,
    key: String,
    format: Format,
    size: u64,
}

impl Records {
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(record) = self.cutter.next() {
                return Ok(Some(record));
            }
            if self.ended {
                return Ok(None);
            }
            if self.chunk.is_empty() && !self.text.pending() && !self.fetch().await? {
                self.ended = true;
                let end = self.text.finish().and_then(|()| self.cutter.finish());
                end.map_err(|reason| unreadable(&self.key, self.format, reason))?;
                continue;
            }
            let piece = self.text.next(&mut self.chunk);
            let piece = piece.map_err(|error| unreadable(&self.key, self.format, error))?;
            let cut = self.cutter.feed(piece);
            cut.map_err(|reason| unreadable(&self.key, self.format, reason))?;
        }
    }

    /// The next bytes; `false` at the end of all of them.
    async fn fetch(&mut self) -> Result<bool> {
        let Some(chunk) = self.chunks.try_next().await? else {
            if self.seen as u64 != self.size {
                return Err(crate::store::cut_short(&self.key, self.seen, self.size));
            }
            return Ok(false);
        };
        self.hash.update(&chunk);
        self.seen += chunk.len();
        self.chunk = chunk;
        Ok(true)
    }

    /// The checksum over all bytes, what has not been read included.
    async fn checksum(mut self) -> Result<String> {
        while !self.ended && self.fetch().await? {}
        Ok(crate::execution::hex(&self.hash.finalize()))
    }
}
