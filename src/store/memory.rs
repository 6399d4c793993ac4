//! In memory, for `dev` and tests. Nothing survives the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{Backend, Key, Life, Unavailable};

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

    async fn scan(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Bytes)>, Unavailable> {
        let first = Key::from_text(prefix.to_owned());
        let from = match after {
            Some(after) if *after >= first => Bound::Excluded(after),
            _ => Bound::Included(&first),
        };
        let values = self.values();
        let pairs = values.range((from, Bound::Unbounded));
        Ok(pairs
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn flush(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
