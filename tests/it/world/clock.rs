//! A clock that stands still until a test turns it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use vestibule::domain::{Clock, Instant};

/// 2026-11-02T09:00:00Z: where every test begins.
pub(crate) const DAWN: Instant = Instant::from_secs(1_793_610_000);

/// Time in a test's hand.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock at [`DAWN`].
    pub(crate) fn new() -> Arc<Self> {
        Self::at(DAWN)
    }

    /// A clock at `now`.
    pub(crate) fn at(now: Instant) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now.millis())))
    }

    /// Turns the hand forward.
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).expect("a sane span"), Ordering::SeqCst);
    }

    /// Puts the hand somewhere, also backward (a replica whose clock runs behind).
    pub(crate) fn set(&self, now: Instant) {
        self.0.store(now.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn the_hand_moves_only_when_turned() {
    let clock = ManualClock::new();
    assert_eq!(clock.now(), DAWN);
    clock.advance(Duration::from_secs(61));
    assert_eq!(clock.now().since(DAWN), Duration::from_secs(61));
    clock.set(DAWN);
    assert_eq!(clock.now(), DAWN);
}
