//! Random numbers that are the same for the same seed, on every machine and for ever: a failure's seed is worth keeping.

use std::time::Duration;

/// SplitMix64, as of Steele, Lea and Flood.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One of `0..below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }

    /// True `percent` times of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// A length whose order of magnitude is even between two bounds, to the nanosecond.
    pub(crate) fn duration(&mut self, min: Duration, max: Duration) -> Duration {
        let (low, high) = (min.as_nanos() as u64, max.as_nanos() as u64);
        let magnitudes = u64::from(high.ilog2() - low.ilog2()) + 1;
        let magnitude = low.ilog2() + self.below(magnitudes) as u32;
        let nanos = (1_u64 << magnitude) + self.below(1 << magnitude);
        Duration::from_nanos(nanos.clamp(low, high))
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number that depends on all of these and on nothing else.
pub(crate) fn hash(of: &[u64]) -> u64 {
    of.iter().fold(0x5_1712_a70e, |hash, number| mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(*number)))
}
