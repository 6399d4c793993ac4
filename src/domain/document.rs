//! Documents that clients publish about themselves: Client ID Metadata Documents and key sets (CIMD, RFC 7517).

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::Instant;

/// The longest address that is looked at, in bytes.
const LONGEST: usize = 2048;

/// The address of a document, spelt as it is fetched, so that comparing texts is comparing addresses (CIMD-2, CIMD-3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentUrl(String);

/// Why an address is not one of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDocumentUrl {
    /// Longer than 2048 bytes.
    #[error("is too long")]
    TooLong,
    /// Not `https://`.
    #[error("must begin with https://")]
    NotHttps,
    /// `#…`, or `user@`.
    #[error("must hold neither user information nor a fragment")]
    Parts,
    /// Only a host: then every client of that host would be one client.
    #[error("must have a path")]
    NoPath,
    /// Written otherwise than it would be fetched: `..` segments, `:443`, upper-case hosts, `0x7f.1`, tabs.
    #[error("is not in its plain spelling")]
    Spelling,
}

impl DocumentUrl {
    /// Reads an address. Only one whose every byte survives parsing is taken: no other spelling of it exists, so neither
    /// dot segments nor odd notations of addresses can hide in it.
    ///
    /// # Errors
    /// [`BadDocumentUrl`].
    pub fn parse(text: &str) -> Result<Self, BadDocumentUrl> {
        if text.len() > LONGEST {
            return Err(BadDocumentUrl::TooLong);
        }
        if !text.starts_with("https://") {
            return Err(BadDocumentUrl::NotHttps);
        }
        let url = Url::parse(text).map_err(|_| BadDocumentUrl::Spelling)?;
        let has_userinfo = !url.username().is_empty() || url.password().is_some();
        if url.fragment().is_some() || has_userinfo {
            return Err(BadDocumentUrl::Parts);
        }
        if url.path() == "/" {
            return Err(BadDocumentUrl::NoPath);
        }
        if url.as_str() != text || url.host_str().is_none_or(|host| host.is_empty() || host.ends_with('.')) {
            return Err(BadDocumentUrl::Spelling);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and, if it names one, port: what a page shows and a person can judge.
    #[must_use]
    pub fn authority(&self) -> &str {
        let rest = self.0.strip_prefix("https://").unwrap_or(&self.0);
        rest.split(['/', '?']).next().unwrap_or(rest)
    }

    /// The host alone, in lower case and punycode; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        }
    }
}

impl fmt::Display for DocumentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which hosts are meant: `claude.ai`, or `*.example.com` for everything below it (CIMD-13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    name: String,
    below: bool,
}

impl HostPattern {
    /// Reads a pattern: a host name, or `*.` and a host name. No other star: a pattern that reads like one host must not
    /// mean many.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a host such as claude.ai, or *.example.com for all below it";
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let parsed = Url::parse(&format!("https://{name}/")).map_err(|_| EXPECTED)?;
        let is_plain = !name.contains('*') && parsed.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name));
        let is_name = parsed.domain().is_some() || !below;
        if is_plain && is_name { Ok(Self { name: name.to_ascii_lowercase(), below }) } else { Err(EXPECTED) }
    }

    /// Whether `host`, in lower case, is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host == self.name;
        }
        host.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

/// A document as it was fetched, with what decides how long it may be used (architecture §4: `metadata/{hash of url}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedDocument {
    /// Where it lies.
    pub url: String,
    /// Its text, which was valid when it was fetched.
    pub text: String,
    /// The response headers that speak of freshness and validation (RFC 9111), names in lower case.
    pub headers: Vec<(String, String)>,
    /// When its host last said that this is the document.
    pub validated: Instant,
    /// When even a host that does not answer no longer excuses it.
    pub expires: Instant,
}

