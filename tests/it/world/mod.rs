//! The test kit: fakes, actors, clocks.

pub(crate) mod clock;
mod rooms;

pub(crate) use clock::ManualClock;
pub(crate) use rooms::{keyring, keyring_of, master_key, random};
