//! The output that operators know from the scheduler's pages.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::{CheckpointSaved, Event, FacetCount, Observer, Outcome, Report, Started};

const WIDTH: usize = 70;

/// Prints a banner at the start, a block per checkpoint, a banner at the end.
///
/// ```text
/// ======================================================================
/// 💾 Checkpoint 1: Saved 50 contratacoes (50/215 total progress, 180 itens, 245 arquivos)
/// ======================================================================
///    ✓ Saved to Bronze: pncp_details/_parts/year=2025/month=10/day=22/00000001.part
/// ```
///
/// The numbers of a checkpoint's block count from the start of the run. Errors of the writer are ignored: a closed
/// terminal ends no ingestion.
pub struct BannerObserver<W> {
    writer: Mutex<W>,
}

impl<W> fmt::Debug for BannerObserver<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BannerObserver").finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> BannerObserver<W> {
    /// Prints to `writer`, flushed after every block.
    pub fn new(writer: W) -> Self {
        Self {
            writer: Mutex::new(writer),
        }
    }

    fn print(&self, text: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody to tell: see the type's documentation.
        let _ = writer
            .write_all(text.as_bytes())
            .and_then(|()| writer.flush());
    }
}

impl<W: Write + Send + 'static> Observer for BannerObserver<W> {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Started(started) => self.print(&start_banner(started)),
            Event::CheckpointSaved(saved) => self.print(&checkpoint_block(saved)),
            Event::Failed {
                failure,
                quarantined_at,
            } => self.print(&format!(
                "❌ {} {}: {} (attempts: {}, quarantined: {quarantined_at})\n",
                failure.key, failure.facet, failure.reason, failure.attempts
            )),
            Event::SaveRetried {
                number,
                attempt,
                reason,
                wait,
            } => self.print(&format!(
                "🔄 Checkpoint {number}: save attempt {attempt} failed, next in {}: {reason}\n",
                super::human(*wait)
            )),
            Event::Stopping { outcome, in_flight } => {
                self.print(&stopping_line(*outcome, *in_flight))
            }
            Event::Finished(report) => self.print(&end_banner(report)),
            Event::Progress(_) => {}
        }
    }
}

fn start_banner(started: &Started) -> String {
    let mut lines = Vec::new();
    if !started.label.is_empty() {
        lines.push(format!("📅 Date: {}", started.label));
    }
    lines.push(format!("📦 Total contratacoes: {}", started.planned));
    lines.push(format!("🔄 Checkpoint every: {}", started.checkpoint_every));
    lines.push(match started.batch_size {
        Some(size) => format!("📊 Batch size: {size}"),
        None => "📊 Batch size: ALL".to_owned(),
    });
    lines.push(format!(
        "♻️  Auto-resume: {}",
        if started.auto_resume {
            "ENABLED"
        } else {
            "DISABLED"
        }
    ));
    banner("🚀 STARTING DETAILS INGESTION", &lines)
}

fn checkpoint_block(saved: &CheckpointSaved) -> String {
    let headline = if saved.is_final {
        format!(
            "💾 Final checkpoint: Saved remaining {} contratacoes ({})",
            saved.metrics.rows,
            progress(saved)
        )
    } else {
        let number = saved.metrics.number;
        format!(
            "💾 Checkpoint {number}: Saved {} contratacoes ({})",
            saved.saved_total,
            progress(saved)
        )
    };
    let rule = "=".repeat(WIDTH);
    let key = match saved.metrics.key.as_str() {
        "" => "   ✓ Already saved by another run".to_owned(),
        key => format!("   ✓ Saved to Bronze: {key}"),
    };
    format!("{rule}\n{headline}\n{rule}\n{key}\n")
}

fn progress(saved: &CheckpointSaved) -> String {
    let mut text = format!("{}/{} total progress", saved.saved_total, saved.planned);
    for FacetCount { facet, count } in &saved.elements_total {
        text.push_str(&format!(", {count} {facet}"));
    }
    text
}

fn stopping_line(outcome: Outcome, in_flight: u32) -> String {
    let why = match outcome {
        Outcome::Deferred { until } => {
            format!("the server asks to come back at {}", until.to_rfc3339())
        }
        Outcome::Failed => "too many failures".to_owned(),
        _ => "told to stop".to_owned(),
    };
    format!("🔄 Stopping: {why}; calls in flight: {in_flight}\n")
}

