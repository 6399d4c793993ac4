//! Expired records out, in small batches with pauses, so that nobody who waits for the disk notices.

use std::{num::NonZeroUsize, time::Duration};

use super::{Life, Store, Unavailable, envelope};
use crate::domain::Instant;

/// How many keys are looked at before the next pause.
const BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl Store {
    /// Removes the records that have expired; answers how many. `pause` lies between batches, in which everyone else gets
    /// on. Two processes may sweep one store at once.
    ///
    /// # Errors
    /// [`Unavailable`]; what was removed until then is gone, the rest waits for the next sweep.
    pub async fn sweep(&self, pause: Duration) -> Result<u64, Unavailable> {
        let mut removed = 0;
        while let Some(gone) = self.0.backend.forget(self.0.clock.now(), BATCH.get()).await? {
            for key in &gone {
                self.0.watchers.trip(key);
            }
            removed += gone.len() as u64;
            if gone.len() < BATCH.get() {
                return Ok(removed);
            }
            tokio::time::sleep(pause).await;
        }
        self.walk(pause).await
    }

    /// Looks at every record. The expiry stands in the envelope's header, so nothing is opened. What is no envelope of
    /// ours is left alone.
    async fn walk(&self, pause: Duration) -> Result<u64, Unavailable> {
        let backend = &self.0.backend;
        // Losing a removal in a crash only leaves it to the next walk.
        let life = Life { expires: Instant::from_millis(0), durable: false };
        let (mut removed, mut from) = (0, None);
        loop {
            let page = backend.scan("", from.as_ref(), BATCH.get()).await?;
            let now = self.0.clock.now();
            for (key, value) in &page.pairs {
                let is_over = envelope::expiry(value).is_some_and(|expires| expires <= now);
                // A swap, not a removal: a record that was renewed meanwhile stays.
                if is_over && backend.swap(key, Some(value), None, life).await? {
                    self.0.watchers.trip(key);
                    removed += 1;
                }
            }
            if page.next.is_none() {
                return Ok(removed);
            }
            from = page.next;
            tokio::time::sleep(pause).await;
        }
    }
}

/// Sweeps for ever, with `rest` between two walks. Whoever builds the house spawns it and drops it at the end. A
/// backend that forgets by itself is left alone, and this returns at once.
pub async fn run(store: Store, rest: Duration) {
    if store.0.backend.forgets_by_itself() {
        return;
    }
    loop {
        tokio::time::sleep(rest).await;
        match store.sweep(Duration::from_millis(20)).await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "expired records swept"),
            Err(error) => tracing::warn!(%error, "the sweep of expired records stopped early"),
        }
    }
}
