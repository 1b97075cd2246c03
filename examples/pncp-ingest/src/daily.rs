//! `daily`: one day's contratações, all modalidades, into the day's log.

use std::collections::HashMap;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use bronze_storage::state::{IdColumns, ParquetRows};
use chrono::{DateTime, SecondsFormat, Utc};
use ingest_state::{
    Counts, DayLog, EntryRows as _, Execution, Filter, Id, Outcome as Sorted, Scope,
};
use pncp_client::arrow::{ContratacaoBatchBuilder, Rejected};
use pncp_client::{ContratacoesQuery, ListingProof, Modalidade, PartProof, Verdict, Window};
use serde_json::json;

use crate::cli::Daily;
use crate::context::{Context, LEDGER, PNCP};
use crate::failure::Failure;
use crate::outcome::{Outcome, Status, peak_resident_bytes};
use crate::say::{say, tell};
use crate::state;

/// Rows are held in memory up to about this many bytes, then committed as one entry.
const ENTRY_BYTES: usize = 4 * 1024 * 1024;

/// What one run counted.
#[derive(Debug, Default)]
struct Tally {
    input: u64,
    new: u64,
    duplicates: u64,
    updated: u64,
    entries: Vec<String>,
    rejected: Vec<Rejected>,
    /// Records that were new here, and that another writer committed first.
    lost: u64,
}

/// Takes what is new of the day, commits it entry by entry, and proves how complete the listing was.
pub(crate) async fn run(context: &Context, args: &Daily) -> Result<Outcome, Failure> {
    context.check_day(args.date)?;
    let window = Window::day(args.date).map_err(|error| Failure::usage_of(&error))?;
    let mut query = ContratacoesQuery::publicacao(window).tamanho_pagina(args.page_size);
    if !args.modalidades.is_empty() {
        query = query.modalidades(modalidades(&args.modalidades)?);
    }
    let scope = context.scope(PNCP, args.date)?;
    let log = context.contratacoes_log()?;
    let mut day = log
        .load(&scope)
        .await
        .map_err(|error| state::refused(&error))?;
    for warning in day.warnings() {
        say!("⚠️  {}", state::warning_text(warning));
    }

    let mut run = Run {
        context,
        execution: Execution::new(context.settings.execution.as_str()),
        scope,
        all_modalidades: args.modalidades.is_empty(),
        builder: ContratacaoBatchBuilder::new(&context.settings.execution),
        tally: Tally::default(),
    };
    say!(
        "🚀 Listing contratações of {} (page size {})",
        args.date,
        args.page_size
    );
    let mut listing = context
        .client
        .contratacoes(query)
        .map_err(|error| Failure::usage_of(&error))?;
    let listed = run.take_pages(&mut listing, &mut day).await;
    // What came before the listing broke is as good as any: it is committed before the failure is told.
    run.commit(&mut day).await?;
    let proof = listing.into_proof();
    run.finish(&mut day, &proof).await?;
    match listed {
        Ok(()) => Ok(run.outcome(&proof)),
        Err(failure) => Err(failure),
    }
}

fn modalidades(codes: &[u32]) -> Result<Vec<Modalidade>, Failure> {
    let modalidade = |code: &u32| {
        u16::try_from(*code)
            .map(Modalidade::new)
            .map_err(|_| Failure::usage(format!("--modalidades: `{code}` is no modalidade")))
    };
    codes.iter().map(modalidade).collect()
}

#[derive(Debug)]
struct Run<'a> {
    context: &'a Context,
    execution: Execution,
    scope: Scope,
    all_modalidades: bool,
    builder: ContratacaoBatchBuilder,
    tally: Tally,
}

