//! What other processes do to the records that this one holds in memory (D14).

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use super::{Key, Store, Unavailable, liveness::Sight};
use crate::domain::Instant;

/// Rest between two rounds. At worst a record changes just after it was read in a slow round: that round's
/// [`PATIENCE`], this rest and the next round's patience make the 5 s after which a revocation elsewhere counts here.
const REST: Duration = Duration::from_secs(1);
/// How long one round may take; what it could not confirm by then counts as changed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many records are read at once.
const ABREAST: usize = 64;
/// How long flags speak for other processes after a round of reading began.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// In place of the time of a round: nobody else writes, so there is nothing to read.
pub(super) const NEVER_NEEDED: u64 = u64::MAX;

impl Store {
    /// Reads every watched record again, and trips the flags of those that are no longer what was seen. **What cannot be
    /// read is tripped too**: the next call then asks the store itself and hears that it is unavailable, which is right,
    /// while a token revoked elsewhere would live on, which is not. A trip too many only costs a read.
    pub async fn look_again(&self) {
        let began = self.0.clock.now();
        let sights = self.0.watchers.sights();
        // In key order, so that a simulated run is the same every time (D16).
        let mut unconfirmed: BTreeMap<Key, Sight> =
            sights.into_iter().map(|sight| (sight.key.clone(), sight)).collect();
        let looked = tokio::time::timeout(PATIENCE, self.confirm(&mut unconfirmed)).await;
        if !unconfirmed.is_empty() && !matches!(looked, Ok(Ok(()))) {
            let unread = unconfirmed.len();
            tracing::warn!(unread, "watched records could not be read again; they are asked for anew");
        }
        for sight in unconfirmed.values() {
            self.0.watchers.trip_seen(sight);
        }
        if self.0.looked.load(Ordering::Relaxed) != NEVER_NEEDED {
            self.0.looked.store(began.millis(), Ordering::Release);
        }
    }

    /// Whether a flag that holds speaks for other processes, too: a round of [`look_again`](Self::look_again) that began
    /// less than five seconds ago is over. It is not so in the first moments of a machine that slept; until its next round
    /// whoever holds a flag reads the record again.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        let looked = self.0.looked.load(Ordering::Acquire);
        looked == NEVER_NEEDED || self.0.clock.now() < Instant::from_millis(looked) + GOOD_FOR
    }

    /// Takes out of `unconfirmed` what is still as it was seen; stops at the first failure.
    async fn confirm(&self, unconfirmed: &mut BTreeMap<Key, Sight>) -> Result<(), Unavailable> {
        let keys: Vec<Key> = unconfirmed.keys().cloned().collect();
        let read = |key: Key| {
            let backend = Arc::clone(&self.0.backend);
            async move {
                let value = backend.get(&key).await;
                (key, value)
            }
        };
        let mut reads = stream::iter(keys).map(read).buffer_unordered(ABREAST);
        while let Some((key, value)) = reads.next().await {
            let value = value?;
            if unconfirmed.get(&key).is_some_and(|sight| self.0.watchers.is_same(sight, value.as_deref())) {
                unconfirmed.remove(&key);
            }
        }
        Ok(())
    }
}

/// Looks again for ever. Whoever builds the house spawns it and drops it at the end. Where no other process writes,
/// nothing can change unseen, and this returns at once.
pub async fn run(store: Store) {
    while store.0.backend.is_shared() {
        tokio::time::sleep(REST).await;
        store.look_again().await;
    }
}
