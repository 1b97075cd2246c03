//! Deterministic draws: everything the simulator decides is a hash of a seed and of what it decides about.

/// One round of splitmix64: a bijection that scatters its input.
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hash of several words, order matters.
pub(crate) fn hash(words: &[u64]) -> u64 {
    words
        .iter()
        .fold(0x51ed_270b, |state, word| mix(state ^ word))
}

/// Hash of a text (FNV-1a, then scattered), the same on every platform and version.
pub(crate) fn hash_text(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// Whether a draw falls under `rate` (0 never, 1 always).
pub(crate) fn under(draw: u64, rate: f64) -> bool {
    // 53 bits are what an f64 holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
    let unit = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    unit < rate
}

/// A sequence of draws that starts at one point.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(words: &[u64]) -> Self {
        Self(hash(words))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0..n; 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let draw = self.next();
        if n == 0 { 0 } else { draw % n }
    }

    /// from..=to
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True `n` times in a thousand.
    pub(crate) fn permille(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from[at]
    }
}
