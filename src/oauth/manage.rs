//! A registration looked after by whoever made it (RFC 7592), as far as an id that *is* the registration can be (DCR-11).
//!
//! The `registration_access_token` is a MAC of the id: nothing is kept for it. Reading tells what the id holds. Changing
//! what an id holds would make another id, and with it other logins and another secret; that is what a new registration
//! is for, so a change is refused (§2.2: 403) and only an update that changes nothing is answered. Removing leaves the
//! same mark as an operator's block, and ends the client's logins.
//!
//! **What a stranger may write here.** Registering is free, so removing must be dear: a client that no person ever let in
//! leaves its mark for a day only, and few of them a minute. After that day its id would open again, to the one party that
//! ever knew its secret and asked to forget it.

use std::{num::NonZeroU32, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;

use super::{
    AuthorizationServer, Error, ErrorCode, Manage,
    authorize::BLOCKED,
    register::{Accepted, Asked, metadata},
};
use crate::{
    crypto::hash,
    domain::{ApprovedClient, Client, ClientAuthMethod, ClientId, ClientOrigin, Grant, Instant, Secret},
    store::{self, Change, Unavailable},
};

const TOKEN_PURPOSE: &str = "oauth/registration-token";
/// Who an update says it is for (RFC 7592 §2.2); the rest is as in a registration.
#[derive(Deserialize)]
struct Named {
    client_id: Option<String>,
    #[serde(default, with = "crate::domain::secret::in_record_option")]
    client_secret: Option<Secret<String>>,
}

/// How long the removal of a client is remembered that nobody ever used.
const A_DAY: Duration = Duration::from_secs(86_400);
/// How many such removals are written down in a minute, of all clients together.
const REMOVALS: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// How many Grants are looked at in one go.
const LOOK: usize = 500;

/// The pace at which strangers' removals are written down.
pub(super) fn removals() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_minute(REMOVALS))
}

impl AuthorizationServer {
    /// RFC 7592 §2.1: what holds for the client.
    ///
    /// # Errors
    /// `invalid_token`, 403 where registrations are not managed, or 503.
    pub async fn read_registration(&self, id: &str, bearer: Option<&str>) -> Result<Bytes, Error> {
        let client = self.managed(id, bearer).await?;
        self.information(client)
    }

    /// RFC 7592 §2.2, for updates that change nothing.
    ///
    /// # Errors
    /// As above; `invalid_client_metadata` or `invalid_redirect_uri` for what is wrong, 403 for what is a change.
    pub async fn replace_registration(&self, id: &str, bearer: Option<&str>, body: &[u8]) -> Result<Bytes, Error> {
        let client = self.managed(id, bearer).await?;
        let asked = Asked::read(body)?;
        let named: Named = serde_json::from_slice(body)
            .map_err(|cause| metadata("client_id and client_secret are strings").because(cause))?;
        if named.client_id.as_deref() != Some(client.id.as_str()) {
            return Err(metadata("client_id must be there, and be the client's own"));
        }
        let is_its_secret = |presented: &Secret<String>| {
            let own = self.client_secret(&client.id);
            hash::same(&hash::sha256(own.expose().as_bytes()), &hash::sha256(presented.expose().as_bytes()))
        };
        if named.client_secret.as_ref().is_some_and(|presented| !is_its_secret(presented)) {
            return Err(metadata("client_secret is issued here; it cannot be chosen"));
        }
        let Accepted { redirects, name, method, grants, always_proves } = self.accept(&asked)?;
        let is_same = self.kept(&redirects) == client.redirect_uris
            && name == client.name
            && method == client.auth_method
            && grants == client.grants
            && always_proves == client.always_proves;
        if !is_same {
            let why = "a registration cannot be changed here, since its client_id holds it; register anew, then delete this one";
            return Err(Error::new(ErrorCode::AccessDenied, why));
        }
        self.information(client)
    }

