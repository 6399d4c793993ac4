//! Four verbs, every one atomic on its one key (the atomicity law, architecture §4).

use bytes::Bytes;

use super::Unavailable;
use crate::domain::Instant;

/// `kind/id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key of record `id` of kind `kind`.
    #[must_use]
    pub fn new(kind: &str, id: &str) -> Self {
        Self(format!("{kind}/{id}"))
    }

    /// A key as a backend read it back, or a prefix to compare with.
    pub(super) const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The part after the kind.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a walk over keys goes on. Only the backend that made it understands it; as text it may travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// A place as it came back. One that no backend made leads to the end of the walk, or somewhere into it.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The place as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Part of a walk.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// What lies there.
    pub pairs: Vec<(Key, Bytes)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Place>,
}

impl Page {
    /// Of a backend that walks in key order: the next page begins after the last key of this one, if it is full.
    #[must_use]
    pub fn in_order(pairs: Vec<(Key, Bytes)>, limit: usize) -> Self {
        let last = pairs.last().filter(|_| pairs.len() == limit);
        let next = last.map(|(key, _)| Place(key.as_str().to_owned()));
        Self { pairs, next }
    }
}

/// How long a value is kept and how surely it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it may be swept.
    pub expires: Instant,
    /// Whether the answer waits until the value would survive a crash.
    pub durable: bool,
}

/// A key-value store with compare-and-swap.
#[async_trait::async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The value.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable>;
    /// Writes, or removes with `None`.
    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable>;
    /// Writes `new` only if the value is `old` now; `false` if it is not.
    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable>;
    /// Up to `limit` pairs (at least 1) whose key begins with `prefix`, from where an earlier page ended. A page costs what
    /// it brings, however much lies there. Whoever follows `next` to the end meets each value that lies there all the while
    /// at least once; in key order and only once, unless the backend says otherwise. A page may be short and not the last.
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable>;
    /// Returns when everything written so far, by whomever, would survive a crash.
    async fn flush(&self) -> Result<(), Unavailable>;

    /// Removes up to `limit` values whose life was over at `now`, and says which. `None` where values cannot be found by
    /// their end: the sweep then walks over all of them.
    async fn forget(&self, _now: Instant, _limit: usize) -> Result<Option<Vec<Key>>, Unavailable> {
        Ok(None)
    }

    /// Whether other processes write here too, so that a record can go without this process doing it (D14).
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether what has expired goes by itself, so that nobody need sweep.
    fn forgets_by_itself(&self) -> bool {
        false
    }

    /// What the operator should know about how this backend is set up; found when it was opened.
    fn cautions(&self) -> &[String] {
        &[]
    }
}
