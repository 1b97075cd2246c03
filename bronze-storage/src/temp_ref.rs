use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::execution;
use crate::format::Format;
use crate::key;

/// The folder of everything temporary.
pub(crate) const TEMP: &str = "_temp";

/// The longest encoded name of a stage, in bytes: a reference stays under 400.
const MAX_STAGE_BYTES: usize = 40;

/// A step of an execution, and for mapped tasks which shard and which try of it: together with the
/// execution the name of a temporary object, so that no two tasks share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stage {
    name: String,
    shard: Option<u32>,
    attempt: Option<u16>,
}

impl Stage {
    /// A stage, such as `raw`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            shard: None,
            attempt: None,
        }
    }

    /// The shard (map index) of it.
    pub fn shard(mut self, shard: u32) -> Self {
        self.shard = Some(shard);
        self
    }

    /// The try of it. Without one a repeated try replaces what the one before it wrote.
    pub fn attempt(mut self, attempt: u16) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// `raw.s3.t1.parquet`; the name itself never holds a dot.
    pub(crate) fn file(&self, format: Format) -> Result<String> {
        let mut file = execution::encode(&self.name);
        if file.is_empty() || file.len() > MAX_STAGE_BYTES {
            return Err(Error::Name {
                name: self.name.chars().take(200).collect(),
                reason: format!("a stage has 1 to {MAX_STAGE_BYTES} bytes, encoded"),
            });
        }
        if let Some(shard) = self.shard {
            file.push_str(&format!(".s{shard}"));
        }
        if let Some(attempt) = self.attempt {
            file.push_str(&format!(".t{attempt}"));
        }
        Ok(format!("{file}.{}", format.extension()))
    }
}

impl From<&str> for Stage {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// What goes through the scheduler instead of the data: where a temporary object lies and what it
/// must be.
///
/// `Display` and `FromStr` are the plain key (`_temp/…/raw.parquet`); serde is a JSON object of
/// under 400 bytes. A reference that was only a key has nothing to compare with, so
/// [`BronzeStore::read_temp`](crate::BronzeStore::read_temp) then proves only what the object
/// itself carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TempRef {
    /// The object.
    pub key: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The first 128 bits of its SHA-256, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// A hash of its columns (Parquet only): names, types, nullability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// When it was written, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
    /// Until when it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
}

impl TempRef {
    /// How the object is written.
    ///
    /// # Errors
    /// [`Error::Name`] for a reference that is none.
    pub fn format(&self) -> Result<Format> {
        let refuse = |reason: &str| {
            Err(Error::Name {
                name: self.key.chars().take(200).collect(),
                reason: reason.to_owned(),
            })
        };
        key::validate(&self.key)?;
        let segments: Vec<&str> = self.key.split('/').collect();
        if segments.len() != 3 || segments[0] != TEMP {
            return refuse("a reference is _temp/{execution}/{stage}");
        }
        match Format::of_key(&self.key) {
            Some(format) => Ok(format),
            None => refuse("a reference ends with its format"),
        }
    }
}

impl fmt::Display for TempRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl FromStr for TempRef {
    type Err = Error;

    fn from_str(key: &str) -> Result<Self> {
        let reference = Self {
            key: key.trim().to_owned(),
            bytes: None,
            rows: None,
            checksum: None,
            schema: None,
            created: None,
            expires: None,
        };
        reference.format()?;
        Ok(reference)
    }
}
