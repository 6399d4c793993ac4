//! Clients that a person has let in, and those that nobody shall.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{
    Admin, Failed, Operator, Page, Which,
    grants::{place, text},
};
use crate::{
    domain::{ApprovedClient, ClientId, ClientOrigin},
    store::{self, Change},
};

/// One client, as lists show it.
#[derive(Debug, Serialize)]
pub struct ClientView {
    /// Its short name in these lists: a hash of its id, 43 characters.
    pub client: String,
    /// Its id, whole.
    pub client_id: String,
    /// What it calls itself. Never verified.
    pub name: Option<String>,
    /// How it came: `sealed` (registered itself), `metadata` (its id is a URL), `static` (of the configuration).
    pub origin: ClientOrigin,
    /// First approval by a person.
    pub first_seen: String,
    /// Latest approval, to the day.
    pub last_seen: String,
    /// Whether the operator has shut it out.
    pub blocked: bool,
    /// When the record is forgotten (the client is not); `null` for a blocked one.
    pub expires: Option<String>,
}

impl From<ApprovedClient> for ClientView {
    fn from(client: ApprovedClient) -> Self {
        Self {
            client: store::client_id(&client.id),
            client_id: client.id.as_str().to_owned(),
            name: client.name,
            origin: client.origin,
            first_seen: client.first_seen.to_rfc3339(),
            last_seen: client.last_seen.to_rfc3339(),
            blocked: client.blocked,
            expires: (!client.blocked).then(|| client.expires.to_rfc3339()),
        }
    }
}

/// A client that was blocked, and what it lost.
#[derive(Debug, Serialize)]
pub struct Blocked {
    /// The client as it is now.
    #[serde(flatten)]
    pub client: ClientView,
    /// How many logins of it ended.
    pub revoked: u64,
}

impl Admin {
    /// Clients, from where an earlier page ended.
    ///
    /// # Errors
    /// [`Failed::Store`].
    pub async fn clients(&self, after: Option<&str>, limit: usize) -> Result<Page<ClientView>, Failed> {
        let found = self.parts.store.list::<ApprovedClient>(place(after).as_ref(), limit).await?;
        Ok(Page { items: found.records.into_iter().map(|(_, client)| client.into()).collect(), next: text(found.next) })
    }

    /// One client, by its id or by its hash.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn client(&self, said: &str) -> Result<ClientView, Failed> {
        self.known(said).await?.map(ClientView::from).ok_or(UNKNOWN)
    }

    async fn known(&self, said: &str) -> Result<Option<ApprovedClient>, Failed> {
        let store = &self.parts.store;
        match store.get(said).await? {
            Some(known) => Ok(Some(known)),
            None => Ok(store.get(&store::client_id(&ClientId::new(said))).await?),
        }
    }

    /// The client that is meant: one with a record, or one whose id could come to the door. What cannot is refused, so
    /// that a slip of the mouse does not look like a block.
    async fn meant(&self, said: &str) -> Result<(ClientId, ClientOrigin), Failed> {
        if let Some(known) = self.known(said).await? {
            return Ok((known.id, known.origin));
        }
        let id = ClientId::new(said);
        if self.settings.clients.contains(&id) {
            return Ok((id, ClientOrigin::Static));
        }
        if said.len() > ClientId::LONGEST {
            return Err(UNKNOWN);
        }
        if said.starts_with("https://") && url::Url::parse(said).is_ok() {
            return Ok((id, ClientOrigin::Metadata));
        }
        let sealed = said.strip_prefix(ClientId::SEALED).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let is_ours = sealed.is_some_and(|bytes| self.parts.keyring.open(ClientId::PURPOSE, b"", &bytes).is_ok());
        if is_ours { Ok((id, ClientOrigin::Sealed)) } else { Err(UNKNOWN) }
    }

    /// Shuts a client out, also one that nobody has let in yet, and ends all its logins. The block stays until it is
    /// taken back.
    ///
    /// # Errors
    /// [`Failed`]. Once the block is set, a failure only means that some logins of the client still wait for their end.
    pub async fn block(&self, who: Operator, said: &str) -> Result<Blocked, Failed> {
        let (id, origin) = self.meant(said).await?;
        let now = self.parts.clock.now();
        let mark = |known: Option<ApprovedClient>| {
            let fresh = || ApprovedClient {
                id: id.clone(),
                name: None,
                origin,
                first_seen: now,
                last_seen: now,
                blocked: true,
                expires: ApprovedClient::BLOCKED,
            };
            let known = known.unwrap_or_else(fresh);
            let blocked = ApprovedClient { blocked: true, expires: ApprovedClient::BLOCKED, ..known };
            (Change::Put(blocked.clone()), blocked)
        };
        // First the block, then the Grants: whatever is under way finds either the one or the other.
        let blocked = self.parts.store.update(&store::client_id(&id), mark).await?;
        let client = ClientView::from(blocked);
        tracing::warn!(operator = who.as_str(), client = client.client, name = client.name, "client blocked");
        let which = Which { client: Some(id.as_str().to_owned()), ..Which::default() };
        let revoked = self.revoke_all(who, &which).await?;
        Ok(Blocked { client, revoked })
    }

    /// Lets a client in again. Its logins do not come back.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn unblock(&self, who: Operator, said: &str) -> Result<ClientView, Failed> {
        let known = self.known(said).await?.filter(|known| known.blocked).ok_or(Failed::NotFound("no such block"))?;
        let expires = self.parts.clock.now() + ApprovedClient::LIFE;
        let unmark = |known: Option<ApprovedClient>| match known {
            Some(known) => {
                let free = ApprovedClient { blocked: false, expires, ..known };
                (Change::Put(free.clone()), Some(free))
            }
            None => (Change::Keep, None),
        };
        let free = self.parts.store.update(&store::client_id(&known.id), unmark).await?;
        let client = ClientView::from(free.ok_or(Failed::NotFound("no such block"))?);
        tracing::warn!(operator = who.as_str(), client = client.client, name = client.name, "client unblocked");
        Ok(client)
    }
}

const UNKNOWN: Failed = Failed::NotFound("no such client; `vestibule client list` shows those that people have let in");
