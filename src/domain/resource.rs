//! A protected MCP server: its public name, where it really is, who may enter and what is handed through.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    ClientId, HttpsUrl, Identity, Scope, Secret, Subject, UpstreamName,
    step_up::{Hierarchy, StepUp},
};

/// The identifier of a Resource: the audience of its tokens, byte for byte as it was configured (PRM-5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceUri(String);

impl ResourceUri {
    /// The identifier of the Resource at `path` (empty, or beginning with a slash) under `public_url`; without a
    /// trailing slash (PRM-6).
    #[must_use]
    pub fn under(public_url: &HttpsUrl, path: &str) -> Self {
        Self(format!("{}{}", public_url.trimmed(), path.trim_end_matches('/')))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a client's `resource` parameter means this one. Folded: case of scheme and host, the default port, one
    /// trailing slash, an extra query (RI-4, behaviour 16). A fragment or a relative URI never matches (RI-2).
    #[must_use]
    pub fn is_meant_by(&self, requested: &str) -> bool {
        requested == self.0
            || match (canonical(&self.0), canonical(requested)) {
                (Some(own), Some(asked)) => own == asked,
                _ => false,
            }
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn canonical(text: &str) -> Option<String> {
    if text.contains('#') || text.bytes().any(|b| b <= b' ' || b == b'\\') {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.set_query(None);
    let text = url.as_str();
    Some(text.strip_suffix('/').unwrap_or(text).to_owned())
}

/// What the proxy adds to a request on its way to the target.
#[derive(Debug, Clone)]
pub enum Injection {
    /// `Authorization: Bearer` with the provider's access token.
    UpstreamToken,
    /// One header with a fixed value, such as an API key.
    Header {
        /// Lower-case header name.
        name: String,
        /// Its value.
        value: Secret<String>,
    },
    /// `X-Forwarded-User`, `-Email`, `-Preferred-Username`, `-Groups`: the oauth2-proxy habit.
    Identity,
}

/// Who may enter a Resource. There is no default: an operator has to say it (D15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Everyone the provider lets in. Has to be written out.
    Anyone,
    /// Only those whom one of the rules names.
    Only {
        /// Exact addresses, or `*@domain`. Verified e-mail only.
        emails: Vec<EmailRule>,
        /// Subjects, as `upstream:sub` or the provider's bare `sub`.
        subjects: Vec<String>,
        /// Groups, roles or organisations, as the provider writes them. A claim that is missing or odd is no group (S19).
        groups: Vec<String>,
    },
}

/// One entry of `allow.emails`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmailRule {
    /// One address, compared without regard to ASCII case.
    Address(String),
    /// Every address of one domain, compared without regard to ASCII case. Subdomains are other domains.
    Domain(String),
}

/// An entry of `allow.emails` is neither an address nor `*@domain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an e-mail rule is one address (ann@example.com) or a whole domain (*@example.com)")]
pub struct BadEmailRule;

impl EmailRule {
    /// Reads `ann@example.com` or `*@example.com`. `*` alone is refused: write `allow = "anyone"`.
    ///
    /// # Errors
    /// [`BadEmailRule`] for anything else.
    pub fn parse(text: &str) -> Result<Self, BadEmailRule> {
        let (local, domain) = split_address(text).ok_or(BadEmailRule)?;
        match local {
            "*" => Ok(Self::Domain(domain.to_ascii_lowercase())),
            _ if local.contains('*') => Err(BadEmailRule),
            _ => Ok(Self::Address(text.to_ascii_lowercase())),
        }
    }

    /// Whether `email` is meant. An address with two `@`, odd characters, a non-ASCII or dotted-off domain is meant by
    /// no rule (S18).
    #[must_use]
    pub fn admits(&self, email: &str) -> bool {
        let Some((_, domain)) = split_address(email) else { return false };
        match self {
            Self::Address(own) => own.eq_ignore_ascii_case(email),
            Self::Domain(own) => own.eq_ignore_ascii_case(domain),
        }
    }
}

fn split_address(text: &str) -> Option<(&str, &str)> {
    let (local, domain) = text.split_once('@')?;
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),:;<>[\\]".contains(&b));
    let sound = plain
        && !local.is_empty()
        && !domain.contains(['@', '*'])
        && domain.split('.').all(|label| !label.is_empty())
        && domain.contains('.');
    sound.then_some((local, domain))
}

impl Allow {
    /// Whether this person may enter.
    #[must_use]
    pub fn admits(&self, identity: &Identity) -> bool {
        self.admits_by(identity, |rule, subject| rule == subject.as_str() || rule == subject.at_provider())
    }

