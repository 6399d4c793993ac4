//! S32: a value that was changed, moved, aged or sealed elsewhere is absent, and nothing of it is readable.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use vestibule::{
    crypto::Keyring,
    domain::Instant,
    store::{Backend, Key, Life, Store, memory::Memory},
};

use super::fixture::{Fixture, Memo, Note};
use crate::world::{self, ManualClock};

const LIFE: Life = Life { expires: Instant::from_secs(u32::MAX as u64), durable: true };

async fn raw(fixture: &Fixture, key: &Key) -> Bytes {
    fixture.backend.get(key).await.unwrap().unwrap()
}

async fn plant(fixture: &Fixture, key: &Key, value: impl Into<Bytes>) {
    fixture.backend.set(key, Some(value.into()), LIFE).await.unwrap();
}

#[tokio::test]
async fn s32_a_changed_byte_anywhere_makes_the_record_absent() {
    let fixture = Fixture::memory().await;
    fixture.store.insert(&Note::new("a", "one")).await.unwrap();
    let key = Key::new("note", "a");
    let good = raw(&fixture, &key).await;
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        plant(&fixture, &key, bad).await;
        assert_eq!(fixture.store.get::<Note>("a").await.unwrap(), None, "byte {at}");
    }
    for length in 0..good.len() {
        plant(&fixture, &key, good.slice(..length)).await;
        assert_eq!(fixture.store.get::<Note>("a").await.unwrap(), None, "cut at {length}");
    }
    plant(&fixture, &key, good).await;
    assert!(fixture.store.get::<Note>("a").await.unwrap().is_some(), "the test can tell good from bad");
}

#[tokio::test]
async fn s32_a_moved_value_does_not_open() {
    let fixture = Fixture::memory().await;
    let store = &fixture.store;
    store.insert(&Note::new("mine", "one")).await.unwrap();
    let value = raw(&fixture, &Key::new("note", "mine")).await;
    plant(&fixture, &Key::new("note", "yours"), value.clone()).await;
    plant(&fixture, &Key::new("memo", "mine"), value).await;
    assert_eq!(store.get::<Note>("yours").await.unwrap(), None);
    assert_eq!(store.take::<Note>("yours").await.unwrap(), None);
    assert_eq!(store.get::<Memo>("mine").await.unwrap(), None);
    assert_eq!(store.list::<Note>(None, 9).await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn s32_a_value_cannot_be_given_a_longer_life() {
    let fixture = Fixture::memory().await;
    fixture.store.insert(&Note::new("a", "one")).await.unwrap();
    let key = Key::new("note", "a");
    let mut value = raw(&fixture, &key).await.to_vec();
    value[1..9].copy_from_slice(&u64::MAX.to_be_bytes());
    plant(&fixture, &key, value).await;
    fixture.outlive_notes();
    assert_eq!(fixture.store.get::<Note>("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_spoilt_record_is_replaced_by_the_next_write() {
    let fixture = Fixture::memory().await;
    plant(&fixture, &Key::new("note", "a"), &b"\x01garbage"[..]).await;
    assert!(fixture.store.insert(&Note::new("a", "healed")).await.unwrap());
    assert_eq!(fixture.store.get::<Note>("a").await.unwrap().unwrap().text, "healed");
    plant(&fixture, &Key::new("note", "b"), &b""[..]).await;
    fixture.store.remove::<Note>("b").await.unwrap();
    assert_eq!(fixture.backend.get(&Key::new("note", "b")).await.unwrap(), None);
}

#[tokio::test]
async fn nothing_of_a_record_lies_open() {
    let fixture = Fixture::memory().await;
    fixture.store.insert(&Note::new("a", "upstream-refresh-token")).await.unwrap();
    let value = raw(&fixture, &Key::new("note", "a")).await;
    assert!(!value.windows(8).any(|window| b"upstream-refresh-token".windows(8).any(|secret| secret == window)));
}

#[tokio::test]
async fn equal_records_lie_as_different_bytes_so_the_bytes_are_their_own_version() {
    let fixture = Fixture::memory().await;
    let (note, key) = (Note::new("a", "one"), Key::new("note", "a"));
    fixture.store.put(&note).await.unwrap();
    let first = raw(&fixture, &key).await;
    fixture.store.put(&note).await.unwrap();
    assert_ne!(first, raw(&fixture, &key).await);
}

#[tokio::test]
async fn an_older_master_key_still_opens_and_another_house_does_not() {
    let (backend, clock): (Arc<dyn Backend>, _) = (Arc::new(Memory::new()), ManualClock::new());
    let store = |keyring: Arc<Keyring>| Store::new(backend.clone(), keyring, clock.clone(), world::random());
    store(world::keyring_of(1)).insert(&Note::new("a", "one")).await.unwrap();
    let rotated = Keyring::new(world::master_key(2), vec![world::master_key(1)]);
    assert!(store(Arc::new(rotated)).get::<Note>("a").await.unwrap().is_some());
    assert_eq!(store(world::keyring_of(2)).get::<Note>("a").await.unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_whatever_open_or_panic(value in proptest::collection::vec(any::<u8>(), 0..200), first in 0_u8..3) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::memory().await;
            let value = [&[first][..], &value].concat();
            plant(&fixture, &Key::new("note", "a"), value).await;
            assert_eq!(fixture.store.get::<Note>("a").await.unwrap(), None);
            assert_eq!(fixture.store.list::<Note>(None, 9).await.unwrap().records.len(), 0);
            fixture.store.sweep(std::time::Duration::ZERO).await.unwrap();
        });
    }
}
