//! What stands before and around every answer: CORS for protocol endpoints, security headers for pages, the rate limit
//! per address, the request id.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::oauth::pace;

/// The header that carries the request id, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, for pages and logs.
pub(crate) fn request_id(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("-")
}

const ANY: HeaderValue = HeaderValue::from_static("*");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
const ALLOWED: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, \
                       last-event-id, dpop";

/// Makes an answer readable for scripts of any page (CH-9). `*` goes without cookies, so it opens nothing: what counts
/// at these endpoints is the token or the secret in the request.
pub(crate) fn readable_everywhere(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// The headers that answer a preflight, before any authentication (RS-10, behaviour 6). `*` never covers
/// `Authorization`, so names are listed, and those asked for beyond them (`Mcp-Param-*`) are reflected.
pub(crate) fn preflight(asked: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    headers
}

fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let requested = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut names = ALLOWED.to_owned();
    for name in requested.split(',').map(str::trim).take(64) {
        // Only what can be a header name is reflected: nothing else of a stranger's bytes goes out.
        let Ok(name) = HeaderName::try_from(name) else { continue };
        if !names.split(", ").any(|known| known == name.as_str()) {
            names.push_str(", ");
            names.push_str(name.as_str());
        }
    }
    HeaderValue::try_from(names).unwrap_or(HeaderValue::from_static(ALLOWED))
}

/// The headers of every page (CON-4, CON-10, S29). No `form-action`: Chromium applies it to the whole redirect chain
/// after the consent form and would kill loopback and `cursor://` targets.
pub(crate) fn page(headers: &mut HeaderMap, policy: &HeaderValue, is_https: bool) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// The Content-Security-Policy of our pages: one inline style sheet, named by its hash; no script, no frame, no base.
pub(crate) fn policy(style_hash: &str) -> HeaderValue {
    let text = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
}

/// An entry of `trusted_proxies` is neither an address nor a network.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` in trusted_proxies is not an address or a network such as 10.0.0.0/8")]
pub struct BadNetwork(String);

/// The rate limit per client address, and who is behind an address.
pub(crate) struct Turnstile {
    by_address: pace::Turnstile<IpAddr>,
    trusted: Vec<IpNet>,
}

impl Turnstile {
    /// `per_minute` of zero lets everyone through.
    pub(crate) fn new(per_minute: u32, trusted: &[String]) -> Result<Self, BadNetwork> {
        let trusted = trusted.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        Ok(Self { by_address: pace::Turnstile::new(per_minute), trusted })
    }

    /// Lets one request of that client pass.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn pass(&self, client: IpAddr) -> Result<(), Duration> {
        self.by_address.pass(&whole_network(client))
    }

    /// Forgets addresses that have gone quiet.
    pub(crate) fn forget_idle(&self) {
        self.by_address.forget_idle();
    }

    /// Who is asking: the peer, or what our own trusted proxies say (S15). The list is read from its end, because only
    /// what trusted hands appended is true; everything before it is the client's own invention.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.trusted.is_empty() {
            return client;
        }
        for hop in headers.get_all("x-forwarded-for").iter().rev().filter_map(|v| v.to_str().ok()) {
            for address in hop.rsplit(',') {
                if !self.trusted.iter().any(|network| network.contains(&client)) {
                    return client;
                }
                let Some(address) = address_of(address.trim()) else { return client };
                client = address.to_canonical();
            }
        }
        client
    }
}

fn network(text: &str) -> Result<IpNet, BadNetwork> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| BadNetwork(text.to_owned()))
}

/// An address, also as `1.2.3.4:567` or `[::1]:567`, as some proxies write it.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

/// IPv6 customers own a /64: its first address stands for all of them, or each would have 2^64 buckets.
fn whole_network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Names requests: short, unique in this process, unlikely to collide with another's. Not a secret.
pub(crate) struct Names {
    seed: u64,
    count: AtomicU64,
}

impl Names {
    pub(crate) fn new() -> Self {
        // The hash map's seed is chance enough for a name, and costs no system call per request.
        Self { seed: RandomState::new().hash_one(std::process::id()), count: AtomicU64::new(0) }
    }

