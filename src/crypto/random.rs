//! Chance as it enters the house (D16).

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
    fn fill(&self, _bytes: &mut [u8]) {
        todo!()
    }
}

/// A reproducible stream, for tests and simulations only.
#[derive(Debug)]
pub struct Seeded(());

impl Seeded {
    /// The stream that `seed` begins.
    #[must_use]
    pub fn new(_seed: u64) -> Self {
        todo!()
    }
}

impl Random for Seeded {
    fn fill(&self, _bytes: &mut [u8]) {
        todo!()
    }
}
