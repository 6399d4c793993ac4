//! Logins: which there are, and their end.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::{Admin, Failed, Operator};
use crate::{
    domain::{ClientId, Grant, GrantStage, Instant},
    store::{self, Change, Place, Unavailable},
};

/// How many Grants one request looks at.
const LOOK: usize = 2_000;
/// How many are removed at once: the store writes them to the disk together.
const ABREAST: usize = 64;

/// Which Grants are meant: those for which everything that is said holds.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Of this client, by id or hash.
    pub client: Option<String>,
    /// Of this person (`upstream:sub`), or the client itself (`client:id`).
    pub subject: Option<String>,
    /// Begun before this moment.
    pub before: Option<Instant>,
}

impl Which {
    /// As it was asked for; `before` in RFC 3339.
    ///
    /// # Errors
    /// [`Failed::Invalid`].
    pub fn of(client: Option<String>, subject: Option<String>, before: Option<&str>) -> Result<Self, Failed> {
        let moment = |text: &str| {
            let expected = || Failed::Invalid("before is a time such as 2026-11-02T09:00:00Z".into());
            Instant::parse_rfc3339(text).ok_or_else(expected)
        };
        Ok(Self { client, subject, before: before.map(moment).transpose()? })
    }

    /// Whether nothing was said, so that every Grant is meant.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.client.is_none() && self.subject.is_none() && self.before.is_none()
    }

    fn means(&self, grant: &Grant) -> bool {
        let is_client = |said: &str| grant.client.as_str() == said || store::client_id(&grant.client) == *said;
        self.client.as_deref().is_none_or(is_client)
            && self.subject.as_deref().is_none_or(|subject| grant.identity.subject.as_str() == subject)
            && self.before.is_none_or(|before| grant.created < before)
    }
}

/// Part of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where the next request goes on; `null` at the end.
    pub next: Option<String>,
}

/// One login, as lists show it.
#[derive(Debug, Serialize)]
pub struct GrantView {
    /// Its name.
    pub id: String,
    /// The hash of the client's id.
    pub client: String,
    /// The client's id, whole.
    pub client_id: String,
    /// The person (`upstream:sub`), or the client itself (`client:id`).
    pub subject: String,
    /// Their e-mail address, if the provider told one.
    pub email: Option<String>,
    /// The MCP server.
    pub resource: String,
    /// Where they logged in; `null` for a client that acts for itself.
    pub upstream: Option<String>,
    /// What it permits.
    pub scope: String,
    /// `issued` (a code is out) or `active`.
    pub stage: &'static str,
    /// When the person agreed.
    pub created: String,
    /// When it ends by itself.
    pub expires: String,
    /// How often it was refreshed; `null` where the client may not refresh.
    pub refreshes: Option<u32>,
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        let (stage, refreshes) = match &grant.stage {
            GrantStage::Issued { .. } => ("issued", None),
            GrantStage::Active { refresh, .. } => ("active", refresh.as_ref().map(|chain| chain.generation)),
        };
        Self {
            id: grant.id.to_string(),
            client: store::client_id(&grant.client),
            client_id: grant.client.as_str().to_owned(),
            subject: grant.identity.subject.as_str().to_owned(),
            email: grant.identity.email,
            resource: grant.resource.as_str().to_owned(),
            upstream: grant.login.map(|login| login.upstream.as_str().to_owned()),
            scope: grant.scope.to_string(),
            stage,
            created: grant.created.to_rfc3339(),
            expires: grant.expires.to_rfc3339(),
            refreshes,
        }
    }
}

/// What one step of a bulk revocation did.
#[derive(Debug, Serialize)]
pub struct Revoked {
    /// How many Grants were looked at.
    pub examined: u64,
    /// How many of them ended (or would have).
    pub revoked: u64,
    /// Whether nothing was really removed.
    pub dry_run: bool,
    /// Where the next step goes on; `null` when all is done.
    pub next: Option<String>,
}