    /// The same for a person whom another issuer speaks for: a rule that names no issuer means the upstream's people,
    /// and whoever has that number elsewhere is somebody else.
    #[must_use]
    pub fn admits_from_elsewhere(&self, identity: &Identity) -> bool {
        self.admits_by(identity, |rule, subject| rule == subject.as_str())
    }

    fn admits_by(&self, identity: &Identity, is_subject: impl Fn(&str, &Subject) -> bool) -> bool {
        match self {
            Self::Anyone => true,
            Self::Only { emails, subjects, groups } => {
                let by_email =
                    identity.verified_email().is_some_and(|email| emails.iter().any(|rule| rule.admits(email)));
                let by_subject = || subjects.iter().any(|rule| is_subject(rule, &identity.subject));
                by_email || by_subject() || groups.iter().any(|group| identity.groups.contains(group))
            }
        }
    }
}

/// Whose word lets somebody in who did not log in here (EMA-1, WIF-1). Nobody's, unless the operator names them.
#[derive(Debug, Clone, Default)]
pub struct Trusts {
    /// Issuers that speak for people; whom they speak for has to meet `allow` all the same.
    pub issuers: Vec<UpstreamName>,
    /// Workloads that may enter.
    pub workloads: Vec<WorkloadRule>,
}

/// Which workloads are meant: a whole subject (`cluster:system:serviceaccount:ci:runner`), or its beginning and a star.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRule {
    text: String,
    is_beginning: bool,
}

impl WorkloadRule {
    /// Reads a rule. The issuer's name is always whole: a star in it would let one issuer speak for another's workloads.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected an issuer's name, a colon and a subject, which may end in *";
        let (text, is_beginning) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        let (issuer, rest) = text.split_once(':').ok_or(EXPECTED)?;
        let is_sound = !issuer.is_empty() && !text.contains('*') && (is_beginning || !rest.is_empty());
        if is_sound { Ok(Self { text: text.to_owned(), is_beginning }) } else { Err(EXPECTED) }
    }

    /// The name of the issuer whose workloads are meant.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    /// Whether this one is meant.
    #[must_use]
    pub fn admits(&self, subject: &Subject) -> bool {
        match self.is_beginning {
            true => subject.as_str().starts_with(&self.text),
            false => subject.as_str() == self.text,
        }
    }
}

impl Resource {
    /// Whether calls are worth nothing at the target without a person's token of the provider's.
    #[must_use]
    pub fn needs_upstream_token(&self) -> bool {
        self.inject.iter().any(|injection| matches!(injection, Injection::UpstreamToken))
    }
}

/// A protected MCP server.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its identifier, the audience of its tokens.
    pub uri: ResourceUri,
    /// Its path on the public origin: empty for the root, else `/notes`; no trailing slash.
    pub path: String,
    /// What people call it, on pages and in `resource_name`.
    pub title: String,
    /// The MCP endpoint behind.
    pub target: HttpsUrl,
    /// Where its people log in.
    pub upstream: UpstreamName,
    /// The scopes that every call needs one of, and that clients ask for first; never empty (PRM-7).
    pub scopes: Scope,
    /// What is asked of the provider, beyond the identity scopes.
    pub upstream_scopes: Vec<String>,
    /// What is handed through, in this order.
    pub inject: Vec<Injection>,
    /// Which people may enter.
    pub allow: Allow,
    /// Which clients may enter for themselves (CC-1). Never all of them.
    pub clients: Vec<ClientId>,
    /// Whose word stands in for a login.
    pub trusts: Trusts,
    /// What some operations need beyond `scopes` (SC-3).
    pub step_up: StepUp,
    /// Which scopes contain which others (CH-6).
    pub hierarchy: Hierarchy,
    /// Whether only tokens that are bound to a key are let in (`dpop_bound_access_tokens_required`, RFC 9728 §2).
    pub demands_proof: bool,
    /// Whether the root documents of the origin speak of this one (PRM-11).
    pub is_default: bool,
}

impl Resource {
    /// Every scope that a client may get here: those of each call, those that some operations need, and those that
    /// contain others.
    #[must_use]
    pub fn every_scope(&self) -> Scope {
        self.scopes.joined_with(&self.step_up.needs_of_all()).joined_with(&self.hierarchy.names())
    }

    /// Whether a token of this scope may call here at all.
    #[must_use]
    pub fn lets_in(&self, scope: &Scope) -> bool {
        let any = |scope: &Scope| scope.iter().any(|token| self.scopes.contains(token));
        self.scopes.is_empty() || any(scope) || (!self.hierarchy.is_empty() && any(&self.hierarchy.widened(scope)))
    }
}
