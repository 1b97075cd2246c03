//! One thing whose details are wanted.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};

/// One thing whose details are wanted, as the caller's list names it.
///
/// What goes into a [`crate::KeyList`] and comes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The key, of any content; for PNCP details `cnpj|ano|sequencial`.
    pub key: Cow<'a, str>,
    /// What the caller calls it elsewhere (for PNCP `numeroControlePNCP`), where that cannot be told from the key.
    pub label: Option<Cow<'a, str>>,
    /// The version of the thing itself, ordered as text (for PNCP `dataAtualizacaoGlobal`).
    pub version: Option<Cow<'a, str>>,
    /// When it came in; [`crate::Options::since`] looks at this.
    pub arrived: Option<DateTime<Utc>>,
    /// Whether its situation can still change; a refresh by age skips what is final.
    pub is_final: bool,
}

impl<'a> Candidate<'a> {
    /// A candidate with nothing but a key.
    pub fn new(key: &'a str) -> Self {
        Self {
            key: Cow::Borrowed(key),
            label: None,
            version: None,
            arrived: None,
            is_final: false,
        }
    }

    /// With the name it has elsewhere.
    #[must_use]
    pub fn with_label(mut self, label: &'a str) -> Self {
        self.label = Some(Cow::Borrowed(label));
        self
    }

    /// With the version of the thing itself.
    #[must_use]
    pub fn with_version(mut self, version: &'a str) -> Self {
        self.version = Some(Cow::Borrowed(version));
        self
    }

    /// With the instant it came in.
    #[must_use]
    pub fn with_arrived(mut self, arrived: DateTime<Utc>) -> Self {
        self.arrived = Some(arrived);
        self
    }

    /// Marked as one that will not change any more.
    #[must_use]
    pub fn with_final(mut self, is_final: bool) -> Self {
        self.is_final = is_final;
        self
    }

    /// A copy that owns its texts.
    pub fn to_owned_key(self) -> DetailKey {
        DetailKey {
            key: self.key.into_owned().into(),
            label: self.label.map(|label| label.into_owned().into()),
            version: self.version.map(|version| version.into_owned().into()),
        }
    }
}

/// A key on its way through fetch and save.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DetailKey {
    /// See [`Candidate::key`].
    pub key: Box<str>,
    /// See [`Candidate::label`].
    pub label: Option<Box<str>>,
    /// See [`Candidate::version`].
    pub version: Option<Box<str>>,
}

impl DetailKey {
    /// A key without label and version.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self {
            key: key.into(),
            label: None,
            version: None,
        }
    }

    /// The bytes its texts take.
    pub fn size_bytes(&self) -> u64 {
        let texts = self.key.len()
            + self.label.as_deref().map_or(0, str::len)
            + self.version.as_deref().map_or(0, str::len);
        texts as u64
    }
}

impl fmt::Display for DetailKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}
