//! Many at once: exactly one wins, nobody waits for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Barrier, task::JoinSet, time::timeout};
use vestibule::store::{Backend, Change, Key, Life, Page, Place, Store, Unavailable};

use super::fixture::{Fixture, Memo, Note};
use crate::world;

const TASKS: usize = 64;
/// Far beyond what any of this takes; only a deadlock gets there.
const FOREVER: Duration = Duration::from_secs(60);

/// Runs `act` in 64 tasks that start together.
async fn all_at_once<T, F>(store: &Store, act: impl Fn(Store, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (barrier, mut tasks) = (Arc::new(Barrier::new(TASKS)), JoinSet::new());
    for n in 0..TASKS {
        let (barrier, act) = (barrier.clone(), act(store.clone(), n));
        tasks.spawn(async move {
            barrier.wait().await;
            act.await
        });
    }
    timeout(FOREVER, tasks.join_all()).await.expect("nobody waits for ever")
}

async fn one_of_many_takes(Fixture { store, .. }: Fixture) {
    for round in 0..20 {
        let id = format!("r{round}");
        store.insert(&Note::new(&id, "spend me")).await.unwrap();
        let taken = all_at_once(&store, |store, _| {
            let id = id.clone();
            async move { store.take::<Note>(&id).await.unwrap().is_some() }
        })
        .await;
        assert_eq!(taken.iter().filter(|won| **won).count(), 1);
    }
}

async fn one_of_many_inserts(Fixture { store, .. }: Fixture) {
    let inserted = all_at_once(&store, |store, n| async move {
        let won = store.insert(&Note::new("a", &n.to_string())).await.unwrap();
        won.then(|| n.to_string())
    })
    .await;
    let winners: Vec<_> = inserted.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.get::<Note>("a").await.unwrap().unwrap().text, winners[0]);
}

async fn no_update_is_lost(Fixture { store, .. }: Fixture) {
    store.insert(&Note::new("a", "0")).await.unwrap();
    let mut seen = all_at_once(&store, |store, _| async move {
        let count = |old: Option<Note>| {
            let next = old.unwrap().text.parse::<usize>().unwrap() + 1;
            (Change::Put(Note::new("a", &next.to_string())), next)
        };
        store.update("a", count).await.unwrap()
    })
    .await;
    seen.sort_unstable();
    assert_eq!(seen, (1..=TASKS).collect::<Vec<_>>(), "each saw a count of its own");
}

macro_rules! over_every_backend {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() { super::$case(super::Fixture::memory().await).await; })*
        }
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() { super::$case(super::Fixture::sled().await).await; })*
        }
        #[cfg(feature = "redis")]
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                if let Some(fixture) = super::Fixture::redis().await {
                    super::$case(fixture).await;
                }
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                if let Some(fixture) = super::Fixture::postgres().await {
                    super::$case(fixture).await;
                }
            })*
        }
    };
}

over_every_backend!(one_of_many_takes, one_of_many_inserts, no_update_is_lost);

/// sled's own asynchronous flush hangs for good with sixteen callers; ours must not with 64.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_durable_writers_do_not_deadlock_the_flush() {
    let Fixture { store, .. } = &Fixture::sled().await;
    all_at_once(store, |store, task| async move {
        for n in 0..40 {
            assert!(store.insert(&Note::new(&format!("{task}-{n}"), "durable")).await.unwrap());
        }
    })
    .await;
    assert_eq!(store.list::<Note>(None, 10_000).await.unwrap().records.len(), TASKS * 40);
}

/// A memory whose disk never answers: every swap is done, and nobody is told.
struct Mute(Arc<dyn Backend>);

#[async_trait::async_trait]
impl Backend for Mute {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.0.get(key).await
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        self.0.set(key, value, life).await
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        self.0.swap(key, old, new, life).await?;
        std::future::pending().await
    }

    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.0.scan(prefix, from, limit).await
    }

    async fn flush(&self) -> Result<(), Unavailable> {
        self.0.flush().await
    }
}

/// A memory whose disk is asked for: counts, and answers at once.
struct Counted(Arc<dyn Backend>, AtomicUsize);

#[async_trait::async_trait]
impl Backend for Counted {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.0.get(key).await
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        self.0.set(key, value, life).await
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        self.0.swap(key, old, new, life).await
    }

    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.0.scan(prefix, from, limit).await
    }

    async fn flush(&self) -> Result<(), Unavailable> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.flush().await
    }
}

/// Who sees what another has written, and answers for it, waits for the disk as that other one does: else the answer
/// (the successor of a refresh token, "it is revoked") would outlive a crash that its cause does not.
#[tokio::test]
async fn an_answer_that_rests_on_anothers_swap_waits_for_the_disk_too() {
    let fixture = Fixture::memory().await;
    let disk = Arc::new(Counted(fixture.backend, AtomicUsize::new(0)));
    let store = Store::new(disk.clone(), world::keyring(), fixture.clock, world::random());
    let flushes = || disk.1.load(Ordering::Relaxed);
    store.insert(&Note::new("a", "one")).await.unwrap();
    let seen = store.update("a", |note: Option<Note>| (Change::Keep, note.is_some())).await.unwrap();
    assert_eq!((seen, flushes()), (true, 1), "kept as another wrote it");
    assert!(!store.remove::<Note>("b").await.unwrap());
    assert_eq!(flushes(), 2, "gone, as another removed it");
    store.update("a", |_: Option<Memo>| (Change::Keep, ())).await.unwrap();
    assert_eq!(flushes(), 2, "best effort waits for nothing");
}

/// A caller who goes away while the disk is written has still revoked.
#[tokio::test]
async fn a_removal_whose_caller_hangs_up_still_trips_the_flag() {
    let fixture = Fixture::memory().await;
    fixture.store.insert(&Note::new("a", "one")).await.unwrap();
    let store = Store::new(Arc::new(Mute(fixture.backend)), world::keyring(), fixture.clock, world::random());
    let (_, liveness) = store.watch::<Note>("a").await.unwrap().unwrap();
    assert!(timeout(Duration::from_millis(10), store.remove::<Note>("a")).await.is_err(), "it hangs");
    assert_eq!(store.get::<Note>("a").await.unwrap(), None);
    assert!(!liveness.holds());
}

/// A removal that hangs is asked for again: who is told that nothing is there any more must not see it work at the next
/// call (found by a simulated history, seed 25368).
#[tokio::test]
async fn who_is_told_that_a_record_is_gone_has_tripped_its_flag() {
    let fixture = Fixture::memory().await;
    fixture.store.insert(&Note::new("a", "one")).await.unwrap();
    let store = Store::new(Arc::new(Mute(fixture.backend)), world::keyring(), fixture.clock, world::random());
    let (_, liveness) = store.watch::<Note>("a").await.unwrap().unwrap();
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { store.remove::<Note>("a").await }
    });
    while fixture.store.get::<Note>("a").await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(liveness.holds(), "nobody was told yet");
    assert!(!store.remove::<Note>("a").await.unwrap(), "gone already");
    assert!(!liveness.holds());
    assert!(!hanging.is_finished());
    hanging.abort();
}
