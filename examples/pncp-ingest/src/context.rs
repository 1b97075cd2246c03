//! What a command works with: the store, the logs, the client, the clock.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use bronze_storage::BronzeStore;
use bronze_storage::state::{IdColumns, ParquetEntries};
use chrono::{DateTime, NaiveDate, Utc};
use ingest_state::{Layout, Log, ObjectLogStore, Scope};
use pncp_client::PncpClient;
use pncp_client::arrow::{contratacao_schema, details_schema};

use crate::calendar;
use crate::failure::Failure;
use crate::settings::Settings;

/// The source of contratações.
pub(crate) const PNCP: &str = "pncp";
/// The source of their details.
pub(crate) const DETAILS: &str = "pncp_details";

/// The folder of the ledger of executions.
pub(crate) const LEDGER: &str = "pncp/_ledger";

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The settings it was made from.
    pub(crate) settings: Settings,
    /// The bucket.
    pub(crate) store: BronzeStore,
    /// The API.
    pub(crate) client: PncpClient,
    /// When the command began.
    pub(crate) started: DateTime<Utc>,
}

impl Context {
    /// Opens the store and makes the client; nothing is sent or written yet.
    pub(crate) fn open(settings: Settings) -> Result<Self, Failure> {
        let store = BronzeStore::open(&settings.bronze).map_err(|error| {
            Failure::usage_of(&error).hint("see STORAGE_TYPE, BUCKET_BRONZE and the endpoint")
        })?;
        let client = PncpClient::builder()
            .with_settings(settings.client.clone())
            .build()
            .map_err(|error| Failure::usage_of(&error))?;
        Ok(Self {
            settings,
            store,
            client,
            started: Utc::now(),
        })
    }

    /// Today in Brasília.
    pub(crate) fn today(&self) -> NaiveDate {
        calendar::today(self.started)
    }

    /// Refuses a day that cannot have data.
    pub(crate) fn check_day(&self, day: NaiveDate) -> Result<(), Failure> {
        calendar::check_day(day, self.today())
            .map_err(|reason| Failure::usage(format!("--date: {reason}")))
    }

    /// The log of contratações.
    pub(crate) fn contratacoes_log(&self) -> Result<Log, Failure> {
        self.log(
            Layout::of(PNCP),
            IdColumns::contratacoes(),
            contratacao_schema(),
        )
    }

    /// The log of later versions of contratações that are in already.
    pub(crate) fn versions_log(&self) -> Result<Log, Failure> {
        self.log(
            Layout::versions(PNCP),
            IdColumns::versions(),
            contratacao_schema(),
        )
    }

    /// The log of details.
    pub(crate) fn details_log(&self) -> Result<Log, Failure> {
        self.log(Layout::of(DETAILS), IdColumns::details(), details_schema())
    }

    /// Entries without rows (an import, a quarantine) have the columns of the others all the same.
    fn log(&self, layout: Layout, columns: IdColumns, schema: SchemaRef) -> Result<Log, Failure> {
        let store = ObjectLogStore::new(Arc::clone(self.store.object_store()));
        let format = ParquetEntries::new(columns).with_schema(schema);
        Log::new(Arc::new(store), Arc::new(format), layout)
            .map_err(|error| Failure::of("opening the log", &error))
    }

    /// The scope of `source` on `day`.
    pub(crate) fn scope(&self, source: &str, day: NaiveDate) -> Result<Scope, Failure> {
        Scope::new(source, day).map_err(|error| Failure::usage_of(&error))
    }

    /// `year=2025/month=10/day=22/20251022T120000123Z_nonce.json` below `folder`.
    pub(crate) fn timed_key(&self, folder: &str, day: NaiveDate) -> String {
        let folder = day_folder(folder, day);
        let name: String = self
            .settings
            .execution
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .take(80)
            .collect();
        format!(
            "{folder}{}_{name}.json",
            self.started.format("%Y%m%dT%H%M%S%6fZ")
        )
    }
}

/// `{folder}/year=2025/month=10/day=22/`.
pub(crate) fn day_folder(folder: &str, day: NaiveDate) -> String {
    day.format(&format!("{folder}/year=%Y/month=%m/day=%d/"))
        .to_string()
}
