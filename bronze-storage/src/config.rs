use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where the bronze layer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageType {
    /// A folder of this machine; written with fsync.
    #[default]
    Local,
    /// MinIO, or any S3 server with an endpoint of its own.
    Minio,
    /// Amazon S3.
    S3,
    /// Google Cloud Storage (feature `gcp`; compiled, untested against the service).
    Gcs,
    /// Azure Blob Storage (feature `azure`; compiled, untested against the service).
    Azure,
    /// The memory of this process: tests and examples.
    Memory,
}

impl StorageType {
    /// The name as settings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Minio => "minio",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StorageType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [
            Self::Local,
            Self::Minio,
            Self::S3,
            Self::Gcs,
            Self::Azure,
            Self::Memory,
        ];
        let text = text.trim();
        all.into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::Config {
                field: "storage_type",
                reason: format!(
                    "expected local, minio, s3, gcs, azure or memory, but it is {text:?}"
                ),
            })
    }
}

/// A text that is never shown: `Debug` and `Display` print `***`, serde does not write it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself: for the store's client only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the bronze layer lies and how to reach it: plain data, from serde, the environment
/// ([`BronzeConfig::from_env`]) or flags (the fields are public).
///
/// Secrets are read by serde but never written by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BronzeConfig {
    /// Which store. `STORAGE_TYPE`, default `local`.
    pub storage_type: StorageType,
    /// The folder that holds the buckets, for `local`. `LOCAL_STORAGE_PATH`, default `./lakehouse`.
    /// Objects lie in `{local_path}/{bucket}/`, which is created by the first write.
    pub local_path: PathBuf,
    /// The bucket (Azure: the container). `BUCKET_BRONZE`, default `lh-bronze`.
    pub bucket: String,
    /// A prefix inside the bucket, without a slash at either end; empty for none.
    pub prefix: String,
    /// The S3 endpoint as hosts see it. `MINIO_ENDPOINT_URL`, or `AWS_ENDPOINT_URL` for `s3`.
    pub endpoint_url: Option<String>,
    /// The S3 endpoint as containers see it. `MINIO_ENDPOINT_URL_DOCKER`.
    pub endpoint_url_docker: Option<String>,
    /// Whether this process runs in a container, and so prefers `endpoint_url_docker`.
    pub in_container: bool,
    /// The region. `AWS_REGION` or `AWS_DEFAULT_REGION`; `us-east-1` where none is given.
    pub region: Option<String>,
    /// `MINIO_ACCESS_KEY` or `AWS_ACCESS_KEY_ID` (Azure: the account's name). Absent on S3, GCS and
    /// Azure: the platform's own credentials.
    #[serde(skip_serializing)]
    pub access_key: Option<Secret>,
    /// `MINIO_SECRET_KEY` or `AWS_SECRET_ACCESS_KEY` (Azure: the account's key).
    #[serde(skip_serializing)]
    pub secret_key: Option<Secret>,
    /// `AWS_SESSION_TOKEN`.
    #[serde(skip_serializing)]
    pub session_token: Option<Secret>,
    /// How long one request may take, default 30,000.
    pub request_timeout_ms: u64,
    /// How long connecting may take, default 5,000.
    pub connect_timeout_ms: u64,
    /// How often the store's client repeats a request, default 5. Nothing above it retries.
    pub max_retries: usize,
    /// When the store's client stops repeating, from the first try, default 60,000.
    pub retry_timeout_ms: u64,
}

impl Default for BronzeConfig {
    fn default() -> Self {
        Self {
            storage_type: StorageType::Local,
            local_path: PathBuf::from("./lakehouse"),
            bucket: "lh-bronze".to_owned(),
            prefix: String::new(),
            endpoint_url: None,
            endpoint_url_docker: None,
            in_container: false,
            region: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            request_timeout_ms: 30_000,
            connect_timeout_ms: 5_000,
            max_retries: 5,
            retry_timeout_ms: 60_000,
        }
    }
}

