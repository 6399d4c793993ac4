//! Lower rooms with everything fixed that chance or an operator decides elsewhere.

use std::sync::Arc;

use vestibule::crypto::{Keyring, MasterKey, Random, Seeded};

/// The ring of the test house; the same 32 bytes in every run.
pub(crate) fn keyring() -> Arc<Keyring> {
    keyring_of(7)
}

/// A ring whose master key is `byte`, 32 times: for "another house" and rotations.
pub(crate) fn keyring_of(byte: u8) -> Arc<Keyring> {
    Arc::new(Keyring::new(master_key(byte), Vec::new()))
}

/// The master key that is `byte`, 32 times.
pub(crate) fn master_key(byte: u8) -> MasterKey {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    MasterKey::parse(&STANDARD.encode([byte; 32])).expect("32 bytes")
}

/// Chance from a fixed seed.
pub(crate) fn random() -> Arc<dyn Random> {
    Arc::new(Seeded::new(42))
}
