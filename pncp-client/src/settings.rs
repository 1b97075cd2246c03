use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::endpoint::Family;
use crate::error::{Error, Result};

/// Everything about the client that is plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// Base of the lists.
    pub consulta_url: String,
    /// Base of the details.
    pub api_url: String,
    /// Sent with every request.
    pub user_agent: String,
    /// Records asked per list page, 10 to 50.
    pub page_size: u32,
    /// Elements asked per page of itens and arquivos, 10 to 1,000.
    pub detail_page_size: u32,
    /// List pages fetched ahead of the reader.
    pub prefetch_pages: usize,
    /// Times a list that moved is read, at most.
    pub passes_max: u32,
    /// Answers "Contratação não cadastrada." needed to believe it.
    pub gone_confirmations: u32,
    /// A body larger than this is refused.
    pub max_body_bytes: usize,
    /// Limits of the list host.
    pub list: FamilySettings,
    /// Limits of the detail host.
    pub detail: FamilySettings,
    /// When to ask again.
    pub retry: RetrySettings,
    /// How long to wait for what.
    pub timeouts: TimeoutSettings,
    /// `http://host:port`; none by default, and the environment is not asked.
    pub proxy: Option<String>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            consulta_url: "https://pncp.gov.br/api/consulta".to_owned(),
            api_url: "https://pncp.gov.br/api/pncp".to_owned(),
            user_agent: concat!("pncp-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            page_size: 50,
            detail_page_size: 500,
            prefetch_pages: 4,
            passes_max: 3,
            gone_confirmations: 2,
            max_body_bytes: 32 << 20,
            list: FamilySettings {
                requests_per_second_max: 10.0,
                requests_per_second_min: 0.1,
                requests_per_second_start: 2.0,
                concurrency_max: 4,
                default_pause_ms: 60_000,
            },
            detail: FamilySettings {
                requests_per_second_max: 50.0,
                requests_per_second_min: 0.5,
                requests_per_second_start: 10.0,
                concurrency_max: 16,
                default_pause_ms: 60_000,
            },
            retry: RetrySettings::default(),
            timeouts: TimeoutSettings::default(),
            proxy: None,
        }
    }
}

/// Limits of one host. The rate adapts between floor and ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilySettings {
    /// Ceiling, requests per second.
    pub requests_per_second_max: f64,
    /// Floor, requests per second.
    pub requests_per_second_min: f64,
    /// Where to begin, requests per second.
    pub requests_per_second_start: f64,
    /// Requests in flight.
    pub concurrency_max: usize,
    /// Pause after a 429 without `Retry-After` (60 s was enough every time, API.md section 9).
    pub default_pause_ms: u64,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Requests for one call, the first included.
    pub attempts_max: u32,
    /// From the first request to giving up.
    pub elapsed_max_ms: u64,
    /// Upper end of the first delay; the delay is uniform between 0 and this (full jitter).
    pub first_delay_ms: u64,
    /// Upper end of every later delay.
    pub delay_max_ms: u64,
    /// Retries earned by each call made: in a total outage, at most this share on top.
    pub budget_ratio: f64,
    /// Retries in hand at the start, and the most that can be saved up, from successes.
    pub budget_reserve: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            elapsed_max_ms: 15 * 60_000,
            first_delay_ms: 500,
            delay_max_ms: 30_000,
            budget_ratio: 0.1,
            budget_reserve: 20,
        }
    }
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutSettings {
    /// For the connection, TLS included.
    pub connect_ms: u64,
    /// From the request to the head of the answer (503s come after 30 to 70 s).
    pub first_byte_ms: u64,
    /// Between two pieces of a body.
    pub idle_ms: u64,
    /// For the whole of one request; downloads are only bound by `idle_ms`.
    pub total_ms: u64,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            first_byte_ms: 60_000,
            idle_ms: 20_000,
            total_ms: 180_000,
        }
    }
}

impl ClientSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field's name.
    pub fn validate(&self) -> Result<()> {
        check(
            matches!(self.page_size, 10..=50),
            "page_size",
            "must be 10 to 50",
        )?;
        check(
            matches!(self.detail_page_size, 10..=1000),
            "detail_page_size",
            "must be 10 to 1,000",
        )?;
        check(
            matches!(self.prefetch_pages, 1..=64),
            "prefetch_pages",
            "must be 1 to 64",
        )?;
        check(
            matches!(self.passes_max, 1..=20),
            "passes_max",
            "must be 1 to 20",
        )?;
        check(
            matches!(self.gone_confirmations, 1..=5),
            "gone_confirmations",
            "must be 1 to 5",
        )?;
        check(
            self.max_body_bytes >= 1 << 16,
            "max_body_bytes",
            "must be at least 64 KiB",
        )?;
        check(
            self.retry.attempts_max >= 1,
            "retry.attempts_max",
            "must be at least 1",
        )?;
        check(
            (0.0..=10.0).contains(&self.retry.budget_ratio),
            "retry.budget_ratio",
            "must be 0 to 10",
        )?;
        for family in [&self.list, &self.detail] {
            let rates = [
                family.requests_per_second_min,
                family.requests_per_second_start,
                family.requests_per_second_max,
            ];
            check(
                rates[0] > 0.0 && rates.is_sorted() && rates[2] <= 1e6,
                "requests_per_second",
                "must be 0 < min <= start <= max <= 1,000,000",
            )?;
            check(
                matches!(family.concurrency_max, 1..=1024),
                "concurrency_max",
                "must be 1 to 1,024",
            )?;
        }
        Ok(())
    }

    pub(crate) fn family(&self, family: Family) -> &FamilySettings {
        match family {
            Family::List => &self.list,
            Family::Detail => &self.detail,
        }
    }
}

fn check(holds: bool, field: &'static str, reason: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::invalid(field, reason))
    }
}

impl RetrySettings {
    pub(crate) fn elapsed_max(&self) -> Duration {
        Duration::from_millis(self.elapsed_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_travel() {
        let settings = ClientSettings::default();
        settings.validate().unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<ClientSettings>(&json).unwrap(),
            settings
        );
    }

    #[test]
    fn refused() {
        let mut settings = ClientSettings {
            page_size: 500,
            ..ClientSettings::default()
        };
        assert!(settings.validate().is_err());
        settings.page_size = 50;
        settings.list.requests_per_second_min = 3.0;
        assert!(settings.validate().is_err());
    }
}
