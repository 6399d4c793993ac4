//! What of a request's head may pass: hop-by-hop and spoofable headers out, the target's own in (RS-3, RS-4, S14, S15).

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::{Peer, Settings, challenge::Refusal};
use crate::{
    domain::{HttpsUrl, Injection, Resource},
    token::Caller,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const X_FORWARDED_EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
const X_FORWARDED_PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");
const X_FORWARDED_GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Names by which we are called and from which we may be called (S23: DNS rebinding).
#[derive(Debug)]
pub(super) struct Doorplate {
    hosts: Vec<String>,
    /// Without a port: any port will do.
    bare_hosts: Vec<String>,
    origins: Vec<String>,
    any_origin: bool,
}

impl Doorplate {
    pub(super) fn new(settings: &Settings) -> Self {
        let url = settings.public_url.as_url();
        let name = url.host_str().unwrap_or_default();
        let mut hosts = vec![match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        }];
        if let (None, Some(port)) = (url.port(), url.port_or_known_default()) {
            hosts.push(format!("{name}:{port}"));
        }
        let (with_port, bare_hosts) = settings.hosts.iter().cloned().partition(|host| port_of(host).is_some());
        hosts.extend::<Vec<String>>(with_port);
        let mut origins = vec![settings.public_url.origin()];
        origins.extend(settings.origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()));
        let any_origin = origins.iter().any(|origin| origin == "*");
        Self { hosts, bare_hosts, origins, any_origin }
    }

    /// `Host`, and the authority of an absolute-form target, have to be ours (RFC 9112 §3.2; S23, S28).
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next();
        let known = match (host, uri.authority()) {
            (Some(host), None) => self.is_ours(host.as_bytes()),
            (Some(host), Some(asked)) => self.is_ours(host.as_bytes()) && self.is_ours(asked.as_str().as_bytes()),
            (None, Some(asked)) => self.is_ours(asked.as_str().as_bytes()),
            (None, None) => false,
        };
        if known && hosts.next().is_none() { Ok(()) } else { Err(Refusal::Misdirected) }
    }

    fn is_ours(&self, host: &[u8]) -> bool {
        self.hosts.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(host))
            || (!self.bare_hosts.is_empty() && self.is_bare(host))
    }

    fn is_bare(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = port_of(host).map_or(host, |port| &host[..host.len() - port.len() - 1]);
        self.bare_hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// An `Origin`, where there is one, has to be admitted (RS-5): only browsers send it.
    pub(super) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        for origin in headers.get_all(header::ORIGIN) {
            let admitted = self.any_origin
                || self.origins.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
            if !admitted {
                return Err(Refusal::ForeignOrigin);
            }
        }
        Ok(())
    }
}

fn port_of(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (is_port && (!name.contains(':') || name.ends_with(']'))).then_some(port)
}

/// What one Resource's requests get on their way, made once.
#[derive(Debug)]
pub(super) struct Dressing {
    host: HeaderValue,
    public_host: HeaderValue,
    public_proto: HeaderValue,
    inject: Vec<Inject>,
}

#[derive(Debug)]
enum Inject {
    UpstreamToken,
    Fixed(HeaderName, HeaderValue),
    Identity,
}

