//! How a command ends: exit codes, and the one JSON line that schedulers pass on.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Map, Value};

/// The longest last line, in bytes: well under what any scheduler keeps of a task's output.
pub(crate) const MAX_LINE_BYTES: usize = 1024;

/// How a run ended, as the exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// All there is to have is in, also when nothing was new.
    Complete,
    /// Something failed; what was committed before stays.
    Failed,
    /// Bad usage or configuration: nothing was done.
    Usage,
    /// Some records are in quarantine; the rest is safe.
    Partial,
    /// The server said when to come back.
    Deferred,
    /// Another writer took what this run offered.
    Lost,
}

impl Status {
    /// The process' exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Deferred => 4,
            Self::Lost => 5,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::Deferred => "deferred",
            Self::Lost => "lost",
        }
    }
}

/// What a command has to say at its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Decides the exit code.
    pub(crate) status: Status,
    fields: Map<String, Value>,
}

impl Outcome {
    /// An outcome of `command` with no fields yet.
    pub(crate) fn new(command: &str, status: Status) -> Self {
        let mut fields = Map::new();
        fields.insert("command".into(), command.into());
        fields.insert("status".into(), status.name().into());
        Self { status, fields }
    }

    /// Adds a field of the last line.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Whether there was nothing new.
    pub(crate) fn is_no_data(&self) -> bool {
        self.fields.get("no_data") == Some(&Value::Bool(true))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> ExitCode {
        ExitCode::from(self.status.code())
    }
}

impl fmt::Display for Outcome {
    /// One JSON object of at most [`MAX_LINE_BYTES`]: long texts are shortened, longest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = self.fields.clone();
        loop {
            let line = Value::Object(fields.clone()).to_string();
            if line.len() <= MAX_LINE_BYTES {
                return f.write_str(&line);
            }
            let excess = line.len() - MAX_LINE_BYTES;
            let longest = fields
                .iter_mut()
                .filter_map(|(_, value)| match value {
                    Value::String(text) if text.len() > 16 => Some(text),
                    _ => None,
                })
                .max_by_key(|text| text.len());
            match longest {
                Some(text) => shorten(text, excess),
                None => {
                    fields.retain(|name, _| matches!(name.as_str(), "command" | "status"));
                }
            }
        }
    }
}

/// Cuts `excess` bytes and a little more off `text`, at a character's border, and marks the cut.
fn shorten(text: &mut String, excess: usize) {
    let mut keep = text
        .len()
        .saturating_sub(excess + 4)
        .max(8)
        .min(text.len() - 4);
    while !text.is_char_boundary(keep) {
        keep -= 1;
    }
    text.truncate(keep);
    text.push('…');
}

/// The peak resident set of this process so far, in bytes, where the kernel tells it.
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_short_and_parses_whatever_the_error_says() {
        for text in ["x".repeat(5_000), "çã\"\\\n".repeat(900), String::new()] {
            let outcome = Outcome::new("daily", Status::Failed)
                .with("error", text.as_str())
                .with("key", text.as_str())
                .with("new_records", 7);
            let line = outcome.to_string();
            assert!(line.len() <= MAX_LINE_BYTES, "{}", line.len());
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["status"], "failed");
            assert_eq!(value["new_records"], 7);
        }
    }

    #[test]
    fn codes_are_those_of_the_design() {
        let all = [
            (Status::Complete, 0),
            (Status::Failed, 1),
            (Status::Usage, 2),
            (Status::Partial, 3),
            (Status::Deferred, 4),
            (Status::Lost, 5),
        ];
        for (status, code) in all {
            assert_eq!(status.code(), code);
        }
    }
}
