//! Why a command ended early: the whole chain of causes, and what to do.

use std::error::Error;

use bronze_storage::state::MergeError;
use chrono::{DateTime, Utc};

use crate::outcome::{Outcome, Status};

/// A command's failure, ready for people and for the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
    hint: Option<String>,
    retry_at: Option<DateTime<Utc>>,
}

impl Failure {
    /// Bad usage or configuration: nothing was done.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            status: Status::Usage,
            message: message.into(),
            hint: None,
            retry_at: None,
        }
    }

    /// Bad usage or configuration, told by a library's error.
    pub(crate) fn usage_of(error: &(dyn Error + 'static)) -> Self {
        Self::usage(chain(error))
    }

    /// Something failed while `doing`.
    pub(crate) fn of(doing: &str, error: &(dyn Error + 'static)) -> Self {
        let message = format!("{doing}: {}", chain(error));
        Self {
            status: Status::Failed,
            message,
            hint: None,
            retry_at: None,
        }
    }

    /// The operator or the scheduler stopped it.
    pub(crate) fn stopped(message: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            message: message.into(),
            hint: None,
            retry_at: None,
        }
    }

    /// A call of the API failed while `doing`; deferred where the server said when to come back.
    pub(crate) fn api(doing: &str, error: &pncp_client::Error) -> Self {
        let retry_at = error.retry_at();
        let status = if retry_at.is_some() {
            Status::Deferred
        } else {
            Status::Failed
        };
        let message = format!("{doing}: {}", chain(error));
        let hint = matches!(error, pncp_client::Error::Transport { .. })
            .then(|| "is the API reachable? see PNCP_CONSULTA_URL and PNCP_API_URL".to_owned());
        Self {
            status,
            message,
            hint,
            retry_at,
        }
    }

    /// A merge failed while `doing`; lost where other mergers kept replacing the file.
    pub(crate) fn merge(doing: &str, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::of(doing, error);
        let mut cause = Some(error);
        while let Some(inner) = cause {
            if let Some(MergeError::Contended { .. }) = inner.downcast_ref() {
                failure.status = Status::Lost;
                return failure.hint("another merger is at work on this day: its file is as good");
            }
            cause = inner.source();
        }
        failure
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do, unless something is said already.
    pub(crate) fn hint_or(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// For people, on stderr.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("❌ {}", self.message);
        if let Some(until) = self.retry_at {
            text.push_str(&format!("\n   come back at {}", until.to_rfc3339()));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n   {hint}"));
        }
        text
    }

    /// For the last line and the exit code.
    pub(crate) fn outcome(&self, command: &str) -> Outcome {
        let mut outcome = Outcome::new(command, self.status).with("error", self.message.as_str());
        if let Some(until) = self.retry_at {
            outcome = outcome.with("retry_at", until.to_rfc3339());
        }
        outcome
    }
}

/// The error and its causes, from the outside in.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use details_checkpoint::SinkError;

    use super::*;

    #[test]
    fn a_merge_that_others_won_is_lost_wherever_it_ended_a_run() {
        let contended = || MergeError::Contended {
            key: "pncp_details/details.parquet".to_owned(),
            restarts: 10,
        };
        let ended = SinkError::transient("merge", contended());
        for failure in [
            Failure::merge("merging", &contended()),
            Failure::merge("ingesting", &ended),
        ] {
            let failure = failure.hint_or("run it again");
            assert_eq!(failure.status, Status::Lost);
            assert!(
                failure.text().contains("its file is as good"),
                "{failure:?}"
            );
        }
        let other = SinkError::transient("merge", std::io::Error::other("disk"));
        let failure = Failure::merge("ingesting", &other).hint_or("run it again");
        assert_eq!(failure.status, Status::Failed);
        assert!(failure.text().contains("run it again"), "{failure:?}");
    }
}
