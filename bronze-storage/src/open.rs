//! From settings to a store. Keep it the only place that knows the services.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;

use crate::config::{BronzeConfig, StorageType};
use crate::error::{Error, Result};

/// An opened store and how people call it.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) location: String,
    pub(crate) folder: Option<PathBuf>,
}

pub(crate) fn open(config: &BronzeConfig) -> Result<Opened> {
    match config.storage_type {
        StorageType::Local => local(config),
        StorageType::Memory => Ok(Opened {
            store: Arc::new(InMemory::new()),
            location: format!("memory:{}", config.bucket),
            folder: None,
        }),
        StorageType::S3 | StorageType::Minio => s3(config),
        StorageType::Gcs => gcs(config),
        StorageType::Azure => azure(config),
    }
}

/// The root of the file system below a prefix, and not a store with that root: such a store would
/// want the folder to exist, and a reader's typo would create it.
fn local(config: &BronzeConfig) -> Result<Opened> {
    let wrong = |reason: String| Error::Config {
        field: "local_path",
        reason,
    };
    let folder = std::path::absolute(config.local_path.join(&config.bucket))
        .map_err(|error| wrong(error.to_string()))?;
    for ancestor in folder.ancestors() {
        if ancestor.exists() {
            if !ancestor.is_dir() {
                return Err(wrong(format!("{} is not a folder", ancestor.display())));
            }
            break;
        }
    }
    let prefix = object_store::path::Path::from_absolute_path(&folder)
        .map_err(|error| wrong(error.to_string()))?;
    let files = LocalFileSystem::new().with_fsync(true);
    Ok(Opened {
        store: Arc::new(PrefixStore::new(files, prefix)),
        location: format!("file://{}", folder.display()),
        folder: Some(folder),
    })
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn client(config: &BronzeConfig) -> (object_store::ClientOptions, object_store::RetryConfig) {
    use std::time::Duration;
    let options = object_store::ClientOptions::new()
        .with_timeout(Duration::from_millis(config.request_timeout_ms))
        .with_connect_timeout(Duration::from_millis(config.connect_timeout_ms));
    let retry = object_store::RetryConfig {
        max_retries: config.max_retries,
        retry_timeout: Duration::from_millis(config.retry_timeout_ms),
        ..object_store::RetryConfig::default()
    };
    (options, retry)
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn refused(error: &object_store::Error) -> Error {
    Error::Config {
        field: "storage_type",
        reason: crate::error::chain_text(error),
    }
}

#[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure")))]
fn not_compiled(config: &BronzeConfig, feature: &str) -> Error {
    Error::Config {
        field: "storage_type",
        reason: format!("{} needs the feature `{feature}`", config.storage_type),
    }
}

#[cfg(feature = "aws")]
fn s3(config: &BronzeConfig) -> Result<Opened> {
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    let (options, retry) = client(config);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(config.region.as_deref().unwrap_or("us-east-1"))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry);
    let mut allow_http = false;
    if let Some(endpoint) = config.endpoint() {
        allow_http = endpoint.starts_with("http://");
        // Servers with an endpoint of their own rarely have a DNS name for each bucket.
        builder = builder
            .with_endpoint(endpoint.trim_end_matches('/'))
            .with_virtual_hosted_style_request(false);
    }
    builder = builder.with_client_options(options.with_allow_http(allow_http));
    if let (Some(access), Some(secret)) = (&config.access_key, &config.secret_key) {
        builder = builder
            .with_access_key_id(access.expose())
            .with_secret_access_key(secret.expose());
    }
    if let Some(token) = &config.session_token {
        builder = builder.with_token(token.expose());
    }
    let store = builder.build().map_err(|error| refused(&error))?;
    Ok(Opened {
        store: Arc::new(store),
        location: format!("s3://{}", config.bucket),
        folder: None,
    })
}

#[cfg(not(feature = "aws"))]
fn s3(config: &BronzeConfig) -> Result<Opened> {
    Err(not_compiled(config, "aws"))
}

#[cfg(feature = "gcp")]
fn gcs(config: &BronzeConfig) -> Result<Opened> {
    let (options, retry) = client(config);
    let store = object_store::gcp::GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&config.bucket)
        .with_client_options(options)
        .with_retry(retry)
        .build()
        .map_err(|error| refused(&error))?;
    Ok(Opened {
        store: Arc::new(store),
        location: format!("gs://{}", config.bucket),
        folder: None,
    })
}

#[cfg(not(feature = "gcp"))]
fn gcs(config: &BronzeConfig) -> Result<Opened> {
    Err(not_compiled(config, "gcp"))
}

#[cfg(feature = "azure")]
fn azure(config: &BronzeConfig) -> Result<Opened> {
    let (options, retry) = client(config);
    let mut builder = object_store::azure::MicrosoftAzureBuilder::new()
        .with_container_name(&config.bucket)
        .with_client_options(options)
        .with_retry(retry);
    if let (Some(account), Some(key)) = (&config.access_key, &config.secret_key) {
        builder = builder
            .with_account(account.expose())
            .with_access_key(key.expose());
    }
    let store = builder.build().map_err(|error| refused(&error))?;
    Ok(Opened {
        store: Arc::new(store),
        location: format!("az://{}", config.bucket),
        folder: None,
    })
}

#[cfg(not(feature = "azure"))]
fn azure(config: &BronzeConfig) -> Result<Opened> {
    Err(not_compiled(config, "azure"))
}
