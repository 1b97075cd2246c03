use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::key::{self, Source};
use crate::options::ReadOptions;
use crate::reader::{BatchStream, ParquetFile};
use crate::records::RecordFile;
use crate::store::{BronzeStore, Object, Version};
use crate::unify;
use crate::upload::Publish;
use crate::writer::{ParquetWriter, Written};

/// How many footers are read at once to find a range's common schema.
const FOOTERS_AT_ONCE: usize = 8;

/// A data file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BronzeObject {
    /// The day of its folder.
    pub date: NaiveDate,
    /// How it is written, by its ending; `None` for a foreign file.
    pub format: Option<Format>,
    /// The object.
    pub object: Object,
}

impl BronzeStore {
    /// Writes a dataset as one new data file of a source's day, named by the store's clock:
    /// `pncp/year=2025/month=10/day=22/pncp_20251022_120000.parquet`.
    ///
    /// Nothing is ever written over: where the name is taken by other bytes, or the data is so
    /// large that it goes up in parts, a suffix is added (`…_120000_01.parquet`). The same bytes
    /// in the same second are the same file, so that a repeated try does not double its rows.
    ///
    /// For pipelines that keep no log. (Those that do write log entries.)
    ///
    /// # Returns
    /// Where it lies, rows, compressed bytes.
    ///
    /// # Errors
    /// [`Error::Schema`] before any I/O; whatever the dataset's stream gives; [`Error::Denied`],
    /// [`Error::Store`]. Readers see nothing then, unless only the answer was lost.
    ///
    /// # Cancellation
    /// Nothing becomes visible; see [`ParquetWriter`].
    pub async fn upload_to_bronze(
        &self,
        data: Dataset,
        source: &Source,
        date: NaiveDate,
        format: Format,
    ) -> Result<Written> {
        let key = key::timed_key(source, date, self.now().time(), format.extension());
        self.write_dataset(data, &key, Publish::Unique, format)
            .await
    }

    /// Writes a dataset at a key, over what is there.
    ///
    /// # Errors
    /// As [`BronzeStore::upload_to_bronze`].
    pub async fn write_at(&self, data: Dataset, key: &str, format: Format) -> Result<Written> {
        self.write_dataset(data, key, Publish::Overwrite, format)
            .await
    }

    /// Reads one object whole, in the format that its ending tells; the other way round of
    /// [`BronzeStore::write_at`]. Every byte is of one version.
    ///
    /// JSON records are read twice, the first time for the schema over all of them; neither they
    /// nor a Parquet file's row groups are held.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Name`] for a key without an ending of ours; [`Error::Format`]
    /// if it is truncated or foreign; [`Error::Schema`] for records without any column;
    /// [`Error::Changed`], [`Error::Denied`], [`Error::Store`].
    pub async fn read_at(&self, key: &str) -> Result<Dataset> {
        let format = Format::of_key(key).ok_or_else(|| Error::Name {
            name: key.chars().take(200).collect(),
            reason: "its ending tells no format".to_owned(),
        })?;
        if format == Format::Parquet {
            let file = ParquetFile::open(self, key).await?;
            return Ok(Dataset::from_stream(file.read(&ReadOptions::default())?));
        }
        let version = self.head(key).await?.ok_or_else(|| Error::NotFound {
            key: key.to_owned(),
            source: "no such object".into(),
        })?;
        let file = RecordFile::open(self, key, version, format).await?;
        let (schema, _) = file.survey().await?.records?;
        file.into_dataset(schema)
    }