    /// The id that the request brought, if it is harmless, else a new one. It is written into `headers`, so that the
    /// MCP server behind us can log it too.
    pub(crate) fn name(&self, headers: &mut HeaderMap) -> HeaderValue {
        if let Some(brought) = headers.get(REQUEST_ID).filter(|id| is_harmless(id.as_bytes())) {
            return brought.clone();
        }
        let mut text = [0_u8; 16];
        let mut word = mix(self.seed.wrapping_add(self.count.fetch_add(1, Ordering::Relaxed)));
        for place in text.iter_mut().rev() {
            *place = b"0123456789abcdef"[(word & 15) as usize];
            word >>= 4;
        }
        let id = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"));
        headers.insert(REQUEST_ID, id.clone());
        id
    }
}

/// An id goes into logs and onto pages: letters, digits and `-_.` only, at most 64.
fn is_harmless(id: &[u8]) -> bool {
    (1..=64).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// The finalizer of splitmix64: neighbours become strangers.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turnstile(per_minute: u32, trusted: &[&str]) -> Turnstile {
        Turnstile::new(per_minute, &trusted.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn forwarded(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        headers
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn behaviour_12_one_address_is_cut_off_without_harm_to_others() {
        let turnstile = turnstile(60, &[]);
        for _ in 0..60 {
            turnstile.pass(ip("203.0.113.7")).unwrap();
        }
        let wait = turnstile.pass(ip("203.0.113.7")).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        turnstile.pass(ip("203.0.113.8")).unwrap();
    }

    #[test]
    fn one_ipv6_network_is_one_customer() {
        let turnstile = turnstile(1, &[]);
        turnstile.pass(ip("2001:db8:0:1::1")).unwrap();
        turnstile.pass(ip("2001:db8:0:1:ffff::2")).unwrap_err();
        turnstile.pass(ip("2001:db8:0:2::1")).unwrap();
    }

    #[test]
    fn s15_forwarded_for_is_believed_only_from_trusted_proxies() {
        let naive = turnstile(1, &[]);
        assert_eq!(naive.client(ip("198.51.100.1"), &forwarded(&["1.1.1.1"])), ip("198.51.100.1"));
        let behind = turnstile(1, &["10.0.0.0/8", "::1"]);
        let seen = |peer, lines: &[&str]| behind.client(ip(peer), &forwarded(lines));
        assert_eq!(seen("198.51.100.1", &["1.1.1.1"]), ip("198.51.100.1"));
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 203.0.113.9"]), ip("203.0.113.9"));
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.2.2.2"]), ip("203.0.113.9"));
        assert_eq!(seen("10.0.0.1", &["1.1.1.1", "203.0.113.9", "10.2.2.2"]), ip("203.0.113.9"));
        assert_eq!(seen("10.0.0.1", &["nonsense"]), ip("10.0.0.1"));
        assert_eq!(seen("::ffff:10.0.0.1", &["[2001:db8::1]:443"]), ip("2001:db8::1"));
        assert_eq!(seen("10.0.0.1", &["203.0.113.9:1234"]), ip("203.0.113.9"));
        assert!(Turnstile::new(1, &["10.0.0.0/99".to_owned()]).is_err());
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let turnstile = turnstile(1_000_000, &[]);
        for n in 0..1000_u32 {
            turnstile.pass(std::net::Ipv4Addr::from(n).into()).unwrap();
        }
        // A bucket of a million per minute is full again at once.
        std::thread::sleep(Duration::from_millis(2));
        turnstile.forget_idle();
        assert!(turnstile.by_address.is_empty());
    }

    #[test]
    fn behaviour_6_a_preflight_lists_what_clients_send_and_reflects_the_rest() {
        let mut asked = HeaderMap::new();
        asked.insert(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization, Mcp-Param-X, b@d\u{7f}"
                .parse()
                .unwrap_or(HeaderValue::from_static("authorization, Mcp-Param-X, b@d")),
        );
        let answer = preflight(&asked);
        insta::assert_snapshot!(answer[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap(),
            @"authorization, content-type, accept, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, last-event-id, dpop, mcp-param-x");
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn request_ids_are_kept_when_harmless_and_made_when_not() {
        let names = Names::new();
        let named = |brought: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(id) = brought {
                headers.insert(REQUEST_ID, id.parse().unwrap());
            }
            let id = names.name(&mut headers);
            assert_eq!(headers[REQUEST_ID], id);
            id.to_str().unwrap().to_owned()
        };
        assert_eq!(named(Some("req-1.a_B")), "req-1.a_B");
        let made = [named(None), named(None), named(Some("<script>")), named(Some(&"x".repeat(65)))];
        for id in &made {
            assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
        assert_ne!(made[0], made[1]);
    }
}
