//! Which nouns are records, under which key, for how long.

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::Instant;

/// A noun of the domain that the store keeps.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The first part of its key, and its sealing purpose.
    const KIND: &'static str;
    /// The sealing purpose, `store/` + kind.
    const PURPOSE: &'static str;
    /// Whether a reply waits for it to be crash-safe.
    const DURABLE: bool = true;

    /// The second part of its key.
    fn id(&self) -> String;

    /// When it ends.
    fn expires(&self) -> Instant;
}
