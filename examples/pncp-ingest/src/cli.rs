//! The arguments. Every setting of the environment has a flag here that wins over it.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use details_checkpoint::Shard;

use crate::calendar::{parse_day, parse_instant};

/// Keeps a faithful copy of Brazil's public purchases (PNCP) in an object store.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 complete, also when nothing was new; 1 failed, or stopped by SIGTERM or Ctrl-C (what
was saved stays, the same command resumes); 2 bad usage or configuration; 3 partial: some records in
quarantine or left at the deadline, the rest safe; 4 deferred: the server said when to come back;
5 lost to another writer. The last line on stdout is one JSON object of at most 1,024 bytes.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes one day's contratações, all modalidades, into Parquet; a second run takes what is new.
    Daily(Daily),
    /// Takes the itens and arquivos of each contratação that `daily` took, saved every N.
    Details(Details),
    /// Replays recorded purchases through daily and details, into a local folder, and shows them.
    Demo(Demo),
    /// Looks into a day's state, proves it against the log, or makes it anew from the log.
    State(State),
    /// Writes the day's details.parquet anew from its log.
    Merge(DayOnly),
    /// Moves the rows of a closed day's log into one file, and leaves their ids.
    Archive(DayOnly),
    /// Lists, shows, tries again or forgets what could not be had or read.
    Quarantine(Quarantine),
    /// Proves on the real bucket that it can be trusted with state.
    Check,
}

impl Command {
    /// The command's name in the last line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Daily(_) => "daily",
            Self::Details(_) => "details",
            Self::Demo(_) => "demo",
            Self::State(_) => "state",
            Self::Merge(_) => "merge",
            Self::Archive(_) => "archive",
            Self::Quarantine(_) => "quarantine",
            Self::Check => "check",
        }
    }
}

/// Settings that every command takes; unset ones come from the environment or `.env`.
#[derive(Debug, Default, Args)]
pub(crate) struct Common {
    /// Where the data goes (STORAGE_TYPE; local).
    #[arg(long, global = true, value_name = "TYPE", help_heading = "Settings")]
    pub(crate) storage_type: Option<String>,
    /// The folder of the local store (LOCAL_STORAGE_PATH; ./lakehouse).
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Settings")]
    pub(crate) local_storage_path: Option<PathBuf>,
    /// The bucket (BUCKET_BRONZE; lh-bronze).
    #[arg(long, global = true, value_name = "NAME", help_heading = "Settings")]
    pub(crate) bucket: Option<String>,
    /// The S3 endpoint (MINIO_ENDPOINT_URL or AWS_ENDPOINT_URL).
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    pub(crate) endpoint_url: Option<String>,
    /// Base of the lists (PNCP_CONSULTA_URL; <https://pncp.gov.br/api/consulta>).
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    pub(crate) consulta_url: Option<String>,
    /// Base of the details (PNCP_API_URL; <https://pncp.gov.br/api/pncp>).
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    pub(crate) api_url: Option<String>,
    /// The most list calls a second (PNCP_LISTS_PER_SECOND; 10); the rate adapts below it.
    #[arg(long, global = true, value_name = "N", help_heading = "Settings")]
    pub(crate) lists_per_second: Option<f64>,
    /// The most detail calls a second (PNCP_DETAILS_PER_SECOND; 50); the rate adapts below it.
    #[arg(long, global = true, value_name = "N", help_heading = "Settings")]
    pub(crate) details_per_second: Option<f64>,
    /// The pause after a refusal that does not say how long, in seconds (PNCP_PAUSE_SECONDS; 60).
    #[arg(long, global = true, value_name = "SECONDS", help_heading = "Settings")]
    pub(crate) pause_seconds: Option<usize>,
    /// How long one execution may take, in seconds; what is committed by then stays.
    #[arg(long, global = true, value_name = "SECONDS", help_heading = "Settings")]
    pub(crate) deadline: Option<u64>,
    /// The execution's name in the audit trail (a fresh one each time).
    #[arg(long, global = true, value_name = "ID", help_heading = "Settings")]
    pub(crate) execution_id: Option<String>,
    /// Logs at this level on stderr (error, warn, info, debug, or a filter as of RUST_LOG).
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Settings")]
    pub(crate) log: Option<String>,
}