    /// RFC 7592 §2.3: the client is gone, and with it all that it was granted.
    ///
    /// # Errors
    /// As above; `too_many_requests`.
    pub async fn remove_registration(&self, id: &str, bearer: Option<&str>) -> Result<(), Error> {
        let client = self.managed(id, bearer).await?;
        let (key, now) = (store::client_id(&client.id), self.parts.clock.now());
        let was_let_in = self.parts.store.get::<ApprovedClient>(&key).await?.is_some();
        if !was_let_in && self.removals.check().is_err() {
            let why = "too many registrations are being deleted; wait, then try again";
            return Err(Error::new(ErrorCode::TooManyRequests, why).after(Duration::from_secs(2)));
        }
        let mark = |known: Option<ApprovedClient>| (Change::Put(removed(&client, known, now)), ());
        // First the mark, then the Grants: whatever is under way finds either the one or the other.
        self.parts.store.update(&key, mark).await?;
        let ended = if was_let_in { self.end_logins_of(&client.id).await? } else { 0 };
        tracing::info!(client = client.title(), ended, "registration deleted by the client");
        Ok(())
    }

    /// The token and the address by which this registration is looked after, if it is.
    pub(super) fn management(&self, id: &ClientId, method: ClientAuthMethod) -> Option<(Secret<String>, String)> {
        let is_managed = match self.settings.registration.manage {
            Manage::Off => false,
            Manage::Confidential => method.is_confidential(),
            Manage::All => true,
        };
        is_managed.then(|| {
            let mac = self.parts.keyring.mac(TOKEN_PURPOSE, &[id.as_str().as_bytes()]);
            (Secret::new(URL_SAFE_NO_PAD.encode(mac)), format!("{}/register/{id}", self.issuer))
        })
    }

    /// The client whose token this is. Unknown, blocked and foreign ones hear the same (§2.1).
    async fn managed(&self, id: &str, bearer: Option<&str>) -> Result<Client, Error> {
        if self.settings.registration.manage == Manage::Off {
            return Err(Error::new(ErrorCode::AccessDenied, "registrations are not managed here"));
        }
        let refused = |why| Error::new(ErrorCode::InvalidToken, why);
        let mac = bearer.and_then(|bearer| URL_SAFE_NO_PAD.decode(bearer).ok()).unwrap_or_default();
        // Tokens are given out for ids that nobody shares, so whoever has one has its own.
        if mac.len() != 32 || !self.parts.keyring.mac_is(TOKEN_PURPOSE, &[id.as_bytes()], &mac) {
            return Err(refused("this is not the registration_access_token of this client"));
        }
        let client = self.known_client(id).filter(|client| client.origin == ClientOrigin::Sealed);
        let client = client.ok_or_else(|| refused("there is no such client"))?;
        if self.is_blocked(&client.id).await? { Err(refused(BLOCKED)) } else { Ok(client) }
    }

    fn information(&self, client: Client) -> Result<Bytes, Error> {
        let redirect_uris: Vec<String> = client.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect();
        let accepted = Accepted {
            redirects: client.redirect_uris,
            name: client.name,
            method: client.auth_method,
            grants: client.grants,
            always_proves: client.always_proves,
        };
        self.registered(&client.id, &accepted, &redirect_uris).document()
    }

    async fn end_logins_of(&self, client: &ClientId) -> Result<usize, Unavailable> {
        let (mut count, mut from) = (0, None);
        loop {
            let grants = self.parts.store.list::<Grant>(from.as_ref(), LOOK).await?;
            let mut gone = Vec::new();
            for (id, _) in grants.records.iter().filter(|(_, grant)| grant.client == *client) {
                gone.extend(self.parts.store.take::<Grant>(id).await?);
            }
            count += gone.len();
            self.parts.mint.give_back(gone, &self.parts.upstreams);
            from = grants.next;
            if from.is_none() {
                return Ok(count);
            }
        }
    }
}

fn removed(client: &Client, known: Option<ApprovedClient>, now: Instant) -> ApprovedClient {
    match known {
        Some(known) => ApprovedClient { blocked: true, expires: ApprovedClient::BLOCKED, ..known },
        None => ApprovedClient {
            id: client.id.clone(),
            name: client.name.as_ref().map(|name| name.as_str().to_owned()),
            origin: client.origin,
            first_seen: now,
            last_seen: now,
            blocked: true,
            expires: now + A_DAY,
        },
    }
}
