//! What becomes of the provider's tokens when their Grants are revoked: given back, best effort (RFC 7009 §2.1).
//!
//! Many providers take one token back as the end of everything that this person has with our app there, so it is given
//! back only with the person's last Grant: revoking one client must not log out the others. Whether there is another is
//! found by looking through the Grants. So those that were revoked wait a moment for one another, and one walk in the
//! background, with pauses, serves them all: many who revoke cost no more than one, and nobody waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use super::Mint;
use crate::{
    domain::{Grant, Subject},
    store::{Store, Unavailable},
    upstream::{Upstream, Upstreams},
};

/// How many Grants are looked through before tokens are given back at the provider, and how many at a time.
const LOOKED_THROUGH: (usize, usize) = (10_000, 500);
/// Rest before each walk, in which others may join, and between two pages of one.
const RESTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(20));
/// How many may wait for a walk; of a larger bulk the others are not given back.
const MOST_WAITING: usize = 10_000;
/// How many are given back at once.
const ABREAST: usize = 4;

type Gone = (Arc<Upstream>, Grant);

/// Removed Grants that wait for a walk, and whether one is under way.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    gone: Vec<Gone>,
    is_tended: bool,
}

impl Waiting {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets them wait; true for who has to tend the queue from now on.
    fn join(&self, gone: impl Iterator<Item = Gone>) -> bool {
        let mut queue = self.queue();
        let room = MOST_WAITING.saturating_sub(queue.gone.len());
        queue.gone.extend(gone.take(room));
        !queue.gone.is_empty() && !std::mem::replace(&mut queue.is_tended, true)
    }

    /// All that wait; when nobody does, the queue is left alone from now on.
    fn next(&self) -> Option<Vec<Gone>> {
        let mut queue = self.queue();
        queue.is_tended = !queue.gone.is_empty();
        queue.is_tended.then(|| std::mem::take(&mut queue.gone))
    }
}

impl Mint {
    /// Gives the tokens of removed Grants back at the provider, after the answer and without a promise.
    pub fn give_back(&self, gone: Vec<Grant>, upstreams: &Upstreams) {
        let with_upstream = |grant: Grant| Some((Arc::clone(upstreams.get(&grant.login.as_ref()?.upstream)?), grant));
        if !self.0.given_back.join(gone.into_iter().filter_map(with_upstream)) {
            return;
        }
        let parts = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(RESTS.0).await;
            while let Some(gone) = parts.given_back.next() {
                let gone = takeable(gone).await;
                let count = gone.len();
                match those_without_another(&parts.store, gone).await {
                    Ok(last) => stream::iter(last).for_each_concurrent(ABREAST, give_one_back).await,
                    Err(error) => tracing::warn!(count, %error, "not given back at the provider"),
                }
                tokio::time::sleep(RESTS.0).await;
            }
        });
    }
}

/// Those whose provider takes anything back.
async fn takeable(gone: Vec<Gone>) -> Vec<Gone> {
    let (mut takeable, mut asked) = (Vec::new(), HashMap::new());
    for (upstream, grant) in gone {
        let takes = match asked.get(upstream.name()) {
            Some(takes) => *takes,
            None => {
                let takes = upstream.takes_back().await;
                asked.insert(upstream.name().clone(), takes);
                takes
            }
        };
        if takes {
            takeable.push((upstream, grant));
        }
    }
    takeable
}

async fn give_one_back((upstream, grant): (Arc<Upstream>, Grant)) {
    let Some(tokens) = grant.tokens() else { return };
    if let Err(error) = upstream.revoke(tokens).await {
        tracing::warn!(grant = %grant.id, upstream = %upstream.name(), %error, "not given back at the provider");
    }
}

/// Those whose person has no Grant left. Among too many to look through, there might be one.
async fn those_without_another(store: &Store, gone: Vec<Gone>) -> Result<Vec<Gone>, Unavailable> {
    let (most, page) = LOOKED_THROUGH;
    let mut by_subject: HashMap<Subject, Vec<Gone>> = HashMap::new();
    for one in gone {
        by_subject.entry(one.1.identity.subject.clone()).or_default().push(one);
    }
    if by_subject.is_empty() {
        return Ok(Vec::new());
    }
    let mut from = None;
    for _ in 0..most / page {
        let grants = store.list::<Grant>(from.as_ref(), page).await?;
        for (_, grant) in &grants.records {
            by_subject.remove(&grant.identity.subject);
        }
        if by_subject.is_empty() || grants.next.is_none() {
            return Ok(by_subject.into_values().flatten().collect());
        }
        from = grants.next;
        tokio::time::sleep(RESTS.1).await;
    }
    Ok(Vec::new())
}
