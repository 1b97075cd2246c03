//! Time and randomness, handed in.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

/// What a log takes from outside besides its store.
pub trait Ambient: fmt::Debug + Send + Sync + 'static {
    /// The current time. Nothing is ordered by it: a clock that jumps back does no harm.
    fn now(&self) -> DateTime<Utc>;

    /// A text that no other call in any process ever returned or will return.
    fn nonce(&self) -> String;
}

/// The system's clock, and nonces of 128 bits from the system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Ambient for System {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn nonce(&self) -> String {
        // The keys of `RandomState` are the standard library's way to the system's randomness;
        // process and time are added so that a fork or a restored machine differs too.
        let mut digest = Sha256::new();
        for _ in 0..4 {
            digest.update(RandomState::new().build_hasher().finish().to_le_bytes());
        }
        digest.update(std::process::id().to_le_bytes());
        digest.update(
            Utc::now()
                .timestamp_nanos_opt()
                .unwrap_or_default()
                .to_le_bytes(),
        );
        digest
            .finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
