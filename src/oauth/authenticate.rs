//! The client proves itself as it registered (RFC 6749 §2.3, TOK-3): by nothing, by a secret, or by a signature.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    AuthorizationServer, BasicCredentials, Error, ErrorCode, SecretBy, assertion::unproven_subject,
    client::SECRET_PURPOSE, document::Described, parameters::Given,
};
use crate::{
    crypto::hash,
    domain::{Client, ClientAuthMethod, ClientOrigin},
};

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request brings to prove who it comes from.
enum Presented<'a> {
    Nothing,
    Basic(&'a str),
    Posted(&'a str),
    Assertion(&'a str),
}

impl AuthorizationServer {
    /// The client of a request to a machine endpoint, as it proved itself there: one that may come with or without a proof
    /// counts as public when it came without.
    pub(super) async fn authenticate(
        &self,
        given: Given<'_>,
        basic: Option<&BasicCredentials>,
    ) -> Result<Client, Error> {
        let (id, presented) = presented(given, basic)?;
        let client = match self.known_client(&id) {
            // Most clients: nothing to wait for.
            Some(client) if client.auth_method != ClientAuthMethod::PrivateKeyJwt => {
                self.proven_by_secret(client, &presented)?
            }
            Some(client) => {
                let keys = self.statics.get(&client.id).and_then(|known| known.keys.clone());
                let described = Described { client, keys, may_be_public: false };
                Box::pin(self.proven_by_key(described, &presented)).await?
            }
            None => {
                let described = Box::pin(self.described(&id)).await?;
                Box::pin(self.proven_by_key(described, &presented)).await?
            }
        };
        if client.auth_method.is_confidential() {
            // Whoever names a public client has proven nothing, and must not use up what others may ask in its name.
            self.by_client.pass(client.id.as_str()).map_err(|wait| too_often("client", wait))?;
        }
        if self.is_blocked(&client.id).await? {
            return Err(refused("this client was blocked by the operator"));
        }
        Ok(client)
    }

    fn proven_by_secret(&self, client: Client, presented: &Presented<'_>) -> Result<Client, Error> {
        let secret = match (client.auth_method, presented) {
            (ClientAuthMethod::None, Presented::Nothing) => return Ok(client),
            (ClientAuthMethod::None, _) => return Err(refused("this client registered without a secret")),
            (ClientAuthMethod::ClientSecretBasic, Presented::Basic(secret))
            | (ClientAuthMethod::ClientSecretPost, Presented::Posted(secret)) => secret,
            (
                ClientAuthMethod::ClientSecretBasic | ClientAuthMethod::ClientSecretPost,
                Presented::Basic(secret) | Presented::Posted(secret),
            ) if self.settings.secret_by == SecretBy::Either => secret,
            (ClientAuthMethod::ClientSecretBasic, _) => {
                return Err(refused("this client registered client_secret_basic"));
            }
            (ClientAuthMethod::ClientSecretPost, _) => {
                return Err(refused("this client registered client_secret_post"));
            }
            (ClientAuthMethod::PrivateKeyJwt, _) => return Err(refused("this client registered private_key_jwt")),
        };
        if self.is_secret_of(&client, secret) { Ok(client) } else { Err(refused("the client secret is wrong")) }
    }

    /// CIMD-10: a client that shows keys signs with them, on every call. One that also lists `none` may leave it out
    /// (behaviour 13).
    async fn proven_by_key(&self, described: Described, presented: &Presented<'_>) -> Result<Client, Error> {
        let Described { mut client, keys, may_be_public } = described;
        if client.origin == ClientOrigin::Metadata {
            // Looked at where they are needed; here they would travel on in what is made of this client.
            client.redirect_uris.clear();
        }
        match (presented, &keys) {
            (Presented::Assertion(assertion), Some(keys)) => {
                self.judge(&client.id, keys, assertion).await?;
                if client.origin == ClientOrigin::Metadata {
                    self.client_documents.keep(&client).await;
                }
                Ok(client)
            }
            (Presented::Nothing, None) => Ok(client),
            (Presented::Nothing, Some(_)) if may_be_public => {
                client.auth_method = ClientAuthMethod::None;
                Ok(client)
            }
            (_, Some(_)) => Err(refused("this client has to authenticate with private_key_jwt")),
            (_, None) => Err(refused("this client has no key and no secret to authenticate with")),
        }
    }

    fn is_secret_of(&self, client: &Client, presented: &str) -> bool {
        match self.statics.get(&client.id) {
            // Hashing first hides the length of the secret from the time that the comparison takes.
            Some(known) => known.secret.as_ref().is_some_and(|secret| {
                hash::same(&hash::sha256(secret.expose().as_bytes()), &hash::sha256(presented.as_bytes()))
            }),
            None => URL_SAFE_NO_PAD
                .decode(presented)
                .is_ok_and(|mac| self.parts.keyring.mac_is(SECRET_PURPOSE, &[client.id.as_str().as_bytes()], &mac)),
        }
    }
}

/// Who the request says it comes from, and its one proof (RFC 6749 §2.3: one method per request).
fn presented<'a>(
    given: Given<'a>,
    basic: Option<&'a BasicCredentials>,
) -> Result<(Cow<'a, str>, Presented<'a>), Error> {
    let bad = |why: &'static str| Err(Error::new(ErrorCode::InvalidRequest, why));
    let (in_form, posted) = (given.first("client_id"), given.first("client_secret"));
    let assertion = match (given.first("client_assertion_type"), given.first("client_assertion")) {
        (None, None) => None,
        (Some(JWT_BEARER), Some(assertion)) => Some(assertion),
        (Some(_), Some(_)) => return Err(refused("this client_assertion_type is not known here")),
        _ => return bad("client_assertion and client_assertion_type come together"),
    };
    // Some HTTP libraries send Basic with an empty password for a public client.
    let by_header = basic.map(|basic| basic.secret.expose().as_str()).filter(|secret| !secret.is_empty());
    if (basic.is_some() && posted.is_some()) || (assertion.is_some() && (by_header.is_some() || posted.is_some())) {
        return bad("two ways of client authentication at once");
    }
    let id = match (basic, in_form) {
        (Some(basic), Some(id)) if basic.id != id => return bad("client_id differs between header and form"),
        (Some(basic), _) => Some(basic.id.as_str()),
        (None, id) => id,
    };
    let id = match (id, assertion) {
        (Some(id), _) => Cow::Borrowed(id),
        // RFC 7521 §4.2: the assertion names the client, so the form need not. Whether it may is judged with its keys.
        (None, Some(assertion)) => Cow::Owned(
            unproven_subject(assertion).ok_or_else(|| refused("neither client_id nor the assertion names a client"))?,
        ),
        (None, None) => return Err(refused("client_id is missing")),
    };
    let presented = match (by_header, posted, assertion) {
        (_, _, Some(assertion)) => Presented::Assertion(assertion),
        (Some(secret), _, None) => Presented::Basic(secret),
        (None, Some(secret), None) => Presented::Posted(secret),
        (None, None, None) => Presented::Nothing,
    };
    Ok((id, presented))
}

/// 429: who asks is known, and asks too often.
pub(super) fn too_often(who: &'static str, wait: Duration) -> Error {
    let why = format!("too many requests of this {who}; wait, then try again");
    Error::new(ErrorCode::TooManyRequests, why).after(wait)
}

fn refused(why: &'static str) -> Error {
    Error::new(ErrorCode::InvalidClient, why)
}
