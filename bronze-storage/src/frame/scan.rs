use std::sync::Arc;

use arrow_schema::SchemaRef;
use chrono::NaiveDate;
use futures::{StreamExt, TryStreamExt, stream};
use polars::prelude::{
    Expr, HiveOptions, LazyFrame, NULL, PlRefPath, ScanArgsParquet, UnionArgs, cloud, col, concat,
    lit,
};

use super::polars_type;
use crate::config::{BronzeConfig, StorageType};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::key::Source;
use crate::reader::ParquetFile;
use crate::store::BronzeStore;
use crate::unify;

/// The columns that come from the folders, as polars reads them: `Int64`.
const HIVE: [&str; 3] = ["year", "month", "day"];

/// How many footers are read at once.
const FOOTERS_AT_ONCE: usize = 8;

impl BronzeStore {
    /// A source's days, both ends included, as a polars `LazyFrame` (feature `polars`): the
    /// columns of its Parquet files, then `year`, `month` and `day` (`Int64`) from the folders.
    ///
    /// The files are listed and their footers read now; rows are read when the frame is collected,
    /// by polars' own client, which fetches the columns that are asked for only, skips row groups
    /// by their statistics and files by their folders. Files may differ in their columns as in
    /// [`BronzeStore::read_bronze`]; those of one form come one after another.
    ///
    /// `collect` blocks its thread: inside an async runtime, use `spawn_blocking`.
    ///
    /// # Which stores
    /// A local folder, S3 and MinIO, opened from a [`BronzeConfig`]. Wrappers around the store see
    /// the listing and the footers, not the rows.
    ///
    /// # Not pinned
    /// Everywhere else in this crate each ranged read carries the ETag of the version that was
    /// opened, and another version is [`Error::Changed`]. Not so here: polars brings a store of its
    /// own, which knows nothing of the footers read now and sends no condition. Files of
    /// [`BronzeStore::upload_to_bronze`] and log entries are never written over, so nothing can
    /// change under a scan of those. Of a file that somebody does write over (a merged
    /// `details.parquet`, while a merge ends) a scan that runs meanwhile may fail, or read the new
    /// version's pages by the old one's footer, which polars reports as a corrupt file or, at
    /// worst, does not notice. Read such files with [`BronzeStore::read_bronze`] or
    /// [`ParquetFile`](crate::ParquetFile), or scan when no merger is at work.
    ///
    /// # Errors
    /// [`Error::Config`] for another store (see [`Dataset::into_polars`](crate::Dataset::into_polars)
    /// for those), or a folder whose own path holds `year=`, `month=` or `day=`;
    /// [`Error::NotFound`] if there is no data file; [`Error::Schema`] naming the object whose
    /// column has another type, or the column that polars has no type for and an object that has
    /// it; [`Error::Format`] for a
    /// truncated file; [`Error::Denied`], [`Error::Store`].
    pub async fn scan_bronze(
        &self,
        source: &Source,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<LazyFrame> {
        let place = Place::of(self)?;
        let objects = self.list_bronze(source, from, to).await?;
        let keys = objects
            .into_iter()
            .filter(|object| object.format == Some(Format::Parquet))
            .map(|object| object.object.key);
        let footers = stream::iter(keys)
            .map(|key| async move {
                let file = ParquetFile::open(self, &key).await?;
                Ok::<_, Error>((key, Arc::clone(file.schema())))
            })
            .buffered(FOOTERS_AT_ONCE);
        let footers: Vec<(String, SchemaRef)> = footers.try_collect().await?;
        let Some((_, first)) = footers.first() else {
            return Err(Error::NotFound {
                key: format!("{source} {from}..={to}"),
                source: "no data file in these days".into(),
            });
        };
        let mut schema = Arc::clone(first);
        for (key, other) in &footers[1..] {
            schema = unify::merge(&schema, other, key)?;
        }
        let mut forms: Vec<(SchemaRef, Vec<String>)> = Vec::new();
        for (key, form) in footers {
            match forms.iter_mut().find(|(f, _)| f.fields() == form.fields()) {
                Some((_, keys)) => keys.push(key),
                None => forms.push((form, vec![key])),
            }
        }
        let mut frames = Vec::with_capacity(forms.len());
        for (form, keys) in forms {
            // Of the files of one form the first stands for all.
            let named = |error: Error| error.naming(&keys[0]);
            let columns = columns(&form, &schema).map_err(named)?;
            frames.push(place.scan(&keys).map_err(named)?.select(columns));
        }
        if let [frame] = frames.as_slice() {
            return Ok(frame.clone());
        }
        let days = format!("{source} {from}..={to}");
        concat(frames, UnionArgs::default()).map_err(|error| refused(error).naming(&days))
    }
}

/// The common columns out of files of one form.
fn columns(form: &SchemaRef, schema: &SchemaRef) -> Result<Vec<Expr>> {
    let mut columns = Vec::with_capacity(schema.fields().len() + HIVE.len());
    for field in schema.fields() {
        let name = field.name().as_str();
        columns.push(match form.field_with_name(name) {
            Ok(own) if own.data_type() == field.data_type() => col(name),
            Ok(_) => col(name).strict_cast(polars_type(field.data_type(), name)?),
            Err(_) => lit(NULL)
                .cast(polars_type(field.data_type(), name)?)
                .alias(name),
        });
    }
    let hive = HIVE.into_iter();
    columns.extend(
        hive.filter(|name| schema.field_with_name(name).is_err())
            .map(col),
    );
    Ok(columns)
}

fn refused(error: polars::error::PolarsError) -> Error {
    Error::Schema {
        at: "*".to_owned(),
        reason: error.to_string(),
    }
}

/// Where polars finds the keys of a store.
struct Place {
    /// What goes before a key.
    base: String,
    options: Option<cloud::CloudOptions>,
}

impl Place {
    fn of(store: &BronzeStore) -> Result<Self> {
        let refuse = |reason: &str| Error::Config {
            field: "storage_type",
            reason: format!("{reason}. location={}", store.location()),
        };
        let Some(config) = store.config() else {
            return Err(refuse(
                "polars reads the stores that it can open by itself, not a store of the caller's",
            ));
        };
        let (base, options) = match (config.storage_type, store.folder()) {
            (StorageType::Local, Some(folder)) => {
                let base = folder.to_str();
                (
                    base.ok_or_else(|| refuse("the folder's name is not UTF-8"))?,
                    None,
                )
            }
            (StorageType::S3 | StorageType::Minio, _) => (store.location(), Some(s3(config)?)),
            _ => return Err(refuse("polars reads local folders, S3 and MinIO here")),
        };
        let hive = |segment: &str| {
            HIVE.iter()
                .any(|name| segment.starts_with(&format!("{name}=")))
        };
        if base.split('/').any(hive) {
            return Err(refuse(
                "polars would take the folder's own name for a partition",
            ));
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            options,
        })
    }

