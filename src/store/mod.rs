//! The memory: records in, records out, each sealed. (essay to be written by the room's builder)

mod backend;
pub mod memory;
mod record;
pub mod sled;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub use backend::{Backend, Key, Life};
pub use record::Record;

use crate::{
    crypto::{Keyring, Random},
    domain::Clock,
};

/// The store could not answer; the caller says 503, never "no".
#[derive(Debug, thiserror::Error)]
#[error("store unavailable: {0}")]
pub struct Unavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Whether the record that was seen is still the one in force (D14). Shared by everyone who looks at one record;
/// tripped for good when it is removed or replaced through this process's Store (a new watcher then gets a new flag).
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<AtomicBool>);

impl Liveness {
    /// Whether nothing has happened to the record since it was watched.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }

    /// Trips the flag. The Store does; nobody else needs to.
    pub fn trip(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What [`Store::update`] makes of a record.
#[derive(Debug)]
pub enum Change<R> {
    /// Write this instead.
    Put(R),
    /// Remove it.
    Remove,
    /// Leave it as it is.
    Keep,
}

/// Typed records over a [`Backend`]: each value one sealed envelope (architecture §4). Cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// A store over `backend`.
    #[must_use]
    pub fn new(
        _backend: Arc<dyn Backend>,
        _keyring: Arc<Keyring>,
        _clock: Arc<dyn Clock>,
        _random: Arc<dyn Random>,
    ) -> Self {
        todo!()
    }

    /// The record, if it is there and has not expired.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn get<R: Record>(&self, _id: &str) -> Result<Option<R>, Unavailable> {
        todo!()
    }

    /// The record and the flag that trips when it is removed or replaced. The flag is taken before the read, so no
    /// change can slip between.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn watch<R: Record>(&self, _id: &str) -> Result<Option<(R, Liveness)>, Unavailable> {
        todo!()
    }

    /// Writes a new record; `false` if one is there already.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn insert<R: Record>(&self, _record: &R) -> Result<bool, Unavailable> {
        todo!()
    }

    /// Writes a record whatever was there (for last-use times, consents; never for a deciding step).
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn put<R: Record>(&self, _record: &R) -> Result<(), Unavailable> {
        todo!()
    }

    /// Reads, lets `decide` judge, swaps; begins again if the record changed meanwhile. `decide` gets `None` when there
    /// is no record, and its answer is returned with what was decided: the one deciding step of a flow.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn update<R: Record, T: Send>(
        &self,
        _id: &str,
        _decide: impl FnMut(Option<R>) -> (Change<R>, T) + Send,
    ) -> Result<T, Unavailable> {
        todo!()
    }

    /// Takes the record out: of many who try at once, one gets it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn take<R: Record>(&self, _id: &str) -> Result<Option<R>, Unavailable> {
        todo!()
    }

    /// Removes the record; `true` if there was one.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn remove<R: Record>(&self, _id: &str) -> Result<bool, Unavailable> {
        todo!()
    }

    /// Up to `limit` records after `after` in key order, with their ids; expired ones are left out.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn list<R: Record>(&self, _after: Option<&str>, _limit: usize) -> Result<Vec<(String, R)>, Unavailable> {
        todo!()
    }

    /// Whether the backend answers (for `/readyz` and `check`).
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn probe(&self) -> Result<(), Unavailable> {
        todo!()
    }
}
