//! What pyarrow, pandas, DuckDB and Polars read of a day, each object by itself.

use std::path::Path;

use serde_json::Value;

use super::{DAY, Lakehouse, python};

impl Lakehouse {
    /// The report of `readers.py` about this lakehouse's folder, or about a bucket if its endpoint
    /// and name are given; none without Python.
    ///
    /// # Panics
    /// If a reader sees another value or type than the truth has.
    pub async fn read_with_all(&self, bucket: Option<(&str, &str)>) -> Option<Value> {
        self.read_against(&self.write_truth(), bucket).await
    }

    /// The same, compared with the truth in a file.
    ///
    /// # Panics
    /// As [`Lakehouse::read_with_all`].
    pub async fn read_against(&self, truth: &Path, bucket: Option<(&str, &str)>) -> Option<Value> {
        let truth = truth.to_string_lossy().into_owned();
        let mut args = vec![script(), truth, DAY.to_owned()];
        match bucket {
            Some((endpoint, bucket)) => {
                args.extend(["s3", endpoint, bucket].map(str::to_owned));
            }
            None => args.push(self.store().to_string_lossy().into_owned()),
        }
        let read = tokio::task::spawn_blocking(move || {
            let python = python::readers()?;
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            Some(python::run(python, &args).unwrap_or_else(|error| panic!("{error}")))
        });
        let output = read.await.unwrap()?;
        Some(serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn script() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.py");
    script.to_string_lossy().into_owned()
}