    fn scan(&self, keys: &[String]) -> Result<LazyFrame> {
        let paths = keys
            .iter()
            .map(|key| PlRefPath::new(format!("{}/{key}", self.base)));
        let args = ScanArgsParquet {
            hive_options: HiveOptions::new_enabled(),
            // The keys are names, whatever characters are in them.
            glob: false,
            cloud_options: self.options.clone(),
            ..ScanArgsParquet::default()
        };
        LazyFrame::scan_parquet_files(paths.collect(), args).map_err(refused)
    }
}

#[cfg(feature = "aws")]
fn s3(config: &BronzeConfig) -> Result<cloud::CloudOptions> {
    let region = config.region.as_deref().unwrap_or("us-east-1");
    let mut pairs = vec![("aws_region", region.to_owned())];
    if let Some(endpoint) = config.endpoint() {
        let allow = endpoint.starts_with("http://").to_string();
        pairs.push((
            "aws_endpoint_url",
            endpoint.trim_end_matches('/').to_owned(),
        ));
        pairs.push(("aws_allow_http", allow));
        pairs.push(("aws_virtual_hosted_style_request", false.to_string()));
    }
    let secrets = [
        ("aws_access_key_id", &config.access_key),
        ("aws_secret_access_key", &config.secret_key),
        ("aws_session_token", &config.session_token),
    ];
    for (name, secret) in secrets {
        if let Some(secret) = secret {
            pairs.push((name, secret.expose().to_owned()));
        }
    }
    let scheme = polars::prelude::CloudScheme::S3;
    let retry = cloud::CloudRetryConfig {
        max_retries: Some(config.max_retries),
        retry_timeout: Some(std::time::Duration::from_millis(config.retry_timeout_ms)),
        ..cloud::CloudRetryConfig::default()
    };
    let options = cloud::CloudOptions::from_untyped_config(Some(scheme), pairs);
    Ok(options.map_err(refused)?.with_retry_config(retry))
}

#[cfg(not(feature = "aws"))]
fn s3(config: &BronzeConfig) -> Result<cloud::CloudOptions> {
    Err(Error::Config {
        field: "storage_type",
        reason: format!("{} needs the feature `aws`", config.storage_type),
    })
}
