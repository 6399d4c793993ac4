//! # The memory: records in, records out, each sealed
//!
//! **Purpose.** Everything the house must remember lies here as one value under one key, `kind/id`. A [`Backend`]
//! offers four verbs, each atomic on its one key; the [`Store`] puts types, sealing and expiry on top, once for all
//! backends. No operation touches two keys: every flow has exactly one swap that decides it, and its reply is sent
//! after that swap would survive a crash. So is the reply of who changed nothing, for it may rest on another's swap that
//! is still on its way to the disk. That is the whole of our transaction theory, and it holds on a cluster too.
//!
//! Every value is an envelope, `version · expires_at · key id · nonce · AES-256-GCM(JSON)`, whose header and key are
//! authenticated: a value that was moved, aged or re-read under another name does not open (S32). Nonces make all
//! values different, so the bytes themselves are the version that a swap compares.
//!
//! A value that does not open **counts as absent** and is told to the log, without its content. That is the safe side:
//! an absent Grant is a revoked one, an absent Consent asks again, an absent request is refused; and whoever can spoil
//! a value could have deleted it. It also heals: the next write replaces it. Expired values are absent as well, from
//! the millisecond on; [`sweep`] carries them out later. One exception: a value under a master key that another process
//! of this house has, and this one has not (yet), is there. It is neither absent nor replaced nor removed here: whoever asks
//! for it hears [`Unavailable`], until this process is given the key. Which keys the house has stands in its mark.
//!
//! [`Liveness`] tells holders of a record in memory that it is no longer the one in force, without asking the disk.
//! Where other processes write too ([`redis`], [`postgres`]), [`replicas`] reads the watched records again every second and trips
//! the flags of those that changed, or that could not be confirmed: a revocation elsewhere counts here within 5 s. Where that
//! reading has not been done for so long ([`Store::is_up_to_date`]), holders of a record read it themselves.
//!
//! **Neighbours.** Leans on `crypto` for sealing and on `domain` for the nouns. `token`, `oauth` and `cli` lean on it.
//!
//! **Nevers.** Only [`sled`] names the sled crate, only [`redis`] the redis crate, only [`postgres`] those of PostgreSQL. Nothing here knows what a record
//! means: no rule of any RFC, no decision about a Grant. Nothing of a record's content is ever logged. No lock is held
//! across an await.

mod backend;
mod envelope;
mod liveness;
pub mod memory;
mod open;
pub mod parcel;
#[cfg(feature = "postgres")]
pub mod postgres;
mod record;
#[cfg(feature = "redis")]
pub mod redis;
pub mod replicas;
mod seals;
mod settings;
pub mod sled;
pub mod sweep;

use std::sync::{Arc, atomic::AtomicU64};

pub use backend::{Backend, Key, Life, Page, Place};
use bytes::Bytes;
use envelope::Unreadable;
pub use liveness::Liveness;
use liveness::Watchers;
pub use open::open;
pub use record::{Record, client_id, consent_id, document_id};
pub use seals::{Resealed, Seal};
pub use settings::{Fsync, OpenError, PostgresSettings, RedisSettings, Settings, SledSettings, Tls};

use crate::{
    crypto::{Keyring, Random},
    domain::{Clock, Instant},
};

/// The store could not answer; the caller says 503, never "no".
#[derive(Debug, thiserror::Error)]
#[error("store unavailable: {0}")]
pub struct Unavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Something lies under a master key of this house that this process was not given.
#[derive(Debug, thiserror::Error)]
#[error(
    "master key {0} is in use in other processes and missing here: give every process the new key behind the present one \
     before one of them puts it first"
)]
struct KeyMissing(String);

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

/// A record as it was at one moment, with the bytes that a swap compares.
#[derive(Debug)]
pub struct Seen<R> {
    value: Option<Bytes>,
    record: Option<R>,
}

impl<R> Seen<R> {
    /// The record, if it was there.
    #[must_use]
    pub const fn record(&self) -> Option<&R> {
        self.record.as_ref()
    }
}

/// Part of a list of records.
#[derive(Debug)]
pub struct Listed<R> {
    /// What was found, with their ids.
    pub records: Vec<(String, R)>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<Place>,
}

/// Typed records over a [`Backend`]: each value one sealed envelope (architecture §4). Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

struct Parts {
    backend: Arc<dyn Backend>,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    watchers: Watchers,
    /// When the last whole round of reading the watched records began, in milliseconds ([`replicas`]).
    looked: AtomicU64,
}

