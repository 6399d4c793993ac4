//! A store with everything fixed, over any backend, and a record that nothing else knows.

use std::{any::Any, path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use vestibule::{
    domain::{Clock as _, Instant},
    store::{Backend, Record, SledSettings, Store, memory::Memory, sled::Sled},
};

use crate::world::{self, ManualClock, clock::DAWN};

/// A durable record of the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) expires: Instant,
}

impl Note {
    /// Lives ten minutes from dawn.
    pub(super) fn new(id: &str, text: &str) -> Self {
        Self { id: id.to_owned(), text: text.to_owned(), expires: DAWN + Duration::from_secs(600) }
    }
}

impl Record for Note {
    const KIND: &'static str = "note";
    const PURPOSE: &'static str = "store/note";

    fn id(&self) -> String {
        self.id.clone()
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// The same content under another kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Memo(pub(super) Note);

impl Record for Memo {
    const KIND: &'static str = "memo";
    const PURPOSE: &'static str = "store/memo";
    const DURABLE: bool = false;

    fn id(&self) -> String {
        self.0.id.clone()
    }

    fn expires(&self) -> Instant {
        self.0.expires
    }
}

pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Arc<ManualClock>,
    /// A folder or a server that goes when the fixture goes.
    #[expect(dead_code, reason = "held for its drop")]
    held: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    pub(super) async fn memory() -> Self {
        Self::over(Arc::new(Memory::new()), ())
    }

    pub(super) async fn sled() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::over(open_sled(&folder.path().join("db")).await, folder)
    }

    /// `None` where there is no `redis-server` to be started, which is said aloud.
    #[cfg(feature = "redis")]
    pub(super) async fn redis() -> Option<Self> {
        let server = super::redis_server::RedisServer::start(&[])?;
        let backend = super::redis_server::Lasting(server.open().await);
        Some(Self::over(Arc::new(backend), server))
    }

    /// `None` where there is no PostgreSQL to be started, which is said aloud.
    #[cfg(feature = "postgres")]
    pub(super) async fn postgres() -> Option<Self> {
        let server = super::postgres_server::PostgresServer::start(&[])?;
        Some(Self::over(server.open().await, server))
    }

    fn over(backend: Arc<dyn Backend>, held: impl Any + Send + Sync) -> Self {
        let clock = ManualClock::new();
        let store = Store::new(backend.clone(), world::keyring(), clock.clone(), world::random());
        Self { store, backend, clock, held: Box::new(held) }
    }

    /// Turns the clock past the life of every [`Note::new`].
    pub(super) fn outlive_notes(&self) {
        self.clock.advance(Duration::from_secs(600));
        assert!(self.clock.now() >= Note::new("", "").expires);
    }
}

pub(super) async fn open_sled(path: &Path) -> Arc<dyn Backend> {
    Arc::new(Sled::open(SledSettings::at(path)).await.expect("opens"))
}

/// A store over the sled folder `path`, with the test house's key and a clock at dawn.
pub(super) async fn store_at(path: &Path) -> Store {
    Store::new(open_sled(path).await, world::keyring(), ManualClock::new(), Arc::new(vestibule::crypto::Os))
}
