//! Who may register, and to which addresses strangers may have people sent: what the operator decides beyond the rules
//! of `domain`, which nobody escapes (DCR-1, DCR-5, DCR-10, protocol's tensions).

use std::collections::BTreeSet;

use url::{Host, Url};

use super::{AuthorizationServer, Error, ErrorCode};
use crate::{
    crypto::hash,
    domain::{
        ClientOrigin, HostPattern, HttpsUrl, Secret,
        uri::{Loopback, LoopbackHosts},
    },
};

/// `[register]`.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Who may register.
    pub gate: Gate,
    /// Which registrations their clients may look after (RFC 7592).
    pub manage: Manage,
    /// Where answers may go.
    pub redirects: RedirectRules,
}

/// Who may register at `/register`.
#[derive(Debug, Clone, Default)]
pub enum Gate {
    /// Everybody; it writes nothing (D2).
    #[default]
    Open,
    /// Those who bring one of these initial access tokens (RFC 7591 §3). Several, so that one can be replaced by another
    /// without a gap.
    Token(Vec<Secret<String>>),
    /// Nobody. The metadata does not name the endpoint.
    Closed,
}

/// Which registrations can be read and removed by whoever made them (RFC 7592).
///
/// Equal public registrations share one id (D2), so they share everything that can be derived from it: with a token to
/// remove *their* registration, a stranger who registers as Claude does could shut out everybody's Claude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manage {
    /// None.
    Off,
    /// Those with a secret: each has an id of its own anyway.
    #[default]
    Confidential,
    /// All. Public registrations get ids of their own too; equal ones are no longer recognised as equal.
    All,
}

/// Where strangers may have people sent. Clients that the operator wrote down are not bound by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedirectRules {
    /// How redirect URIs on loopback are compared.
    pub loopback: Loopback,
    /// The hosts of https redirect URIs; `localhost` for programs on the person's own machine. `None` for any.
    pub hosts: Option<Vec<HostPattern>>,
    /// Private-use schemes such as `cursor`. `None` for any that is not dangerous; empty for none ("https or localhost").
    pub private_schemes: Option<BTreeSet<String>>,
}

/// Why a sound redirect URI is refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It would do harm here.
    #[error("{0}")]
    Harmful(&'static str),
    /// The operator's lists do not name it.
    #[error("the operator of this server does not let answers go to this {0}")]
    NotLet(&'static str),
}

impl RedirectRules {
    /// Whether strangers may have answers sent there.
    fn admit(&self, url: &Url) -> Result<(), Unfit> {
        let is_listed =
            |name: &str| self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| host.matches(name)));
        let is_fine = match (url.scheme(), url.host()) {
            // RegisteredRedirect lets http through on loopback alone.
            ("http", _) if is_listed("localhost") => true,
            ("http", Some(host)) => is_listed(&host.to_string()),
            ("https", Some(Host::Domain(name))) => is_listed(name),
            ("https", Some(host)) => is_listed(&host.to_string()),
            ("http" | "https", None) => false,
            (scheme, _) => {
                let schemes = self.private_schemes.as_ref();
                return match schemes.is_none_or(|schemes| schemes.contains(scheme)) {
                    true => Ok(()),
                    false => Err(Unfit::NotLet("scheme")),
                };
            }
        };
        if is_fine { Ok(()) } else { Err(Unfit::NotLet("host")) }
    }
}

impl AuthorizationServer {
    /// RFC 7591 §3: whether whoever brings this token may register.
    pub(super) fn may_register(&self, bearer: Option<&str>) -> Result<(), Error> {
        match &self.settings.registration.gate {
            Gate::Open => Ok(()),
            Gate::Token(tokens) => {
                // Hashed first, and all of them compared: the time that it takes tells nothing of any.
                let presented = bearer.map(|bearer| hash::sha256(bearer.as_bytes()));
                let is_one = presented.is_some_and(|presented| {
                    let same =
                        |token: &Secret<String>| hash::same(&hash::sha256(token.expose().as_bytes()), &presented);
                    tokens.iter().fold(false, |any, token| any | same(token))
                });
                match is_one {
                    true => Ok(()),
                    false => Err(Error::new(
                        ErrorCode::InvalidToken,
                        "registration needs an initial access token; ask the operator for one",
                    )),
                }
            }
            Gate::Closed => {
                Err(Error::new(ErrorCode::AccessDenied, "registration is switched off; ask the operator for a client"))
            }
        }
    }

    /// What is refused of redirect URIs beyond the rules of `domain`, at `/register` and at `/authorize` alike
    /// (behaviour 10).
    pub(super) fn check_redirect(&self, url: &Url, origin: ClientOrigin) -> Result<(), Unfit> {
        let rules = &self.settings.registration.redirects;
        if is_own_callback(url, &self.settings.public_url, rules.loopback.hosts) {
            return Err(Unfit::Harmful("this is our own callback"));
        }
        // AZ-8: each of these stands once in an answer, and it is we who put it there.
        if url.query_pairs().any(|(name, _)| matches!(&*name, "code" | "state" | "iss" | "error")) {
            return Err(Unfit::Harmful("a redirect URI must not hold code, state, iss or error itself"));
        }
        if origin == ClientOrigin::Static { Ok(()) } else { rules.admit(url) }
    }
}

/// S10: a client that received the provider's answers at our own callback could finish other people's logins.
fn is_own_callback(uri: &Url, own: &HttpsUrl, hosts: LoopbackHosts) -> bool {
    let own_url = own.as_url();
    let same_host = uri.host() == own_url.host()
        || (hosts == LoopbackHosts::Alike && own.is_loopback() && is_loopback_name(uri.host_str()));
    uri.scheme() == own_url.scheme()
        && same_host
        && uri.port_or_known_default() == own_url.port_or_known_default()
        && uri
            .path()
            .strip_prefix(own_url.path().trim_end_matches('/'))
            .is_some_and(|path| path.trim_start_matches('/').to_ascii_lowercase().starts_with("callback/"))
}

fn is_loopback_name(host: Option<&str>) -> bool {
    matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(public: &str, uri: &str) -> bool {
        let public = HttpsUrl::parse(public, false).unwrap();
        is_own_callback(&Url::parse(uri).unwrap(), &public, LoopbackHosts::Alike)
    }

    #[test]
    fn s10_our_callback_is_known_in_every_spelling() {
        assert!(own("https://mcp.example.com", "https://mcp.example.com/callback/google"));
        assert!(own("https://mcp.example.com", "https://MCP.example.com:443//callback/google?x=1"));
        assert!(own("http://127.0.0.1:8080", "http://localhost:8080/callback/google"));
        assert!(own("https://mcp.example.com/base", "https://mcp.example.com/base/callback/x"));
        assert!(!own("https://mcp.example.com", "https://mcp.example.com/callbacks"));
        assert!(!own("https://mcp.example.com", "https://claude.ai/callback/x"));
        // Claude Code and Codex on the machine of `vestibule dev`.
        assert!(!own("http://127.0.0.1:8080", "http://localhost:3118/callback"));
        assert!(!own("http://127.0.0.1:8080", "http://localhost:8080/callback"));
        assert!(!own("http://127.0.0.1:8080", "http://127.0.0.1:37819/callback/abc"));
    }
}
