use std::fmt;

/// The error behind an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which call of the store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Writing a whole object over what was there.
    Put,
    /// Writing an object only if it is absent.
    Create,
    /// Reading an object or a range of it, or its head.
    Get,
    /// Listing keys.
    List,
    /// Deleting an object.
    Delete,
    /// A part, the completion or the abort of a multipart upload.
    Multipart,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Multipart => "multipart",
        })
    }
}

/// Why a call to the bronze layer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is missing or wrong; nothing was sent.
    #[error("invalid setting: {reason}. field=`{field}`")]
    Config {
        /// The field of the configuration.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A key, source, execution id, stage or reference that cannot name an object; nothing was sent.
    #[error("invalid name: {reason}. name=`{name}`")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such object (or no such bucket).
    #[error("no such object. key=`{key}`")]
    NotFound {
        /// The object.
        key: String,
        /// The store's answer.
        source: BoxError,
    },
    /// The object was there already, with other content; it was left alone.
    #[error("the object exists. key=`{key}`")]
    Exists {
        /// The object.
        key: String,
    },
    /// The object is no longer the version that was being read.
    #[error("the object changed while it was read. key=`{key}`")]
    Changed {
        /// The object.
        key: String,
        /// The store's answer.
        source: BoxError,
    },
    /// The store refused the credentials, or they may not do this.
    #[error("the store denies it. operation={operation}, key=`{key}`")]
    Denied {
        /// The call.
        operation: Operation,
        /// The object or prefix.
        key: String,
        /// The store's answer.
        source: BoxError,
    },
    /// The store failed, or did not answer.
    #[error("the store failed. operation={operation}, key=`{key}`")]
    Store {
        /// The call.
        operation: Operation,
        /// The object or prefix.
        key: String,
        /// Whether the same call may succeed later.
        transient: bool,
        /// The store's answer.
        source: BoxError,
    },
    /// The object's bytes are not what its name says: truncated, foreign, or in an unknown codec.
    #[error("unreadable object. key=`{key}`, format={format}")]
    Format {
        /// The object, or `-` for bytes that were never in a store.
        key: String,
        /// The format that was expected.
        format: &'static str,
        /// The decoder's answer.
        source: BoxError,
    },
    /// The data does not fit the schema, or no table can hold it; nothing was written.
    #[error("schema mismatch: {reason}. at=`{at}`")]
    Schema {
        /// The column (a path into it) or the object; `*` for a whole table that is in no store.
        at: String,
        /// What does not fit, and where a column of an object is meant, of which.
        reason: String,
    },
    /// A JSON record that cannot be taken; nothing was written.
    #[error("invalid JSON: {reason}. record={record}")]
    Json {
        /// The record's number, from 0.
        record: usize,
        /// What is wrong with it, and which object was to be written.
        reason: String,
    },
    /// A temporary object is past the time that its reference promises.
    #[error("the temporary object has expired. key=`{key}`, expired={expired}")]
    Expired {
        /// The object.
        key: String,
        /// When it expired, RFC 3339.
        expired: String,
    },
    /// A temporary object is not the one that its reference describes.
    #[error("the temporary object was altered: {reason}. key=`{key}`")]
    Altered {
        /// The object.
        key: String,
        /// What differs.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later, unchanged: the store was unreachable, overloaded
    /// or failed inside. Storage retries have already been spent when this is returned.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store { transient, .. } => *transient,
            Self::Config { .. }
            | Self::Name { .. }
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Changed { .. }
            | Self::Denied { .. }
            | Self::Format { .. }
            | Self::Schema { .. }
            | Self::Json { .. }
            | Self::Expired { .. }
            | Self::Altered { .. } => false,
        }
    }

    /// Whether a failed write has certainly changed nothing.
    ///
    /// `false` means: read back and compare. That includes a refusal ([`Error::Denied`]) because
    /// the store's own retries may have sent the write once before.
    pub fn certainly_not_applied(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Denied { .. } | Self::Changed { .. } => false,
            Self::Config { .. }
            | Self::Name { .. }
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Format { .. }
            | Self::Schema { .. }
            | Self::Json { .. }
            | Self::Expired { .. }
            | Self::Altered { .. } => true,
        }
    }

    /// The error of a store's answer, told apart by what a caller would do.
    ///
    /// A store of one's own, wrapped by [`BronzeStore::from_store`](crate::BronzeStore::from_store),
    /// answers with `object_store`'s errors; this is how they are read.
    pub fn from_store(operation: Operation, key: &str, error: object_store::Error) -> Self {
        use object_store::Error as E;
        let key = key.to_owned();
        match error {
            E::NotFound { .. } => Self::NotFound {
                key,
                source: Box::new(error),
            },
            E::AlreadyExists { .. } => Self::Exists { key },
            E::Precondition { .. } | E::NotModified { .. } if operation == Operation::Create => {
                Self::Exists { key }
            }
            E::Precondition { .. } | E::NotModified { .. } => Self::Changed {
                key,
                source: Box::new(error),
            },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Denied {
                operation,
                key,
                source: Box::new(error),
            },
            E::InvalidPath { source } => Self::Name {
                name: key,
                reason: source.to_string(),
            },
            other => {
                // Listings and deletions have no variant of their own for what was answered.
                if status(&other) == Some(404) {
                    return Self::NotFound {
                        key,
                        source: Box::new(other),
                    };
                }
                if denied(operation, &other) {
                    return Self::Denied {
                        operation,
                        key,
                        source: Box::new(other),
                    };
                }
                let transient = may_pass(&other);
                Self::Store {
                    operation,
                    key,
                    transient,
                    source: Box::new(other),
                }
            }
        }
    }

    /// The same error, naming the object (or the days) that it is about where it does not yet:
    /// data is refused in code that knows no object.
    pub(crate) fn naming(mut self, object: &str) -> Self {
        match &mut self {
            Self::Schema { at, .. } if at == "*" => object.clone_into(at),
            Self::Schema { at, reason } if at != object => append(reason, object),
            Self::Json { reason, .. } => append(reason, object),
            Self::Format { key, .. } if key == "-" => object.clone_into(key),
            _ => {}
        }
        self
    }

    /// The error of a Parquet reader: the store's own answer where there is one underneath.
    pub(crate) fn from_parquet_read(key: &str, error: parquet::errors::ParquetError) -> Self {
        if let parquet::errors::ParquetError::External(source) = error {
            return match source.downcast::<object_store::Error>() {
                Ok(store) => Self::from_store(Operation::Get, key, *store),
                Err(source) => match source.downcast::<Self>() {
                    Ok(own) => *own,
                    Err(source) => Self::Format {
                        key: key.to_owned(),
                        format: "parquet",
                        source,
                    },
                },
            };
        }
        Self::Format {
            key: key.to_owned(),
            format: "parquet",
            source: Box::new(error),
        }
    }
}

