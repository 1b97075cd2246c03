//! Settings: a flag wins over the environment, the environment over `.env`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bronze_storage::BronzeConfig;
use pncp_client::ClientSettings;

use crate::cli::Common;
use crate::failure::Failure;

/// The variables of the environment, and of `.env` where the environment has none.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    file: HashMap<String, String>,
}

impl Variables {
    /// Reads `.env` of the working folder, if there is one.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let unreadable = |error: dotenvy::Error| {
            Failure::usage(format!("{}: {error}", path.display())).hint("mend or remove the file")
        };
        let pairs = dotenvy::from_path_iter(path).map_err(unreadable)?;
        let file = pairs.collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Self { file })
    }

    /// The value of `name`; an empty one counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .or_else(|| self.file.get(name).cloned())
            .filter(|value| !value.is_empty())
    }

    /// A whole number of at least 1.
    pub(crate) fn positive(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.trim().parse::<usize>() {
            Ok(0) | Err(_) => Err(Failure::usage(format!(
                "{name}=`{text}` must be a whole number of at least 1"
            ))),
            Ok(number) => Ok(Some(number)),
        }
    }
}

/// What every command needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the data goes.
    pub(crate) bronze: BronzeConfig,
    /// How the API is called.
    pub(crate) client: ClientSettings,
    /// How long one execution may take.
    pub(crate) deadline: Option<Duration>,
    /// The execution's name in the audit trail.
    pub(crate) execution: String,
    /// The rest of the variables.
    pub(crate) variables: Variables,
}

impl Settings {
    /// Puts flags over variables, and refuses what could not work, before anything is opened.
    pub(crate) fn resolve(common: &Common, variables: Variables) -> Result<Self, Failure> {
        let flag = |name: &str| match name {
            "STORAGE_TYPE" => common.storage_type.clone(),
            "LOCAL_STORAGE_PATH" => common
                .local_storage_path
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            "BUCKET_BRONZE" => common.bucket.clone(),
            "MINIO_ENDPOINT_URL" | "AWS_ENDPOINT_URL_S3" => common.endpoint_url.clone(),
            _ => None,
        };
        let bronze = BronzeConfig::from_vars(|name| flag(name).or_else(|| variables.get(name)))
            .map_err(|error| Failure::usage_of(&error).hint("see STORAGE_TYPE in the README"))?;

        let mut client = ClientSettings::default();
        let url = |flag: &Option<String>, name| flag.clone().or_else(|| variables.get(name));
        if let Some(url) = url(&common.consulta_url, "PNCP_CONSULTA_URL") {
            client.consulta_url = url;
        }
        if let Some(url) = url(&common.api_url, "PNCP_API_URL") {
            client.api_url = url;
        }
        let rates = [
            (
                &mut client.list,
                common.lists_per_second,
                "PNCP_LISTS_PER_SECOND",
            ),
            (
                &mut client.detail,
                common.details_per_second,
                "PNCP_DETAILS_PER_SECOND",
            ),
        ];
        for (family, flag, name) in rates {
            if let Some(rate) = ceiling(flag, variables.get(name), name)? {
                family.requests_per_second_max = rate;
                family.requests_per_second_min = family.requests_per_second_min.min(rate);
                // Who names a rate knows the server: begin there instead of feeling for it.
                family.requests_per_second_start = rate;
            }
        }
        let pause = match common.pause_seconds {
            Some(0) => return Err(Failure::usage("--pause-seconds must be at least 1")),
            Some(pause) => Some(pause),
            None => variables.positive("PNCP_PAUSE_SECONDS")?,
        };
        if let Some(pause) = pause {
            client.list.default_pause_ms = pause as u64 * 1_000;
            client.detail.default_pause_ms = pause as u64 * 1_000;
        }
        let deadline = common.deadline.map(Duration::from_secs);
        if let Some(deadline) = deadline {
            let limit = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
            client.retry.elapsed_max_ms = client.retry.elapsed_max_ms.min(limit);
        }
        client.validate().map_err(|error| {
            Failure::usage_of(&error).hint("see PNCP_CONSULTA_URL and PNCP_API_URL")
        })?;

        let execution = common.execution_id.clone().unwrap_or_else(fresh_execution);
        Ok(Self {
            bronze,
            client,
            deadline,
            execution,
            variables,
        })
    }
}

/// A rate from a flag or a variable.
fn ceiling(
    flag: Option<f64>,
    variable: Option<String>,
    name: &str,
) -> Result<Option<f64>, Failure> {
    let rate = match (flag, variable) {
        (Some(rate), _) => Some(rate),
        (None, Some(text)) => Some(text.trim().parse().unwrap_or(f64::NAN)),
        (None, None) => None,
    };
    match rate {
        Some(rate) if !(rate > 0.0 && rate <= 1_000_000.0) => Err(Failure::usage(format!(
            "{name} must be above 0 and at most 1,000,000"
        ))),
        rate => Ok(rate),
    }
}

/// `20251022T120000Z-` and the process, unlike any other run's.
fn fresh_execution() -> String {
    let now = chrono::Utc::now();
    format!("{}-{}", now.format("%Y%m%dT%H%M%S%3fZ"), std::process::id())
}
