//! Tests of `crypto`.

mod credential;
mod jose;
mod keyring;
mod proof;

use vestibule::crypto::{Keyring, MasterKey, Random, Seeded};

/// A master key that `seed` names.
fn master(seed: u64) -> MasterKey {
    MasterKey::generate(&Seeded::new(seed))
}

fn ring(current: u64, older: &[u64]) -> Keyring {
    Keyring::new(master(current), older.iter().copied().map(master).collect())
}

fn chance(seed: u64) -> Box<dyn Random> {
    Box::new(Seeded::new(seed))
}
