use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::error::{Error, Result};

/// The smallest part that S3 takes, and the size of all parts but the last (some servers want
/// them equal).
pub const MIN_PART_BYTES: usize = 5 * 1024 * 1024;

/// How Parquet is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// A row group ends when its encoded pages reach this many bytes (default 8 MiB). Rows and
    /// their encoded form are in memory until then.
    pub row_group_bytes: usize,
    /// Objects above this size are sent in parts of this size (default and least 5 MiB; S3 takes
    /// at most 10,000 parts).
    pub part_bytes: usize,
    /// The zstd level, 1 to 22 (default 3).
    pub zstd_level: i32,
    /// Key/value metadata of the footer.
    pub metadata: Vec<(String, String)>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            row_group_bytes: 8 * 1024 * 1024,
            part_bytes: MIN_PART_BYTES,
            zstd_level: 3,
            metadata: Vec::new(),
        }
    }
}

impl WriteOptions {
    /// The options of a writer that keeps within about `bytes` of memory beyond the batch it is
    /// given: twice a row group (its pages and their copy on the way out) and a part.
    ///
    /// # Errors
    /// [`Error::Config`] below 8 MiB.
    pub fn within(bytes: usize) -> Result<Self> {
        let rest = bytes
            .checked_sub(MIN_PART_BYTES)
            .filter(|_| bytes >= 8 * 1024 * 1024);
        let Some(rest) = rest else {
            return Err(Error::Config {
                field: "budget_bytes",
                reason: "a streaming writer needs at least 8 MiB".to_owned(),
            });
        };
        Ok(Self {
            row_group_bytes: (rest / 3).min(128 * 1024 * 1024),
            ..Self::default()
        })
    }

    /// Adds a pair to the footer.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Refuses what could not work.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, reason: &str| {
            Err(Error::Config {
                field,
                reason: reason.to_owned(),
            })
        };
        if self.part_bytes < MIN_PART_BYTES {
            return refuse("part_bytes", "S3 takes no parts below 5 MiB");
        }
        if self.row_group_bytes < 64 * 1024 {
            return refuse(
                "row_group_bytes",
                "row groups below 64 KiB bloat the footer",
            );
        }
        if !(1..=22).contains(&self.zstd_level) {
            return refuse("zstd_level", "zstd has the levels 1 to 22");
        }
        Ok(())
    }

    /// The same for the Parquet library.
    pub(crate) fn properties(&self) -> Result<WriterProperties> {
        self.validate()?;
        let level = ZstdLevel::try_new(self.zstd_level).map_err(|error| Error::Config {
            field: "zstd_level",
            reason: error.to_string(),
        })?;
        let pairs = self.metadata.iter();
        let pairs: Vec<_> = pairs
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
            .collect();
        Ok(WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            // Row groups are cut by bytes, by the caller of the writer.
            .set_max_row_group_row_count(None)
            .set_created_by(concat!("bronze-storage ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata((!pairs.is_empty()).then_some(pairs))
            .build())
    }
}

/// What is read of a Parquet object, and in which portions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Columns by name, nested ones by path (`orgaoEntidade.cnpj`); `None` for all. The order of
    /// the file is kept. Only these columns' bytes are fetched.
    pub columns: Option<Vec<String>>,
    /// Row groups by number; `None` for all.
    pub row_groups: Option<Vec<usize>>,
    /// Rows in a batch, at most (default 1,024).
    pub batch_rows: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            columns: None,
            row_groups: None,
            batch_rows: 1024,
        }
    }
}

impl ReadOptions {
    /// Reads these columns only.
    pub fn columns<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self {
            columns: Some(columns),
            ..Self::default()
        }
    }
}
