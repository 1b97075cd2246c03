//! [`LogStore`] for any [`object_store::ObjectStore`].

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use crate::error::StoreError;
use crate::store::{Created, Listed, LogStore, Object, ObjectHead, Version};

/// A [`LogStore`] on an [`ObjectStore`]: local folder, memory, S3, GCS, Azure.
///
/// Versions are ETags. Where a store has none, size and time of the last change stand in, and
/// each ranged read compares them, since such a store cannot refuse by itself.
///
/// Retries are the object store's own. A bucket whose server ignores `If-None-Match` must not be
/// used; this type cannot tell, a probe of the bucket can.
#[derive(Debug, Clone)]
pub struct ObjectLogStore {
    store: Arc<dyn ObjectStore>,
}

impl ObjectLogStore {
    /// The log store on `store`; keys are paths from its root.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl LogStore for ObjectLogStore {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        let path = path("create", key)?;
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        match self
            .store
            .put_opts(&path, PutPayload::from(body), options)
            .await
        {
            Ok(_) => Ok(Created::Created),
            // Some servers answer the condition with 412, some with 409.
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Created::Exists),
            Err(error) => Err(failed("create", key, error)),
        }
    }

    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let path = path("overwrite", key)?;
        let put = self.store.put(&path, PutPayload::from(body)).await;
        put.map(drop)
            .map_err(|error| failed("overwrite", key, error))
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let path = path("get", key)?;
        let result = match self.store.get(&path).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("get", key, error)),
        };
        let head = head_of(key, &result.meta);
        let bytes = result
            .bytes()
            .await
            .map_err(|error| failed("get", key, error))?;
        Ok(Some(Object { head, bytes }))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError> {
        match self.store.head(&path("head", key)?).await {
            Ok(meta) => Ok(Some(head_of(key, &meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("head", key, error)),
        }
    }

    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError> {
        let key = object.key.as_str();
        let changed = || StoreError::Changed {
            key: key.to_owned(),
        };
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let etag = object.version.0.strip_prefix(ETAG).map(str::to_owned);
        let options = GetOptions {
            if_match: etag,
            ..GetOptions::default()
        };
        let options = options.with_range(Some(range));
        let result = match self.store.get_opts(&path("get_range", key)?, options).await {
            Ok(result) => result,
            Err(
                object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. },
            ) => return Err(changed()),
            Err(error) => return Err(failed("get_range", key, error)),
        };
        if head_of(key, &result.meta).version != object.version {
            return Err(changed());
        }
        result
            .bytes()
            .await
            .map_err(|error| failed("get_range", key, error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let path = path("list", prefix.trim_end_matches('/'))?;
        let listing = self.store.list(Some(&path)).map_ok(|meta| Listed {
            key: meta.location.as_ref().to_owned(),
            size: meta.size,
        });
        listing
            .try_collect()
            .await
            .map_err(|error| failed("list", prefix, error))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.store.delete(&path("delete", key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", key, error)),
        }
    }
}

/// What a version starts with that is an ETag.
const ETAG: &str = "etag:";

fn head_of(key: &str, meta: &ObjectMeta) -> ObjectHead {
    let version = match &meta.e_tag {
        Some(etag) => format!("{ETAG}{etag}"),
        None => format!("{}:{}", meta.size, meta.last_modified.timestamp_micros()),
    };
    ObjectHead {
        key: key.to_owned(),
        size: meta.size,
        version: Version(version),
    }
}

fn path(operation: &'static str, key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|error| StoreError::Failed {
        operation,
        key: key.to_owned(),
        transient: false,
        not_applied: true,
        source: Box::new(error),
    })
}

/// Sorts a store's error: only what the store refused outright is certain to have had no effect.
fn failed(operation: &'static str, key: &str, error: object_store::Error) -> StoreError {
    use object_store::Error as E;
    let refused = matches!(
        error,
        E::InvalidPath { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::UnknownConfigurationKey { .. }
    );
    StoreError::Failed {
        operation,
        key: key.to_owned(),
        transient: !refused && may_pass(&error),
        not_applied: refused,
        source: Box::new(error),
    }
}

/// Whether the same call may succeed later: not where a disk is full or read-only, nor where a
/// server answered with a status that says no. (`bronze-storage` has the same rule in `error.rs`.)
fn may_pass(error: &object_store::Error) -> bool {
    use std::io::ErrorKind as K;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                K::PermissionDenied
                    | K::StorageFull
                    | K::QuotaExceeded
                    | K::ReadOnlyFilesystem
                    | K::NotADirectory
                    | K::IsADirectory
                    | K::InvalidInput
                    | K::InvalidFilename
            )
        {
            return false;
        }
        // `object_store` keeps the type that carries the status private, so it is read from the
        // message (0.14: "Server returned non-2xx status code: 403 Forbidden").
        let text = inner.to_string();
        let status = text.split_once("status code: ").map(|(_, rest)| rest);
        if let Some(status) = status.and_then(|rest| rest.get(..3)?.parse::<u16>().ok()) {
            return matches!(status, 408 | 429 | 500 | 502..=599);
        }
        cause = inner.source();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: source.into(),
        }
    }

    #[test]
    fn what_a_repetition_cannot_mend_is_not_transient() {
        let answered = |status| generic(format!("Server returned non-2xx status code: {status}"));
        let io = |kind| generic(std::io::Error::from(kind));
        for (error, transient) in [
            (answered("503 Service Unavailable: SlowDown"), true),
            (answered("429 Too Many Requests"), true),
            (answered("403 Forbidden"), false),
            (answered("501 Not Implemented"), false),
            (generic("connection reset by peer"), true),
            (io(std::io::ErrorKind::TimedOut), true),
            (io(std::io::ErrorKind::StorageFull), false),
            (io(std::io::ErrorKind::PermissionDenied), false),
        ] {
            let text = error.to_string();
            let error = failed("list", "a", error);
            assert_eq!(error.is_transient(), transient, "{text}");
            // Whatever was answered, a write may have been made by an earlier try.
            let StoreError::Failed { not_applied, .. } = error else {
                panic!("{error:?}");
            };
            assert!(!not_applied, "{text}");
        }
    }
}
