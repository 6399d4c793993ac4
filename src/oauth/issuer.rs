//! Somebody else's word for a person or a workload: who may speak, for whom, and how it is proven (RFC 7523 §3; EMA-1,
//! WIF-1).
//!
//! An issuer is known by its `iss`, byte for byte, and by keys whose place the operator wrote down; the word itself never
//! says where to look. What it says is only what it is signed for: `typ` keeps an ID token or an access token of the same
//! issuer from being taken for an assertion (RFC 8725 §3.11). Issuers share one room of names with upstreams, and each
//! speaks either for people or for workloads, so that no workload has a person's subject (TOK-7).

use serde::Deserialize;

use super::{
    AuthorizationServer, Error, ErrorCode, KeySource,
    assertion::{Audience, LONGEST, SKEW, Unsigned, unproven},
};
use crate::{
    domain::{Identity, Instant, UpstreamName},
    upstream::{identity, provider::IdentityRules},
};

/// One `[issuer.X]`, checked.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    /// `X`.
    pub name: UpstreamName,
    /// Its `iss`, byte for byte.
    pub issuer: String,
    /// Its keys.
    pub keys: KeySource,
    /// For whom it speaks.
    pub speaks_for: SpeaksFor,
}

/// For whom an issuer speaks.
#[derive(Debug, Clone)]
pub enum SpeaksFor {
    /// People, as the identity provider of an enterprise does.
    People(Box<Introduction>),
    /// Programs, as a Kubernetes cluster or a build service does.
    Workloads,
}

/// How a person is read out of an issuer's claims.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// How its people's subjects begin: its own name, or that of the upstream where the same people log in.
    pub people_of: UpstreamName,
    /// Where the claims are.
    pub rules: IdentityRules,
    /// Whose tokens of it may be exchanged: those that are made for one of these.
    pub audiences: Vec<String>,
    /// Whether its addresses count as verified where it does not say so (an ID-JAG has no `email_verified`).
    pub vouches_for_emails: bool,
}

/// What every such word holds (RFC 7523 §3).
#[derive(Deserialize)]
pub(super) struct Word {
    pub(super) sub: String,
    pub(super) aud: Audience,
    exp: f64,
    iat: f64,
    #[serde(default)]
    nbf: Option<f64>,
    pub(super) jti: String,
    #[serde(default)]
    pub(super) client_id: Option<String>,
    #[serde(default)]
    pub(super) resource: Option<OneOrMore>,
    #[serde(default)]
    pub(super) scope: Option<String>,
}

/// A claim that may be one text or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        };
        all.iter().map(String::as_str)
    }
}

impl AuthorizationServer {
    /// Whose word this claims to be, if we listen to them.
    pub(super) fn issuer_of(&self, assertion: &str) -> Result<&TrustedIssuer, Error> {
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        if assertion.len() > LONGEST {
            return Err(doubted("is too long"));
        }
        let named: Named = unproven(assertion, 1).ok_or_else(|| doubted("cannot be read"))?;
        let known = self.settings.issuers.iter().find(|known| known.issuer == named.iss);
        known.ok_or_else(|| doubted("comes from an issuer that is not trusted here"))
    }

    /// The claims of an issuer's word, once its signature is proven.
    pub(super) async fn hear(
        &self,
        issuer: &TrustedIssuer,
        assertion: &str,
        is_typ: fn(Option<&str>) -> bool,
    ) -> Result<serde_json::Value, Error> {
        let heard = self.signed_claims(&issuer.keys, assertion, is_typ).await.map_err(|unsigned| match unsigned {
            Unsigned::Unproven(unproven) => doubted(&unproven.to_string()),
            Unsigned::NoKeys(failure) => {
                let why = "the keys of the assertion's issuer cannot be had, try again";
                Error::new(ErrorCode::TemporarilyUnavailable, why).because(failure)
            }
        })?;
        self.client_documents.keep_keys(&issuer.keys).await;
        serde_json::from_slice(&heard).map_err(|_| doubted("holds no claims"))
    }

    /// The moment after which a word is refused for its age alone, if it is neither too old, nor too young, nor made to
    /// live longer than `most`.
    pub(super) fn age(&self, word: &Word, most: std::time::Duration) -> Result<Instant, Error> {
        if Instant::from_numeric_date(word.exp) > self.parts.clock.now() + most + SKEW {
            return Err(doubted("lives too long"));
        }
        self.end(word.exp, Some(word.iat), word.nbf)
    }

    /// The same for whatever life it has.
    pub(super) fn end(&self, exp: f64, iat: Option<f64>, nbf: Option<f64>) -> Result<Instant, Error> {
        let (now, expires) = (self.parts.clock.now(), Instant::from_numeric_date(exp) + SKEW);
        if expires <= now {
            return Err(doubted("has expired"));
        }
        if [iat, nbf].into_iter().flatten().any(|begins| Instant::from_numeric_date(begins) > now + SKEW) {
            return Err(doubted("comes from the future"));
        }
        Ok(expires)
    }
}

impl Introduction {
    /// The person that these claims speak of.
    pub(super) fn person(&self, claims: &serde_json::Value) -> Result<Identity, Error> {
        let read = identity::read(&self.rules, &self.people_of, &[claims]);
        let mut person = read.map_err(|_| doubted("does not say whom it speaks of"))?;
        // Where the issuer says that an address is not verified, that stands.
        if self.vouches_for_emails && claims.pointer(&self.rules.email_verified).is_none() {
            person.email_verified = person.email.is_some();
        }
        Ok(person)
    }
}

/// RFC 7523 §3.1.
pub(super) fn doubted(why: &str) -> Error {
    Error::new(ErrorCode::InvalidGrant, format!("the assertion {why}"))
}
