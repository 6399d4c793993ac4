//! What the operator chose, opened.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Backend, Key, Record, Store, Unavailable,
    memory::Memory,
    settings::{OpenError, Settings},
    sled::Sled,
};
use crate::{
    crypto::{Keyring, Random},
    domain::{Clock, Instant},
};

/// Opens the store that `settings` describe.
///
/// # Errors
/// [`OpenError`], which says what to do.
pub async fn open(
    settings: Settings,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Store, OpenError> {
    let backend: Arc<dyn Backend> = match settings {
        Settings::Memory => Arc::new(Memory::new()),
        Settings::Sled(settings) => Arc::new(Sled::open(settings).await?),
        #[cfg(feature = "redis")]
        Settings::Redis(settings) => Arc::new(super::redis::Redis::open(&settings).await?),
        #[cfg(not(feature = "redis"))]
        Settings::Redis(_) => return Err(OpenError::NotBuilt("redis")),
        #[cfg(feature = "postgres")]
        Settings::Postgres(settings) => Arc::new(super::postgres::Postgres::open(&settings).await?),
        #[cfg(not(feature = "postgres"))]
        Settings::Postgres(_) => return Err(OpenError::NotBuilt("postgres")),
    };
    let store = Store::new(backend, keyring, clock, random);
    recognise(&store).await?;
    Ok(store)
}

impl Store {
    /// Proves to whoever has the ring that what comes with it was sealed under it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn mark(&self) -> Result<Bytes, Unavailable> {
        self.0.seal(&Mark {}, &Key::new(Mark::KIND, &Mark {}.id()))
    }

    /// Whether `mark` was made under a key of our ring.
    #[must_use]
    pub fn knows_mark(&self, mark: &[u8]) -> bool {
        self.0.open::<Mark>(&Key::new(Mark::KIND, &Mark {}.id()), mark).is_some()
    }
}

/// `house/mark`: says by opening that the ring is the right one.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {}

impl Record for Mark {
    const KIND: &'static str = "house";
    const PURPOSE: &'static str = "store/house";

    fn id(&self) -> String {
        "mark".to_owned()
    }

    fn expires(&self) -> Instant {
        Instant::from_millis(u64::MAX)
    }
}

/// Refuses a store that another ring sealed; leaves a mark under the current key in one that is new or rotated.
async fn recognise(store: &Store) -> Result<(), OpenError> {
    let mark = Mark {};
    let is_marked = store.0.backend.get(&Key::new(Mark::KIND, &mark.id())).await?.is_some();
    if is_marked && store.get::<Mark>(&mark.id()).await?.is_none() {
        return Err(OpenError::OtherKey);
    }
    Ok(store.put(&mark).await?)
}
