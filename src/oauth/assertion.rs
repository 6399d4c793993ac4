//! A client's signature on a note about itself (RFC 7523 §3 and its revision, TOK-3, CC-2): who it is, for whom, until when,
//! and good for once.
//!
//! The order is the defence: nothing is written before the signature is proven, and the one write, the insertion of the
//! note's name, decides which of many who present it gets in.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use super::{AuthorizationServer, ClientKeys, Error, ErrorCode, KeySource, document::Failure};
use crate::{
    crypto::jwt::published::Unproven,
    domain::{ClientId, Instant, SpentAssertion},
};

/// The longest assertion that is looked at, in bytes.
pub(super) const LONGEST: usize = 8 * 1024;
/// The longest `jti`, in bytes.
const LONGEST_JTI: usize = 256;
/// How far an assertion's end may lie ahead: it is made for one request.
const LONGEST_LIFE: Duration = Duration::from_secs(5 * 60);
/// How far two honest clocks may stand apart.
pub(super) const SKEW: Duration = Duration::from_secs(60);

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

/// Whom an assertion is made for.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    /// Of one: whoever is one of several audiences could be handed on to the others.
    Several([String; 1]),
}

impl Audience {
    pub(super) fn as_str(&self) -> &str {
        let (Self::One(audience) | Self::Several([audience])) = self;
        audience
    }
}

/// Why a text's signature is not believed.
pub(super) enum Unsigned {
    /// There are no keys to prove it by.
    NoKeys(Failure),
    /// None of them made it.
    Unproven(Unproven),
}

impl From<Failure> for Unsigned {
    fn from(failure: Failure) -> Self {
        Self::NoKeys(failure)
    }
}

impl AuthorizationServer {
    /// Whether this assertion proves that the request comes from that client. It is spent by that.
    pub(super) async fn judge(&self, client: &ClientId, keys: &ClientKeys, assertion: &str) -> Result<(), Error> {
        if assertion.len() > LONGEST {
            return Err(refused("is too long"));
        }
        let claims = self.signed_claims(&keys.source, assertion, is_client_assertion).await.map_err(in_words)?;
        let claims: Claims = serde_json::from_slice(&claims)
            .map_err(|_| refused("must hold iss, sub, aud (one), exp and jti, each once and of its type"))?;
        let expires = self.expiry_of(client, keys, &claims)?;
        let spent = SpentAssertion { issuer: claims.iss, jti: claims.jti, expires };
        if !self.parts.store.insert(&spent).await? {
            return Err(refused("was used before"));
        }
        self.client_documents.keep_keys(&keys.source).await;
        Ok(())
    }

    /// The claims, once the signature is proven by one of these keys. A name that is not among them asks for them once
    /// more: whose they are may have changed them a moment ago.
    pub(super) async fn signed_claims(
        &self,
        keys: &KeySource,
        assertion: &str,
        is_typ: fn(Option<&str>) -> bool,
    ) -> Result<Vec<u8>, Unsigned> {
        let documents = &self.client_documents;
        let mut outcome = documents.keys(keys).await?.get().verify(assertion, is_typ);
        if outcome == Err(Unproven::UnknownKey)
            && let Some(fetched) = documents.keys_again(keys).await?
        {
            outcome = fetched.get().verify(assertion, is_typ);
        }
        outcome.map_err(Unsigned::Unproven)
    }

    /// Judges what is claimed. The moment after which the assertion is refused for its age alone.
    fn expiry_of(&self, client: &ClientId, keys: &ClientKeys, claims: &Claims) -> Result<Instant, Error> {
        if claims.iss != client.as_str() || claims.sub != client.as_str() {
            return Err(refused("must have the client_id as iss and as sub"));
        }
        if !self.is_audience(claims.aud.as_str(), keys.endpoint_audience) {
            return Err(refused("is not made for this server: its aud must be our issuer"));
        }
        if !is_name(&claims.jti) {
            return Err(refused("must have a jti of at most 256 bytes"));
        }
        let now = self.parts.clock.now();
        let expires = Instant::from_numeric_date(claims.exp) + SKEW;
        if expires <= now {
            return Err(refused("has expired"));
        }
        if Instant::from_numeric_date(claims.exp) > now + LONGEST_LIFE + SKEW {
            return Err(refused("lives too long: its exp may be five minutes ahead"));
        }
        let begins = [claims.nbf, claims.iat].into_iter().flatten().map(Instant::from_numeric_date).max();
        if begins.is_some_and(|begins| begins > now + SKEW) {
            return Err(refused("comes from the future"));
        }
        Ok(expires)
    }

    /// Our issuer, with or without its slash; the token endpoint where that is allowed (CC-2: ChatGPT writes it).
    pub(super) fn is_audience(&self, audience: &str, or_endpoint: bool) -> bool {
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
    unproven(assertion, 1).map(|named: Named| named.sub)
}

/// One part of a JWT, the header (0) or the claims (1), before anything about it is proven: to know which road it goes.
pub(super) fn unproven<T: DeserializeOwned>(assertion: &str, part: usize) -> Option<T> {
    let text = assertion.get(..LONGEST.min(assertion.len()))?.split('.').nth(part)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// RFC 7523 leaves `typ` open, its revision names one of its own. Any other is a note about something else.
fn is_client_assertion(typ: Option<&str>) -> bool {
    typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("client-authentication+jwt"))
}

/// Whether a `jti` can be remembered.
pub(super) fn is_name(jti: &str) -> bool {
    !jti.is_empty() && jti.len() <= LONGEST_JTI
}

fn in_words(unsigned: Unsigned) -> Error {
    let failure = match unsigned {
        Unsigned::Unproven(unproven) => return refused(&unproven.to_string()),
        Unsigned::NoKeys(failure) => failure,
    };
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
