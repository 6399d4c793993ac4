//! Under which master key each record lies, and moving them to the current one. Records move by themselves whenever they
//! are written; this is for those that nobody writes.

use std::num::NonZeroUsize;

use bytes::Bytes;

use super::{Key, Life, Place, Store, Unavailable, envelope};
use crate::domain::Instant;

/// How many records are looked at in one step.
const BATCH: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();

/// What the outside of a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// What kind of record it is.
    pub kind: String,
    /// Its name among its kind.
    pub id: String,
    /// Short name of the master key, as [`Keyring::id`](crate::crypto::Keyring::id) has it.
    pub key: String,
    /// When it ends.
    pub expires: Instant,
}

/// What came of moving records to the current key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Resealed {
    /// Sealed anew.
    pub resealed: u64,
    /// Under a key that is not in the ring, or spoilt: left as they are.
    pub unreadable: u64,
}

impl Store {
    /// One step through all records of all kinds that have not expired: their seals, and where the next step begins.
    /// Nothing is opened.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn seals(&self, from: Option<&Place>) -> Result<(Vec<Seal>, Option<Place>), Unavailable> {
        let page = self.0.backend.scan("", from, BATCH.get()).await?;
        let now = self.0.clock.now();
        let seal = |(key, value): &(Key, Bytes)| {
            let expires = envelope::expiry(value).filter(|expires| *expires > now)?;
            let (kind, id) = key.as_str().split_once('/')?;
            let key = self.0.keyring.id_of(envelope::sealed(value)?)?;
            Some(Seal { kind: kind.to_owned(), id: id.to_owned(), key, expires })
        };
        Ok((page.pairs.iter().filter_map(seal).collect(), page.next))
    }

    /// Seals every record anew that does not lie under the current key, each by one swap: what was written meanwhile lies
    /// under it already. When this returns, it would survive a crash.
    ///
    /// # Errors
    /// [`Unavailable`]; what was done until then is done.
    pub async fn reseal(&self) -> Result<Resealed, Unavailable> {
        let (mut done, mut from) = (Resealed::default(), None);
        let current = self.0.keyring.id();
        loop {
            let page = self.0.backend.scan("", from.as_ref(), BATCH.get()).await?;
            for (key, value) in &page.pairs {
                let named = envelope::sealed(value).and_then(|sealed| self.0.keyring.id_of(sealed));
                let Some(expires) = envelope::expiry(value).filter(|_| named.is_some_and(|id| id != current)) else {
                    continue;
                };
                let Some(fresh) = envelope::resealed(value, key, &self.0.keyring, &*self.0.random) else {
                    done.unreadable += 1;
                    continue;
                };
                if self.0.backend.swap(key, Some(value), Some(fresh), Life { expires, durable: false }).await? {
                    done.resealed += 1;
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        self.flush().await?;
        Ok(done)
    }
}
