//! Random generator of the texts: splitmix64, which gives the same numbers on every machine. It
//! does not come from a library, so that a new version of one cannot change the texts.

/// A splitmix64 generator. Its state is one counter.
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// Generator with the state `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Random number in `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The high half of the product scales 64 random bits to the bound without a division. The
        // bias is negligible for bounds this small.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Shuffles `items` (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
