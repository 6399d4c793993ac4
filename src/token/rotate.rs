//! Signing keys at work: read from the store, shared by every task, kept up with what other processes do, rotated.
//!
//! Whoever signs or verifies takes the set that is in force by one short look at a lock that no await ever holds. A set
//! is replaced as a whole. Three things make a process read again: a record that changed (the store's liveness flags, so
//! within a few seconds, whichever process changed it); a minute that has passed; and a token that names a key which
//! nobody here knows, at most once a second however many such tokens come. The gate reads nothing otherwise.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, task::spawn_blocking, time};

use super::{
    Algorithm, KeyOutline, Mint, OpenFailed, Parts, RotateFailed, Rotation, Settings,
    keys::{Due, KeySet, Schedule, Stage, StoredKey},
};
use crate::{
    crypto::{
        Random,
        jwt::{Alg, BadKey, SigningKey},
    },
    domain::{Clock, Instant},
    store::{Change, Liveness, Store},
};

/// Rest between two looks at the flags and the schedule. Neither asks the store while nothing is due.
const REST: Duration = Duration::from_secs(1);
/// After this time the records are read again, flags or not: another process may have begun a new algorithm.
const REREAD: Duration = Duration::from_secs(60);
/// A process that has not read the records for this long (a machine that slept) reads them before it signs: by its key
/// nobody may verify any more. Far less than a retired key stays, far more than [`REREAD`].
const CONFIRMED: Duration = Duration::from_secs(3600);
/// Rest after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// The least time between two reads for the sake of unknown key names.
const LOOK: Duration = Duration::from_secs(1);
/// How long a token with an unknown key waits for the look that is under way.
const PATIENCE: Duration = Duration::from_secs(2);
/// Those that have a record.
const KEPT: [Alg; 3] = [Alg::Es256, Alg::EdDsa, Alg::Rs256];

/// The keys of one reading.
pub(super) struct Keys {
    /// The one that signs first.
    all: Vec<SigningKey>,
    jwks: Bytes,
    /// As they were read; our own algorithm's first. Empty under HS256.
    sets: Vec<KeySet>,
    flags: Vec<Liveness>,
}

impl Keys {
    fn of(all: Vec<SigningKey>, sets: Vec<KeySet>, flags: Vec<Liveness>) -> Self {
        let keys: Vec<_> = all.iter().filter_map(SigningKey::public_jwk).collect();
        let jwks = Bytes::from(serde_json::json!({ "keys": keys }).to_string());
        Self { all, jwks, sets, flags }
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &SigningKey {
        &self.all[0]
    }

    /// Every key that a token may bear.
    pub(super) fn all(&self) -> &[SigningKey] {
        &self.all
    }

    /// The published set.
    pub(super) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }
}

/// The set in force, and when it was read.
pub(super) struct SigningKeys {
    /// `None`: a shared secret, of which the store knows nothing.
    alg: Option<Alg>,
    schedule: Schedule,
    now: RwLock<(u64, Arc<Keys>)>,
    /// Numbers the readings, so that a slow one does not take the place of a later one.
    readings: AtomicU64,
    /// Counts the sets in which a key was missing that was there before: what was believed by then is looked at anew.
    losses: AtomicU64,
    /// When the records were last read, and when that may be tried again after a failure; both in milliseconds.
    read: AtomicU64,
    retry: AtomicU64,
    /// The last look for an unknown key: begun (by the clock), and ended.
    looked: AtomicU64,
    seen: watch::Sender<u64>,
    /// Whether the last look failed: then an unknown key may be a good one.
    is_blind: AtomicBool,
}

impl SigningKeys {
    /// Reads the keys, or makes the first ones and keeps them. Of several replicas that start together one wins the
    /// insert; the others read what it kept.
    pub(super) async fn open(
        settings: &Settings,
        store: &Store,
        clock: &dyn Clock,
        random: &Arc<dyn Random>,
    ) -> Result<Self, OpenFailed> {
        let (alg, keys) = match &settings.algorithm {
            Algorithm::Es256 => (Some(Alg::Es256), None),
            Algorithm::EdDsa => (Some(Alg::EdDsa), None),
            Algorithm::Rs256 => (Some(Alg::Rs256), None),
            Algorithm::Hs256(secret) => (None, Some(SigningKey::shared(secret)?)),
        };
        let keys = match alg {
            Some(alg) => read(alg, store, clock, random).await?,
            None => Keys::of(keys.into_iter().collect(), Vec::new(), Vec::new()),
        };
        Ok(Self {
            alg,
            schedule: Schedule { every: settings.rotate, life: settings.life },
            now: RwLock::new((0, Arc::new(keys))),
            readings: AtomicU64::new(1),
            losses: AtomicU64::new(0),
            read: AtomicU64::new(clock.now().millis()),
            retry: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            seen: watch::Sender::new(0),
            is_blind: AtomicBool::new(false),
        })
    }

