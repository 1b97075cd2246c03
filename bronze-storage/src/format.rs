use std::fmt;

use crate::error::{Error, Result};

/// How data lies in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// Parquet, zstd pages; streamed both ways.
    #[default]
    Parquet,
    /// One JSON object a line, the whole zstd-compressed.
    Ndjson,
    /// One JSON array of objects.
    Json,
}

impl Format {
    /// The ending of keys: `parquet`, `ndjson.zst`, `json`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson.zst",
            Self::Json => "json",
        }
    }

    /// The format that a key's ending tells.
    pub fn of_key(key: &str) -> Option<Self> {
        [Self::Parquet, Self::Ndjson, Self::Json]
            .into_iter()
            .find(|format| {
                key.strip_suffix(format.extension())
                    .is_some_and(|rest| rest.ends_with('.'))
            })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "parquet" => Ok(Self::Parquet),
            "ndjson" | "ndjson.zst" => Ok(Self::Ndjson),
            "json" => Ok(Self::Json),
            _ => Err(Error::Config {
                field: "format",
                reason: format!("expected parquet, ndjson or json, but it is {text:?}"),
            }),
        }
    }
}
