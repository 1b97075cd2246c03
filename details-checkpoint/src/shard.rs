//! Parts of the keys.

use std::fmt;

/// One of `count` equal parts of the keys, told apart by a stable hash of the key.
///
/// Every key belongs to exactly one shard, the same one on every machine and in every version (FNV-1a, 64 bits, mixed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A shard that is not `i/n` with 1 <= i <= n.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a shard is i/n with 1 <= i <= n. shard=`{0}`")]
pub struct InvalidShard(String);

impl Shard {
    /// Shard `index` (from 1) of `count`.
    ///
    /// # Errors
    /// [`InvalidShard`] unless 1 <= index <= count.
    pub fn new(index: u32, count: u32) -> Result<Self, InvalidShard> {
        if index == 0 || index > count {
            return Err(InvalidShard(format!("{index}/{count}")));
        }
        Ok(Self { index, count })
    }

    /// Whether `key` belongs to it.
    pub fn contains(self, key: &str) -> bool {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in key.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // FNV's low bits are weak; a multiply and a shift spread them.
        hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) % u64::from(self.count) == u64::from(self.index - 1)
    }
}

impl std::str::FromStr for Shard {
    type Err = InvalidShard;

    fn from_str(text: &str) -> Result<Self, InvalidShard> {
        let invalid = || InvalidShard(text.to_owned());
        let (index, count) = text.split_once('/').ok_or_else(invalid)?;
        let number = |part: &str| part.trim().parse().map_err(|_| invalid());
        Self::new(number(index)?, number(count)?).map_err(|_| invalid())
    }
}

impl TryFrom<String> for Shard {
    type Error = InvalidShard;

    fn try_from(text: String) -> Result<Self, InvalidShard> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_exactly_one_shard_and_shards_are_even() {
        let shards: Vec<Shard> = (1..=7).map(|i| Shard::new(i, 7).unwrap()).collect();
        let mut sizes = [0_u32; 7];
        for n in 0..7_000 {
            let key = format!("12345678000190|2025|{n}");
            let owners: Vec<usize> = (0..7).filter(|i| shards[*i].contains(&key)).collect();
            assert_eq!(owners.len(), 1);
            sizes[owners[0]] += 1;
        }
        assert!(
            sizes.iter().all(|size| (850..1_150).contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn shards_are_parsed_and_refused() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
        for bad in ["0/4", "5/4", "1", "a/b", "1/0", ""] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