impl Run<'_> {
    async fn take_pages(
        &mut self,
        listing: &mut pncp_client::Listing,
        day: &mut DayLog,
    ) -> Result<(), Failure> {
        let doing = "listing contratações";
        loop {
            let page = listing
                .next_page()
                .await
                .map_err(|error| Failure::api(doing, &error))?;
            let Some(page) = page else { return Ok(()) };
            self.builder
                .append_page(&page)
                .map_err(|error| Failure::api(doing, &error))?;
            if self.builder.byte_size() >= ENTRY_BYTES {
                self.commit(day).await?;
            }
        }
    }

    /// Commits the rows held as an entry, less what is in already.
    async fn commit(&mut self, day: &mut DayLog) -> Result<(), Failure> {
        let reading =
            |error: &(dyn std::error::Error + 'static)| Failure::of("reading a page", error);
        self.tally.rejected.extend(self.builder.take_rejected());
        let batch = self.builder.finish().map_err(|error| reading(&error))?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rows = ParquetRows::new(&batch, &IdColumns::contratacoes())
            .map_err(|error| Failure::of("encoding contratações", &error))?;
        let (updated, filtered) = {
            // Gone before rows are encoded: what it remembers need not be held beside them.
            let mut filter = Filter::new(day, 0);
            let is_updated = |id: Id<'_>| filter.next(Some(id.id), id.version) == Sorted::Updated;
            let updated: Vec<bool> = rows.ids().iter().map(is_updated).collect();
            (updated, filter.stats())
        };
        self.keep_versions(&batch, updated).await?;

        let (offered, fresh) = (filtered.input, filtered.new_records);
        self.tally.input += offered;
        self.execution.counts = Counts {
            input: self.tally.input,
            duplicates_filtered: self.tally.input - self.tally.new - fresh,
        };
        let appended = day.append(&rows, &self.execution).await.map_err(|error| {
            Failure::of("committing contratações", &error)
                .hint("run the same command again: what was committed stays, the rest is taken up")
        })?;
        let new = appended.count() as u64;
        self.tally.lost += fresh.saturating_sub(new);
        self.tally.new += new;
        self.tally.duplicates += offered - new;
        if let Some(key) = appended.key {
            say!("💾 Saved {new} contratações\n   ✓ {key}");
            self.tally.entries.push(key);
        }
        Ok(())
    }

    /// Later versions of records that are in already go to a log of their own.
    async fn keep_versions(
        &mut self,
        batch: &RecordBatch,
        updated: Vec<bool>,
    ) -> Result<(), Failure> {
        if !updated.contains(&true) {
            return Ok(());
        }
        let encoding = "encoding later versions";
        let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(encoding, error);
        let all = filter_record_batch(batch, &BooleanArray::from(updated));
        let all = all.map_err(|error| failed(&error))?;
        let log = self.context.versions_log()?;
        let mut versions = log
            .load(&self.scope)
            .await
            .map_err(|error| state::refused(&error))?;
        let rows =
            ParquetRows::new(&all, &IdColumns::versions()).map_err(|error| failed(&error))?;
        let ids: Vec<&str> = rows.ids().iter().map(|id| id.id).collect();
        // Of an id that an append offers more than once only the latest version goes in.
        for round in rounds(&ids) {
            let rows = filter_record_batch(&all, &BooleanArray::from(round));
            let rows = rows.map_err(|error| failed(&error))?;
            let rows =
                ParquetRows::new(&rows, &IdColumns::versions()).map_err(|error| failed(&error))?;
            let appended = versions
                .append(&rows, &self.execution)
                .await
                .map_err(|error| Failure::of("committing later versions", &error))?;
            self.tally.updated += appended.count() as u64;
        }
        Ok(())
    }

    /// Writes the quarantine, the proof and the snapshot, in this order: the snapshot is a cache.
    async fn finish(&mut self, day: &mut DayLog, proof: &ListingProof) -> Result<(), Failure> {
        let doing = "writing the ledger";
        let (context, date) = (self.context, self.scope.date());
        if !self.tally.rejected.is_empty() {
            let key = context.timed_key("pncp/_quarantine", date);
            let records: Vec<_> = self.tally.rejected.iter().map(quarantined).collect();
            let document = json!({ "execution": self.execution.id, "records": records });
            let written = context.store.write_json(&key, &document).await;
            written.map_err(|error| Failure::of("writing the quarantine", &error))?;
            say!("⚠️  {} records in quarantine\n   ✓ {key}", records.len());
        }
        let finished = Utc::now();
        let ledger = json!({
            "execution": self.execution.id,
            "date": date,
            "started_at": instant(context.started),
            "finished_at": instant(finished),
            "input": self.tally.input,
            "new_records": self.tally.new,
            "duplicates_filtered": self.tally.duplicates,
            "later_versions": self.tally.updated,
            "quarantined": self.tally.rejected.len(),
            "entries": self.tally.entries,
            "verdict": verdict(proof),
            "day_complete": self.day_complete(proof),
            "proof": proof,
        });
        let key = context.timed_key(LEDGER, date);
        let written = context.store.write_json(&key, &ledger).await;
        written.map_err(|error| Failure::of(doing, &error))?;

        self.execution.counts = Counts {
            input: self.tally.input,
            duplicates_filtered: self.tally.duplicates,
        };
        self.execution.ended_at = Some(finished);
        self.execution
            .metadata
            .insert("verdict".to_owned(), verdict(proof).into());
        let snapshots = day.finish(&self.execution).await;
        snapshots.map_err(|error| Failure::of("writing the snapshot", &error))?;
        Ok(())
    }

    /// Complete, all modalidades, and made after the day's end.
    fn day_complete(&self, proof: &ListingProof) -> bool {
        let over = self.context.today() > self.scope.date();
        over && self.all_modalidades && proof.is_complete() && self.tally.rejected.is_empty()
    }

    fn outcome(&self, proof: &ListingProof) -> Outcome {
        let tally = &self.tally;
        // A day that still goes on moves while it is read: what is missing comes with the next run.
        let settled = match proof.verdict() {
            Verdict::Complete => true,
            Verdict::Moved => self.context.today() <= self.scope.date(),
            Verdict::Short => false,
        };
        let status = match (settled, tally.rejected.is_empty()) {
            (false, _) => Status::Failed,
            (true, false) => Status::Partial,
            (true, true) => Status::Complete,
        };
        say!(
            "📊 State Filtering: {} input → {} new ({} duplicates filtered)",
            tally.input,
            tally.new,
            tally.duplicates
        );
        let mut outcome = Outcome::new("daily", status)
            .with("date", self.scope.date().to_string())
            .with("execution", self.execution.id.as_str())
            .with("input", tally.input)
            .with("new_records", tally.new)
            .with("duplicates_filtered", tally.duplicates)
            .with("taken_by_others", tally.lost)
            .with("later_versions", tally.updated)
            .with("quarantined", tally.rejected.len())
            .with("entries", tally.entries.len())
            .with("verdict", verdict(proof))
            .with("day_complete", self.day_complete(proof));
        if let Some(peak) = peak_resident_bytes() {
            outcome = outcome.with("peak_resident_bytes", peak);
        }
        match (status, tally.input, tally.new) {
            (Status::Failed, ..) => {
                let short: Vec<String> = proof.parts.iter().flat_map(short_pages).collect();
                tell!("❌ The listing is {}: {}", verdict(proof), short.join("; "));
                tell!("   what came is committed; run the same command again for the rest");
                outcome.with(
                    "error",
                    format!("listing {}: {}", verdict(proof), short.join("; ")),
                )
            }
            (_, 0, _) => {
                say!("⚠️  The API has no contratações for this day");
                outcome
                    .with("no_data", true)
                    .with("reason", "no_data_from_api")
            }
            (_, _, 0) => {
                say!("⚠️  No new records to process (all duplicates)");
                outcome
                    .with("no_data", true)
                    .with("reason", "all_duplicates")
            }
            _ => {
                say!("✅ State updated: {} new IDs added", tally.new);
                outcome.with("no_data", false)
            }
        }
    }
}

