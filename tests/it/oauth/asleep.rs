//! A machine that sleeps in the worst moment of a refresh (UP-9).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use vestibule::store::{Backend, Key, Life, Page, Place, Unavailable, memory::Memory};

use super::{
    house::House,
    refresh::{Family, text},
};
use crate::world::{
    ManualClock,
    provider::{At, Fault},
};

/// A store whose machine sleeps for an hour as soon as the first lease is written.
struct Drowsy {
    behind: Memory,
    clock: Arc<OnceLock<Arc<ManualClock>>>,
    slept: OnceLock<()>,
}

#[async_trait::async_trait]
impl Backend for Drowsy {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.behind.get(key).await
    }
    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        self.behind.set(key, value, life).await
    }
    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        let swapped = self.behind.swap(key, old, new, life).await?;
        if let Some(clock) = self.clock.get()
            && key.as_str().starts_with("lease/")
            && self.slept.set(()).is_ok()
        {
            clock.advance(Duration::from_secs(3600));
        }
        Ok(swapped)
    }
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.behind.scan(prefix, from, limit).await
    }
    async fn flush(&self) -> Result<(), Unavailable> {
        self.behind.flush().await
    }
}

async fn drowsy() -> Arc<Family> {
    let clock = Arc::new(OnceLock::new());
    let backend = Drowsy { behind: Memory::new(), clock: Arc::clone(&clock), slept: OnceLock::new() };
    let family = Family::new(House::over(Arc::new(backend), |_, _| {}).await).await;
    assert!(clock.set(Arc::clone(&family.house.clock)).is_ok());
    family.house.wait(3600);
    Arc::new(family)
}

#[tokio::test]
async fn up_9_who_slept_with_the_lease_in_hand_takes_it_anew_and_one_renewal_is_under_way() {
    let family = drowsy().await;
    family.house.idp.set_fault(Fault::Hang(At::Token));
    let ask = || {
        let family = Arc::clone(&family);
        tokio::spawn(async move { family.refresh(&family.token()).await.unwrap_err().code.as_str() })
    };
    let first = ask();
    while family.renewals() == 0 {
        tokio::task::yield_now().await;
    }
    // The lease that the first took before it slept would have run out by now.
    let second = ask();
    assert_eq!(
        (first.await.unwrap(), second.await.unwrap(), family.renewals()),
        ("temporarily_unavailable", "temporarily_unavailable", 1),
        "a rotating token is not spent by two at once"
    );
}

#[tokio::test]
async fn up_9_who_slept_with_the_lease_in_hand_is_refreshed_all_the_same() {
    let family = drowsy().await;
    let second = family.refresh(&family.token()).await.unwrap();
    assert!(family.works(&second).await);
    assert_eq!(family.renewals(), 1);
    assert_ne!(text(&second), family.token());
}
