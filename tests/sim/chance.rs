//! All chance of a history, from its seed (SplitMix64): the same in every build and with every version of every crate.

use std::sync::Mutex;

use vestibule::crypto::Random;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// The stream that `seed` and `branch` begin.
    pub(super) fn new(seed: u64, branch: u64) -> Self {
        let mut chance = Self(seed ^ branch.wrapping_mul(0xd6e8_feb8_6659_fd93));
        chance.next();
        chance
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A number of the range, its end left out.
    pub(super) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// True in `of` of a thousand cases.
    pub(super) fn permille(&mut self, of: u64) -> bool {
        self.below(1000) < of
    }

    pub(super) fn coin(&mut self) -> bool {
        self.permille(500)
    }

    pub(super) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[usize::try_from(self.below(among.len() as u64)).unwrap()]
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

/// The chance of one life of one server.
pub(super) struct Dice(Mutex<Chance>);

impl Dice {
    pub(super) fn new(seed: u64, branch: u64) -> Self {
        Self(Mutex::new(Chance::new(seed, branch)))
    }
}

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        let mut chance = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(8) {
            let drawn = chance.next().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}
