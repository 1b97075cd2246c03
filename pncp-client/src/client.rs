use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{SystemWallClock, WallClock};
use crate::endpoint::{Endpoint, Family};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::limits::RateLimits;
use crate::observer::{ClientObserver, Silent};
use crate::retry::Budget;
use crate::settings::ClientSettings;
use crate::transport::Transport;

/// A client of the PNCP. Clones are cheap and share connections, limits and budget.
#[derive(Debug, Clone)]
pub struct PncpClient {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) settings: ClientSettings,
    pub(crate) limits: RateLimits,
    pub(crate) budget: Budget,
    pub(crate) observer: Arc<dyn ClientObserver>,
    pub(crate) clock: Arc<dyn WallClock>,
    seed: u64,
    calls: AtomicU64,
}

impl PncpClient {
    /// A client of the public API, with default settings.
    pub fn builder() -> PncpClientBuilder {
        PncpClientBuilder::default()
    }

    /// The settings it was built with.
    pub fn settings(&self) -> &ClientSettings {
        &self.inner.settings
    }

    /// Its limits, to share them or to look at them.
    pub fn limits(&self) -> &RateLimits {
        &self.inner.limits
    }
}

impl Inner {
    /// A fresh seed for the delays of one call.
    pub(crate) fn next_seed(&self) -> u64 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.seed ^ call.wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    pub(crate) fn url(&self, endpoint: Endpoint, target: &str) -> String {
        let base = match endpoint.family() {
            Family::List => &self.settings.consulta_url,
            Family::Detail => &self.settings.api_url,
        };
        format!("{}{target}", base.trim_end_matches('/'))
    }
}

/// Puts a [`PncpClient`] together.
#[derive(Debug, Default)]
pub struct PncpClientBuilder {
    settings: ClientSettings,
    limits: Option<RateLimits>,
    observer: Option<Arc<dyn ClientObserver>>,
    clock: Option<Arc<dyn WallClock>>,
    seed: Option<u64>,
}

impl PncpClientBuilder {
    /// All the plain settings at once.
    pub fn with_settings(mut self, settings: ClientSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Another address of the lists.
    pub fn with_consulta_url(mut self, url: impl Into<String>) -> Self {
        self.settings.consulta_url = url.into();
        self
    }

    /// Another address of the details.
    pub fn with_api_url(mut self, url: impl Into<String>) -> Self {
        self.settings.api_url = url.into();
        self
    }

    /// Limits shared with other clients; without, the client has its own.
    pub fn with_limits(mut self, limits: RateLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Is told what happens.
    pub fn with_observer(mut self, observer: Arc<dyn ClientObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Another clock than the machine's.
    pub fn with_wall_clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Makes the delays before retries the same in every run.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the client; nothing is sent.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a setting is out of range or an address is none;
    /// [`Error::Setup`] if TLS could not be set up.
    pub fn build(self) -> Result<PncpClient> {
        self.settings.validate()?;
        for (field, url) in [
            ("consulta_url", &self.settings.consulta_url),
            ("api_url", &self.settings.api_url),
        ] {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(Error::invalid(field, "must start with http:// or https://"));
            }
        }
        let engine = Engine::new(&self.settings)?;
        self.build_over(Box::new(engine))
    }

    pub(crate) fn build_over(self, transport: Box<dyn Transport>) -> Result<PncpClient> {
        let limits = match self.limits {
            Some(limits) => limits,
            None => RateLimits::new(&self.settings)?,
        };
        Ok(PncpClient {
            inner: Arc::new(Inner {
                transport,
                budget: Budget::new(&self.settings.retry),
                limits,
                observer: self.observer.unwrap_or_else(|| Arc::new(Silent)),
                clock: self.clock.unwrap_or_else(|| Arc::new(SystemWallClock)),
                seed: self
                    .seed
                    .unwrap_or_else(|| RandomState::new().build_hasher().finish()),
                calls: AtomicU64::new(0),
                settings: self.settings,
            }),
        })
    }
}