impl Admin {
    /// Logins, from where an earlier page ended. Looks at a bounded number of records, so a page may be short (or empty)
    /// and still have a next one.
    ///
    /// # Errors
    /// [`Failed::Store`].
    pub async fn grants(&self, which: &Which, after: Option<&str>, limit: usize) -> Result<Page<GrantView>, Failed> {
        let (mut items, mut from, mut looked) = (Vec::new(), place(after), 0);
        loop {
            // Never more at once than there is room for: what was read and not shown could not be gone back to.
            let room = limit - items.len();
            let found = self.parts.store.list::<Grant>(from.as_ref(), room).await?;
            let meant = found.records.into_iter().filter(|(_, grant)| which.means(grant));
            items.extend(meant.map(|(_, grant)| GrantView::from(grant)));
            (from, looked) = (found.next, looked + room);
            // A page that is nearly full is as good as a full one, and spares many small looks.
            if from.is_none() || looked >= LOOK || 2 * items.len() >= limit {
                return Ok(Page { items, next: text(from) });
            }
        }
    }

    /// One login.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn grant(&self, id: &str) -> Result<GrantView, Failed> {
        let grant: Option<Grant> = self.parts.store.get(id).await?;
        grant.map(GrantView::from).ok_or(UNKNOWN)
    }

    /// Ends one login.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn revoke(&self, who: Operator, id: &str) -> Result<GrantView, Failed> {
        let gone: Option<Grant> = self.parts.store.take(id).await?;
        let gone = gone.ok_or(UNKNOWN)?;
        tracing::warn!(operator = who.as_str(), grant = id, subject = %gone.identity.subject, "login revoked");
        self.parts.mint.give_back(vec![gone.clone()], &self.parts.upstreams);
        Ok(gone.into())
    }

    /// One step of a bulk revocation: the Grants from where the step before ended, as many as one request looks at.
    ///
    /// # Errors
    /// [`Failed::Store`]: what was removed until then is gone, and the same step can be asked for again.
    pub async fn revoke_some(
        &self,
        who: Operator,
        which: &Which,
        after: Option<&str>,
        dry_run: bool,
    ) -> Result<Revoked, Failed> {
        let found = self.parts.store.list::<Grant>(place(after).as_ref(), LOOK).await?;
        let (examined, next) = (found.records.len() as u64, text(found.next));
        let meant: Vec<String> =
            found.records.into_iter().filter(|(_, grant)| which.means(grant)).map(|(id, _)| id).collect();
        if dry_run {
            return Ok(Revoked { examined, revoked: meant.len() as u64, dry_run, next });
        }
        let mut gone = Vec::new();
        let mut removing = stream::iter(meant).map(|id| self.remove_if(which, id)).buffer_unordered(ABREAST);
        let outcome = loop {
            match removing.try_next().await {
                Ok(Some(removed)) => gone.extend(removed),
                Ok(None) => break Ok(()),
                Err(outage) => break Err(outage),
            }
        };
        drop(removing);
        let revoked = gone.len() as u64;
        if revoked > 0 {
            let client = which.client.as_deref().map(short);
            tracing::warn!(
                operator = who.as_str(),
                revoked,
                examined,
                client,
                subject = which.subject,
                before = which.before.map(Instant::to_rfc3339),
                "logins revoked"
            );
            self.parts.mint.give_back(gone, &self.parts.upstreams);
        }
        outcome?;
        Ok(Revoked { examined, revoked, dry_run, next })
    }

    /// All steps, one after the other.
    pub(super) async fn revoke_all(&self, who: Operator, which: &Which) -> Result<u64, Failed> {
        let (mut count, mut after) = (0, None);
        loop {
            let step = self.revoke_some(who, which, after.as_deref(), false).await?;
            count += step.revoked;
            match step.next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// It may have changed since it was listed: what is meant is decided again by the swap that removes it.
    async fn remove_if(&self, which: &Which, id: String) -> Result<Option<Grant>, Unavailable> {
        let decide = |grant: Option<Grant>| match grant {
            Some(grant) if which.means(&grant) => (Change::Remove, Some(grant)),
            _ => (Change::Keep, None),
        };
        self.parts.store.update(&id, decide).await
    }
}

/// Where a list goes on, as it came back from who asked for it.
pub(super) fn place(after: Option<&str>) -> Option<Place> {
    after.map(Place::from_text)
}

/// The same, for who asks.
pub(super) fn text(next: Option<Place>) -> Option<String> {
    next.map(|place| place.as_str().to_owned())
}

/// The hash of the client that is meant, for the log: an id may be kilobytes long.
fn short(said: &str) -> String {
    if said.len() == 43 { said.to_owned() } else { store::client_id(&ClientId::new(said)) }
}

const UNKNOWN: Failed = Failed::NotFound("no such login: it never was, it has ended, or it has expired");
