use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use futures::{StreamExt, stream};

use crate::bronze::BronzeObject;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::execution;
use crate::format::Format;
use crate::key::{self, Source};
use crate::options::ReadOptions;
use crate::reader::BatchStream;
use crate::store::Object;
use crate::temp_ref::{Stage, TEMP, TempRef};
use crate::traits::{BronzeSink, TempStore};
use crate::unify;
use crate::writer::Written;

/// The rows of one object.
#[derive(Debug, Clone)]
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Rows {
    async fn of(data: Dataset) -> Result<Self> {
        if data.schema().fields().is_empty() {
            return Err(Error::Schema {
                at: "*".to_owned(),
                reason: "a table has at least one column".to_owned(),
            });
        }
        let schema = Arc::clone(data.schema());
        Ok(Self {
            schema,
            batches: data.into_batches().await?,
        })
    }

    fn count(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.num_rows() as u64)
            .sum()
    }

    fn bytes(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.get_array_memory_size() as u64)
            .sum()
    }

    fn stream(self) -> BatchStream {
        BatchStream::new(self.schema, stream::iter(self.batches).map(Ok))
    }
}

#[derive(Debug, Default)]
struct HeldTemp {
    serial: u64,
    objects: BTreeMap<String, (String, Rows)>,
}

/// A [`TempStore`] that keeps record batches: nothing is encoded, so a reference's checksum is a
/// serial number. Nothing expires. Clones share the contents.
#[derive(Debug, Clone, Default)]
pub struct MemoryTemp {
    held: Arc<Mutex<HeldTemp>>,
}

#[async_trait]
impl TempStore for MemoryTemp {
    async fn upload(
        &self,
        data: Dataset,
        execution_id: &str,
        stage: Stage,
        format: Format,
    ) -> Result<TempRef> {
        let folder = execution::folder(execution_id)?;
        let key = format!("{TEMP}/{folder}/{}", stage.file(format)?);
        let rows = Rows::of(data).await?;
        let mut reference: TempRef = key.parse()?;
        reference.rows = Some(rows.count());
        reference.bytes = Some(rows.bytes());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.serial += 1;
        let serial = format!("{:032x}", held.serial);
        reference.checksum = Some(serial.clone());
        held.objects.insert(key, (serial, rows));
        Ok(reference)
    }

    async fn read(&self, reference: &TempRef) -> Result<Dataset> {
        reference.format()?;
        let key = reference.key.clone();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((serial, rows)) = held.objects.get(&key) else {
            return Err(Error::NotFound {
                key,
                source: "no such object".into(),
            });
        };
        if reference
            .checksum
            .as_ref()
            .is_some_and(|expected| expected != serial)
        {
            return Err(Error::Altered {
                key,
                reason: "it was written again".to_owned(),
            });
        }
        if reference
            .rows
            .is_some_and(|expected| expected != rows.count())
        {
            return Err(Error::Altered {
                key,
                reason: "the number of rows differs".to_owned(),
            });
        }
        Ok(Dataset::from_stream(rows.clone().stream()))
    }

    async fn cleanup(&self, execution_id: &str) -> Result<u64> {
        let prefix = format!("{TEMP}/{}/", execution::folder(execution_id)?);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.objects.len();
        held.objects.retain(|key, _| !key.starts_with(&prefix));
        Ok((before - held.objects.len()) as u64)
    }
}

/// A [`BronzeSink`] that keeps record batches, under the names that a store would give them at
/// midnight. Clones share the contents.
#[derive(Debug, Clone, Default)]
pub struct MemoryBronze {
    objects: Arc<Mutex<BTreeMap<String, (NaiveDate, Rows)>>>,
}

#[async_trait]
impl BronzeSink for MemoryBronze {
    async fn upload(
        &self,
        data: Dataset,
        source: &Source,
        date: NaiveDate,
        format: Format,
    ) -> Result<Written> {
        let rows = Rows::of(data).await?;
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut second = u32::try_from(objects.len()).unwrap_or(0);
        let key = loop {
            let time = NaiveTime::from_num_seconds_from_midnight_opt(second % 86_400, 0);
            let time = time.unwrap_or(NaiveTime::MIN);
            let key = key::timed_key(source, date, time, format.extension());
            if !objects.contains_key(&key) {
                break key;
            }
            second += 1;
        };
        let written = Written {
            key: key.clone(),
            rows: rows.count(),
            bytes: rows.bytes(),
            sha256: format!("{:064x}", objects.len()),
            e_tag: None,
        };
        objects.insert(key, (date, rows));
        Ok(written)
    }

    async fn list(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<BronzeObject>> {
        let prefix = format!("{source}/");
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let found = objects
            .iter()
            .filter(|(key, (date, _))| key.starts_with(&prefix) && (from..=to).contains(date));
        let found = found.map(|(key, (date, rows))| BronzeObject {
            date: *date,
            format: Format::of_key(key),
            object: Object {
                key: key.clone(),
                size: rows.bytes(),
                last_modified: DateTime::<Utc>::UNIX_EPOCH,
                e_tag: None,
            },
        });
        Ok(found.collect())
    }

    async fn read(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
        options: &ReadOptions,
    ) -> Result<BatchStream> {
        let listed = self.list(source, from, to).await?;
        let listed = listed
            .into_iter()
            .filter(|object| object.format == Some(Format::Parquet));
        let mut tables = Vec::new();
        {
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            for object in listed {
                if let Some((_, rows)) = objects.get(&object.object.key) {
                    tables.push((object.object.key, project(rows, options)?));
                }
            }
        }
        let Some((_, first)) = tables.first() else {
            return Err(Error::NotFound {
                key: format!("{source} {from}..={to}"),
                source: "no data file in these days".into(),
            });
        };
        let in_any = |column: &&String| {
            let mut tables = tables.iter();
            tables.any(|(_, rows)| rows.schema.index_of(column).is_ok())
        };
        let mut asked = options.columns.iter().flatten();
        if let Some(column) = asked.find(|column| !in_any(column)) {
            return Err(Error::Schema {
                at: column.clone(),
                reason: format!("no file of {source} {from}..={to} has such a column"),
            });
        }
        let mut schema = Arc::clone(&first.schema);
        for (key, rows) in &tables {
            schema = unify::merge(&schema, &rows.schema, key)?;
        }
        let mut batches = Vec::new();
        for (key, rows) in tables {
            for batch in rows.batches {
                batches.push(unify::adapt(batch, &schema).map_err(|error| Error::Schema {
                    at: key.clone(),
                    reason: error.to_string(),
                })?);
            }
        }
        Ok(Rows { schema, batches }.stream())
    }
}

/// The asked columns that are there, top-level ones only: this is memory, and nested projection
/// saves nothing.
fn project(rows: &Rows, options: &ReadOptions) -> Result<Rows> {
    let Some(columns) = &options.columns else {
        return Ok(rows.clone());
    };
    let indices = columns
        .iter()
        .filter_map(|column| rows.schema.index_of(column).ok());
    let mut indices: Vec<usize> = indices.collect();
    indices.sort_unstable();
    indices.dedup();
    let wrong = |error: arrow_schema::ArrowError| Error::Schema {
        at: "*".to_owned(),
        reason: error.to_string(),
    };
    let schema = Arc::new(rows.schema.project(&indices).map_err(wrong)?);
    let batches = rows
        .batches
        .iter()
        .map(|batch| batch.project(&indices).map_err(wrong));
    Ok(Rows {
        schema,
        batches: batches.collect::<Result<_>>()?,
    })
}
