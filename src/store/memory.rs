//! In memory, for `dev` and tests. Nothing survives the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{Backend, Key, Life, Page, Place, Unavailable};

/// An ordered map behind a mutex that is never held across an await.
#[derive(Debug, Default)]
pub struct Memory {
    values: Mutex<BTreeMap<Key, Bytes>>,
}

impl Memory {
    /// An empty memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No closure runs under the lock and no verb can leave the map half changed, so a poisoned lock means nothing.
    fn values(&self) -> MutexGuard<'_, BTreeMap<Key, Bytes>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(values: &mut BTreeMap<Key, Bytes>, key: &Key, value: Option<Bytes>) {
    match value {
        Some(value) => values.insert(key.clone(), value),
        None => values.remove(key),
    };
}

#[async_trait::async_trait]
impl Backend for Memory {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        Ok(self.values().get(key).cloned())
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, _life: Life) -> Result<(), Unavailable> {
        put(&mut self.values(), key, value);
        Ok(())
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, _life: Life) -> Result<bool, Unavailable> {
        let mut values = self.values();
        let unchanged = values.get(key) == old;
        if unchanged {
            put(&mut values, key, new);
        }
        Ok(unchanged)
    }

    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        let from = match from {
            Some(place) if place.as_str() >= prefix => Bound::Excluded(Key::from_text(place.as_str().to_owned())),
            _ => Bound::Included(Key::from_text(prefix.to_owned())),
        };
        let values = self.values();
        let ours = values.range((from, Bound::Unbounded)).take_while(|(key, _)| key.as_str().starts_with(prefix));
        let pairs = ours.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Page::in_order(pairs, limit))
    }

    async fn flush(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
