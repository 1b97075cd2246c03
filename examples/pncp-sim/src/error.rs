use std::net::SocketAddr;

/// Why the simulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loopback port could not be had.
    #[error("cannot listen. address=`{address}`")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A setting that makes no sense; nothing was started.
    #[error("invalid setting: {reason}. setting=`{setting}`, value=`{value}`")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bundled data does not read (a defect of this package).
    #[error("bundled data unreadable. file=`{file}`, line={line}")]
    Data {
        /// File under `data/`.
        file: &'static str,
        /// From 1.
        line: usize,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}
