//! What becomes of the provider's tokens when their Grants are revoked: given back, best effort (RFC 7009 §2.1).

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, stream};

use super::Mint;
use crate::{
    domain::{Grant, Subject},
    store::{Store, Unavailable},
    upstream::{Upstream, Upstreams},
};

/// How many Grants are looked through before tokens are given back at the provider, and how many at a time.
const LOOKED_THROUGH: (usize, usize) = (10_000, 500);
/// How many are given back at once.
const ABREAST: usize = 4;

impl Mint {
    /// Gives the tokens of removed Grants back at the provider, after the answer and without a promise. Many providers
    /// take one token back as the end of everything that this person has with our app there, so it is given back only
    /// with the person's last Grant: revoking one client must not log out the others.
    pub fn give_back(&self, gone: Vec<Grant>, upstreams: &Upstreams) {
        let with_upstream = |grant: Grant| Some((Arc::clone(upstreams.get(&grant.login.as_ref()?.upstream)?), grant));
        let gone: Vec<(Arc<Upstream>, Grant)> = gone.into_iter().filter_map(with_upstream).collect();
        if gone.is_empty() {
            return;
        }
        let store = self.0.store.clone();
        tokio::spawn(async move {
            let count = gone.len();
            let last = match those_without_another(&store, gone).await {
                Ok(last) => last,
                Err(error) => return tracing::warn!(count, %error, "not given back at the provider"),
            };
            stream::iter(last).for_each_concurrent(ABREAST, give_one_back).await;
        });
    }
}

async fn give_one_back((upstream, grant): (Arc<Upstream>, Grant)) {
    let Some(tokens) = grant.tokens() else { return };
    if let Err(error) = upstream.revoke(tokens).await {
        tracing::warn!(grant = %grant.id, upstream = %upstream.name(), %error, "not given back at the provider");
    }
}

type Gone = (Arc<Upstream>, Grant);

/// Those whose person has no Grant left. Among too many to look through, there might be one.
async fn those_without_another(store: &Store, gone: Vec<Gone>) -> Result<Vec<Gone>, Unavailable> {
    let (most, page) = LOOKED_THROUGH;
    let mut by_subject: HashMap<Subject, Vec<Gone>> = HashMap::new();
    for one in gone {
        by_subject.entry(one.1.identity.subject.clone()).or_default().push(one);
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
    }
    Ok(Vec::new())
}
