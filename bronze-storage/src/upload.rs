//! Bytes that become an object when, and only when, they are all there.

use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload};
use sha2::{Digest, Sha256};

use crate::error::{Error, Operation, Result};
use crate::key;
use crate::store::{BronzeStore, Created, Version};

/// What happens where the key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// The object is written over what is there.
    Overwrite,
    /// Another name near by is used, and nothing is ever written over.
    Unique,
}

/// How many names near a taken one are tried.
const MAX_NAMES: usize = 100;

/// An object in the making: buffered up to one part, in parts from there on.
pub(crate) struct Upload {
    store: BronzeStore,
    key: String,
    publish: Publish,
    part_bytes: usize,
    chunks: Vec<Bytes>,
    buffered: usize,
    total: u64,
    hash: Sha256,
    parts: Option<Box<dyn MultipartUpload>>,
}

/// A finished object.
pub(crate) struct Uploaded {
    pub(crate) key: String,
    pub(crate) version: Version,
    pub(crate) sha256: String,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            key,
            buffered,
            total,
            ..
        } = self;
        f.debug_struct("Upload")
            .field("key", key)
            .field("buffered", buffered)
            .field("total", total)
            .finish_non_exhaustive()
    }
}

impl Upload {
    pub(crate) fn new(
        store: &BronzeStore,
        key: &str,
        publish: Publish,
        part_bytes: usize,
    ) -> Result<Self> {
        key::validate(key)?;
        Ok(Self {
            store: store.clone(),
            key: key.to_owned(),
            publish,
            part_bytes,
            chunks: Vec::new(),
            buffered: 0,
            total: 0,
            hash: Sha256::new(),
            parts: None,
        })
    }

    /// The key that it was given.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Bytes that are held here.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Takes bytes; sends full parts.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.total += bytes.len() as u64;
        self.hash.update(&bytes);
        self.buffered += bytes.len();
        if !bytes.is_empty() {
            self.chunks.push(bytes);
        }
        // More than a part, so that the last part is never empty.
        while self.buffered > self.part_bytes {
            let part = self.take(self.part_bytes);
            self.send(part).await?;
        }
        Ok(())
    }

    /// Makes the object visible.
    pub(crate) async fn finish(mut self) -> Result<Uploaded> {
        let sha256 = crate::execution::hex(&self.hash.finalize_reset());
        let (key, version) = self.publish().await?;
        Ok(Uploaded {
            key,
            version,
            sha256,
        })
    }

    async fn publish(&mut self) -> Result<(String, Version)> {
        if self.parts.is_none() {
            let payload = self.take(usize::MAX);
            return self.put(payload).await;
        }
        let last = self.take(usize::MAX);
        self.send(last).await?;
        let Some(parts) = &mut self.parts else {
            unreachable!("checked above")
        };
        match parts.complete().await {
            Ok(put) => {
                self.parts = None;
                let version = Version {
                    e_tag: put.e_tag,
                    size: self.total,
                };
                Ok((std::mem::take(&mut self.key), version))
            }
            Err(error) => Err(self.give_up(error).await),
        }
    }

    /// Throws away what was sent.
    pub(crate) async fn abort(mut self) {
        self.abort_parts().await;
    }

    fn take(&mut self, bytes: usize) -> PutPayload {
        let mut taken = Vec::new();
        let mut left = bytes;
        let mut rest = Vec::new();
        for mut chunk in std::mem::take(&mut self.chunks) {
            let now = chunk.len().min(left);
            left -= now;
            self.buffered -= now;
            let head = chunk.split_to(now);
            if !head.is_empty() {
                taken.push(head);
            }
            if !chunk.is_empty() {
                rest.push(chunk);
            }
        }
        self.chunks = rest;
        PutPayload::from_iter(taken)
    }

    async fn send(&mut self, part: PutPayload) -> Result<()> {
        if self.parts.is_none() {
            if self.publish == Publish::Unique {
                // No store creates in parts only if absent; a name nobody else makes does as well.
                self.key = near(&self.key, &crate::nonce::nonce()[..12]);
            }
            let path = key::path(&self.key)?;
            let opened = self
                .store
                .object_store()
                .put_multipart_opts(&path, Default::default());
            self.parts = Some(
                opened
                    .await
                    .map_err(|error| Error::from_store(Operation::Multipart, &self.key, error))?,
            );
        }
        let Some(parts) = &mut self.parts else {
            unreachable!("opened above")
        };
        match parts.put_part(part).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.give_up(error).await),
        }
    }

    async fn give_up(&mut self, error: object_store::Error) -> Error {
        self.abort_parts().await;
        Error::from_store(Operation::Multipart, &self.key, error)
    }

    async fn abort_parts(&mut self) {
        let Some(mut parts) = self.parts.take() else {
            return;
        };
        if let Err(error) = parts.abort().await {
            tracing::warn!(key = %self.key, %error, "could not abort the upload");
        }
    }

    async fn put(&mut self, payload: PutPayload) -> Result<(String, Version)> {
        let bytes = Bytes::from(payload);
        if self.publish == Publish::Overwrite {
            let version = self.store.put(&self.key, bytes).await?;
            return Ok((self.key.clone(), version));
        }
        for n in 0..MAX_NAMES {
            let key = if n == 0 {
                self.key.clone()
            } else {
                near(&self.key, &format!("{n:02}"))
            };
            let answer = self.store.create(&key, bytes.clone()).await;
            let open = match answer {
                Ok(Created::New(version)) => return Ok((key, version)),
                Ok(Created::Exists) => None,
                Err(error) if error.certainly_not_applied() => return Err(error),
                Err(error) => Some(error),
            };
            // Taken, or the answer leaves it open: it may be ours, from a try whose answer was lost.
            match (self.store.get(&key).await, open) {
                (Ok((there, version)), _) if there == bytes => return Ok((key, version)),
                (Ok(_), None) => {}
                (Ok(_), Some(error)) | (Err(_), Some(error)) | (Err(error), None) => {
                    return Err(error);
                }
            }
        }
        Err(Error::Exists {
            key: self.key.clone(),
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A cancelled upload. What a killed process leaves is the bucket's lifecycle rule's.
        if let (Some(mut parts), Ok(runtime)) =
            (self.parts.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move { parts.abort().await });
        }
    }
}

/// A name next to another: `a/b.parquet` → `a/b_01.parquet`.
fn near(key: &str, suffix: &str) -> String {
    let file = key.rfind('/').map_or(0, |at| at + 1);
    match key[file..].find('.') {
        Some(dot) => format!("{}_{suffix}{}", &key[..file + dot], &key[file + dot..]),
        None => format!("{key}_{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn a_name_near_by_keeps_its_endings() {
        assert_eq!(near("a.b/c.ndjson.zst", "01"), "a.b/c_01.ndjson.zst");
        assert_eq!(near("a.b/c", "01"), "a.b/c_01");
    }
}