/// Which of `ids` come for the first time, which for the second, and so on: masks as long as `ids`,
/// in none of which an id comes twice.
fn rounds(ids: &[&str]) -> Vec<Vec<bool>> {
    let mut rounds: Vec<Vec<bool>> = Vec::new();
    let mut came = HashMap::new();
    for (at, id) in ids.iter().enumerate() {
        let before: &mut usize = came.entry(*id).or_default();
        if *before == rounds.len() {
            rounds.push(vec![false; ids.len()]);
        }
        rounds[*before][at] = true;
        *before += 1;
    }
    rounds
}

fn verdict(proof: &ListingProof) -> &'static str {
    match proof.verdict() {
        Verdict::Complete => "complete",
        Verdict::Moved => "moved",
        Verdict::Short => "short",
    }
}

fn short_pages(proof: &PartProof) -> Vec<String> {
    let name = proof
        .modalidade
        .map_or_else(|| "all".to_owned(), |m| m.codigo().to_string());
    let page = |page: &pncp_client::ShortPage| {
        format!("modalidade {name} page {}: {}", page.numero, page.error)
    };
    proof.short_pages.iter().map(page).collect()
}

fn quarantined(rejected: &Rejected) -> serde_json::Value {
    json!({
        "reason": rejected.reason.to_string(),
        "source": rejected.source,
        "fetched_at": instant(rejected.fetched_at),
        "payload": String::from_utf8_lossy(&rejected.raw),
    })
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_an_id_has_a_round_of_its_own() {
        let rounds = rounds(&["a", "b", "a", "c", "a", "b"]);
        let places = |round: &Vec<bool>| -> Vec<usize> {
            (0..round.len()).filter(|at| round[*at]).collect()
        };
        let places: Vec<_> = rounds.iter().map(places).collect();
        assert_eq!(places, [vec![0, 1, 3], vec![2, 5], vec![4]]);
        assert!(super::rounds(&[]).is_empty());
    }
}
