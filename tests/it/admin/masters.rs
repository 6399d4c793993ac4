//! When an older master key may be dropped (D2, D11).

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vestibule::{
    admin::{MasterView, Operator},
    crypto::Keyring,
    domain::{
        ApprovedClient, ClientId, ClientOrigin, Clock as _, Grant, GrantStage,
        grant::{RefreshChain, SecretHash},
    },
    store::{Backend, memory::Memory},
};

use super::Desk;
use crate::{token::kit, world::rooms::master_key};

const DAY: Duration = Duration::from_secs(86_400);

fn ring(keys: &[u8]) -> Arc<Keyring> {
    let mut keys = keys.iter().map(|byte| master_key(*byte));
    let current = keys.next().unwrap();
    Arc::new(Keyring::new(current, keys.collect()))
}

/// A Grant with a refresh token that the current key of `ring` vouches for.
fn refreshable(id: u8, ring: &Keyring) -> Grant {
    let chain = RefreshChain {
        generation: 0,
        current: SecretHash::from_bytes([2; 32]),
        retired: Vec::new(),
        key: Some(ring.id()),
        holder: None,
    };
    let grant = kit::grant(id);
    let stage = GrantStage::Active {
        code: Some(SecretHash::from_bytes([1; 32])),
        redeemed: grant.created,
        refresh: Some(chain),
    };
    Grant { stage, ..grant }
}

fn client(id: ClientId, desk: &Desk) -> ApprovedClient {
    let now = desk.clock.now();
    ApprovedClient {
        id,
        name: None,
        origin: ClientOrigin::Sealed,
        first_seen: now,
        last_seen: now,
        blocked: false,
        expires: now + ApprovedClient::LIFE,
    }
}

async fn older(desk: &Desk) -> MasterView {
    let keys = desk.admin.master_keys().await.unwrap();
    assert_eq!(keys[0].role, "current");
    keys.into_iter().nth(1).unwrap()
}

#[tokio::test]
async fn d11_an_older_key_may_go_when_nothing_rests_on_it_and_it_is_said_when_that_is() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let before = Desk::with(backend.clone(), ring(&[1])).await;
    before.store.put(&refreshable(1, &ring(&[1]))).await.unwrap();
    let only = before.admin.master_keys().await.unwrap();
    assert_eq!((only.len(), only[0].may_be_dropped, only[0].logins), (1, None, 1));

    let after = Desk::with(backend.clone(), ring(&[2, 1])).await;
    let key = older(&after).await;
    assert_eq!((key.records, key.logins, key.clients), (2, 1, 0), "the signing keys and the login");
    assert_eq!(key.may_be_dropped, Some("no"), "the signing keys never end: {}", key.because);
    assert!(key.because.contains("--reseal"));

    let resealed = after.admin.reseal(Operator::KeyRing).await.unwrap();
    assert_eq!((resealed.resealed, resealed.unreadable), (2, 0));
    assert_eq!(after.admin.reseal(Operator::KeyRing).await.unwrap().resealed, 0);
    let grant: Grant = after.store.get(&kit::grant(1).id.to_string()).await.unwrap().unwrap();
    assert_eq!(grant.expires, kit::grant(1).expires, "resealed as it was");
    // The record has moved; the refresh token that is out in the world still bears the older key's MAC.
    let key = older(&after).await;
    assert_eq!((key.records, key.logins), (0, 1));
    assert_eq!(key.may_be_dropped, Some("after"));
    assert_eq!(key.after, Some(grant.expires.to_rfc3339()));

    // It is refreshed, and with it the last thing that rested on the older key.
    after.store.put(&refreshable(1, &ring(&[2, 1]))).await.unwrap();
    let key = older(&after).await;
    assert_eq!((key.records, key.logins, key.may_be_dropped), (0, 0, Some("yes")));
    let last = Desk::with(backend, ring(&[2])).await;
    assert!(last.store.get::<Grant>(&grant.id.to_string()).await.unwrap().is_some());
    assert_eq!(last.admin.master_keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn d2_an_older_key_stays_for_the_clients_that_are_registered_under_it() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let desk = Desk::with(backend, ring(&[2, 1])).await;
    let sealed = |keys: &Keyring, name: &[u8]| {
        let bytes = keys.seal_synthetic(ClientId::PURPOSE, b"", name);
        ClientId::new(format!("{}{}", ClientId::SEALED, URL_SAFE_NO_PAD.encode(bytes)))
    };
    desk.store.put(&client(sealed(&ring(&[2]), b"new"), &desk)).await.unwrap();
    assert_eq!(older(&desk).await.may_be_dropped, Some("yes"));
    let old = sealed(&ring(&[1]), b"old");
    desk.store.put(&client(old.clone(), &desk)).await.unwrap();
    let key = older(&desk).await;
    assert_eq!((key.records, key.clients, key.may_be_dropped), (0, 1, Some("no")));
    assert!(key.because.contains("register again"), "{}", key.because);
    // A blocked one need not be known.
    desk.admin.block(Operator::KeyRing, old.as_str()).await.unwrap();
    assert_eq!(older(&desk).await.may_be_dropped, Some("yes"));
    desk.admin.unblock(Operator::KeyRing, old.as_str()).await.unwrap();
    desk.clock.advance(91 * DAY);
    assert_eq!(older(&desk).await.may_be_dropped, Some("yes"), "nobody has used it for three months");
}

#[tokio::test]
async fn a_key_that_was_dropped_too_early_is_named() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let before = Desk::with(backend.clone(), ring(&[1])).await;
    before.store.put(&refreshable(1, &ring(&[1]))).await.unwrap();
    let after = Desk::with(backend.clone(), ring(&[2])).await;
    let keys = after.admin.master_keys().await.unwrap();
    assert_eq!((keys[1].role, keys[1].records), ("missing", 1));
    assert_eq!(after.admin.reseal(Operator::KeyRing).await.unwrap().unreadable, 1, "left as it is");
    let mended = Desk::with(backend, ring(&[2, 1])).await;
    assert!(mended.store.get::<Grant>(&kit::grant(1).id.to_string()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_written_while_records_move_is_not_undone() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let before = Desk::with(backend.clone(), ring(&[1])).await;
    for n in 0..3_000 {
        before.store.put(&super::numbered(n)).await.unwrap();
    }
    let desk = Arc::new(Desk::with(backend, ring(&[2, 1])).await);
    let writing = {
        let desk = desk.clone();
        tokio::spawn(async move {
            for n in 0..3_000 {
                let grant = super::numbered(n);
                desk.store.remove::<Grant>(&grant.id.to_string()).await.unwrap();
                if n.is_multiple_of(2) {
                    desk.store.put(&Grant { scope: Default::default(), ..grant }).await.unwrap();
                }
            }
        })
    };
    desk.admin.reseal(Operator::KeyRing).await.unwrap();
    writing.await.unwrap();
    let left = desk.store.list::<Grant>(None, 5_000).await.unwrap().records;
    assert_eq!(left.len(), 1_500);
    assert!(left.iter().all(|(_, grant)| grant.scope.is_empty()), "nothing old came back");
    assert_eq!(older(&desk).await.records, 0);
}