/// `daily`
#[derive(Debug, Args)]
pub(crate) struct Daily {
    /// The day of publication: 2025-10-22 or 20251022.
    #[arg(long, value_parser = parse_day)]
    pub(crate) date: NaiveDate,
    /// Records a page, 10 to 50.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(10..=50))]
    pub(crate) page_size: u32,
    /// Pages asked ahead of the one being written.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) prefetch: u32,
    /// Only these modalidades, by code; the day then does not count as complete.
    #[arg(long, value_delimiter = ',', value_name = "CODES")]
    pub(crate) modalidades: Vec<u32>,
}

impl Daily {
    /// The defaults.
    pub(crate) fn of(date: NaiveDate) -> Self {
        Self {
            date,
            page_size: 50,
            prefetch: 4,
            modalidades: Vec::new(),
        }
    }
}

/// `details`
#[derive(Clone, Debug, Args)]
pub(crate) struct Details {
    /// The day of publication: 2025-10-22 or 20251022.
    #[arg(long, value_parser = parse_day)]
    pub(crate) date: NaiveDate,
    /// Saves after every N contratações (PNCP_DETAILS_CHECKPOINT_EVERY; 50).
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) checkpoint_every: Option<usize>,
    /// At most N pending contratações in this run (PNCP_DETAILS_BATCH_SIZE; all).
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) batch_size: Option<usize>,
    /// Only the first N contratações of the day's list.
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) max_contratacoes: Option<usize>,
    /// Fetches everything again, also what is already in (it is replaced, never doubled).
    #[arg(long)]
    pub(crate) no_auto_resume: bool,
    /// Only this half of the details.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Facet>,
    /// Detail calls under way at once.
    #[arg(long, default_value_t = 8, value_parser = positive)]
    pub(crate) concurrency: usize,
    /// Only the keys of shard I of N, by hash: 1/4, 2/4, 3/4, 4/4.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Only contratações that came in at this instant or later (2025-10-22T12:00:00Z, or a day).
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Saves once the bodies waiting reach N bytes (4194304).
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) checkpoint_bytes: Option<usize>,
    /// Saves what is there after so many seconds; 0 switches it off.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) checkpoint_interval: u64,
    /// The share of keys, 0 to 1, whose failure makes the run one; fewer than 10 never do, unless
    /// they are the whole list.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.1,
        allow_negative_numbers = true
    )]
    pub(crate) failure_threshold: f64,
    /// Fetches again what has a later version, and by age what is not final yet.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// The ages in days after publication at which --refresh fetches again what is not final.
    #[arg(
        long,
        value_name = "DAYS",
        value_delimiter = ',',
        default_value = "7,30,90",
        requires = "refresh"
    )]
    pub(crate) refresh_days: Vec<u16>,
    /// At most N detail calls for refreshing; what is new is not counted.
    #[arg(long, value_name = "N", requires = "refresh")]
    pub(crate) refresh_calls: Option<u64>,
}

impl Details {
    /// The defaults.
    pub(crate) fn of(date: NaiveDate) -> Self {
        Self {
            date,
            checkpoint_every: None,
            batch_size: None,
            max_contratacoes: None,
            no_auto_resume: false,
            only: None,
            concurrency: 8,
            shard: None,
            since: None,
            checkpoint_bytes: None,
            checkpoint_interval: 60,
            failure_threshold: 0.1,
            refresh: false,
            refresh_days: Vec::new(),
            refresh_calls: None,
        }
    }
}

/// Half of a contratação's details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Facet {
    /// The itens.
    Itens,
    /// The arquivos.
    Arquivos,
}

