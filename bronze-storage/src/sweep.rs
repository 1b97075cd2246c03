//! What a killed process leaves in a local folder.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::{Error, Operation, Result};
use crate::store::BronzeStore;
use crate::temp::GC_FLOOR;

impl BronzeStore {
    /// Deletes what writers that were killed left in a local folder: staged files (`name#1`), which
    /// no listing shows and no reader sees, untouched for `older_than` (never less than
    /// [`GC_FLOOR`]: a writer may still be at it).
    ///
    /// Other stores have nothing to sweep here. A bucket keeps the parts of uploads that were
    /// never completed; give it the lifecycle rule `AbortIncompleteMultipartUpload`.
    ///
    /// # Returns
    /// How many files were deleted.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Denied`] from the file system.
    pub async fn sweep(&self, older_than: Duration) -> Result<u64> {
        let Some(folder) = self.folder().map(Path::to_owned) else {
            return Ok(0);
        };
        let age = chrono::TimeDelta::from_std(older_than.max(GC_FLOOR));
        let age = age.unwrap_or(chrono::TimeDelta::MAX);
        let limit = self
            .now()
            .checked_sub_signed(age)
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        let swept = tokio::task::spawn_blocking(move || sweep(&folder, limit)).await;
        swept.map_err(|error| failed(&error.to_string(), Box::new(error)))?
    }
}

fn failed(at: &str, source: crate::BoxError) -> Error {
    Error::Store {
        operation: Operation::Delete,
        key: at.to_owned(),
        transient: false,
        source,
    }
}

fn sweep(folder: &Path, limit: DateTime<Utc>) -> Result<u64> {
    let wrong =
        |path: &Path, error: std::io::Error| failed(&path.display().to_string(), Box::new(error));
    let mut swept = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| wrong(&folder, error))?;
            let path = entry.path();
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Its writer has just finished.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(wrong(&path, error)),
            };
            if meta.is_dir() {
                folders.push(path);
                continue;
            }
            let modified = meta.modified().map(DateTime::<Utc>::from);
            let old = modified.is_ok_and(|modified| modified < limit);
            if meta.is_file() && old && is_staged(&entry.file_name().to_string_lossy()) {
                std::fs::remove_file(&path).map_err(|error| wrong(&path, error))?;
                swept += 1;
            }
        }
    }
    Ok(swept)
}

/// The names that `object_store` stages files under: the key's, `#`, a number.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(name, number)| {
        !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_staged_names_are_swept() {
        assert!(is_staged("a.parquet#1") && is_staged("a.parquet#12"));
        assert!(!is_staged("a.parquet") && !is_staged("#1") && !is_staged("a#b"));
    }
}