    /// The set in force.
    pub(super) fn now(&self) -> Arc<Keys> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// How often keys were lost; read *before* the set under which something is believed.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    fn replace(&self, reading: u64, keys: Keys) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if reading <= now.0 {
            return;
        }
        let is_kept = |key: &SigningKey| keys.all.iter().any(|other| other.kid() == key.kid());
        let is_loss = !now.1.all.iter().all(is_kept);
        *now = (reading, Arc::new(keys));
        if is_loss {
            // After the swap: who still reads the old count may have believed under the old keys.
            self.losses.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether the last look for an unknown key failed.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind.load(Ordering::Acquire)
    }

    fn is_stale(&self, now: Instant) -> bool {
        let read = Instant::from_millis(self.read.load(Ordering::Relaxed));
        self.now().flags.iter().any(|flag| !flag.holds()) || read + REREAD <= now
    }
}

/// All records: our own algorithm's, which is made if it is not there, then the others'.
async fn read(alg: Alg, store: &Store, clock: &dyn Clock, random: &Arc<dyn Random>) -> Result<Keys, OpenFailed> {
    let (mut sets, mut flags, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let others = KEPT.into_iter().filter(|other| *other != alg);
    for kept in std::iter::once(alg).chain(others) {
        let watched = store.watch::<KeySet>(kept.as_str()).await?;
        let (set, flag) = match watched {
            Some(watched) => watched,
            None if kept == alg => made(alg, store, clock, random).await?,
            None => continue,
        };
        all.extend(set.read()?);
        sets.push(set);
        flags.push(flag);
    }
    Ok(Keys::of(all, sets, flags))
}

/// Our own keys, of which there are none yet.
async fn made(
    alg: Alg,
    store: &Store,
    clock: &dyn Clock,
    random: &Arc<dyn Random>,
) -> Result<(KeySet, Liveness), OpenFailed> {
    let (now, chance) = (clock.now(), Arc::clone(random));
    let set = generated(alg, move || KeySet::first(alg, now, &*chance)).await?;
    loop {
        store.insert(&set).await?;
        if let Some(kept) = store.watch::<KeySet>(alg.as_str()).await? {
            return Ok(kept);
        }
    }
}

/// New keys. OpenSSL takes its time for RSA: off the reactor. The others cost less than the way there and back.
async fn generated<T: Send + 'static>(
    alg: Alg,
    work: impl FnOnce() -> Result<T, BadKey> + Send + 'static,
) -> Result<T, BadKey> {
    match alg {
        Alg::Rs256 => spawn_blocking(work).await.unwrap_or(Err(BadKey::FAILED)),
        _ => work(),
    }
}

impl Parts {
    async fn reread(&self) -> Result<(), OpenFailed> {
        let Some(alg) = self.keys.alg else { return Ok(()) };
        let reading = self.keys.readings.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let keys = read(alg, &self.store, &*self.clock, &self.random).await?;
        self.keys.replace(reading, keys);
        self.keys.read.store(now.millis(), Ordering::Relaxed);
        Ok(())
    }

    /// Before signing: whether the keys at hand were in the store within the last hour ([`CONFIRMED`]). If the store does
    /// not answer they go on, as they do with everything else.
    pub(super) async fn confirm_keys(&self) {
        let read = Instant::from_millis(self.keys.read.load(Ordering::Relaxed));
        if self.keys.alg.is_none() || self.clock.now() < read + CONFIRMED {
            return;
        }
        if let Err(error) = self.reread().await {
            tracing::warn!(%error, "the signing keys could not be read again before a token was signed");
        }
    }