impl Store {
    /// A store over `backend`.
    #[must_use]
    pub fn new(
        backend: Arc<dyn Backend>,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let looked = if backend.is_shared() { clock.now().millis() } else { replicas::NEVER_NEEDED };
        let looked = AtomicU64::new(looked);
        Self(Arc::new(Parts { backend, keyring, clock, random, watchers: Watchers::default(), looked }))
    }

    /// The record, if it is there and has not expired.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn get<R: Record>(&self, id: &str) -> Result<Option<R>, Unavailable> {
        let key = Key::new(R::KIND, id);
        Ok(self.0.read(&key).await?.1)
    }

    /// Whether other processes read and write the same records.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.backend.is_shared()
    }

    /// The record and the flag that trips when it is removed or replaced. The flag is taken before the read, so no
    /// change can slip between.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn watch<R: Record>(&self, id: &str) -> Result<Option<(R, Liveness)>, Unavailable> {
        let key = Key::new(R::KIND, id);
        let liveness = self.0.watchers.watch(&key);
        let (value, record) = self.0.read(&key).await?;
        if self.0.backend.is_shared() {
            self.0.watchers.saw(&key, &liveness, value.as_deref());
        }
        Ok(record.map(|record| (record, liveness)))
    }

    /// Writes a new record; `false` if one is there already. What has expired or does not open is not there.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn insert<R: Record>(&self, record: &R) -> Result<bool, Unavailable> {
        let key = Key::new(R::KIND, &record.id());
        let value = self.0.seal(record, &key)?;
        let mut old = None;
        while !self.0.swap::<R>(&key, old.as_ref(), Some((value.clone(), record.expires()))).await? {
            match self.0.read::<R>(&key).await? {
                (_, Some(_)) => return Ok(false),
                (found, None) => old = found,
            }
        }
        Ok(true)
    }

    /// Writes a record whatever was there (for last-use times, consents; never for a deciding step).
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn put<R: Record>(&self, record: &R) -> Result<(), Unavailable> {
        let key = Key::new(R::KIND, &record.id());
        let value = self.0.seal(record, &key)?;
        let _changing = self.0.watchers.change(&key);
        let life = Life { expires: record.expires(), durable: R::DURABLE };
        self.0.backend.set(&key, Some(value), life).await
    }

    /// Reads, lets `decide` judge, swaps; begins again if the record changed meanwhile. `decide` gets `None` when there
    /// is no record, and its answer is returned with what was decided: the one deciding step of a flow. When it returns,
    /// what was decided would survive a crash, also where that is [`Change::Keep`] and another wrote what was seen.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn update<R: Record, T: Send>(
        &self,
        id: &str,
        decide: impl FnMut(Option<R>) -> (Change<R>, T) + Send,
    ) -> Result<T, Unavailable> {
        self.update_seen(id, self.look(id).await?, decide).await
    }

    /// [`update`](Self::update) of a record that was looked at already: it judges what was seen first, and reads only
    /// where that has changed since.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn update_seen<R: Record, T: Send>(
        &self,
        id: &str,
        seen: Seen<R>,
        mut decide: impl FnMut(Option<R>) -> (Change<R>, T) + Send,
    ) -> Result<T, Unavailable> {
        let key = Key::new(R::KIND, id);
        let Seen { value: mut old, mut record } = seen;
        loop {
            let (change, outcome) = decide(record);
            let new = match change {
                Change::Remove if old.is_some() => None,
                Change::Keep | Change::Remove => {
                    if R::DURABLE {
                        self.0.backend.flush().await?;
                    }
                    return Ok(outcome);
                }
                Change::Put(record) => {
                    debug_assert_eq!(record.id(), id, "an update must not change the record's name");
                    Some((self.0.seal(&record, &key)?, record.expires()))
                }
            };
            // A lost swap means that another one won, so somebody always gets on.
            if self.0.swap::<R>(&key, old.as_ref(), new).await? {
                return Ok(outcome);
            }
            (old, record) = self.0.read(&key).await?;
        }
    }

    /// The record as it is now, for a later [`update_seen`](Self::update_seen) that need not read it again.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn look<R: Record>(&self, id: &str) -> Result<Seen<R>, Unavailable> {
        let (value, record) = self.0.read(&Key::new(R::KIND, id)).await?;
        Ok(Seen { value, record })
    }

    /// Takes the record out: of many who try at once, one gets it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn take<R: Record>(&self, id: &str) -> Result<Option<R>, Unavailable> {
        let key = Key::new(R::KIND, id);
        while let (old @ Some(_), Some(record)) = self.0.read::<R>(&key).await? {
            if self.0.swap::<R>(&key, old.as_ref(), None).await? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Removes the record; `true` if there was one. Removes also what does not open.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn remove<R: Record>(&self, id: &str) -> Result<bool, Unavailable> {
        self.update(id, |record: Option<R>| (Change::Remove, record.is_some())).await
    }

    /// Up to `limit` records (at least 1) with their ids, from where an earlier list ended; expired ones are left out. A
    /// short list is not the last one unless its `next` says so. What a whole walk promises is the backend's ([`Backend::scan`]).
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn list<R: Record>(&self, from: Option<&Place>, limit: usize) -> Result<Listed<R>, Unavailable> {
        let prefix = format!("{}/", R::KIND);
        let (mut records, mut next) = (Vec::new(), from.cloned());
        loop {
            let page = self.0.backend.scan(&prefix, next.as_ref(), limit - records.len()).await?;
            for (key, value) in &page.pairs {
                if let Some(record) = self.0.judge::<R>(key, value).await? {
                    records.push((key.id().to_owned(), record));
                }
            }
            next = page.next;
            if next.is_none() || records.len() >= limit {
                return Ok(Listed { records, next });
            }
        }
    }

    /// Whether the backend answers (for `/readyz` and `check`).
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn probe(&self) -> Result<(), Unavailable> {
        self.0.backend.get(&Key::new("probe", "")).await.map(drop)
    }

    /// What the operator should know about how the backend is set up (for `check` and the start).
    #[must_use]
    pub fn cautions(&self) -> &[String] {
        self.0.backend.cautions()
    }

    /// Makes everything written so far survive a crash, best-effort records too; called before the process ends.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn flush(&self) -> Result<(), Unavailable> {
        self.0.backend.flush().await
    }
}

