use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, FieldRef, Schema};
use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::GetOptions;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::error::{Error, Operation, Result};
use crate::execution;
use crate::format::Format;
use crate::key;
use crate::options::ReadOptions;
use crate::reader::{BatchStream, ParquetFile};
use crate::records::RecordFile;
use crate::store::{BronzeStore, Object, Version};
use crate::temp_ref::{Stage, TEMP, TempRef};
use crate::temp_usage::{EXECUTION_OBJECT, by_execution, usage_of};
use crate::upload::Publish;

/// [`BronzeStore::gc`] never takes what is younger: an execution may still be using it, and the
/// store's clock is not this machine's.
pub const GC_FLOOR: Duration = Duration::from_secs(60 * 60);

/// Deletions at once.
const DELETES_AT_ONCE: usize = 8;

/// The footer's pairs of a temporary Parquet object.
pub(crate) const EXECUTION: &str = "bronze.execution";
const EXPIRES: &str = "bronze.expires";

/// What a collection took, or would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Executions.
    pub executions: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl BronzeStore {
    /// Writes a dataset as `_temp/{execution}/{stage}` for another task to read.
    ///
    /// The same execution, stage, shard and try written again replaces what was there; references
    /// to the former bytes then fail as altered.
    ///
    /// # Errors
    /// [`Error::Name`] for an empty id or a stage that is too long; as
    /// [`BronzeStore::upload_to_bronze`].
    ///
    /// # Cancellation
    /// May leave the object; [`BronzeStore::cleanup_temp`] removes it.
    pub async fn upload_temp(
        &self,
        data: Dataset,
        execution_id: &str,
        stage: impl Into<Stage>,
        format: Format,
    ) -> Result<TempRef> {
        let folder = execution::folder(execution_id)?;
        let key = format!("{TEMP}/{folder}/{}", stage.into().file(format)?);
        let created = self.now().trunc_subsecs(0);
        let expires = created + self.temp_ttl();
        let fingerprint = fingerprint(data.schema());
        let mut store = self.clone();
        store.add_metadata(EXECUTION, execution_id);
        store.add_metadata(EXPIRES, &expires.to_rfc3339());
        if folder.contains("==") && format != Format::Parquet {
            // Other formats have no footer to keep a long id in.
            let id = Bytes::from(execution_id.to_owned());
            self.put(&format!("{TEMP}/{folder}/{EXECUTION_OBJECT}"), id)
                .await?;
        }
        let written = store
            .write_dataset(data, &key, Publish::Overwrite, format)
            .await?;
        Ok(TempRef {
            key,
            bytes: Some(written.bytes),
            rows: Some(written.rows),
            checksum: Some(written.sha256[..32].to_owned()),
            schema: (format == Format::Parquet).then_some(fingerprint),
            created: Some(created),
            expires: Some(expires),
        })
    }

    /// Reads what a reference names, after verifying all that the reference says of it.
    ///
    /// Small objects are held whole (compressed); larger ones
    /// ([`BronzeStoreBuilder::with_held_bytes`](crate::BronzeStoreBuilder::with_held_bytes)) are
    /// read twice, first for the checksum (and of JSON records for the schema over all of them),
    /// both times pinned to one version: what is replaced in between is [`Error::Changed`], here or
    /// from the dataset's stream.
    ///
    /// An object has a time to live by its reference, else by its Parquet footer; a plain key to
    /// one without (JSON, NDJSON, Parquet of other writers) has this store's
    /// [`BronzeStore::temp_ttl`] from when the store says it was written.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is missing, [`Error::Expired`] past its time, [`Error::Altered`]
    /// if size, checksum, columns or rows differ, [`Error::Changed`] if it was replaced while it was
    /// read, [`Error::Format`] if it is unreadable although a
    /// plain key could not tell; [`Error::Name`] for a reference that is none.
    pub async fn read_temp(&self, reference: &TempRef) -> Result<Dataset> {
        let format = reference.format()?;
        let now = self.now();
        if let Some(expires) = reference.expires.filter(|expires| *expires <= now) {
            return Err(expired(&reference.key, &expires.to_rfc3339()));
        }
        let key = &reference.key;
        let Some((version, written)) = self.stat(key).await? else {
            return Err(Error::NotFound {
                key: key.clone(),
                source: "no such object".into(),
            });
        };
        let altered = |reason: String| Error::Altered {
            key: key.clone(),
            reason,
        };
        if let Some(bytes) = reference.bytes.filter(|bytes| *bytes != version.size) {
            return Err(altered(format!(
                "{} bytes instead of {bytes}",
                version.size
            )));
        }
        // What neither the reference nor a footer says, the object's age does.
        let of_age = || match (reference.expires, written + self.temp_ttl()) {
            (None, end) if end <= now => Err(expired(key, &end.to_rfc3339())),
            _ => Ok(()),
        };
        if format != Format::Parquet {
            of_age()?;
            return self.read_temp_records(reference, version, format).await;
        }
        let held = version.size <= self.held_bytes();
        let (bytes, checksum) = self.read_pinned(key, &version, held).await?;
        verify_checksum(reference, &checksum)?;
        let opened = if held {
            open_bytes(key, bytes)?
        } else {
            let file = ParquetFile::open_version(self, key, version).await?;
            let expires = file.metadata(EXPIRES).map(ToOwned::to_owned);
            Opened {
                rows: file.rows(),
                expires,
                stream: file.read(&ReadOptions::default())?,
            }
        };
        match opened
            .expires
            .as_deref()
            .map(|text| (text, DateTime::parse_from_rfc3339(text)))
        {
            Some((text, Ok(expires))) if expires <= now => return Err(expired(key, text)),
            Some((_, Ok(_))) => {}
            Some((_, Err(_))) | None => of_age()?,
        }
        let found = fingerprint(opened.stream.schema());
        if let Some(expected) = reference.schema.as_ref().filter(|schema| **schema != found) {
            return Err(altered(format!("columns {found} instead of {expected}")));
        }
        verify_rows(reference, opened.rows)?;
        Ok(Dataset::from_stream(opened.stream))
    }

    /// The same for records: verified in one pass, which finds their schema too, read in a second.
    async fn read_temp_records(
        &self,
        reference: &TempRef,
        version: Version,
        format: Format,
    ) -> Result<Dataset> {
        let key = &reference.key;
        let file = RecordFile::open(self, key, version, format).await?;
        let survey = file.survey().await?;
        verify_checksum(reference, &survey.sha256)?;
        let (schema, rows) = survey.records?;
        verify_rows(reference, rows)?;
        file.into_dataset(schema)
    }

    /// Deletes everything temporary of one execution, and nothing of any other.
    ///
    /// # Returns
    /// How many objects were there. Once more gives 0.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`]: some may be left; call it again.
    pub async fn cleanup_temp(&self, execution_id: &str) -> Result<u64> {
        let objects = self
            .list(&format!("{TEMP}/{}", execution::folder(execution_id)?))
            .await?;
        self.delete_all(&objects).await?;
        Ok(objects.len() as u64)
    }

    /// Deletes the temporary objects of executions that have written nothing for `older_than`
    /// (never less than [`GC_FLOOR`]); `dry_run` only counts them.
    ///
    /// An execution goes as a whole: its old objects stay as long as it still writes new ones.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`].
    pub async fn gc(&self, older_than: Duration, dry_run: bool) -> Result<Collected> {
        let age =
            chrono::TimeDelta::from_std(older_than.max(GC_FLOOR)).unwrap_or(chrono::TimeDelta::MAX);
        let limit = self
            .now()
            .checked_sub_signed(age)
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        let mut collected = Collected::default();
        for objects in by_execution(self.list(TEMP).await?).into_values() {
            let Some(usage) = usage_of(&objects) else {
                continue;
            };
            if usage.newest >= limit {
                continue;
            }
            if !dry_run {
                self.delete_all(&objects).await?;
            }
            collected.executions += 1;
            collected.objects += usage.objects;
            collected.bytes += usage.bytes;
        }
        Ok(collected)
    }

    async fn delete_all(&self, objects: &[Object]) -> Result<()> {
        let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        let deletions = stream::iter(keys).map(|key| {
            let store = self.clone();
            async move { store.delete(&key).await }
        });
        deletions
            .buffer_unordered(DELETES_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// One pass over a version: its SHA-256 in hexadecimal, and its bytes where they are wanted.
    async fn read_pinned(
        &self,
        key: &str,
        version: &Version,
        hold: bool,
    ) -> Result<(Bytes, String)> {
        let path = key::path(key)?;
        let wrong = |error| Error::from_store(Operation::Get, key, error);
        let options = GetOptions {
            if_match: version.e_tag.clone(),
            ..GetOptions::default()
        };
        let answer = self
            .object_store()
            .get_opts(&path, options)
            .await
            .map_err(wrong)?;
        let (mut hash, mut seen, mut held) = (Sha256::new(), 0, Vec::new());
        let mut body = answer.into_stream();
        while let Some(chunk) = body.try_next().await.map_err(wrong)? {
            hash.update(&chunk);
            seen += chunk.len();
            if hold {
                held.extend_from_slice(&chunk);
            }
        }
        if seen as u64 != version.size {
            return Err(crate::store::cut_short(key, seen, version.size));
        }
        Ok((held.into(), execution::hex(&hash.finalize())))
    }
}

fn verify_checksum(reference: &TempRef, found: &str) -> Result<()> {
    match &reference.checksum {
        Some(expected) if !found.starts_with(expected) => Err(Error::Altered {
            key: reference.key.clone(),
            reason: format!("checksum {} instead of {expected}", &found[..32]),
        }),
        _ => Ok(()),
    }
}

fn verify_rows(reference: &TempRef, found: u64) -> Result<()> {
    match reference.rows {
        Some(expected) if found != expected => Err(Error::Altered {
            key: reference.key.clone(),
            reason: format!("{found} rows instead of {expected}"),
        }),
        _ => Ok(()),
    }
}

struct Opened {
    rows: u64,
    expires: Option<String>,
    stream: BatchStream,
}

/// A Parquet file in memory.
fn open_bytes(key: &str, bytes: Bytes) -> Result<Opened> {
    let wrong = |error| Error::from_parquet_read(key, error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(wrong)?;
    let footer = builder.metadata().file_metadata();
    let rows = u64::try_from(footer.num_rows()).unwrap_or(0);
    let pairs = footer.key_value_metadata();
    let expires = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == EXPIRES));
    let expires = expires.and_then(|pair| pair.value.clone());
    let schema = Arc::clone(builder.schema());
    let batches = builder.build().map_err(wrong)?;
    let owned = key.to_owned();
    let batches = stream::iter(batches).map(move |batch| {
        batch.map_err(|error| Error::Format {
            key: owned.clone(),
            format: "parquet",
            source: Box::new(error),
        })
    });
    // The reader's own schema has the pairs of the footer in it; batches have not.
    let schema = Arc::new(Schema::new(schema.fields().clone()));
    let (target, to) = (Arc::clone(&schema), key.to_owned());
    let batches = batches.map(move |batch| {
        batch.and_then(|batch| {
            batch
                .with_schema(Arc::clone(&target))
                .map_err(|error| Error::Schema {
                    at: to.clone(),
                    reason: error.to_string(),
                })
        })
    });
    Ok(Opened {
        rows,
        expires,
        stream: BatchStream::new(schema, batches),
    })
}

fn expired(key: &str, expired: &str) -> Error {
    Error::Expired {
        key: key.to_owned(),
        expired: expired.to_owned(),
    }
}

/// A hash of names, types and nullability, in order: 16 hexadecimal digits.
fn fingerprint(schema: &Schema) -> String {
    fn describe(field: &FieldRef, into: &mut String) {
        into.push_str(&format!(
            "{:?}{}",
            field.name(),
            u8::from(field.is_nullable())
        ));
        match field.data_type() {
            DataType::Struct(fields) => {
                into.push('{');
                fields.iter().for_each(|field| describe(field, into));
                into.push('}');
            }
            DataType::List(item) | DataType::LargeList(item) => {
                into.push('[');
                describe(item, into);
                into.push(']');
            }
            other => into.push_str(&other.to_string()),
        }
        into.push(',');
    }
    let mut text = String::new();
    schema
        .fields()
        .iter()
        .for_each(|field| describe(field, &mut text));
    execution::hex(&Sha256::digest(text.as_bytes()))[..16].to_owned()
}
