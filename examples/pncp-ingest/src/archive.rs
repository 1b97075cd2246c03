//! `archive`: the rows of a closed day move from its log into one base.

use bronze_storage::state::{ArchiveError, Archiver, IdColumns, Merger};
use chrono::NaiveDate;

use crate::context::{Context, DETAILS};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status, peak_resident_bytes};
use crate::say::say;

/// Archives the day's details.
pub(crate) async fn run(context: &Context, day: NaiveDate) -> Result<Outcome, Failure> {
    context.check_day(day)?;
    if day >= context.today() {
        return Err(Failure::usage(format!(
            "--date: {day} is not over: only a closed day is archived"
        )));
    }
    let log = context.details_log()?;
    let scope = context.scope(DETAILS, day)?;
    let merger = Merger::new(context.store.clone(), log, IdColumns::details());
    let archived = Archiver::new(merger)
        .archive(&scope)
        .await
        .map_err(|error| refused(&error))?;
    let outcome = Outcome::new("archive", Status::Complete)
        .with("date", day.to_string())
        .with("through", archived.through)
        .with("stubbed", archived.stubbed)
        .with("bytes_before", archived.bytes_before)
        .with("bytes_after", archived.bytes_after)
        .with("no_data", archived.stubbed == 0);
    let outcome = match peak_resident_bytes() {
        Some(peak) => outcome.with("peak_resident_bytes", peak),
        None => outcome,
    };
    let Some(base) = archived.base else {
        say!("⚠️  No details of {day}: nothing to archive");
        return Ok(outcome);
    };
    say!(
        "📦 {} entries of {day} archived now; {} → {} bytes, base {base}",
        archived.stubbed,
        archived.bytes_before,
        archived.bytes_after
    );
    Ok(outcome.with("base", base))
}

fn refused(error: &ArchiveError) -> Failure {
    let failure = Failure::of("archiving the day's details", error);
    match error {
        ArchiveError::Behind { .. } => {
            failure.hint("merge the day first: `pncp-ingest merge`, then archive again")
        }
        ArchiveError::Missing { .. } => failure
            .hint("details.parquet is not what its log says: `pncp-ingest state verify --source pncp_details`"),
        _ => failure,
    }
}