    pub(crate) async fn write_dataset(
        &self,
        data: Dataset,
        key: &str,
        publish: Publish,
        format: Format,
    ) -> Result<Written> {
        if format != Format::Parquet {
            return crate::json_lines::write(self, data, key, publish, format).await;
        }
        let (schema, options) = (data.schema().clone(), self.write_options());
        let mut writer = ParquetWriter::start(self, key, publish, &schema, options)?;
        let mut batches = data.into_stream();
        while let Some(batch) = batches.next().await {
            let step = match batch {
                Ok(batch) => writer.write(&batch).await,
                Err(error) => Err(error.naming(key)),
            };
            if let Err(error) = step {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.finish().await
    }

    /// The data files of a source's days, both ends included, sorted by key.
    ///
    /// Files of other sources, below `_` names or in folders of their own are not among them.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`]; [`Error::NotFound`] where the bucket is missing.
    pub async fn list_bronze(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<BronzeObject>> {
        let mut found = Vec::new();
        for prefix in prefixes(source, from, to) {
            for object in self.list(&prefix).await? {
                let Some(date) = key::day_of(source, &object.key) else {
                    continue;
                };
                if from <= date && date <= to {
                    let format = Format::of_key(&object.key);
                    found.push(BronzeObject {
                        date,
                        format,
                        object,
                    });
                }
            }
        }
        found.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        Ok(found)
    }

    /// Reads a source's days, both ends included, in the order of the keys: Parquet files only
    /// (others: [`BronzeStore::read_at`]), each pinned to the version that was there at the start.
    ///
    /// Files may differ in their columns: the stream has all of them, or all that `options` ask
    /// for, null where a file lacks one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no data file; [`Error::Schema`] naming the object whose
    /// column has another type, or a column that no file has; [`Error::Format`] for a truncated file. The stream: as
    /// [`ParquetFile::read`].
    pub async fn read_bronze(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
        options: &ReadOptions,
    ) -> Result<BatchStream> {
        let objects = self.list_bronze(source, from, to).await?;
        let objects = objects
            .into_iter()
            .filter(|o| o.format == Some(Format::Parquet));
        let keys: Vec<String> = objects.map(|object| object.object.key).collect();
        let schemas = stream::iter(keys.clone())
            .map(|key| async move {
                let file = ParquetFile::open(self, &key).await?;
                let options = known(&file, options);
                let schema = file.read(&options)?.schema().clone();
                Ok::<_, Error>((key, file.version().clone(), schema, options.columns))
            })
            .buffered(FOOTERS_AT_ONCE);
        let schemas: Vec<_> = schemas.try_collect().await?;
        let Some((_, _, first, _)) = schemas.first() else {
            return Err(Error::NotFound {
                key: format!("{source} {from}..={to}"),
                source: "no data file in these days".into(),
            });
        };
        let in_any = |column: &&String| {
            let mut columns = schemas.iter().filter_map(|(.., columns)| columns.as_ref());
            columns.any(|columns| columns.contains(column))
        };
        let mut asked = options.columns.iter().flatten();
        if let Some(column) = asked.find(|column| !in_any(column)) {
            return Err(Error::Schema {
                at: column.clone(),
                reason: format!("no file of {source} {from}..={to} has such a column"),
            });
        }
        let mut schema = first.clone();
        for (key, _, other, _) in &schemas[1..] {
            schema = unify::merge(&schema, other, key)?;
        }
        let files: Vec<(String, Version)> = schemas
            .into_iter()
            .map(|(key, version, ..)| (key, version))
            .collect();
        Ok(read_files(self.clone(), files, schema, options.clone()))
    }

    /// Writes a value as a JSON object, over what is there.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be serialised; [`Error::Denied`], [`Error::Store`].
    pub async fn write_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Version> {
        let bytes = serde_json::to_vec(value).map_err(|error| {
            let reason = error.to_string();
            Error::Json { record: 0, reason }.naming(key)
        })?;
        self.put(key, Bytes::from(bytes)).await
    }

    /// Reads a JSON object; `None` if it is absent.
    ///
    /// # Errors
    /// [`Error::Format`] if it is there but is not this; it is never taken for absent.
    pub async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let bytes = match self.get(key).await {
            Ok((bytes, _)) => bytes,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Format {
                key: key.to_owned(),
                format: "json",
                source: Box::new(error),
            })
    }
}

/// The options without the columns that a file lacks.
fn known(file: &ParquetFile, options: &ReadOptions) -> ReadOptions {
    let mut options = options.clone();
    if let Some(columns) = &mut options.columns {
        columns.retain(|column| file.has(column));
    }
    options
}

/// The files one after another, in one schema; each is opened when the one before it is done.
fn read_files(
    store: BronzeStore,
    files: Vec<(String, Version)>,
    schema: arrow_schema::SchemaRef,
    options: ReadOptions,
) -> BatchStream {
    let target = Arc::clone(&schema);
    let batches = stream::iter(files)
        .then(move |(key, version)| {
            let (store, options, target) = (store.clone(), options.clone(), target.clone());
            async move {
                let file = ParquetFile::open_version(&store, &key, version).await?;
                let batches = file.read(&known(&file, &options))?;
                Ok::<_, Error>(batches.map(move |batch| {
                    unify::adapt(batch?, &target).map_err(|error| Error::Schema {
                        at: key.clone(),
                        reason: error.to_string(),
                    })
                }))
            }
        })
        .try_flatten();
    BatchStream::new(schema, batches)
}

/// The fewest folders whose listing covers the days: the days, months or years.
fn prefixes(source: &Source, from: NaiveDate, to: NaiveDate) -> Vec<String> {
    use chrono::Datelike;
    let mut prefixes: Vec<String> = from
        .iter_days()
        .take_while(|day| *day <= to)
        .map(|day| {
            if (to - from).num_days() < 7 {
                key::day_prefix(source, day)
            } else if (to - from).num_days() < 200 {
                format!("{source}/year={:04}/month={:02}", day.year(), day.month())
            } else {
                format!("{source}/year={:04}", day.year())
            }
        })
        .collect();
    prefixes.dedup();
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_range_is_listed_by_month_or_year() {
        let source = Source::new("pncp").unwrap();
        let day = |m, d| NaiveDate::from_ymd_opt(2025, m, d).unwrap();
        assert_eq!(prefixes(&source, day(10, 22), day(10, 23)).len(), 2);
        assert_eq!(
            prefixes(&source, day(10, 22), day(11, 23)),
            ["pncp/year=2025/month=10", "pncp/year=2025/month=11"]
        );
        assert_eq!(
            prefixes(&source, day(1, 1), day(12, 31)),
            ["pncp/year=2025"]
        );
        assert!(prefixes(&source, day(2, 1), day(1, 1)).is_empty());
    }
}