/// The `jti` of an assertion that was accepted (RFC 7523 §3, TOK-3, EMA-2): it is good for once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentAssertion {
    /// Who made it: its `iss`.
    pub issuer: String,
    /// Its name.
    pub jti: String,
    /// From when on its own `exp` refuses it.
    pub expires: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cimd_2_an_address_has_one_spelling() {
        for good in [
            "https://claude.ai/oauth/mcp-oauth-client-metadata",
            "https://vscode.dev/oauth/client-metadata.json",
            "https://example.com:8443/c?v=1",
            "https://xn--bcher-kva.example/c",
            "https://[2606:4700::1111]/c",
            "https://1.1.1.1/c",
        ] {
            assert_eq!(DocumentUrl::parse(good).map(|url| url.to_string()), Ok(good.to_owned()));
        }
        use BadDocumentUrl::{NoPath, NotHttps, Parts, Spelling, TooLong};
        for (bad, why) in [
            ("http://claude.ai/c", NotHttps),
            ("HTTPS://claude.ai/c", NotHttps),
            ("https://claude.ai", NoPath),
            ("https://claude.ai/", NoPath),
            ("https://claude.ai?x", NoPath),
            ("https://u@claude.ai/c", Parts),
            ("https://u:p@claude.ai/c", Parts),
            ("https://claude.ai/c#", Parts),
            ("https://claude.ai/c#f", Parts),
            ("https://claude.ai/a/../c", Spelling),
            ("https://claude.ai/a/%2e%2e/c", Spelling),
            ("https://claude.ai/./c", Spelling),
            ("https://claude.ai:443/c", Spelling),
            ("https://Claude.ai/c", Spelling),
            ("https://claude.ai./c", Spelling),
            ("https:\\\\claude.ai/c", NotHttps),
            ("https://claude.ai\\c", Spelling),
            ("https:///claude.ai/c", Spelling),
            ("https://claude.ai/\tc", Spelling),
            (" https://claude.ai/c", NotHttps),
            ("https://bücher.example/c", Spelling),
            ("https://0x7f.1/c", Spelling),
            ("https://2130706433/c", Spelling),
            ("https://127.1/c", Spelling),
            ("https://0177.0.0.1/c", Spelling),
            ("https://[::ffff:127.0.0.1]/c", Spelling),
            ("https:///c", NoPath),
        ] {
            assert_eq!(DocumentUrl::parse(bad), Err(why), "{bad}");
        }
        assert_eq!(DocumentUrl::parse(&format!("https://a.example/{}", "x".repeat(2048))), Err(TooLong));
    }

    #[test]
    fn a_person_is_shown_the_authority_and_lists_name_the_host() {
        let parts = |url: &str| {
            let url = DocumentUrl::parse(url).unwrap();
            (url.authority().to_owned(), url.host().to_owned())
        };
        let same = |authority: &str, host: &str| (authority.to_owned(), host.to_owned());
        assert_eq!(parts("https://claude.ai/c?x=:"), same("claude.ai", "claude.ai"));
        assert_eq!(parts("https://example.com:8443/c"), same("example.com:8443", "example.com"));
        assert_eq!(parts("https://[2606:4700::1111]/c"), same("[2606:4700::1111]", "[2606:4700::1111]"));
        assert_eq!(parts("https://[2606:4700::1111]:8443/c"), same("[2606:4700::1111]:8443", "[2606:4700::1111]"));
    }

    #[test]
    fn cimd_13_a_pattern_means_one_host_or_all_below_it() {
        let matches = |pattern: &str, host: &str| HostPattern::parse(pattern).unwrap().matches(host);
        assert!(matches("Claude.ai", "claude.ai"));
        assert!(!matches("claude.ai", "evil-claude.ai"));
        assert!(!matches("claude.ai", "x.claude.ai"));
        assert!(matches("*.example.com", "a.example.com") && matches("*.example.com", "b.a.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", ".example.com"));
        assert!(!matches("*.example.com", "evilexample.com"));
        assert!(matches("10.0.0.1", "10.0.0.1"));
        for bad in [
            "",
            "*",
            "*.",
            "a.*.com",
            "*claude.ai",
            "https://claude.ai",
            "claude.ai/x",
            "claude.ai:8443",
            "a b",
            "*.10.0.0.1",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