fn append(reason: &mut String, object: &str) {
    if !reason.contains(object) {
        reason.push_str(&format!(", object=`{object}`"));
    }
}

/// The kind of the first I/O error in a chain.
pub(crate) fn io_kind(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// Whether an answer that `object_store` has no variant for is a refusal all the same: a file
/// system's, a listing's, and those to the deletion of several objects, whose own status is 200.
fn denied(operation: Operation, error: &object_store::Error) -> bool {
    io_kind(error) == Some(std::io::ErrorKind::PermissionDenied)
        || matches!(status(error), Some(401 | 403))
        || (operation == Operation::Delete && chain_text(error).contains("AccessDenied"))
}

/// Whether a failure of the store may pass: no answer, 408, 429, 5xx but for 501. (`ingest-state`
/// has the same rule in `object.rs`.)
fn may_pass(error: &object_store::Error) -> bool {
    if matches!(
        error,
        object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. }
            | object_store::Error::UnknownConfigurationKey { .. }
    ) {
        return false;
    }
    match status(error) {
        Some(status) => matches!(status, 408 | 429 | 500 | 502..=599),
        None => !matches!(
            io_kind(error),
            Some(
                std::io::ErrorKind::StorageFull
                    | std::io::ErrorKind::QuotaExceeded
                    | std::io::ErrorKind::ReadOnlyFilesystem
                    | std::io::ErrorKind::NotADirectory
                    | std::io::ErrorKind::IsADirectory
                    | std::io::ErrorKind::InvalidInput
                    | std::io::ErrorKind::InvalidFilename
            )
        ),
    }
}

/// The HTTP status of a store's answer. `object_store` keeps the type that carries it private, so
/// it is read from the message (object_store 0.14: "Server returned non-2xx status code: 503 …").
pub(crate) fn status(error: &object_store::Error) -> Option<u16> {
    let text = chain_text(error);
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The messages of an error and its sources, in one line.
pub(crate) fn chain_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    #[test]
    fn a_server_error_is_transient_and_leaves_a_write_open() {
        for (text, transient) in [
            (
                "Server returned non-2xx status code: 503 Service Unavailable: SlowDown",
                true,
            ),
            (
                "Server returned non-2xx status code: 429 Too Many Requests",
                true,
            ),
            (
                "Server returned non-2xx status code: 400 Bad Request",
                false,
            ),
            ("error sending request", true),
        ] {
            let error = Error::from_store(Operation::Put, "a", generic(text));
            assert_eq!(error.is_transient(), transient, "{text}");
            assert!(!error.certainly_not_applied());
        }
    }

    #[test]
    fn a_full_disk_is_not_transient() {
        let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = object_store::Error::Generic {
            store: "local",
            source: Box::new(io),
        };
        assert!(!Error::from_store(Operation::Put, "a", error).is_transient());
    }
}
