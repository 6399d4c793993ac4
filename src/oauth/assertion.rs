//! A client's signature on a note about itself (RFC 7523 §3 and its revision, TOK-3, CC-2): who it is, for whom, until when,
//! and good for once.
//!
//! The order is the defence: nothing is written before the signature is proven, and the one write, the insertion of the
//! note's name, decides which of many who present it gets in.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{AuthorizationServer, ClientKeys, Error, ErrorCode, document::Failure};
use crate::{
    crypto::jwt::published::{PublishedKeys, Unproven},
    domain::{ClientId, Instant, SpentAssertion},
};

/// The longest assertion that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// The longest `jti`, in bytes.
const LONGEST_JTI: usize = 256;
/// How far an assertion's end may lie ahead: it is made for one request.
const LONGEST_LIFE: Duration = Duration::from_secs(5 * 60);
/// How far two honest clocks may stand apart.
const SKEW: Duration = Duration::from_secs(60);

/// RFC 7519 §4.1; all but the last two are demanded.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    jti: String,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    /// Of one: whoever is one of several audiences could be handed on to the others.
    Several([String; 1]),
}

impl AuthorizationServer {
    /// Whether this assertion proves that the request comes from that client. It is spent by that.
    pub(super) async fn judge(&self, client: &ClientId, keys: &ClientKeys, assertion: &str) -> Result<(), Error> {
        if assertion.len() > LONGEST {
            return Err(refused("is too long"));
        }
        let claims = self.signed_claims(keys, assertion).await?;
        let claims: Claims = serde_json::from_slice(&claims)
            .map_err(|_| refused("must hold iss, sub, aud (one), exp and jti, each once and of its type"))?;
        let expires = self.expiry_of(client, keys, &claims)?;
        let spent = SpentAssertion { client: client.clone(), jti: claims.jti, expires };
        if !self.parts.store.insert(&spent).await? {
            return Err(refused("was used before"));
        }
        self.client_documents.keep_keys(&keys.source).await;
        Ok(())
    }

    /// The claims, once the signature is proven by a key of the client's. A name that is not among the keys asks for them
    /// once more: the client may have changed them a moment ago.
    async fn signed_claims(&self, keys: &ClientKeys, assertion: &str) -> Result<Vec<u8>, Error> {
        let documents = &self.client_documents;
        let known = documents.keys(&keys.source).await.map_err(no_keys)?;
        let mut outcome = verify(known.get(), assertion);
        if outcome == Err(Unproven::UnknownKey)
            && let Some(fetched) = documents.keys_again(&keys.source).await.map_err(no_keys)?
        {
            outcome = verify(fetched.get(), assertion);
        }
        outcome.map_err(|unproven| refused(&unproven.to_string()))
    }

    /// Judges what is claimed. The moment after which the assertion is refused for its age alone.
    fn expiry_of(&self, client: &ClientId, keys: &ClientKeys, claims: &Claims) -> Result<Instant, Error> {
        if claims.iss != client.as_str() || claims.sub != client.as_str() {
            return Err(refused("must have the client_id as iss and as sub"));
        }
        let (Audience::One(audience) | Audience::Several([audience])) = &claims.aud;
        if !self.is_audience(audience, keys.endpoint_audience) {
            return Err(refused("is not made for this server: its aud must be our issuer"));
        }
        if claims.jti.is_empty() || claims.jti.len() > LONGEST_JTI {
            return Err(refused("must have a jti of at most 256 bytes"));
        }
        let now = self.parts.clock.now();
        let expires = instant(claims.exp) + SKEW;
        if expires <= now {
            return Err(refused("has expired"));
        }
        if instant(claims.exp) > now + LONGEST_LIFE + SKEW {
            return Err(refused("lives too long: its exp may be five minutes ahead"));
        }
        let begins = [claims.nbf, claims.iat].into_iter().flatten().map(instant).max();
        if begins.is_some_and(|begins| begins > now + SKEW) {
            return Err(refused("comes from the future"));
        }
        Ok(expires)
    }

    /// Our issuer, with or without its slash; the token endpoint where that is allowed (CC-2: ChatGPT writes it).
    fn is_audience(&self, audience: &str, or_endpoint: bool) -> bool {
        let rest = audience.strip_prefix(self.issuer.as_str());
        rest.is_some_and(|rest| matches!(rest, "" | "/") || (or_endpoint && rest == "/token"))
    }
}

/// Whom an assertion names, before anything about it is proven.
pub(super) fn unproven_subject(assertion: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        sub: String,
    }
    let payload = assertion.get(..LONGEST.min(assertion.len()))?.split('.').nth(1)?;
    let named: Named = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(named.sub)
}

fn verify(keys: &PublishedKeys, assertion: &str) -> Result<Vec<u8>, Unproven> {
    // RFC 7523 leaves `typ` open, its revision names one of its own. Any other is a note about something else.
    keys.verify(assertion, |typ| {
        typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("client-authentication+jwt"))
    })
}

/// A NumericDate; nonsense becomes the nearest end of time.
fn instant(seconds: f64) -> Instant {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
    let millis = (seconds * 1000.0) as u64;
    // So that adding to it stays sane.
    Instant::from_millis(millis.min(1 << 53))
}

fn no_keys(failure: Failure) -> Error {
    match failure {
        Failure::Unreachable(_) | Failure::Busy => {
            Error::new(ErrorCode::TemporarilyUnavailable, "the client's keys cannot be fetched, try again")
                .because(failure)
        }
        Failure::NotAccepted | Failure::Gone | Failure::Invalid(_) => {
            Error::new(ErrorCode::InvalidClient, format!("the client's keys are refused: {failure}"))
        }
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorCode::InvalidClient, format!("the client assertion {why}"))
}