impl Dressing {
    /// # Errors
    /// A sentence, where a fixed header cannot be written.
    pub(super) fn new(resource: &Resource, public_url: &HttpsUrl) -> Result<Self, String> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| format!("{text}: not a host name"));
        let inject = resource.inject.iter().map(Inject::new).collect::<Result<_, _>>()?;
        Ok(Self {
            host: value(&authority(&resource.target))?,
            public_host: value(&authority(public_url))?,
            public_proto: value(public_url.as_url().scheme())?,
            inject,
        })
    }

    /// Takes away what must not pass and puts on what shall, in one walk over the names.
    pub(super) fn dress(&self, headers: &mut HeaderMap, caller: &Caller, peer: Option<Peer>) {
        self.strip(headers);
        headers.insert(header::HOST, self.host.clone());
        headers.insert(X_FORWARDED_HOST, self.public_host.clone());
        headers.insert(X_FORWARDED_PROTO, self.public_proto.clone());
        if let Some(Peer(address)) = peer {
            put(headers, X_FORWARDED_FOR, &address.to_canonical().to_string());
        }
        for inject in &self.inject {
            match inject {
                Inject::UpstreamToken => {
                    if let Some(value) = caller.upstream_token.as_ref().and_then(|token| bearer(token.expose())) {
                        headers.insert(header::AUTHORIZATION, value);
                    }
                }
                Inject::Fixed(name, value) => {
                    headers.insert(name.clone(), value.clone());
                }
                Inject::Identity => put_identity(headers, caller),
            }
        }
    }

    fn strip(&self, headers: &mut HeaderMap) {
        let has_options = lists_names(headers);
        take_out::<16>(headers, |name, headers| {
            self.is_barred(name, headers) || (has_options && is_named_by_connection(name, headers))
        });
        retain_foreign_cookies(headers);
    }

    fn is_barred(&self, name: &str, headers: &HeaderMap) -> bool {
        match name {
            // The everyday ones first; `mcp-session-id` itself passes, its twins do not.
            "accept"
            | "accept-encoding"
            | "content-type"
            | "host"
            | "user-agent"
            | "mcp-protocol-version"
            | "mcp-session-id"
            | "mcp-method"
            | "mcp-name"
            | "last-event-id"
            | "x-request-id" => false,
            // RFC 9112 §6.1: with a `Transfer-Encoding` the length is not to be believed (request smuggling).
            "content-length" => headers.contains_key(header::TRANSFER_ENCODING),
            _ if is_hop_by_hop(name) => true,
            _ => is_spoofable(name) || self.is_fixed_twin(name),
        }
    }

    /// Whether a backend that folds names would take `name` for the header that we inject.
    fn is_fixed_twin(&self, name: &str) -> bool {
        self.inject.iter().any(|inject| matches!(inject, Inject::Fixed(own, _) if folds_to(name, own.as_str())))
    }
}

impl Inject {
    fn new(injection: &Injection) -> Result<Self, String> {
        Ok(match injection {
            Injection::UpstreamToken => Self::UpstreamToken,
            Injection::Identity => Self::Identity,
            Injection::Header { name, value } => {
                let refused = |why: &str| format!("inject: header \"{name}\" {why}");
                let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("is not a header name"))?;
                if is_hop_by_hop(header.as_str()) || matches!(header.as_str(), "host" | "content-length") {
                    return Err(refused("belongs to the connection and cannot be injected"));
                }
                let mut value = HeaderValue::from_str(value.expose())
                    .map_err(|_| refused("has a value with control characters"))?;
                value.set_sensitive(true);
                Self::Fixed(header, value)
            }
        })
    }
}

fn authority(url: &HttpsUrl) -> String {
    let url = url.as_url();
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

/// RFC 9110 §7.6.1, and what answers for this connection alone.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
    )
}

/// What a client must not tell a backend: who it is, where it comes from, what was really asked for. Also where `-` is
/// written as `_` or `.`, which CGI, WSGI and PHP fold into one name (S14).
fn is_spoofable(name: &str) -> bool {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return tells_lies(name);
    }
    // None of the names is longer; of longer ones the beginning tells.
    let mut folded = [0_u8; 64];
    let folded = &mut folded[..name.len().min(64)];
    for (to, from) in folded.iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() { from } else { b'-' };
    }
    std::str::from_utf8(folded).is_ok_and(|name| name == "mcp-session-id" || tells_lies(name))
}

fn tells_lies(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["x-forwarded-", "x-auth-request-", "x-pomerium-", "x-remote-extra-"];
    matches!(
        name,
        "authorization"
            | "dpop"
            | "forwarded"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "x-original-url"
            | "x-original-uri"
            | "x-original-host"
            | "x-original-method"
            | "x-rewrite-url"
            | "x-http-method-override"
            | "remote-user"
            | "remote-groups"
            | "remote-name"
            | "remote-email"
            | "x-remote-user"
            | "x-remote-group"
            | "x-user-sub"
            | "x-user-email"
            | "x-user-groups"
            | "x-webauth-user"
    ) || (name.starts_with("x-") && PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether `name` is `own` once everything that is no letter or digit is a hyphen. `HeaderName`s are lower case.
fn folds_to(name: &str, own: &str) -> bool {
    name.len() == own.len()
        && name.bytes().zip(own.bytes()).all(|(a, b)| a == b || (b == b'-' && !a.is_ascii_alphanumeric()))
}

/// Whether `Connection` says more than how long it lives.
fn lists_names(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        !value.as_bytes().eq_ignore_ascii_case(b"keep-alive") && !value.as_bytes().eq_ignore_ascii_case(b"close")
    })
}