impl BronzeConfig {
    /// A folder of this machine.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Self {
            local_path: path.into(),
            ..Self::default()
        }
    }

    /// The memory of this process.
    pub fn memory() -> Self {
        Self {
            storage_type: StorageType::Memory,
            ..Self::default()
        }
    }

    /// The settings of this process's environment (`STORAGE_TYPE`, `LOCAL_STORAGE_PATH`,
    /// `BUCKET_BRONZE`, `MINIO_*`, `AWS_*`, `AZURE_STORAGE_ACCOUNT_*`; the README has them all).
    /// Inside a container, told by `/.dockerenv`, `/run/.containerenv` or
    /// `KUBERNETES_SERVICE_HOST`, the container's endpoint is preferred.
    ///
    /// # Errors
    /// [`Error::Config`] as [`BronzeConfig::validate`].
    pub fn from_env() -> Result<Self> {
        let mut config = Self::from_vars(|name| std::env::var(name).ok())?;
        config.in_container = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
            || ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|path| std::path::Path::new(path).exists());
        Ok(config)
    }

    /// The settings as `var` gives them, name by name; an empty value counts as absent.
    ///
    /// # Errors
    /// [`Error::Config`] as [`BronzeConfig::validate`].
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let secret = |names: [&str; 2]| names.iter().find_map(|name| var(name)).map(Secret::new);
        let mut config = Self::default();
        if let Some(kind) = var("STORAGE_TYPE") {
            config.storage_type = kind.parse()?;
        }
        if let Some(path) = var("LOCAL_STORAGE_PATH") {
            config.local_path = PathBuf::from(path);
        }
        if let Some(bucket) = var("BUCKET_BRONZE") {
            config.bucket = bucket;
        }
        config.region = var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION"));
        config.session_token = var("AWS_SESSION_TOKEN").map(Secret::new);
        // Each kind prefers its own names: a machine may well have both sets.
        if config.storage_type == StorageType::Minio {
            config.endpoint_url = var("MINIO_ENDPOINT_URL").or_else(|| var("AWS_ENDPOINT_URL"));
            config.endpoint_url_docker = var("MINIO_ENDPOINT_URL_DOCKER");
            config.access_key = secret(["MINIO_ACCESS_KEY", "AWS_ACCESS_KEY_ID"]);
            config.secret_key = secret(["MINIO_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"]);
            if var("MINIO_ACCESS_KEY").is_some() {
                config.session_token = None;
            }
        } else if config.storage_type == StorageType::Azure {
            config.access_key = var("AZURE_STORAGE_ACCOUNT_NAME").map(Secret::new);
            config.secret_key = var("AZURE_STORAGE_ACCOUNT_KEY").map(Secret::new);
        } else {
            config.endpoint_url = var("AWS_ENDPOINT_URL_S3").or_else(|| var("AWS_ENDPOINT_URL"));
            config.access_key = secret(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"]);
            config.secret_key = secret(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"]);
        }
        config.validate()?;
        Ok(config)
    }

    /// The S3 endpoint that this process should use.
    pub fn endpoint(&self) -> Option<&str> {
        let inside = self.endpoint_url_docker.as_deref();
        let outside = self.endpoint_url.as_deref();
        if self.in_container {
            inside.or(outside)
        } else {
            outside.or(inside)
        }
    }

    /// Refuses what could not work, before anything is opened.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, reason: String| Err(Error::Config { field, reason });
        if self.bucket.is_empty() || self.bucket.len() > 63 {
            return refuse(
                "bucket",
                "a bucket's name has 1 to 63 characters".to_owned(),
            );
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !self.bucket.chars().all(allowed) || self.bucket.starts_with('.') {
            return refuse("bucket", format!("{:?} is no bucket's name", self.bucket));
        }
        if !self.prefix.is_empty() {
            crate::key::validate(&self.prefix).map_err(|error| Error::Config {
                field: "prefix",
                reason: error.to_string(),
            })?;
        }
        if self.storage_type == StorageType::Local && self.local_path.as_os_str().is_empty() {
            return refuse("local_path", "a folder is needed".to_owned());
        }
        for (field, url) in [
            ("endpoint_url", &self.endpoint_url),
            ("endpoint_url_docker", &self.endpoint_url_docker),
        ] {
            let Some(url) = url else { continue };
            let rest = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"));
            match rest {
                None => return refuse(field, "expected http://host:port or https://".to_owned()),
                Some(rest) if rest.contains('@') => {
                    return refuse(field, "credentials do not belong in the URL".to_owned());
                }
                Some(rest) if rest.trim_end_matches('/').is_empty() => {
                    return refuse(field, "the host is missing".to_owned());
                }
                Some(_) => {}
            }
        }
        if self.storage_type == StorageType::Minio {
            if self.endpoint().is_none() {
                return refuse("endpoint_url", "minio needs an endpoint".to_owned());
            }
            if self.access_key.is_none() || self.secret_key.is_none() {
                return refuse(
                    "access_key",
                    "minio needs an access and a secret key".to_owned(),
                );
            }
        }
        if self.access_key.is_some() != self.secret_key.is_some() {
            return refuse(
                "access_key",
                "access and secret key come together".to_owned(),
            );
        }
        if self.request_timeout_ms == 0 || self.connect_timeout_ms == 0 {
            return refuse("request_timeout_ms", "a timeout is above zero".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &'static [(&'static str, &'static str)]) -> Result<BronzeConfig> {
        BronzeConfig::from_vars(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_settings_mean_a_local_lakehouse() {
        let config = vars(&[]).unwrap();
        assert_eq!(config, BronzeConfig::default());
        assert_eq!(config.storage_type, StorageType::Local);
    }

    #[test]
    fn minio_takes_its_own_names_and_the_endpoint_of_where_it_runs() {
        let mut config = vars(&[
            ("STORAGE_TYPE", "MinIO"),
            ("MINIO_ENDPOINT_URL", "http://localhost:9000"),
            ("MINIO_ENDPOINT_URL_DOCKER", "http://minio:9000"),
            ("MINIO_ACCESS_KEY", "someone"),
            ("MINIO_SECRET_KEY", "hush-hush"),
            ("AWS_ACCESS_KEY_ID", "another"),
        ])
        .unwrap();
        assert_eq!(config.access_key.as_ref().unwrap().expose(), "someone");
        assert_eq!(config.endpoint(), Some("http://localhost:9000"));
        config.in_container = true;
        assert_eq!(config.endpoint(), Some("http://minio:9000"));
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(
            !shown.contains("hush-hush") && !shown.contains("someone"),
            "{shown}"
        );
    }

    #[test]
    fn the_readme_names_every_variable_that_is_read() {
        use std::cell::RefCell;
        let readme = include_str!("../README.md");
        let asked = RefCell::new(std::collections::BTreeSet::new());
        for kind in ["local", "minio", "s3", "gcs", "azure", "memory"] {
            // What it says is of no account: some kinds need more than their name.
            let _ = BronzeConfig::from_vars(|name| {
                asked.borrow_mut().insert(name.to_owned());
                (name == "STORAGE_TYPE").then(|| kind.to_owned())
            });
        }
        let asked = asked.into_inner();
        assert!(asked.len() > 14, "{asked:?}");
        for name in asked {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn azure_takes_the_names_of_its_account() {
        let config = vars(&[
            ("STORAGE_TYPE", "azure"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "hush-hush"),
        ]);
        let config = config.unwrap();
        assert_eq!(config.access_key.as_ref().unwrap().expose(), "account");
        assert_eq!(config.secret_key.as_ref().unwrap().expose(), "hush-hush");
        assert!(!format!("{config:?}").contains("hush-hush"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_field() {
        for (pairs, field) in [
            (&[("STORAGE_TYPE", "floppy")][..], "storage_type"),
            (&[("STORAGE_TYPE", "minio")], "endpoint_url"),
            (&[("BUCKET_BRONZE", "../etc")], "bucket"),
            (&[("AWS_ENDPOINT_URL", "minio:9000")], "endpoint_url"),
            (
                &[("AWS_ENDPOINT_URL", "http://me:pass@minio:9000")],
                "endpoint_url",
            ),
            (&[("AWS_ACCESS_KEY_ID", "a")], "access_key"),
        ] {
            match vars(pairs) {
                Err(Error::Config { field: at, .. }) => assert_eq!(at, field),
                other => panic!("{pairs:?} gave {other:?}"),
            }
        }
    }
}
