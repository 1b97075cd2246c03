use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;

use crate::error::{BoxError, Error, Operation, Result, chain_text};
use crate::nonce::nonce;
use crate::store::{BronzeStore, Created};

/// How many writers race for one key, round by round. A server that looks before it writes lets
/// one round of eight in five pass, so there are several; but such a round takes SeaweedFS up to
/// five seconds, one of two or three a few hundredths, so the others are of few.
const ROUNDS: [usize; 14] = [2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 3, 8];

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such bucket.
    NoBucket,
    /// The credentials are unknown or may not do this.
    Denied(Operation),
    /// This machine's clock and the server's are too far apart for signatures.
    ClockSkew,
    /// The folder cannot be written.
    Unwritable,
    /// Nobody answers at the endpoint.
    Unreachable,
    /// What was written is not what is read or listed.
    Inconsistent,
    /// Ranged reads, which pin and bound every reader here, are not honoured.
    RangesIgnored,
    /// A create-if-absent of an existing object was answered with success.
    ConditionsIgnored,
    /// The server takes a write, but not one with a condition: it has no create-if-absent.
    ConditionsRefused,
    /// Several racing creators of one key were all answered with success.
    RaceLost {
        /// How many.
        winners: usize,
        /// Out of how many.
        writers: usize,
    },
    /// Another failure; the source has the server's answer.
    Failed(Operation),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBucket => f.write_str("there is no such bucket"),
            Self::Denied(operation) => {
                write!(f, "the credentials are unknown or may not {operation}")
            }
            Self::ClockSkew => f.write_str("this machine's clock is too far from the server's"),
            Self::Unwritable => f.write_str("the folder cannot be written"),
            Self::Unreachable => f.write_str("nobody answers at the endpoint"),
            Self::Inconsistent => f.write_str("what was written is not what is read or listed"),
            Self::RangesIgnored => f.write_str("the server answers ranged reads with the whole"),
            Self::ConditionsIgnored => f.write_str(
                "the server answered success to a create of an object that exists: it ignores \
                 If-None-Match, so state must not be kept here",
            ),
            Self::ConditionsRefused => f.write_str(
                "the server takes a write, but refuses the same one with If-None-Match: it has no \
                 create-if-absent, so state must not be kept here",
            ),
            Self::RaceLost { winners, writers } => write!(
                f,
                "the server answered success to {winners} of {writers} racing creates of one key: \
                 it honours If-None-Match one at a time only, so state must not be kept here"
            ),
            Self::Failed(operation) => write!(f, "the {operation} failed"),
        }
    }
}

impl Problem {
    /// Whether the store itself breaks what state is built on, so that none must be kept there.
    /// Otherwise it could not be tried out: it cannot be reached or used as things are.
    pub fn forbids_state(self) -> bool {
        match self {
            Self::Inconsistent
            | Self::RangesIgnored
            | Self::ConditionsIgnored
            | Self::ConditionsRefused
            | Self::RaceLost { .. } => true,
            Self::NoBucket
            | Self::Denied(_)
            | Self::ClockSkew
            | Self::Unwritable
            | Self::Unreachable
            | Self::Failed(_) => false,
        }
    }
}

/// Why a store must not be used, or cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{problem}. location=`{location}`")]
pub struct CheckError {
    /// What is wrong.
    pub problem: Problem,
    /// Which store.
    pub location: String,
    /// The server's answer.
    #[source]
    pub answer: Option<BoxError>,
}

/// What a check has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Which store.
    pub location: String,
    /// Rounds of racing creators, each with one winner.
    pub races: usize,
    /// Creators in the largest round.
    pub writers: usize,
}

impl BronzeStore {
    /// Proves on the real store that it keeps what this layer is built on: write, read, list,
    /// delete, and a create-if-absent that refuses, also when several race.
    ///
    /// Leaves nothing behind: its objects lie below `_check/` and are deleted, also on failure
    /// (unless deleting is what is not allowed).
    ///
    /// # Errors
    /// [`CheckError`], in words that name the server's answer.
    ///
    /// # Cancellation
    /// May leave small objects below `_check/`.
    pub async fn check(&self) -> Result<Checked, CheckError> {
        let folder = format!("_check/{}", nonce());
        let probed = self.probe(&folder).await;
        let cleaned = self.clean(&folder).await;
        match (probed, cleaned) {
            (Err(problem), _) | (Ok(()), Err(problem)) => Err(problem),
            (Ok(()), Ok(())) => Ok(Checked {
                location: self.location().to_owned(),
                races: ROUNDS.len(),
                writers: ROUNDS.into_iter().max().unwrap_or_default(),
            }),
        }
    }