    /// A token names a key that is not in the set. Reads the records once more, unless that was done a moment ago:
    /// whoever makes key names up must not make us ask the store. True when it is worth trying again.
    pub(super) async fn look_for_keys(self: &Arc<Self>) -> bool {
        let keys = &self.keys;
        if keys.alg.is_none() {
            return false;
        }
        let now = self.clock.now().millis().max(1);
        let last = keys.looked.load(Ordering::Acquire);
        let is_time = last.abs_diff(now) >= u64::try_from(LOOK.as_millis()).unwrap_or(u64::MAX);
        if is_time && keys.looked.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // A task of its own: others wait for it, so it must not end with the request that began it.
            let parts = Arc::clone(self);
            tokio::spawn(async move {
                let read = parts.reread().await;
                if let Err(error) = &read {
                    tracing::warn!(%error, "the signing keys could not be read again");
                }
                parts.keys.is_blind.store(read.is_err(), Ordering::Release);
                parts.keys.seen.send_replace(now);
            });
        }
        let mut seen = keys.seen.subscribe();
        let began = keys.looked.load(Ordering::Acquire);
        let ended = time::timeout(PATIENCE, seen.wait_for(|seen| *seen == began)).await;
        matches!(ended, Ok(Ok(_)))
    }

    /// What is due by the schedule.
    async fn tend(&self) -> Result<(), OpenFailed> {
        let (now, schedule) = (self.clock.now(), self.keys.schedule);
        let keys = self.keys.now();
        let Some((own, others)) = keys.sets.split_first() else { return Ok(()) };
        let due = own.due(now, schedule);
        if due != Due::Nothing {
            self.tend_own(&own.alg, due).await?;
        }
        for other in others {
            self.tend_other(other, now).await?;
        }
        Ok(())
    }

    async fn tend_own(&self, alg: &str, due: Due) -> Result<(), OpenFailed> {
        let (now, schedule) = (self.clock.now(), self.keys.schedule);
        let fresh = if due == Due::Fresh { Some(self.fresh(now).await?) } else { None };
        let decide = |set: Option<KeySet>| match set {
            // Another process may have done it since we looked.
            Some(set) if set.due(now, schedule) != Due::Nothing => {
                let before = set.signer();
                let set = set.tended(now, schedule, fresh.clone());
                let after = set.signer();
                (Change::Put(set), (before != after).then_some(after))
            }
            _ => (Change::Keep, None),
        };
        if let Some(kid) = self.store.update(alg, decide).await? {
            tracing::info!(alg, kid, "the signing key was rotated: the next key signs");
        }
        self.reread().await
    }

    /// An algorithm that we do not sign by: removed when the last token of those who did has died.
    async fn tend_other(&self, seen: &KeySet, now: Instant) -> Result<(), OpenFailed> {
        let schedule = self.keys.schedule;
        if seen.used.is_some() && !seen.is_over(now, schedule) {
            return Ok(());
        }
        let decide = |set: Option<KeySet>| match set {
            Some(set) if set.is_over(now, schedule) => (Change::Remove, true),
            // Of an older version, which did not say: the time begins now.
            Some(set) if set.used.is_none() => (Change::Put(KeySet { used: Some(now), ..set }), false),
            _ => (Change::Keep, false),
        };
        if self.store.update(&seen.alg, decide).await? {
            tracing::info!(alg = seen.alg, "the signing keys of an algorithm that is no longer used were removed");
        }
        self.reread().await
    }

    async fn fresh(&self, now: Instant) -> Result<StoredKey, BadKey> {
        let alg = self.keys.alg.ok_or(BadKey::FAILED)?;
        let random = Arc::clone(&self.random);
        generated(alg, move || StoredKey::generate(alg, Stage::Next, now, &*random)).await
    }

    /// As [`Rotation::Regular`] says. Of many who ask at once, one does it: the others' `seen` signs no more.
    async fn rotate(&self, alg: Alg, seen: &str) -> Result<(), RotateFailed> {
        let now = self.clock.now();
        let fresh = self.fresh(now).await?;
        let decide = |set: Option<KeySet>| {
            let Some(set) = set.filter(|set| set.signer() == seen) else { return (Change::Keep, None) };
            match set.next_usable() {
                Some(at) if at <= now => (Change::Put(set.rotated(now, fresh.clone())), None),
                Some(at) => (Change::Keep, Some(at)),
                // Of an older version; the next look at the schedule publishes one.
                None => (Change::Keep, Some(now + super::keys::LEAD)),
            }
        };
        match self.store.update(alg.as_str(), decide).await? {
            Some(at) => Err(RotateFailed::TooEarly(at)),
            None => Ok(()),
        }
    }

    /// As [`Rotation::Compromised`] says: whoever could read one key of a record could read them all. Only where none of
    /// the keys that were `seen` is left has somebody else done it already.
    async fn replace_keys(&self, alg: Alg, seen: &[String]) -> Result<(), RotateFailed> {
        let (now, random) = (self.clock.now(), Arc::clone(&self.random));
        let first = generated(alg, move || KeySet::first(alg, now, &*random)).await?;
        let decide = |set: Option<KeySet>| match set {
            Some(set) if !set.kids().iter().any(|kid| seen.contains(kid)) => (Change::Keep, ()),
            _ => (Change::Put(first.clone()), ()),
        };
        self.store.update(alg.as_str(), decide).await?;
        for other in KEPT.into_iter().filter(|other| *other != alg) {
            self.store.remove::<KeySet>(other.as_str()).await?;
        }
        Ok(())
    }
}

