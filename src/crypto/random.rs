//! Chance as it enters the house (D16).

use std::sync::{Mutex, PoisonError};

use rand::{
    RngCore, SeedableRng, TryRngCore,
    rngs::{OsRng, StdRng},
};

/// Where random bytes come from: the system in production, a seed in tests.
pub trait Random: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Random {
    /// `N` fresh bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Os;

impl Random for Os {
    fn fill(&self, bytes: &mut [u8]) {
        // A system without a generator can make no secret: better this request dies than that a guessable token lives.
        OsRng.unwrap_err().fill_bytes(bytes);
    }
}

/// A reproducible stream (ChaCha), for tests and simulations only.
#[derive(Debug)]
pub struct Seeded(Mutex<StdRng>);

impl Seeded {
    /// The stream that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{Os, Random, Seeded};

    #[test]
    fn one_seed_gives_one_stream() {
        let draw = |seed| {
            let random: &dyn Random = &Seeded::new(seed);
            [random.bytes::<32>(), random.bytes::<32>()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7)[0], draw(7)[1]);
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn the_system_never_repeats() {
        let random: &dyn Random = &Os;
        assert_ne!(random.bytes::<32>(), random.bytes::<32>());
    }
}