    async fn probe(&self, folder: &str) -> Result<(), CheckError> {
        let plain = plain_key(folder);
        let body = Bytes::from(nonce());
        let failed = |operation| move |error| self.failed(operation, error);
        let wrong = |problem: Problem, answer: String| self.problem(problem, Some(answer.into()));

        self.put(&plain, body.clone())
            .await
            .map_err(failed(Operation::Put))?;
        let (read, version) = self.get(&plain).await.map_err(failed(Operation::Get))?;
        if read != body {
            let answer = "other bytes were read than had been written";
            return Err(wrong(Problem::Inconsistent, answer.to_owned()));
        }
        let listed = self.list(folder).await.map_err(failed(Operation::List))?;
        if !listed.iter().any(|object| object.key == plain) {
            let answer = "the object is missing in a listing made after its write";
            return Err(wrong(Problem::Inconsistent, answer.to_owned()));
        }

        let second = self.create(&plain, Bytes::from_static(b"another")).await;
        match second.map_err(failed(Operation::Create))? {
            Created::Exists => {}
            Created::New(_) => {
                let answer = "success, where 412 Precondition Failed was expected";
                return Err(wrong(Problem::ConditionsIgnored, answer.to_owned()));
            }
        }
        let (read, _) = self.get(&plain).await.map_err(failed(Operation::Get))?;
        if read != body {
            let answer = "the create was refused, and yet the object was replaced";
            return Err(wrong(Problem::ConditionsIgnored, answer.to_owned()));
        }
        let tail = self.get_range(&plain, 8..version.size, &version).await;
        if tail.map_err(failed(Operation::Get))? != body.slice(8..) {
            let answer = "a ranged read answered other bytes";
            return Err(wrong(Problem::Inconsistent, answer.to_owned()));
        }
        for (round, writers) in ROUNDS.into_iter().enumerate() {
            self.race(&race_key(folder, round), writers).await?;
        }
        Ok(())
    }

    /// One round: writers with bodies of their own; at most one may be told that it won, and then
    /// the object is that one's.
    async fn race(&self, key: &str, writers: usize) -> Result<(), CheckError> {
        let bodies: Vec<Bytes> = (0..writers)
            .map(|n| Bytes::from(format!("{n}-{}", nonce())))
            .collect();
        let answers = join_all(bodies.iter().map(|body| self.create(key, body.clone()))).await;
        let mut winners = BTreeSet::new();
        for (n, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(Created::New(_)) => {
                    winners.insert(n);
                }
                Ok(Created::Exists) => {}
                // A contended key may cost a time-out; who won is seen below.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(self.failed(Operation::Create, error)),
            }
        }
        if winners.len() > 1 {
            let problem = Problem::RaceLost {
                winners: winners.len(),
                writers,
            };
            let answer = format!("success to the writers {winners:?}");
            return Err(self.problem(problem, Some(answer.into())));
        }
        let (read, _) = self
            .get(key)
            .await
            .map_err(|error| self.failed(Operation::Get, error))?;
        let owner = bodies.iter().position(|body| *body == read);
        let told = winners.first().copied();
        if owner.is_none() || (told.is_some() && told != owner) {
            let answer = format!("writer {told:?} was told that it won, writer {owner:?} did");
            return Err(self.problem(Problem::Inconsistent, Some(answer.into())));
        }
        Ok(())
    }

    /// Deletes what the probe has written, by name: it may be a listing that does not work.
    async fn clean(&self, folder: &str) -> Result<(), CheckError> {
        for key in probes(folder) {
            let failed = |operation| move |error| self.failed(operation, error);
            let deleted = self.delete(&key).await;
            deleted.map_err(failed(Operation::Delete))?;
            let left = self.head(&key).await.map_err(failed(Operation::Get))?;
            if left.is_some() {
                let answer = "a deleted object is still there";
                return Err(self.problem(Problem::Inconsistent, Some(answer.into())));
            }
        }
        Ok(())
    }

    fn problem(&self, problem: Problem, answer: Option<BoxError>) -> CheckError {
        CheckError {
            problem,
            location: self.location().to_owned(),
            answer,
        }
    }

    fn failed(&self, operation: Operation, error: Error) -> CheckError {
        let problem = diagnose(operation, &error, self.folder().is_some());
        self.problem(problem, Some(Box::new(error)))
    }
}

