//! What the operator chose, opened.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Backend, Key, Parts, Record, Store, Unavailable,
    envelope::Unreadable,
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
        self.0.seal(&self.0.own_mark(), &Mark::key())
    }

    /// Whether `mark` was made under a key of our ring.
    #[must_use]
    pub fn knows_mark(&self, mark: &[u8]) -> bool {
        matches!(self.0.open::<Mark>(&Mark::key(), mark), Ok(Some(_)))
    }

    /// Whether the house has a master key that this process has not: what was sealed, signed or handed out under it looks
    /// like a stranger's here, and "no" is not ours to say. Always `false` where no other process writes.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn lacks_key(&self) -> Result<bool, Unavailable> {
        let ours = self.0.keyring.ids();
        Ok(match self.0.house_keys().await? {
            HouseKeys::Unreadable => true,
            HouseKeys::Are(keys) => keys.iter().any(|key| !ours.contains(key)),
        })
    }
}

/// What the mark says.
enum HouseKeys {
    /// The master keys of the process that started last.
    Are(Vec<String>),
    /// It lies under a key that we have not.
    Unreadable,
}

impl Parts {
    /// Whether the master key `id`, which is not in our ring, is one of the house's.
    pub(super) async fn is_in_use(&self, id: &str) -> Result<bool, Unavailable> {
        Ok(match self.house_keys().await? {
            HouseKeys::Unreadable => true,
            HouseKeys::Are(keys) => keys.iter().any(|key| key == id),
        })
    }

    /// Read anew each time: only bad credentials and unreadable records lead here.
    async fn house_keys(&self) -> Result<HouseKeys, Unavailable> {
        if !self.backend.is_shared() {
            return Ok(HouseKeys::Are(Vec::new()));
        }
        let key = Mark::key();
        let Some(value) = self.backend.get(&key).await? else { return Ok(HouseKeys::Are(Vec::new())) };
        Ok(match self.open::<Mark>(&key, &value) {
            Ok(mark) => HouseKeys::Are(mark.map(|mark| mark.keys).unwrap_or_default()),
            Err(Unreadable::OtherKey(_)) => HouseKeys::Unreadable,
            // Spoilt: it says nothing of keys.
            Err(_) => HouseKeys::Are(Vec::new()),
        })
    }

    fn own_mark(&self) -> Mark {
        Mark { keys: self.keyring.ids() }
    }
}

/// `house/mark`: says by opening that the ring is the right one, and which master keys the house has.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Of the process that started last; empty in marks of older versions.
    #[serde(default)]
    keys: Vec<String>,
}

impl Mark {
    fn key() -> Key {
        Key::new(Self::KIND, "mark")
    }
}

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
    let found = store.0.backend.get(&Mark::key()).await?;
    if found.is_some_and(|mark| !store.knows_mark(&mark)) {
        return Err(OpenError::OtherKey);
    }
    Ok(store.put(&store.0.own_mark()).await?)
}
