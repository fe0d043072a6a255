//! Random numbers without a clock or a library.

/// Dice that fall the same way again for the same seed, which is not 0.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        assert!(seed != 0, "a seed of 0 always falls the same");
        Self(seed)
    }

    /// One of the numbers below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