/// What `Connection` names goes no further (RFC 9110 §7.6.1). It is looked at before anything is put on, so it cannot
/// take away what we add (S14).
fn is_named_by_connection(name: &str, headers: &HeaderMap) -> bool {
    let named = |value: &HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    headers.get_all(header::CONNECTION).iter().any(named)
}

/// Our own cookies, all called `vestibule…` with or without the prefixes of RFC 6265bis §4.1.3, stay with us.
fn retain_foreign_cookies(headers: &mut HeaderMap) {
    if !headers.contains_key(header::COOKIE) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().filter_map(foreign_cookies).collect();
    headers.remove(header::COOKIE);
    for value in kept {
        headers.append(header::COOKIE, value);
    }
}

fn foreign_cookies(value: &HeaderValue) -> Option<HeaderValue> {
    let is_foreign = |pair: &&[u8]| {
        let name = pair.trim_ascii();
        let name = name.strip_prefix(b"__Host-").or_else(|| name.strip_prefix(b"__Secure-")).unwrap_or(name);
        !name.is_empty() && !name.get(..9).is_some_and(|head| head.eq_ignore_ascii_case(b"vestibule"))
    };
    let kept: Vec<&[u8]> = value.as_bytes().split(|b| *b == b';').filter(is_foreign).map(<[u8]>::trim_ascii).collect();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok() }
}

/// `Bearer` with the provider's token. One allocation; a token that is no header value is not sent at all.
fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() {
        return None;
    }
    let mut value = BytesMut::with_capacity(7 + token.len());
    value.put_slice(b"Bearer ");
    value.put_slice(token.as_bytes());
    let mut value = HeaderValue::from_maybe_shared(value.freeze()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The oauth2-proxy habit. An address that the provider does not vouch for is not passed as one.
fn put_identity(headers: &mut HeaderMap, caller: &Caller) {
    let identity = &caller.identity;
    put(headers, X_FORWARDED_USER, identity.subject.as_str());
    if let Some(email) = identity.verified_email() {
        put(headers, X_FORWARDED_EMAIL, email);
    }
    if let Some(name) = &identity.username {
        put(headers, X_FORWARDED_PREFERRED_USERNAME, name);
    }
    // A comma inside a name would make two groups of one.
    let groups: Vec<&str> =
        identity.groups.iter().map(String::as_str).filter(|group| is_plain(group) && !group.contains(',')).collect();
    if !groups.is_empty() {
        put(headers, X_FORWARDED_GROUPS, &groups.join(","));
    }
}

/// Whether every backend will read the same text: printable ASCII, no spaces at the ends, no CR or LF.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.trim_ascii() == text && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if is_plain(text)
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(text.as_bytes()))
    {
        headers.insert(name, value);
    }
}

/// What of the target's head must not reach the client: hop-by-hop, and any challenge that is not ours (CH-8).
pub(super) fn undress(headers: &mut HeaderMap) {
    let has_options = lists_names(headers);
    take_out::<8>(headers, |name, headers| match name {
        "content-type" | "content-length" | "date" | "server" | "mcp-session-id" => false,
        // Of the target's proofs, if it wants any, the client has none to make.
        "www-authenticate" | "dpop-nonce" => true,
        other => is_hop_by_hop(other) || (has_options && is_named_by_connection(other, headers)),
    });
}

/// Removes all whose names `is_barred` bars, without allocating. More than `N` of them are an attack, or a chain of
/// proxies: then another round.
fn take_out<const N: usize>(headers: &mut HeaderMap, is_barred: impl Fn(&str, &HeaderMap) -> bool) {
    loop {
        let mut doomed = [const { None::<HeaderName> }; N];
        let mut found = 0;
        for name in headers.keys() {
            if found < N && is_barred(name.as_str(), headers) {
                doomed[found] = Some(name.clone());
                found += 1;
            }
        }
        for name in doomed.into_iter().flatten() {
            headers.remove(name);
        }
        if found < N {
            return;
        }
    }
}

/// Whether the answer is an event stream; if so, proxies between us and the client are told not to buffer it (wire 6).
pub(super) fn mark_stream(headers: &mut HeaderMap) -> bool {
    let is_stream = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..17).is_some_and(|head| head.eq_ignore_ascii_case(b"text/event-stream"))
    });
    if is_stream && !headers.contains_key(X_ACCEL_BUFFERING) {
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
    is_stream
}
