//! The test kit: fakes, actors, clocks.

pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod documents;
pub(crate) mod holder;
pub(crate) mod mcp;
pub(crate) mod provider;
pub(crate) mod rooms;
pub(crate) mod town;

pub(crate) use clock::ManualClock;
pub(crate) use mcp::FakeMcp;
pub(crate) use provider::FakeProvider;
pub(crate) use rooms::{keyring, keyring_of, master_key, random};
