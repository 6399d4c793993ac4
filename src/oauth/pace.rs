//! How often one party is served: a bucket of one minute's worth for each, refilled steadily (behaviour 12).
//!
//! Addresses are counted at the door, since nothing else is known there. Clients are counted once they have proven who they
//! are, and people once a refresh token or their provider has named them: whoever only *says* to be somebody must not be
//! able to use up what that one may ask for.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// `[limits]`, as far as it is about known parties. Zero for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Requests of one client that has proven itself, per minute (6000): all its people together.
    pub client_per_minute: u32,
    /// Logins and refreshes of one person, per minute (600).
    pub subject_per_minute: u32,
}

/// After so many requests the table is looked through: so it never holds many more entries than that, whoever comes.
const SWEEP_AFTER: u32 = 100_000;

/// One bucket for each key.
pub struct Turnstile<K: Hash + Eq + Clone> {
    buckets: Option<DefaultKeyedRateLimiter<K>>,
    clock: DefaultClock,
    passes: AtomicU32,
}

impl<K: Hash + Eq + Clone> Turnstile<K> {
    /// `per_minute` of zero lets everyone through.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        let buckets = NonZeroU32::new(per_minute).map(|n| RateLimiter::keyed(Quota::per_minute(n)));
        Self { buckets, clock: DefaultClock::default(), passes: AtomicU32::new(0) }
    }

    /// Lets one request of that party pass.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn pass<Q: ToOwned<Owned = K> + ?Sized>(&self, who: &Q) -> Result<(), Duration> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        if self.passes.fetch_add(1, Ordering::Relaxed) >= SWEEP_AFTER {
            self.forget_idle();
        }
        buckets.check_key(&who.to_owned()).map_err(|early| early.wait_time_from(self.clock.now()))
    }

    /// Forgets parties whose bucket is full again; without it the table grows for ever.
    pub fn forget_idle(&self) {
        self.passes.store(0, Ordering::Relaxed);
        if let Some(buckets) = &self.buckets {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }

    /// How many parties are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.as_ref().map_or(0, |buckets| buckets.len())
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_12_one_party_is_cut_off_without_harm_to_others() {
        let turnstile = Turnstile::<String>::new(60);
        for _ in 0..60 {
            turnstile.pass("ann").unwrap();
        }
        let wait = turnstile.pass("ann").unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        turnstile.pass("ben").unwrap();
        let none = Turnstile::<String>::new(0);
        assert!((0..10_000).all(|_| none.pass("ann").is_ok()) && none.is_empty());
    }

    #[test]
    fn s33_a_crowd_of_parties_does_not_fill_the_memory() {
        // A bucket of a million per minute is full again after 60 µs.
        let turnstile = Turnstile::<u32>::new(1_000_000);
        for who in 0..3 * SWEEP_AFTER {
            turnstile.pass(&who).unwrap();
        }
        assert!(turnstile.len() <= SWEEP_AFTER as usize + 1_000, "{}", turnstile.len());
        std::thread::sleep(Duration::from_millis(2));
        turnstile.forget_idle();
        assert!(turnstile.is_empty());
    }
}