fn only_store(failed: OpenFailed) -> RotateFailed {
    match failed {
        OpenFailed::Store(outage) => RotateFailed::Store(outage),
        OpenFailed::Key(bad) => RotateFailed::Key(bad),
    }
}

impl Mint {
    /// One look at what other processes did to the signing keys, and at the schedule ([`keep_keys`]).
    pub async fn tend_keys(&self) {
        let (parts, now) = (&self.0, self.0.clock.now());
        if parts.keys.alg.is_none() || now.millis() < parts.keys.retry.load(Ordering::Relaxed) {
            return;
        }
        let tended = async {
            if parts.keys.is_stale(now) {
                parts.reread().await?;
            }
            parts.tend().await
        };
        if let Err(error) = tended.await {
            tracing::warn!(%error, "the signing keys could not be looked after; those at hand go on");
            parts.keys.retry.store((now + RETRY).millis(), Ordering::Relaxed);
        }
    }

    /// Changes the signing key now. Effective in this process at once, in others within five seconds. When somebody else
    /// has just changed it, nothing more is done.
    ///
    /// # Errors
    /// [`RotateFailed`].
    pub async fn rotate_keys(&self, how: Rotation) -> Result<Vec<KeyOutline>, RotateFailed> {
        let alg = self.0.keys.alg.ok_or(RotateFailed::Shared)?;
        // As the store has it: another process may have rotated a moment ago.
        self.0.reread().await.map_err(only_store)?;
        let keys = self.0.keys.now();
        match how {
            Rotation::Regular => self.0.rotate(alg, keys.current().kid()).await?,
            Rotation::Compromised => {
                let seen: Vec<String> = keys.all().iter().map(|key| key.kid().to_owned()).collect();
                self.0.replace_keys(alg, &seen).await?;
            }
        }
        self.0.reread().await.map_err(only_store)?;
        Ok(self.signing_keys())
    }

    /// The keys that are in force here: of our own algorithm first, of each algorithm the current, the next, the retired
    /// ones. Empty under HS256.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<KeyOutline> {
        let keys = self.0.keys.now();
        let outline = |set: &KeySet, key: &StoredKey| KeyOutline {
            kid: key.kid(),
            alg: set.alg.clone(),
            stage: key.stage,
            since: key.since,
            until: set.until(key, self.0.keys.schedule),
        };
        let mut outlines = Vec::new();
        for set in &keys.sets {
            let in_order = [Stage::Current, Stage::Next, Stage::Retired];
            let keys = in_order.iter().flat_map(|stage| set.keys.iter().filter(move |key| key.stage == *stage));
            outlines.extend(keys.map(|key| outline(set, key)));
        }
        outlines
    }
}

/// Looks after the signing keys for ever, and tells of tokens that nobody brings. Whoever builds the house spawns it and
/// drops it at the end.
pub async fn keep_keys(mint: Mint) {
    loop {
        time::sleep(REST).await;
        mint.tend_keys().await;
        for login in mint.missed_calls().await {
            mint.0.tell_missed(&login);
        }
    }
}
