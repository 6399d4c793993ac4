//! Addresses: where we fetch, where we may send a browser, and the one function that decides it (behaviour 10).

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The longest redirect URI that is looked at, in bytes.
pub const MAX_REDIRECT_URI: usize = 2048;

/// An absolute `https` URL, or `http` on loopback, without userinfo and fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpsUrl(Url);

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not absolute, or not parseable.
    #[error("must be an absolute URL such as https://mcp.example.com")]
    Malformed,
    /// `http` away from loopback.
    #[error("plain http is only accepted on loopback (set dangerous_allow_http = true to allow it elsewhere)")]
    PlainHttp,
    /// Neither http nor https.
    #[error("must be https (or http on loopback)")]
    Scheme,
    /// `user:password@` in the address.
    #[error("must not hold a user name or password")]
    Userinfo,
    /// `#…` at the end.
    #[error("must not hold a fragment (#…)")]
    Fragment,
}

impl HttpsUrl {
    /// Reads an address. `dangerous_allow_http` admits plain http away from loopback.
    ///
    /// # Errors
    /// [`BadUrl`], which says what to mend.
    pub fn parse(text: &str, dangerous_allow_http: bool) -> Result<Self, BadUrl> {
        let url = Url::parse(text).map_err(|_| BadUrl::Malformed)?;
        if url.cannot_be_a_base() || url.host().is_none() {
            return Err(BadUrl::Malformed);
        }
        match url.scheme() {
            "https" => {}
            "http" if dangerous_allow_http || is_loopback(&url) => {}
            "http" => return Err(BadUrl::PlainHttp),
            _ => return Err(BadUrl::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(BadUrl::Fragment);
        }
        Ok(Self(url))
    }

    /// The parsed URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    /// The text without a trailing slash, as issuers and audiences are written (PRM-6, behaviour 3).
    #[must_use]
    pub fn trimmed(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Scheme, host and port: `https://mcp.example.com`.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Why a redirect URI was refused (DCR-4, S7, S8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRedirect {
    /// Longer than [`MAX_REDIRECT_URI`].
    #[error("a redirect URI has at most 2048 bytes")]
    TooLong,
    /// Spaces, control bytes, backslashes or bytes beyond ASCII.
    #[error("a redirect URI is plain ASCII without spaces, control characters and backslashes")]
    Characters,
    /// Not an absolute URI.
    #[error("a redirect URI must be absolute")]
    Malformed,
    /// `javascript:`, `data:`, `file:` and their kin.
    #[error("this scheme is never redirected to")]
    Scheme,
    /// `http` away from loopback.
    #[error("http is only accepted on localhost, 127.0.0.1 or [::1]; use https")]
    PlainHttp,
    /// `user@host`.
    #[error("a redirect URI must not hold user information")]
    Userinfo,
    /// `#…`.
    #[error("a redirect URI must not hold a fragment")]
    Fragment,
    /// `*` in the host.
    #[error("wildcards are not accepted in redirect URIs")]
    Wildcard,
    /// `..` segments, raw, encoded or with parameters (S8).
    #[error("a redirect URI must not hold dot segments")]
    DotSegments,
}

/// Whether `localhost`, `127.0.0.1` and `[::1]` stand for one another (behaviour 10; needed by Codex).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoopbackHosts {
    /// Any of the three matches any other.
    #[default]
    Alike,
    /// To the letter of RFC 8252: only the port floats.
    Distinct,
}

/// Whether a program on this machine may take any port for its answer. OAuth 2.1 §2.3.1 says it must be let; the Security
/// Best Practices of MCP want redirect URIs compared byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoopbackPorts {
    /// The port means nothing (RFC 8252 §7.3).
    #[default]
    Any,
    /// The port counts like every other byte. Clients that take a free port for each login are refused.
    Exact,
}

/// How redirect URIs on loopback are compared; all others are compared byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loopback {
    /// The names of this machine.
    pub hosts: LoopbackHosts,
    /// The ports on it.
    pub ports: LoopbackPorts,
}

/// A redirect URI that passed the rules of registration; kept byte for byte as the client wrote it.
///
/// What comes back out of a seal is not judged again: a rule that is tightened later must not make the house forget a
/// client (D2). What is *requested* is judged by today's rules each time, in
/// [`Client::redirect`](super::Client::redirect).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegisteredRedirect(String);

/// Schemes that run, read or embed something instead of opening an application.
const NEVER: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "chrome-extension",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "jar",
    "javascript",
    "mailto",
    "ms-appx",
    "resource",
    "sms",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

impl RegisteredRedirect {
    /// The one policy, at `/register`, at `/authorize` and for static clients alike.
    ///
    /// # Errors
    /// [`BadRedirect`], which says what to mend.
    pub fn parse(text: &str) -> Result<Self, BadRedirect> {
        Self::read(text).map(|(uri, _)| uri)
    }