/// `quarantine`
#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    /// What to do with it.
    #[arg(value_enum)]
    pub(crate) action: QuarantineAction,
    /// `pncp_details`: details that failed; `pncp`: records of a listing that could not be taken.
    #[arg(long, default_value = "pncp_details", value_parser = ["pncp", "pncp_details"])]
    pub(crate) source: String,
    /// The day: 2025-10-22 or 20251022.
    #[arg(long, value_parser = parse_day)]
    pub(crate) date: NaiveDate,
    /// Only this contratação, as `list` names it: CNPJ|ANO|SEQUENCIAL, or an object's key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Discards everything that is listed; `discard` wants this or --key.
    #[arg(long, conflicts_with = "key")]
    pub(crate) all: bool,
    /// Prints JSON only, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `quarantine` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuarantineAction {
    /// A line for each: what failed, how often, why, when it is tried again.
    List,
    /// Everything that is known of each, payload included.
    Show,
    /// Asks the API for them again now, and takes out what succeeds.
    Replay,
    /// Forgets them: the next run asks again as if for the first time.
    Discard,
}

/// `demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The recorded day to replay.
    #[arg(long, value_parser = parse_day, default_value = "2025-10-22")]
    pub(crate) date: NaiveDate,
}

/// A command on one day.
#[derive(Debug, Args)]
pub(crate) struct DayOnly {
    /// The day of publication: 2025-10-22 or 20251022.
    #[arg(long, value_parser = parse_day)]
    pub(crate) date: NaiveDate,
}

/// `state`
#[derive(Debug, Args)]
pub(crate) struct State {
    /// What to do with the state.
    #[arg(value_enum)]
    pub(crate) action: StateAction,
    /// `pncp` or `pncp_details`.
    #[arg(long, default_value = "pncp", value_parser = ["pncp", "pncp_details"])]
    pub(crate) source: String,
    /// The day: 2025-10-22 or 20251022.
    #[arg(long, value_parser = parse_day)]
    pub(crate) date: NaiveDate,
    /// Prints JSON only.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows what `rebuild` would change, and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The number of the entry, for `quarantine-entry`.
    #[arg(long, value_name = "N")]
    pub(crate) entry: Option<u64>,
    /// Does what `quarantine-entry` otherwise only shows.
    #[arg(long)]
    pub(crate) yes: bool,
    /// JSON or NDJSON of records or ids, for `filter`; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// `filter` prints the later versions of records that are in, instead of the new records.
    #[arg(long)]
    pub(crate) updated: bool,
}

/// What `state` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateAction {
    /// Prints the snapshot as readers see it, or as the log has it where there is none.
    Load,
    /// Totals, executions, filter rates.
    Summary,
    /// Prints the records of `--file` that are not in yet, and counts later versions of others.
    Filter,
    /// Compares entries, snapshot and merged view; ends with 1 if they disagree.
    Verify,
    /// Writes the snapshot anew from the entries and the ledger of executions.
    Rebuild,
    /// Takes the ids of the previous system's state file into the log.
    Import,
    /// Goes on without entry `--entry`, which cannot be read: keeps its bytes, with `--yes`.
    QuarantineEntry,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) | Err(_) => Err(format!("`{text}` must be a whole number of at least 1")),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_values_are_refused() {
        let bad = [
            vec!["x", "daily", "--date", "2025-02-30"],
            vec!["x", "daily", "--date", "2025-10-22", "--page-size", "9"],
            vec!["x", "daily", "--date", "2025-10-22", "--page-size", "51"],
            vec![
                "x",
                "details",
                "--date",
                "2025-10-22",
                "--checkpoint-every",
                "0",
            ],
            vec!["x", "details", "--date", "2025-10-22", "--shard", "0/4"],
            vec!["x", "details", "--date", "2025-10-22", "--shard", "5/4"],
            vec!["x", "details", "--date", "2025-10-22", "--since", "soon"],
            vec![
                "x",
                "details",
                "--date",
                "2025-10-22",
                "--refresh-calls",
                "9",
            ],
        ];
        for args in bad {
            assert!(Cli::try_parse_from(&args).is_err(), "{args:?}");
        }
    }
}
