use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::Modalidade;
use crate::endpoint::Endpoint;

/// What a listing declared, what it delivered, and whether the two agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingProof {
    /// The endpoint listed.
    pub endpoint: Endpoint,
    /// First and last day asked for; none for `proposta`.
    pub window: Option<(NaiveDate, NaiveDate)>,
    /// One for each modality and piece of the window, in the order read.
    pub parts: Vec<PartProof>,
    /// Pieces that were not read to their end when this was written.
    pub parts_left: u32,
    /// Requests that were answered for it, the table of modalities and every repetition included.
    #[serde(default)]
    pub requests: u32,
    /// Those among `requests` that repeated one that had failed.
    #[serde(default)]
    pub retries: u32,
    /// When the first page was asked for.
    pub started_at: DateTime<Utc>,
    /// When this was written.
    pub finished_at: DateTime<Utc>,
}

/// The proof of one series of pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartProof {
    /// Its modality; none where all were asked for at once.
    pub modalidade: Option<Modalidade>,
    /// First and last day asked for.
    pub window: Option<(NaiveDate, NaiveDate)>,
    /// `totalRegistros` of the first page of the last pass.
    pub declared_first: u64,
    /// `totalRegistros` of its last page.
    pub declared_last: u64,
    /// Pages asked for in the last pass.
    pub pages_asked: u32,
    /// Pages that came.
    pub pages_got: u32,
    /// Records in them.
    pub records: u64,
    /// Distinct ids among them.
    pub distinct: u64,
    /// Records whose id had come before in the same pass.
    pub repeats: u64,
    /// Records dated outside the window asked for.
    pub outside_window: u64,
    /// Records without a readable id.
    pub unidentified: u64,
    /// Times that the series was read.
    pub passes: u32,
    /// Requests that were answered for it, in all passes, repetitions included.
    pub requests: u32,
    /// Those among `requests` that repeated one that had failed.
    pub retries: u32,
    /// Ids of earlier passes that the last one did not have.
    pub vanished: u64,
    /// Pages that could not be had.
    pub short_pages: Vec<ShortPage>,
    /// The server knows no such modality.
    pub no_such_modalidade: bool,
    /// What it comes to.
    pub verdict: Verdict,
}

/// A page that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortPage {
    /// Its number.
    pub numero: u32,
    /// Why, with its causes.
    pub error: String,
    /// The status of the last answer, if one came.
    pub status: Option<u16>,
}

/// Whether all is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every page came, the total stood still, and as many distinct records came as declared.
    Complete,
    /// The list moved in every pass: what came is right, but something may be missing.
    Moved,
    /// Pages, or whole parts, are missing.
    #[default]
    Short,
}

impl ListingProof {
    /// The worst of its parts; [`Verdict::Short`] if some were not read.
    pub fn verdict(&self) -> Verdict {
        if self.parts_left > 0 {
            return Verdict::Short;
        }
        self.parts
            .iter()
            .map(|part| part.verdict)
            .max()
            .unwrap_or(Verdict::Complete)
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.verdict() == Verdict::Complete
    }

    /// Distinct records of the last passes.
    pub fn distinct(&self) -> u64 {
        self.parts.iter().map(|part| part.distinct).sum()
    }

    /// Records that the server declared last.
    pub fn declared(&self) -> u64 {
        self.parts.iter().map(|part| part.declared_last).sum()
    }
}
