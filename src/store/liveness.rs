//! Who is looking at which record: the flags that trip when it goes (D14).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::Key;

/// Whether the record that was seen is still the one in force (D14). Shared by everyone who looks at one record;
/// tripped for good when it is removed or replaced through this process's Store, or found to be gone (a new watcher then
/// gets a new flag), or by another process and [`replicas`](super::replicas) finds out.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_down: AtomicBool,
    /// Those who wait for it to fall.
    waiting: Notify,
}

impl Liveness {
    /// Whether nothing has happened to the record since it was watched.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.0.is_down.load(Ordering::Acquire)
    }

    /// Returns when it holds no longer. Costs nothing until then.
    pub async fn tripped(&self) {
        let mut waiting = std::pin::pin!(self.0.waiting.notified());
        // From here on no trip goes unnoticed, though it come before the first poll.
        waiting.as_mut().enable();
        if self.holds() {
            waiting.await;
        }
    }

    /// Trips the flag. The Store does; nobody else needs to.
    pub fn trip(&self) {
        self.0.is_down.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }
}

/// Sixteen doors, so that sixteen first sights of different tokens do not wait for one another.
const SHARDS: usize = 16;
/// Below this many entries a shard is not worth a walk.
const SMALL: usize = 64;

/// One flag, and which bytes those who hold it have seen (only where other processes write too).
#[derive(Debug)]
struct Watched {
    flag: Weak<Flag>,
    /// A keyed hash: nonces make all values different, so 64 bits tell them apart.
    seen: Option<u64>,
}

/// A flag that someone holds, and how to tell that its record is another one.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) key: Key,
    flag: Liveness,
    seen: u64,
}

#[derive(Debug, Default)]
struct Shard {
    flags: HashMap<Key, Watched>,
    /// At this length the entries that nobody holds are thrown out: at most half of the map is ever dead.
    prune_at: usize,
}

/// The flags now held, by key. Holds none of them itself: a flag lives as long as someone looks at it.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Watchers {
    /// The flag of `key`: the one that others hold already, or a new one.
    pub(super) fn watch(&self, key: &Key) -> Liveness {
        let mut shard = self.shard(key);
        if let Some(flag) = shard.flags.get(key).and_then(|watched| watched.flag.upgrade()) {
            return Liveness(flag);
        }
        if shard.flags.len() >= shard.prune_at {
            shard.flags.retain(|_, watched| watched.flag.strong_count() > 0);
            shard.prune_at = SMALL.max(2 * shard.flags.len());
        }
        let liveness = Liveness::default();
        shard.flags.insert(key.clone(), Watched { flag: Arc::downgrade(&liveness.0), seen: None });
        liveness
    }

    /// Notes which bytes the holder of `liveness` has read. If the others who hold it saw other bytes, or if there are
    /// none, somebody else has changed the record: the flag trips, and the next look begins afresh.
    pub(super) fn saw(&self, key: &Key, liveness: &Liveness, value: Option<&[u8]>) {
        let hash = value.map(|value| self.hasher.hash_one(value));
        let mut shard = self.shard(key);
        let watched = shard.flags.get_mut(key).filter(|watched| watched.flag.as_ptr() == Arc::as_ptr(&liveness.0));
        match watched {
            Some(watched) if hash.is_some() && watched.seen.is_none_or(|seen| Some(seen) == hash) => {
                watched.seen = hash;
            }
            Some(_) => {
                shard.flags.remove(key);
                liveness.trip();
            }
            // Tripped and forgotten between our look and our read.
            None => {}
        }
    }

    /// Every flag that someone holds and whose record has been read.
    pub(super) fn sights(&self) -> Vec<Sight> {
        let held = |(key, watched): (&Key, &Watched)| {
            Some(Sight { key: key.clone(), flag: Liveness(watched.flag.upgrade()?), seen: watched.seen? })
        };
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.flags.iter().filter_map(held).collect::<Vec<_>>()).collect()
    }

    /// Whether `value` is what was seen.
    pub(super) fn is_same(&self, sight: &Sight, value: Option<&[u8]>) -> bool {
        value.is_some_and(|value| self.hasher.hash_one(value) == sight.seen)
    }

    /// Trips the flag of `sight`, and forgets it unless a newer one has taken its place.
    pub(super) fn trip_seen(&self, sight: &Sight) {
        let mut shard = self.shard(&sight.key);
        if shard.flags.get(&sight.key).is_some_and(|watched| watched.flag.as_ptr() == Arc::as_ptr(&sight.flag.0)) {
            shard.flags.remove(&sight.key);
        }
        sight.flag.trip();
    }

    /// Trips the flag of `key` and forgets it.
    pub(super) fn trip(&self, key: &Key) {
        let watched = self.shard(key).flags.remove(key);
        if let Some(flag) = watched.and_then(|watched| watched.flag.upgrade()) {
            Liveness(flag).trip();
        }
    }

    /// A guard that trips the flag of `key` when it goes out of scope.
    pub(super) fn change<'a>(&'a self, key: &'a Key) -> Changing<'a> {
        Changing { watchers: self, key, happened: true }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().flags.len()).sum()
    }
}

/// A change under way. Trips when dropped, so that a caller who goes away between the swap and the answer (a client
/// that hangs up while the disk is written) does not leave a revoked Grant alive in caches. A trip too many only costs
/// a read.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    watchers: &'a Watchers,
    key: &'a Key,
    happened: bool,
}

impl Changing<'_> {
    /// The record is certainly as it was.
    pub(super) fn did_not_happen(mut self) {
        self.happened = false;
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if self.happened {
            self.watchers.trip(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_look_at_a_record_share_its_flag_and_the_next_gets_a_new_one() {
        let (watchers, key) = (Watchers::default(), Key::new("grant", "a"));
        let (one, two, other) = (watchers.watch(&key), watchers.watch(&key), watchers.watch(&Key::new("grant", "b")));
        watchers.trip(&key);
        assert!(!one.holds() && !two.holds() && other.holds());
        assert!(watchers.watch(&key).holds());
    }

    #[tokio::test]
    async fn who_waits_is_woken_and_who_comes_late_does_not_wait() {
        let (watchers, key) = (Watchers::default(), Key::new("grant", "a"));
        let flag = watchers.watch(&key);
        let waiting = tokio::spawn({
            let flag = flag.clone();
            async move { flag.tripped().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        watchers.trip(&key);
        waiting.await.unwrap();
        flag.tripped().await;
    }

    #[test]
    fn a_change_that_is_given_up_half_way_trips_and_one_that_failed_does_not() {
        let (watchers, key) = (Watchers::default(), Key::new("grant", "a"));
        let flag = watchers.watch(&key);
        watchers.change(&key).did_not_happen();
        assert!(flag.holds());
        drop(watchers.change(&key));
        assert!(!flag.holds());
    }

    #[test]
    fn flags_that_nobody_holds_are_thrown_out() {
        let watchers = Watchers::default();
        let held: Vec<_> = (0..100).map(|n| watchers.watch(&Key::new("grant", &format!("held{n}")))).collect();
        for n in 0..100_000 {
            drop(watchers.watch(&Key::new("grant", &n.to_string())));
        }
        assert!(watchers.entries() <= SHARDS * SMALL, "{} entries", watchers.entries());
        watchers.trip(&Key::new("grant", "held7"));
        assert_eq!(held.iter().filter(|flag| !flag.holds()).count(), 1);
    }
}
