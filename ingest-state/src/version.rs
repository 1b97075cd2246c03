//! Versions of a record: which of two is the later one.

use chrono::NaiveDateTime;

/// What is remembered of a version text: 16 bytes that order and tell apart.
///
/// Date-times order exactly, to the microsecond. Two texts that time does not order are taken for
/// the same version only if a 64-bit hash of the whole texts is, by chance, the same.
///
/// A version text is `{date-time}#{hash}`, such as `2025-10-22T08:00:00#9f2c…`: the record's
/// `dataAtualizacaoGlobal` as sent, and its canonical hash. Either half may be empty or left out: a
/// date-time alone is the same version as any of that time. Any other text is a version too, told
/// apart from others but not ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionKey {
    /// Microseconds of the date-time since 1970, `i64::MIN` if there is none.
    at: i64,
    /// FNV-1a of the whole text; [`UNKNOWN`] if that is a date-time alone.
    hash: u64,
}

impl VersionKey {
    /// Stands for no version. No date-time is that late, so it is the key of no text.
    pub(crate) const ABSENT: Self = Self {
        at: i64::MAX,
        hash: 0,
    };

    /// What is remembered of `text`.
    pub fn of(text: &str) -> Self {
        let (time, hash) = text.split_once('#').unwrap_or((text, ""));
        let at = time.trim().trim_end_matches('Z').parse::<NaiveDateTime>();
        let at = at.map_or(i64::MIN, |at| at.and_utc().timestamp_micros());
        let is_time_alone = at != i64::MIN && hash.is_empty();
        Self {
            at,
            hash: if is_time_alone {
                UNKNOWN
            } else {
                fnv1a(text.as_bytes())
            },
        }
    }

    /// Whether this version replaces `known`: it is later, or it differs and time does not tell.
    pub fn supersedes(self, known: Self) -> bool {
        if self.at == i64::MIN || known.at == i64::MIN {
            self.hash != known.hash
        } else if self.at == known.at {
            let is_known = self.hash != UNKNOWN && known.hash != UNKNOWN;
            is_known && self.hash != known.hash
        } else {
            self.at > known.at
        }
    }

    /// Whether both may be the same version.
    pub(crate) fn is_same(self, other: Self) -> bool {
        !self.supersedes(other) && !other.supersedes(self)
    }

    /// The text that a snapshot keeps: `{microseconds}:{hash}`, microseconds empty if unknown.
    pub(crate) fn to_text(self) -> String {
        if self.at == i64::MIN {
            format!(":{:016x}", self.hash)
        } else {
            format!("{}:{:016x}", self.at, self.hash)
        }
    }

    /// The inverse of [`VersionKey::to_text`].
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (at, hash) = text.split_once(':')?;
        let at = if at.is_empty() {
            i64::MIN
        } else {
            at.parse().ok()?
        };
        let key = Self {
            at,
            hash: u64::from_str_radix(hash, 16).ok()?,
        };
        (key.at != i64::MAX).then_some(key)
    }
}

/// The hash of a version whose text has none.
const UNKNOWN: u64 = 0;

/// How an offered id relates to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Not in yet.
    New,
    /// In, and the offered version is a later or another one.
    Updated,
    /// In, and nothing new about it.
    AlreadyProcessed,
}

/// The 64-bit Fowler-Noll-Vo hash, variant 1a: stable across releases, since snapshots keep it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_or_other_supersedes() {
        let key = VersionKey::of;
        let known = key("2025-10-22T08:00:00#a");
        assert!(!key("2025-10-22T08:00:00#a").supersedes(known));
        assert!(key("2025-10-22T08:00:00#b").supersedes(known));
        assert!(key("2025-10-22T08:00:00.5#a").supersedes(known));
        assert!(!key("2025-10-21T08:00:00#b").supersedes(known));
        assert!(key("garbage").supersedes(known));
        assert!(!key("").supersedes(key("")));
        // A time alone is any version of that time.
        for time in ["2025-10-22T08:00:00", "2025-10-22T08:00:00#"] {
            let alone = key(time);
            assert!(!alone.supersedes(known) && !known.supersedes(alone));
            assert!(key("2025-10-22T08:00:01").supersedes(known));
            assert!(key("2025-10-22T08:00:01#a").supersedes(alone));
            assert!(!key("2025-10-22T07:00:00").supersedes(known));
        }
    }

    #[test]
    fn text_round_trips() {
        for text in ["2025-10-22T08:00:00#a", "x", ""] {
            let key = VersionKey::of(text);
            assert_eq!(VersionKey::from_text(&key.to_text()), Some(key));
        }
        assert_eq!(VersionKey::from_text("x"), None);
    }
}
