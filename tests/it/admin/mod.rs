//! The desk over a store full of Grants: page by page, in batches, and against everything else that happens.

mod masters;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use vestibule::{
    admin::{Admin, Operator, Parts, Settings, Which},
    crypto::Keyring,
    domain::{Clock as _, Grant, GrantId, Instant},
    store::{Change, Store, memory::Memory, sled::Sled},
    token::{Algorithm, Mint},
    upstream::{Upstreams, http::Http},
};

use crate::{
    token::kit,
    world::{ManualClock, keyring, random},
};

struct Desk {
    admin: Arc<Admin>,
    store: Store,
    clock: Arc<ManualClock>,
}

impl Desk {
    async fn over(backend: Arc<dyn vestibule::store::Backend>) -> Self {
        Self::with(backend, keyring()).await
    }

    async fn with(backend: Arc<dyn vestibule::store::Backend>, keyring: Arc<Keyring>) -> Self {
        let clock = ManualClock::new();
        let store = Store::new(backend, keyring.clone(), clock.clone(), random());
        let settings = kit::settings(Algorithm::Es256);
        let mint = Mint::open(settings, store.clone(), keyring.clone(), clock.clone(), random()).await.unwrap();
        let upstreams = Upstreams::new(Vec::new(), Http::new(&Default::default()).unwrap(), clock.clone());
        let parts = Parts { store: store.clone(), mint, upstreams, keyring, clock: clock.clone(), random: random() };
        Self { admin: Arc::new(Admin::new(Settings::default(), parts)), store, clock }
    }

    async fn filled(backend: Arc<dyn vestibule::store::Backend>, count: u32) -> Self {
        let desk = Self::over(backend).await;
        let puts = (0..count).map(|n| {
            let store = desk.store.clone();
            async move { store.put(&numbered(n)).await.unwrap() }
        });
        futures_util::StreamExt::collect::<Vec<()>>(futures_util::StreamExt::buffer_unordered(
            futures_util::stream::iter(puts),
            64,
        ))
        .await;
        desk
    }

    async fn revoke(&self, which: &Which) -> (u64, u64, u64) {
        let (mut steps, mut examined, mut revoked, mut after) = (0, 0, 0, None);
        loop {
            let step = self.admin.revoke_some(Operator::Token, which, after.as_deref(), false).await.unwrap();
            (steps, examined, revoked) = (steps + 1, examined + step.examined, revoked + step.revoked);
            after = step.next;
            if after.is_none() {
                return (steps, examined, revoked);
            }
        }
    }
}

/// Every third one is Bob's; a second lies between two of them.
fn numbered(n: u32) -> Grant {
    let mut grant = kit::grant(1);
    let mut id = [0; 16];
    // Not in the order of creation.
    id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    grant.id = GrantId::from_bytes(id);
    grant.created = kit_dawn() + Duration::from_secs(u64::from(n));
    if n.is_multiple_of(3) {
        grant.identity.subject = vestibule::domain::Subject::new(&grant.login.as_ref().unwrap().upstream, "bob");
    }
    grant
}

fn kit_dawn() -> Instant {
    crate::world::clock::DAWN
}

#[tokio::test]
async fn a_long_list_comes_in_pages_each_item_once_also_when_filtered() {
    let desk = Desk::filled(Arc::new(Memory::new()), 5_000).await;
    for (which, count) in [
        (Which::default(), 5_000),
        (Which { subject: Some("github:bob".to_owned()), ..Which::default() }, 1_667),
        (Which { subject: Some("github:nobody".to_owned()), ..Which::default() }, 0),
    ] {
        let (mut seen, mut after, mut pages) = (BTreeSet::new(), None, 0);
        loop {
            let page = desk.admin.grants(&which, after.as_deref(), 300).await.unwrap();
            assert!(page.items.len() <= 300);
            for item in page.items {
                assert!(seen.insert(item.id), "twice");
            }
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), count, "{which:?}");
        assert!(pages >= 3);
    }
}

#[tokio::test]
async fn a_bulk_goes_in_bounded_steps_and_counts_right_on_sled_too() {
    let folder = tempfile::tempdir().unwrap();
    let sled = Sled::open(vestibule::store::SledSettings::at(folder.path().join("store"))).await.unwrap();
    let backends: [Arc<dyn vestibule::store::Backend>; 2] = [Arc::new(Memory::new()), Arc::new(sled)];
    for backend in backends {
        let desk = Desk::filled(backend, 4_500).await;
        let bob = Which { subject: Some("github:bob".to_owned()), ..Which::default() };
        assert_eq!(desk.revoke(&bob).await, (3, 4_500, 1_500));
        let old = Which { before: Some(kit_dawn() + Duration::from_secs(2_250)), ..Which::default() };
        let (_, examined, revoked) = desk.revoke(&old).await;
        assert_eq!((examined, revoked), (3_000, 1_500));
        assert!(desk.admin.grants(&old, None, 10).await.unwrap().items.is_empty());
        let (_, _, rest) = desk.revoke(&Which::default()).await;
        assert_eq!(rest, 1_500);
        assert!(desk.store.list::<Grant>(None, 1).await.unwrap().records.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_changes_under_a_bulk_ends_all_the_same_and_what_begins_after_it_does_not() {
    let desk = Arc::new(Desk::filled(Arc::new(Memory::new()), 3_000).await);
    let cut = kit_dawn() + Duration::from_secs(3_000);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Refreshes go on: every record is rewritten again and again.
    let busy: Vec<_> = (0..4)
        .map(|lane| {
            let (desk, stop) = (desk.clone(), stop.clone());
            tokio::spawn(async move {
                let mut n = lane;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let turn = |grant: Option<Grant>| match grant {
                        Some(grant) => (Change::Put(Grant { scope: grant.scope.clone(), ..grant }), ()),
                        None => (Change::Keep, ()),
                    };
                    desk.store.update(&numbered(n % 3_000).id.to_string(), turn).await.unwrap();
                    n += 4;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let newcomer = Grant { created: cut, ..numbered(4_000) };
    desk.store.put(&newcomer).await.unwrap();
    let (_, _, revoked) = desk.revoke(&Which { before: Some(cut), ..Which::default() }).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in busy {
        task.await.unwrap();
    }
    assert_eq!(revoked, 3_000);
    let left = desk.store.list::<Grant>(None, 10).await.unwrap().records;
    assert_eq!(left.iter().map(|(_, grant)| grant.id).collect::<Vec<_>>(), [newcomer.id]);
}

#[tokio::test]
async fn a_block_outlives_the_sweep_and_every_record_of_a_client() {
    let desk = Desk::over(Arc::new(Memory::new())).await;
    let url = "https://client.example/metadata.json";
    desk.admin.block(Operator::KeyRing, url).await.unwrap();
    for _ in 0..40 {
        desk.clock.advance(Duration::from_secs(90 * 86_400));
        desk.store.sweep(Duration::ZERO).await.unwrap();
        assert!(desk.admin.client(url).await.unwrap().blocked, "{}", desk.clock.now().to_rfc3339());
    }
    // Blocking twice is blocking.
    desk.admin.block(Operator::KeyRing, url).await.unwrap();
    let free = desk.admin.unblock(Operator::KeyRing, url).await.unwrap();
    assert!(!free.blocked && free.expires.is_some());
}