fn plain_key(folder: &str) -> String {
    format!("{folder}/plain")
}

fn race_key(folder: &str, round: usize) -> String {
    format!("{folder}/race-{round}")
}

/// Every key that a probe may have written.
fn probes(folder: &str) -> impl Iterator<Item = String> {
    let races = (0..ROUNDS.len()).map(move |round| race_key(folder, round));
    std::iter::once(plain_key(folder)).chain(races)
}

/// What an error of a probe means. Pure.
fn diagnose(operation: Operation, error: &Error, local: bool) -> Problem {
    let text = chain_text(error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&[
        "RequestTimeTooSkewed",
        "RequestExpired",
        "Request has expired",
    ]) {
        return Problem::ClockSkew;
    }
    if says(&[
        "NoSuchBucket",
        "The specified bucket does not exist",
        "ContainerNotFound",
    ]) {
        return Problem::NoBucket;
    }
    if says(&["non-partial response"]) {
        return Problem::RangesIgnored;
    }
    match error {
        // A local folder is made by the write itself; an answered 404 to a write means the bucket.
        Error::NotFound { .. } if local => Problem::Unwritable,
        Error::NotFound { .. } if matches!(operation, Operation::Put | Operation::List) => {
            Problem::NoBucket
        }
        Error::Denied { .. }
        | Error::Store {
            transient: false, ..
        } if local => Problem::Unwritable,
        Error::Denied { .. } => Problem::Denied(operation),
        Error::Store {
            transient: true, ..
        } if local => Problem::Unwritable,
        Error::Store {
            transient: true, ..
        } if !text.contains("status code") => Problem::Unreachable,
        // The same key was just written without the condition.
        Error::Store { .. } if operation == Operation::Create && refuses(&text) => {
            Problem::ConditionsRefused
        }
        _ => Problem::Failed(operation),
    }
}

/// Whether an answer says that the request itself is not to be had: 400, 405, 501, or the code of
/// one of them.
fn refuses(text: &str) -> bool {
    let refusals = ["400", "405", "501"].map(|status| format!("status code: {status}"));
    refusals.iter().any(|refusal| text.contains(refusal)) || text.contains("NotImplemented")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: &str) -> Error {
        let source = format!("Server returned non-2xx status code: {status}").into();
        let error = object_store::Error::PermissionDenied {
            path: "x".to_owned(),
            source,
        };
        Error::from_store(Operation::Put, "x", error)
    }

    #[test]
    fn answers_are_told_apart() {
        let skew = answered("403 Forbidden: <Code>RequestTimeTooSkewed</Code>");
        assert_eq!(diagnose(Operation::Put, &skew, false), Problem::ClockSkew);
        let denied = answered("403 Forbidden: <Code>AccessDenied</Code>");
        assert_eq!(
            diagnose(Operation::Put, &denied, false),
            Problem::Denied(Operation::Put)
        );
        let bucket = answered("404 Not Found: <Code>NoSuchBucket</Code>");
        assert_eq!(diagnose(Operation::Put, &bucket, false), Problem::NoBucket);
        let generic = |text: &str| {
            let error = object_store::Error::Generic {
                store: "S3",
                source: text.to_owned().into(),
            };
            Error::from_store(Operation::Put, "x", error)
        };
        let nobody = generic("error sending request: connection refused");
        assert_eq!(
            diagnose(Operation::Put, &nobody, false),
            Problem::Unreachable
        );
        let broken = generic("Server returned non-2xx status code: 500 Internal Server Error");
        assert_eq!(
            diagnose(Operation::Put, &broken, false),
            Problem::Failed(Operation::Put)
        );
    }
}