fn end_banner(report: &Report) -> String {
    let title = match report.outcome {
        Outcome::Complete | Outcome::NothingNew => "✅ INGESTION COMPLETE",
        Outcome::Partial => "✅ INGESTION COMPLETE WITH ERRORS",
        Outcome::Failed => "❌ INGESTION FAILED",
        Outcome::Deferred { .. } | Outcome::Stopped { .. } => {
            "🔄 INGESTION STOPPED, RUN AGAIN TO RESUME"
        }
    };
    let mut lines = vec![format!("📦 Contratacoes processed: {}", report.processed)];
    for (position, totals) in report.facets.iter().enumerate() {
        let pictogram = if position == 0 { "📝" } else { "📄" };
        lines.push(format!(
            "{pictogram} Total {}: {}",
            totals.facet, totals.elements
        ));
    }
    lines.push(format!("🌐 API calls: {}", report.calls));
    lines.push(format!(
        "❌ Errors: {}",
        report
            .facets
            .iter()
            .map(|totals| totals.failed)
            .sum::<u64>()
    ));
    lines.push(format!(
        "💾 Checkpoints saved: {}",
        report.checkpoints.len()
    ));
    if report.left > 0 {
        lines.push(format!("🔄 Left for the next run: {}", report.left));
    }
    banner(title, &lines)
}

fn banner(title: &str, lines: &[String]) -> String {
    let rule = "=".repeat(WIDTH);
    format!("{rule}\n{title}\n{rule}\n{}\n{rule}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Shared;
    use super::*;
    use crate::{CheckpointMetrics, FacetTotals, Finished};

    const RULE: &str = "======================================================================";

    fn printed(event: &Event<'_>) -> String {
        let shared = Shared::default();
        BannerObserver::new(shared.clone()).on_event(event);
        shared.text()
    }

    fn counts(itens: u64, arquivos: u64) -> Vec<FacetCount> {
        let count = |facet: &str, count| FacetCount {
            facet: facet.to_owned(),
            count,
        };
        vec![count("itens", itens), count("arquivos", arquivos)]
    }

    #[test]
    fn the_start_is_the_banner_that_operators_know() {
        let started = Started {
            label: "2025-10-22".to_owned(),
            listed: 215,
            planned: 215,
            already_done: 0,
            checkpoint_every: 50,
            batch_size: Some(100),
            auto_resume: true,
            facets: vec!["itens", "arquivos"],
        };
        let expected = format!(
            "{RULE}\n🚀 STARTING DETAILS INGESTION\n{RULE}\n📅 Date: 2025-10-22\n📦 Total contratacoes: 215\n\
             🔄 Checkpoint every: 50\n📊 Batch size: 100\n♻️  Auto-resume: ENABLED\n{RULE}\n"
        );
        assert_eq!(printed(&Event::Started(&started)), expected);
    }

    #[test]
    fn a_checkpoint_is_the_block_that_operators_know() {
        let key = "pncp_details/year=2025/month=10/day=22/details.parquet";
        let mut saved = CheckpointSaved {
            metrics: CheckpointMetrics {
                number: 1,
                rows: 50,
                key: key.to_owned(),
                ..CheckpointMetrics::default()
            },
            saved_total: 50,
            planned: 215,
            elements_total: counts(180, 245),
            is_final: false,
            elapsed: std::time::Duration::ZERO,
        };
        let line = "💾 Checkpoint 1: Saved 50 contratacoes (50/215 total progress, 180 itens, 245 arquivos)";
        let expected = format!("{RULE}\n{line}\n{RULE}\n   ✓ Saved to Bronze: {key}\n");
        assert_eq!(printed(&Event::CheckpointSaved(&saved)), expected);
        saved.is_final = true;
        assert!(
            printed(&Event::CheckpointSaved(&saved))
                .contains("💾 Final checkpoint: Saved remaining 50 contratacoes")
        );
    }

    #[test]
    fn the_end_is_the_banner_that_operators_know() {
        let totals = |facet: &str, elements| FacetTotals {
            facet: facet.to_owned(),
            elements,
            ..FacetTotals::default()
        };
        let mut report = Report {
            outcome: Outcome::Complete,
            listed: 215,
            planned: 215,
            already_done: 0,
            set_aside: 0,
            processed: 215,
            failed: 0,
            left: 0,
            complete: true,
            facets: vec![totals("itens", 652), totals("arquivos", 1_045)],
            calls: 430,
            retries: 0,
            body_bytes: 0,
            saved_bytes: 0,
            peak_held_bytes: 0,
            elapsed: std::time::Duration::ZERO,
            checkpoints: vec![CheckpointMetrics::default(); 5],
            finished: Finished::default(),
        };
        let expected = format!(
            "{RULE}\n✅ INGESTION COMPLETE\n{RULE}\n📦 Contratacoes processed: 215\n📝 Total itens: 652\n\
             📄 Total arquivos: 1045\n🌐 API calls: 430\n❌ Errors: 0\n💾 Checkpoints saved: 5\n{RULE}\n"
        );
        assert_eq!(printed(&Event::Finished(&report)), expected);
        report.outcome = Outcome::Stopped {
            reason: crate::StopReason::Cancelled,
        };
        report.left = 7;
        let stopped = printed(&Event::Finished(&report));
        assert!(
            stopped.contains("RUN AGAIN TO RESUME") && stopped.contains("Left for the next run: 7"),
            "{stopped}"
        );
    }
}
