//! "It is dead" is as durable as what killed it: else a crash brings back what a client was told is gone (RT-2, S11; found
//! by a simulated history, seed 385938).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use vestibule::{
    domain::Grant,
    store::{Backend, Key, Life, Page, Place, Unavailable, memory::Memory},
};

use super::{
    house::{CLAUDE, House, failed, parameters},
    refresh::text,
};

/// A store that counts who waits for its disk.
struct Disk {
    behind: Memory,
    waits: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Backend for Disk {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.behind.get(key).await
    }
    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        self.behind.set(key, value, life).await
    }
    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        self.behind.swap(key, old, new, life).await
    }
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.behind.scan(prefix, from, limit).await
    }
    async fn flush(&self) -> Result<(), Unavailable> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        self.behind.flush().await
    }
}

#[tokio::test]
async fn rt_2_s11_who_hears_that_a_login_is_over_has_waited_until_that_is_on_the_disk() {
    let waits = Arc::new(AtomicUsize::new(0));
    let house = House::over(Arc::new(Disk { behind: Memory::new(), waits: Arc::clone(&waits) }), |_, _| {}).await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let refresh_token = text(&house.redeem(&client, &code).await.unwrap());
    // Another task has taken it out, and nobody knows yet whether the disk has that.
    let (id, _) = house.store.list::<Grant>(None, 1).await.unwrap().records.remove(0);
    house.store.take::<Grant>(&id).await.unwrap().unwrap();
    let before = waits.load(Ordering::SeqCst);
    assert_eq!(failed(house.redeem(&client, &code).await), "invalid_grant");
    assert_eq!(waits.load(Ordering::SeqCst), before + 1, "the code");
    let asked =
        parameters(&[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", &refresh_token)]);
    assert_eq!(failed(house.server.token(&asked, None).await), "invalid_grant");
    assert_eq!(waits.load(Ordering::SeqCst), before + 2, "the refresh token");
    assert_eq!(failed(house.redeem(&client, "vc_made-up").await), "invalid_grant");
    assert_eq!(waits.load(Ordering::SeqCst), before + 2, "a forgery waits for nothing");
}