impl Parts {
    /// The bytes that lie at `key`, and the record if they are one that is still good.
    async fn read<R: Record>(&self, key: &Key) -> Result<(Option<Bytes>, Option<R>), Unavailable> {
        let value = self.backend.get(key).await?;
        let Some(bytes) = &value else {
            // Whoever took it out may still wait for the backend's answer. Who looks now says that it is gone, so nobody
            // may go on with what was seen before (a revocation that hung, and is asked for again).
            self.watchers.trip(key);
            return Ok((None, None));
        };
        let record = self.judge(key, bytes).await?;
        Ok((value, record))
    }

    /// The record, unless it has expired or does not open.
    async fn judge<R: Record>(&self, key: &Key, value: &[u8]) -> Result<Option<R>, Unavailable> {
        let reason = match self.open(key, value) {
            Ok(record) => return Ok(record),
            Err(reason) => reason,
        };
        if let Unreadable::OtherKey(id) = &reason
            && self.is_in_use(id).await?
        {
            return Err(Unavailable(KeyMissing(id.clone()).into()));
        }
        tracing::error!(key = key.as_str(), %reason, "a stored record is unreadable and counts as absent");
        Ok(None)
    }

    fn open<R: Record>(&self, key: &Key, value: &[u8]) -> Result<Option<R>, Unreadable> {
        if envelope::expiry(value).is_some_and(|expires| expires <= self.clock.now()) {
            return Ok(None);
        }
        envelope::open(value, key, &self.keyring).map(Some)
    }

    fn seal<R: Record>(&self, record: &R, key: &Key) -> Result<Bytes, Unavailable> {
        envelope::seal(record, key, &self.keyring, &*self.random).map_err(|error| Unavailable(error.into()))
    }

    /// Swaps the bytes and trips the record's flag, unless it certainly stayed as it was.
    async fn swap<R: Record>(
        &self,
        key: &Key,
        old: Option<&Bytes>,
        new: Option<(Bytes, Instant)>,
    ) -> Result<bool, Unavailable> {
        let expires = new.as_ref().map_or(Instant::from_millis(0), |(_, expires)| *expires);
        let life = Life { expires, durable: R::DURABLE };
        let changing = self.watchers.change(key);
        let won = self.backend.swap(key, old, new.map(|(value, _)| value), life).await?;
        if !won {
            changing.did_not_happen();
        }
        Ok(won)
    }
}
