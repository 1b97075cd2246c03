//! Versions of a record: which of two is the later one.

use chrono::NaiveDateTime;

/// What is remembered of a version text: 16 bytes that order and tell apart.
///
/// Date-times order exactly, to the microsecond. Two texts that time does not order are taken for
/// the same version only if a 64-bit hash of the whole texts is, by chance, the same.
///
/// A version text is `{date-time}#{hash}`, such as `2025-10-22T08:00:00#9f2c…`: the record's
/// `dataAtualizacaoGlobal` as sent, and its canonical hash. Either half may be empty; any other
/// text is a version too, told apart from others but not ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionKey {
    /// Microseconds of the date-time since 1970, `i64::MIN` if there is none.
    at: i64,
    /// FNV-1a of the whole text.
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
        Self {
            at: time_of(text).unwrap_or(i64::MIN),
            hash: fnv1a(text.as_bytes()),
        }
    }

    /// Whether this version replaces `known`: it is later, or it differs and time does not tell.
    pub fn supersedes(self, known: Self) -> bool {
        if self.at == i64::MIN || known.at == i64::MIN || self.at == known.at {
            self.hash != known.hash
        } else {
            self.at > known.at
        }
    }

    /// Whether `text` is a date-time alone, without a hash, and that of this version.
    pub(crate) fn is_at(self, text: &str) -> bool {
        let is_alone = text.split_once('#').is_none_or(|(_, hash)| hash.is_empty());
        is_alone && time_of(text) == Some(self.at)
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

/// Microseconds since 1970 of the date-time that a version's text begins with.
fn time_of(text: &str) -> Option<i64> {
    let time = text.split_once('#').map_or(text, |(time, _)| time);
    let at = time.trim().trim_end_matches('Z').parse::<NaiveDateTime>();
    at.ok().map(|at| at.and_utc().timestamp_micros())
}

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
    }

    #[test]
    fn a_time_alone_is_told_by_its_time() {
        let known = VersionKey::of("2025-10-22T08:00:00#a");
        for text in ["2025-10-22T08:00:00", "2025-10-22T08:00:00.0#"] {
            assert!(known.is_at(text), "{text}");
        }
        for text in ["2025-10-22T08:00:00#b", "2025-10-22T08:00:01", "x", ""] {
            assert!(!known.is_at(text), "{text}");
            assert!(!VersionKey::of("x").is_at(text), "{text}");
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
