//! The safe: keys, seals, credentials, JOSE. (essay to be written by the room's builder)

pub mod hash;
pub mod jwt;
pub mod keyring;
pub mod random;
mod seal;

pub use keyring::{Keyring, MasterKey, ResourceKey};
pub use random::{Os, Random, Seeded};