    /// The same, and the parsed URL, for rules beyond this one: parsing costs more than all the rest.
    ///
    /// # Errors
    /// [`BadRedirect`].
    pub fn read(text: &str) -> Result<(Self, Url), BadRedirect> {
        if text.len() > MAX_REDIRECT_URI {
            return Err(BadRedirect::TooLong);
        }
        if text.bytes().any(|b| !(0x21..=0x7e).contains(&b) || b == b'\\') {
            return Err(BadRedirect::Characters);
        }
        let (scheme, rest) = text.split_once(':').ok_or(BadRedirect::Malformed)?;
        if NEVER.contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(BadRedirect::Scheme);
        }
        let url = Url::parse(text).map_err(|_| BadRedirect::Malformed)?;
        if text.contains('#') {
            return Err(BadRedirect::Fragment);
        }
        let authority = rest.strip_prefix("//").map(|r| r.split(['/', '?']).next().unwrap_or(""));
        if authority.is_some_and(|a| a.contains('@')) {
            return Err(BadRedirect::Userinfo);
        }
        if authority.is_some_and(|a| a.contains('*')) {
            return Err(BadRedirect::Wildcard);
        }
        match url.scheme() {
            "https" if authority.is_some_and(|a| !a.is_empty()) => {}
            "http" if loopback_parts(text).is_some() => {}
            "http" => return Err(BadRedirect::PlainHttp),
            "https" => return Err(BadRedirect::Malformed),
            // RFC 8252 §7.1; `scheme:` alone leads nowhere.
            _ if rest.trim_matches('/').is_empty() => return Err(BadRedirect::Malformed),
            _ => {}
        }
        if has_dot_segments(rest) {
            return Err(BadRedirect::DotSegments);
        }
        Ok((Self(text.to_owned()), url))
    }

    /// The URI as it was registered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same URI with the port of a loopback host taken away, so that equal registrations compare equal (D2).
    #[must_use]
    pub fn without_loopback_port(&self) -> Self {
        match loopback_parts(&self.0) {
            Some((host, _, rest)) => Self(format!("http://{host}{rest}")),
            None => self.clone(),
        }
    }

    /// Whether it leads to a program on the person's own machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        loopback_parts(&self.0).is_some()
    }

    /// Whether it leads there without saying on which port.
    #[must_use]
    pub fn is_portless_loopback(&self) -> bool {
        loopback_parts(&self.0).is_some_and(|(_, port, _)| port.is_empty())
    }

    /// Whether it is a private-use scheme such as `cursor://` (RFC 8252 §7.1).
    #[must_use]
    pub fn is_private_scheme(&self) -> bool {
        !self.0.starts_with("https:") && !self.is_loopback()
    }

    /// Whether a requested URI is this one: byte for byte, but for host and port of a loopback address (AZ-2, AZ-3).
    #[must_use]
    pub fn matches(&self, requested: &Self, loopback: Loopback) -> bool {
        if self == requested {
            return true;
        }
        match (loopback_parts(&self.0), loopback_parts(&requested.0)) {
            (Some((h1, p1, r1)), Some((h2, p2, r2))) => {
                let rest = |r: &str| if r.is_empty() { "/".to_owned() } else { r.to_owned() };
                rest(r1) == rest(r2)
                    && (loopback.hosts == LoopbackHosts::Alike || h1 == h2)
                    && (loopback.ports == LoopbackPorts::Any || p1 == p2)
            }
            _ => false,
        }
    }
}

/// Splits an http loopback URI into host, port with its colon (or nothing) and the rest from the path on; `None` for all
/// others.
fn loopback_parts(text: &str) -> Option<(&str, &str, &str)> {
    let scheme = text.get(..7)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return None;
    }
    let after = &text[7..];
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let host = ["localhost", "127.0.0.1", "[::1]"].into_iter().find(|host| {
        authority.get(..host.len()).is_some_and(|head| head.eq_ignore_ascii_case(host)) && {
            let tail = &authority[host.len()..];
            tail.is_empty()
                || tail.strip_prefix(':').is_some_and(|port| {
                    port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
                })
        }
    })?;
    Some((host, &authority[host.len()..], rest))
}

fn has_dot_segments(rest: &str) -> bool {
    let path = rest.split('?').next().unwrap_or("").to_ascii_lowercase().replace("%2e", ".");
    path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// A redirect URI to which we may answer. It exists only as the result of [`Client::redirect`](super::Client::redirect)
/// or out of a sealed record, so nothing else can be redirected to (S7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(RegisteredRedirect);

impl RedirectUri {
    pub(super) const fn answerable(uri: RegisteredRedirect) -> Self {
        Self(uri)
    }

    /// The URI as the client asked for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it leads to a program on the person's own machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.is_loopback()
    }

    /// Whether it leads there without saying on which port: then nobody can be answered.
    #[must_use]
    pub fn is_portless_loopback(&self) -> bool {
        self.0.is_portless_loopback()
    }

    /// Whether it is a private-use scheme such as `cursor://`.
    #[must_use]
    pub fn is_private_scheme(&self) -> bool {
        self.0.is_private_scheme()
    }

    /// Scheme and host, as consent is keyed and the page shows it: `https://claude.ai`, `http://localhost`,
    /// `cursor://anysphere.cursor-mcp`. Without the port on loopback, in punycode elsewhere (CON-10).
    #[must_use]
    pub fn host(&self) -> String {
        if let Some((host, ..)) = loopback_parts(self.as_str()) {
            return format!("http://{host}");
        }
        match Url::parse(self.as_str()) {
            Ok(url) => match (url.host_str(), url.port()) {
                (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
                (Some(host), None) => format!("{}://{host}", url.scheme()),
                (None, _) => format!("{}:", url.scheme()),
            },
            Err(_) => self.as_str().to_owned(),
        }
    }

    /// The URI with parameters appended; a query that is already there is kept byte for byte (AZ-8).
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut text = self.as_str().to_owned();
        let mut separator = match text.find('?') {
            None => "?",
            Some(at) if at + 1 == text.len() || text.ends_with('&') => "",
            Some(_) => "&",
        };
        for (name, value) in parameters {
            text.push_str(separator);
            text.push_str(name);
            text.push('=');
            text.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
            separator = "&";
        }
        text
    }
}
