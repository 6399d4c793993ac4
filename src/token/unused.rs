//! Logins whose token nobody brings (behaviour 30): the person agreed, the client has its token, and no call ever comes.
//!
//! That is how it looks from here when bot rules of a CDN stop a hosted client after a perfect login, when a proxy strips
//! `Authorization`, or when the client wants another `resource` than it was given. The person sees "could not connect",
//! and nothing else is in the log. So each login is expected at a gate once, and missed aloud after a minute.
//!
//! Only this process is asked. Where others share the store, the call may have come to them.

use std::time::Duration;

use moka::sync::Cache;

use super::{Mint, Parts};
use crate::domain::{Grant, GrantId, Instant, ResourceUri};

/// How long a client may take to its first call. All that are known make it at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many logins are expected at once; of more, some are not missed.
const MOST: u64 = 4096;
/// How long one is expected at most, should nobody look.
const LONGEST: Duration = Duration::from_secs(3600);

/// The logins whose token has not come yet.
pub(super) struct Expected(Cache<GrantId, Login>);

/// A login, as the log tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The Grant.
    pub grant: GrantId,
    /// The client's name, unverified.
    pub client: String,
    /// The MCP server that the token is for.
    pub resource: ResourceUri,
    /// When the token was given.
    pub given: Instant,
}

impl Expected {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_live(LONGEST).build())
    }

    /// A token of that Grant has come.
    pub(super) fn met(&self, grant: &GrantId) {
        self.0.invalidate(grant);
    }
}

impl Mint {
    /// From now on a call is expected that rests on `grant`, of a person who has just logged in with `client`.
    pub fn expect_call(&self, grant: &Grant, client: &str) {
        let given = self.0.clock.now();
        let login = Login { grant: grant.id, client: client.to_owned(), resource: grant.resource.clone(), given };
        self.0.expected.0.insert(grant.id, login);
    }

    /// The logins that were expected for a minute in vain and still stand; each is told once. What the store does not say
    /// now is left out.
    pub async fn missed_calls(&self) -> Vec<Login> {
        let (now, expected) = (self.0.clock.now(), &self.0.expected);
        let is_late = |login: &Login| login.given + PATIENCE <= now;
        let mut late: Vec<Login> = expected.0.iter().map(|(_, login)| login).filter(is_late).collect();
        // The cache has no order, and a simulated run asks the store in the same one every time (D16).
        late.sort_by_key(|login| (login.given.millis(), login.grant));
        let mut missed = Vec::new();
        for login in late {
            expected.met(&login.grant);
            // Who has given the login back does not call.
            if let Ok(Some(_)) = self.0.store.get::<Grant>(&login.grant.to_string()).await {
                missed.push(login);
            }
        }
        missed
    }
}

impl Parts {
    /// One line for each login that was missed: what happened, and where to look.
    pub(super) fn tell_missed(&self, login: &Login) {
        let Login { grant, client, resource, .. } = login;
        if self.store.is_shared() {
            tracing::info!(
                %grant, client, %resource,
                "a token was given a minute ago, and no request with it has come to this process; others may have had it"
            );
        } else {
            tracing::warn!(
                %grant, client, %resource,
                "a token was given a minute ago, and no request with it has come; look with `vestibule doctor` at this \
                 resource: for bot rules in front that refuse the client, a proxy that strips Authorization, another \
                 spelling of the URL in the client"
            );
        }
    }
}
